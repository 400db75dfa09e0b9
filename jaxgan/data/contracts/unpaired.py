"""Batches of two domains whose images do not belong together.

A batch of B slots is a dict of

  x_a, x_b: float32 [B, S, S, 3] in [-1, 1]

an image of the first domain and one of the second. What slot i of step n holds
depends on (seed, n, i) only. The images of a domain come alike, with
replacement, where the originals go through both domains in random order and
begin anew with the end of the shorter one.

An image is a random square: a picture is made `load_size` high or wide,
whichever is shorter, and S x S pixels of it are cut out and perhaps mirrored.
Validation sees the one in the middle.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from PIL import Image

from jaxgan.data import cache, feeding, on_device, pictures, preprocess
from jaxgan.data.contracts import domains_ref
from jaxgan.data.feeding import Feed, Slot
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

Array = jax.Array

KEYS = ('x_a', 'x_b')
# Of the random streams, one for each domain: after those of other batches, of
# `pictures` and of evaluations.
ROLES = (9, 10)
_CUT_WORDS = 3  # of random bits, for a square


def create_datasets(
  config: ml_collections.ConfigDict, process_index: int, process_count: int
) -> tuple['TrainData | OnDeviceData', domains_ref.EvalData]:
  """Opens the training and the validation images; mistakes end here."""
  feeding.check_batch_size(config.batch_size, process_count)
  find_load_size(config)
  data = config.data
  train, val = _open_both(config)
  if data.check_images and data.name != 'shapes':
    # Images that are kept on the devices are decoded anyway.
    for images in (val,) if data.on_device else (train, val):
      pictures.check_images(
        images, data.skip_bad_images, process_index, process_count
      )
  train_data: TrainData | OnDeviceData
  if data.on_device:
    train_data = OnDeviceData(config, train)
  else:
    train_data = TrainData(config, train, process_index, process_count)
  return train_data, _to_view(val, config)


def create_eval_data(
  config: ml_collections.ConfigDict,
) -> tuple[domains_ref.EvalData, domains_ref.EvalData]:
  """Opens the same images, training and validation, to be scored in order."""
  train, val = _open_both(config)
  return _to_view(train, config), _to_view(val, config)


def view(
  picture: Image.Image, config: ml_collections.ConfigDict
) -> Image.Image:
  """The part of a picture that validation sees: the square in the middle.

  Training sees all of a picture, a square of that size at a time.
  """
  share = config.data.img_size / find_load_size(config)
  side = max(1, round(min(picture.size) * share))
  left, top = ((n - side) // 2 for n in picture.size)
  return picture.crop((left, top, left + side, top + side))


def find_load_size(config: ml_collections.ConfigDict) -> int:
  """What the shortest side of a picture becomes; UserError if too short."""
  load_size, img_size = config.data.load_size, config.data.img_size
  if load_size and load_size < img_size:
    raise UserError(
      f'config.data.load_size is {load_size}: squares of img_size ({img_size}) '
      'are cut out of pictures of that size; set it to as much or more, or to '
      '0 for img_size'
    )
  return load_size or img_size


def _open_both(
  config: ml_collections.ConfigDict,
) -> tuple['_Ordered', '_Ordered']:
  """The whole pictures of both splits; UserError unless of two domains."""
  train = _Ordered(config, config.data.train_split)
  if len(train.domains) != len(KEYS):
    names = train.domains[:2] if train.domains[1:] else ('cat', 'dog')
    example = ','.join(map(repr, names))
    raise UserError(
      f'{config.data.train_split!r} has {len(train.domains)} domains '
      f'({", ".join(train.domains)[:200]}), and two are translated into each '
      f'other: name two with --config.data.domains="({example})"'
    )
  val = _Ordered(config, config.data.val_split)
  domains_ref.check_domains(config, train.domains, val.domains)
  return train, val


class _Ordered:
  """A split of the data, its domains in the order that the config has.

  Sources have them in an order of their own. Here it matters: the first is the
  one that weights of a domain a are for.
  """

  def __init__(self, config: ml_collections.ConfigDict, split: str):
    images = pictures.open_images(config, split, augment=False)
    wanted, found = tuple(config.data.domains), images.domains
    self._order = list(range(len(found)))
    if wanted:
      self._order.sort(key=lambda domain: wanted.index(found[domain]))
    self.domains = tuple(found[domain] for domain in self._order)
    self.counts = tuple(images.counts[domain] for domain in self._order)
    self._images = images

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    return self._images.draw(rng, self._order[domain], count)

  def get(self, domain: int, index: int) -> np.ndarray:
    return self._images.get(self._order[domain], index)

  def picture(self, domain: int, index: int) -> Image.Image:
    return self._images.picture(self._order[domain], index)

  original = picture

  def digest(self, domain: int) -> str:
    return self._images.digest(self._order[domain])


def _to_view(
  images: pictures.Images, config: ml_collections.ConfigDict
) -> domains_ref.EvalData:
  if config.data.name != 'shapes':
    share = f'{config.data.img_size}/{find_load_size(config)}'
    images = pictures.Viewed(
      images,
      functools.partial(view, config=config),
      config.data.img_size,
      f'the square in the middle, {share} of it',
    )
  return domains_ref.EvalData(images, config.data.skip_bad_images)


class TrainData:
  """The endless training batches, this process's slots of each."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    images: pictures.DrawableImages,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Process p of P holds slots p * B / P up to (p + 1) * B / P.

    Args:
      config: of the run.
      images: whole, of two domains.
      process_index: p.
      process_count: P.
    """
    self.domains = images.domains
    self.images_per_step = len(KEYS) * config.batch_size
    self._images = images
    self._skips = pictures.Skips(config.data.skip_bad_images)
    self._seed = config.seed
    self._img_size = config.data.img_size
    self._load_size = find_load_size(config)
    self._augment = config.data.augment
    # Drawn shapes are neither cut nor mirrored.
    self._draws_shapes = config.data.name == 'shapes'
    pixels = np.zeros((self._img_size, self._img_size, 3), np.uint8)
    slots = feeding.SlotFeed(
      self._slot,
      _to_slot([pixels, pixels]),
      config.batch_size,
      process_index,
      process_count,
    )
    self.feed, self.batches = slots.feed, slots.batches

  @property
  def facts(self) -> dict[str, Any]:
    """What the data decided, by the config's names for it."""
    return _facts(self.domains)

  @property
  def skipped(self) -> int:
    """How many times an unreadable image was drawn and another one taken."""
    return self._skips.count

  def _slot(self, step: int, slot: int) -> Slot:
    """One slot of a batch: each array without its leading axis."""
    return _to_slot([self._draw(i, step, slot) for i in range(len(KEYS))])

  def _draw(self, domain: int, step: int, slot: int) -> np.ndarray:
    """An image of a domain: uint8 [S, S, 3]."""

    def draw(rng: np.random.Generator, late: bool) -> np.ndarray:
      del late
      if self._draws_shapes:
        return self._images.draw(rng, domain, 1)[0]
      index = int(rng.random() * self._images.counts[domain])
      picture = self._images.picture(domain, index)
      return cut(
        picture, rng if self._augment else None, self._load_size, self._img_size
      )

    return pictures.first_readable(
      draw,
      self._seed,
      ROLES[domain],
      slot,
      step,
      self._skips,
      self.domains[domain],
    )


def cut(
  picture: Image.Image,
  rng: np.random.Generator | None,
  load_size: int,
  img_size: int,
) -> np.ndarray:
  """A square of a picture whose shortest side becomes `load_size`.

  Args:
    picture: of any size.
    rng: for its place, and to mirror with probability 0.5; None for the one in
      the middle as it is.
    load_size: at least img_size.
    img_size: S.

  Returns:
    uint8 [S, S, 3].
  """
  scaled = np.array(_scaled(*picture.size, load_size))
  room = scaled - img_size
  if rng is None:
    corner = room // 2
  else:
    corner = np.array([int(rng.random() * (n + 1)) for n in room])
  unit = picture.size / scaled
  start, end = corner * unit, (corner + img_size) * unit
  # At once, as the whole may be long. Pillow's filter looks beyond the box: the
  # pixels are those of the whole.
  box = (*start, *np.minimum(end, picture.size))
  size, filter_ = (img_size, img_size), Image.Resampling.BILINEAR
  pixels = np.asarray(picture.resize(size, filter_, box=box))
  mirrored = rng is not None and rng.random() < 0.5
  return pixels[:, ::-1] if mirrored else pixels


def _scaled(width: Any, height: Any, load_size: int) -> tuple[Any, Any]:
  """The size of a picture whose shortest side becomes `load_size`."""
  # As torchvision's Resize: the other side is rounded down. Numbers or arrays.
  shortest = (width + height - abs(width - height)) // 2
  return width * load_size // shortest, height * load_size // shortest


class OnDeviceData:
  """Training images that stay in device memory and are drawn there.

  What can be read is decoded once and kept in a file, drawn shapes those that
  are seen in order. Pictures lie squeezed into S x S pixels: squares of
  pictures that are not square, or of a `load_size` above S, are less sharp than
  those of `TrainData`. Nothing asks for TensorFlow.
  """

  skipped = 0  # Unreadable images are left out beforehand, and never drawn.

  def __init__(
    self, config: ml_collections.ConfigDict, images: pictures.Images
  ):
    """Decodes the images, or opens what an earlier start has decoded.

    Args:
      config: of the run.
      images: whole, of two domains.

    Raises:
      UserError: they do not fit, or cannot be read or kept.
    """
    data = config.data
    on_device.check_fits(sum(images.counts), data.img_size)
    self.domains = images.domains
    self.images_per_step = len(KEYS) * config.batch_size
    self._decoded = cache.load(
      images, data.img_size, data.cache_dir, data.skip_bad_images
    )
    self._settings = {
      'seed': config.seed,
      'batch_size': config.batch_size,
      # Drawn shapes are neither cut nor mirrored.
      'load_size': find_load_size(config) if data.name != 'shapes' else 0,
      'augment': data.augment,
    }

  @property
  def facts(self) -> dict[str, Any]:
    """What the data decided, by the config's names for it."""
    return _facts(self.domains)

  def feed(
    self, mesh: jax.sharding.Mesh, start_step: int, num_steps: int
  ) -> Feed:
    """The resident images at every step; a step draws its batch by number."""
    del start_step
    images, sizes, counts, *_ = self._decoded
    resident = on_device.place(images, sizes, counts, mesh)
    to_batch = functools.partial(_batch, mesh=mesh, **self._settings)
    return itertools.repeat(resident, num_steps), to_batch


def _batch(
  data: on_device.Resident,
  step: Array,
  *,
  seed: int,
  batch_size: int,
  load_size: int,
  augment: bool,
  mesh: jax.sharding.Mesh,
) -> dict[str, Array]:
  """Draws the batch of a step, to be jitted; load_size 0 for whole images."""

  def draw(slot: Array) -> Array:  # [2, 1 + _CUT_WORDS]
    return jnp.stack(
      [
        on_device.words_of(seed, role, step, slot, 1 + _CUT_WORDS)
        for role in ROLES
      ]
    )

  words = jax.vmap(draw)(jnp.arange(batch_size, dtype=jnp.int32))
  numbers = on_device.below(words[..., 0], data.counts[None])
  rows = data.starts[None] + numbers  # [B, 2]
  pixels = on_device.gather(data.images, rows, mesh)
  if load_size:
    cut_fn = functools.partial(
      cut_on_device, load_size=load_size, augment=augment
    )
    pixels = jax.vmap(jax.vmap(cut_fn))(
      words[..., 1:], pixels, data.sizes[rows]
    )
  x = pixels.astype(jnp.float32) / 127.5 - 1
  batch = {key: x[:, i] for i, key in enumerate(KEYS)}
  return jax.lax.with_sharding_constraint(batch, sharding.batch_sharding(mesh))


def cut_on_device(
  words: Array, pixels: Array, size: Array, load_size: int, augment: bool
) -> Array:
  """The same as `cut`, of a picture that was squeezed into a square.

  Args:
    words: uint32 [3], random bits.
    pixels: uint8 [S, S, 3].
    size: int32 [2], width and height that the picture was stored with.
    load_size: at least S.
    augment: whether place and direction are random.

  Returns:
    float32 [S, S, 3], whole numbers from 0 to 255.
  """
  img_size = len(pixels)
  scaled = jnp.stack(_scaled(size[0], size[1], load_size))
  room = scaled - img_size
  corner = on_device.below(words[:2], room + 1) if augment else room // 2
  mirror = on_device.heads(words[2]) & augment
  unit = size.astype(jnp.float32) / scaled.astype(jnp.float32)
  box = jnp.concatenate([corner * unit, img_size * unit])
  return on_device.resample(pixels, box, size, mirror)


def _to_slot(drawn: Sequence[np.ndarray]) -> Slot:
  return {
    key: preprocess.to_float(pixels)
    for key, pixels in zip(KEYS, drawn, strict=True)
  }


def _facts(domains: tuple[str, ...]) -> dict[str, Any]:
  return {'data.domains': domains, 'model.num_domains': len(domains)}


def requests(
  batch: Mapping[str, Array],
) -> tuple[Array, int, dict[str, Array]]:
  """Translations to ask for: images of b as of a, in the styles of a's."""
  return batch['x_b'], 0, {'x_ref': batch['x_a']}


def example_batch(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
  """A batch of noise that meets the contract."""
  rng = np.random.default_rng(config.seed)
  shape = (config.batch_size, config.data.img_size, config.data.img_size, 3)
  return {key: rng.uniform(-1, 1, shape).astype(np.float32) for key in KEYS}
