"""Batches of source and reference images, each a pure function of its step.

A batch of B slots is a dict of

  x_src, x_ref, x_ref2: float32 [B, S, S, 3] in [-1, 1]
  y_src, y_ref: int32 [B]

where x_src is of domain y_src, and x_ref and x_ref2 are two images of domain
y_ref.

Both kinds of training data, `TrainData` and `OnDeviceData`, have `domains`,
`facts`, `skipped` and `feed`, which `systems.contract` describes.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import logging
from PIL import Image

from jaxgan.data import cache, feeding, on_device, pictures, preprocess
from jaxgan.data.feeding import Feed, Slot
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.runtime.errors import UserError

Array = jax.Array

# The roles: one random stream each.
_SOURCE, _REFERENCE = 0, 1


def create_datasets(
  config: ml_collections.ConfigDict, process_index: int, process_count: int
) -> tuple['TrainData | OnDeviceData', 'EvalData']:
  """Opens the training and the validation images; mistakes end here."""
  feeding.check_batch_size(config.batch_size, process_count)
  data = config.data
  train = pictures.open_images(config, data.train_split, data.augment)
  val = pictures.open_images(config, data.val_split, augment=False)
  check_domains(config, train.domains, val.domains)
  for name, count in zip(train.domains, train.counts, strict=True):
    if count == 1:
      logging.warning('Domain %r has one image: x_ref2 repeats x_ref', name)
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
  return train_data, EvalData(val, data.skip_bad_images)


def create_eval_data(
  config: ml_collections.ConfigDict,
) -> tuple['EvalData', 'EvalData']:
  """Opens the same images, training and validation, to be scored in order."""
  train = pictures.open_images(config, config.data.train_split, augment=False)
  val = pictures.open_images(config, config.data.val_split, augment=False)
  check_domains(config, train.domains, val.domains)
  skip = config.data.skip_bad_images
  return EvalData(train, skip), EvalData(val, skip)


def view(
  picture: Image.Image, config: ml_collections.ConfigDict
) -> Image.Image:
  """The part of a picture that training sees, but for random crops: all."""
  del config
  return picture


class TrainData:
  """The endless training batches, this process's slots of each."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    images: pictures.DrawableImages,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Process p of P holds slots p * B / P up to (p + 1) * B / P."""
    self.domains = images.domains
    self.images_per_step = config.batch_size
    self._images = images
    self._skips = pictures.Skips(config.data.skip_bad_images)
    self._seed = config.seed
    pixels = np.zeros((config.data.img_size, config.data.img_size, 3), np.uint8)
    slots = feeding.SlotFeed(
      self._slot,
      _to_batch(pixels, 0, pixels, pixels, 0),
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
    y_src, (x_src,) = self._draw(_SOURCE, step, slot, 1)
    y_ref, (x_ref, x_ref2) = self._draw(_REFERENCE, step, slot, 2)
    return _to_batch(x_src, y_src, x_ref, x_ref2, y_ref)

  def _draw(
    self, role: int, step: int, slot: int, count: int
  ) -> tuple[int, np.ndarray]:
    """A domain, and images of it: uint8 [count, S, S, 3]."""
    rng = pictures.stream(self._seed, role, 0, slot, step)
    domain = int(rng.random() * len(self.domains))

    def draw(rng: np.random.Generator, late: bool) -> np.ndarray:
      # Where two readable images are hard to find, one is taken twice.
      wanted = 1 if late else count
      drawn = self._images.draw(rng, domain, wanted)
      return drawn.repeat(count // wanted, axis=0)

    drawn = pictures.first_readable(
      draw, self._seed, role, slot, step, self._skips, self.domains[domain]
    )
    return domain, drawn


class OnDeviceData:
  """Training images that stay in device memory and are drawn there.

  What can be read is decoded once and kept in a file. `shapes` are then its
  NUM_EVAL_SHAPES images of each domain, the ones that `get` draws. No host work
  is left in a step, and nothing asks for TensorFlow.
  """

  skipped = 0  # Unreadable images are left out beforehand, and never drawn.

  def __init__(
    self, config: ml_collections.ConfigDict, images: pictures.Images
  ):
    """Decodes the images, or opens what an earlier start has decoded.

    Raises:
      UserError: they do not fit, or cannot be read or kept.
    """
    data = config.data
    on_device.check_fits(sum(images.counts), data.img_size)
    self.domains = images.domains
    self.images_per_step = config.batch_size
    self._decoded = cache.load(
      images, data.img_size, data.cache_dir, data.skip_bad_images
    )
    self._settings = {
      'seed': config.seed,
      'batch_size': config.batch_size,
      # Drawn shapes are not augmented, here as anywhere.
      'augment': data.augment and data.name != 'shapes',
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
    to_batch = functools.partial(on_device.batch, mesh=mesh, **self._settings)
    return itertools.repeat(resident, num_steps), to_batch


def _facts(domains: tuple[str, ...]) -> dict[str, Any]:
  return {'data.domains': domains, 'model.num_domains': len(domains)}


class EvalData:
  """Images without augmentation, in the order of their files."""

  def __init__(self, images: pictures.Images, skip_bad_images: bool):
    """Takes the images as they are."""
    self.domains = images.domains
    self.counts = images.counts
    # A sum of all that the images of a domain are made from; reads them all, a
    # part on each process.
    self.digest = functools.cache(images.digest)
    self._images = images
    self._skips = pictures.Skips(skip_bad_images)

  def images(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Index and image, uint8 [S, S, 3], of those of a domain."""
    for index in indices:
      try:
        yield index, self._images.get(domain, index)
      except UnreadableImage as error:
        self._skips.add(error)

  def pictures(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[Image.Image]:
    """What is viewed of those images of a domain, at their stored sizes."""
    return self._readable(self._images.picture, domain, indices)

  def originals(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[Image.Image]:
    """Those images of a domain whole, as stored."""
    return self._readable(self._images.original, domain, indices)

  def _readable(
    self,
    read: Callable[[int, int], Image.Image],
    domain: int,
    indices: Iterable[int],
  ) -> Iterator[Image.Image]:
    for index in indices:
      try:
        yield read(domain, index)
      except UnreadableImage as error:
        self._skips.add(error)

  def readable(self, domain: int, index: int) -> np.ndarray:
    """Image `index`, counted round the domain, or the next readable one."""
    count = self.counts[domain]
    for attempt in range(count):
      try:
        return self._images.get(domain, (index + attempt) % count)
      except UnreadableImage as error:
        self._skips.add(error)
    raise UserError(f'no readable validation image of {self.domains[domain]!r}')


def _to_batch(x_src, y_src, x_ref, x_ref2, y_ref) -> Slot:
  return {
    'x_src': preprocess.to_float(x_src),
    'y_src': np.int32(y_src),
    'x_ref': preprocess.to_float(x_ref),
    'x_ref2': preprocess.to_float(x_ref2),
    'y_ref': np.int32(y_ref),
  }


def check_domains(
  config: ml_collections.ConfigDict,
  train: tuple[str, ...],
  val: tuple[str, ...],
) -> None:
  """Raises UserError unless both splits have the domains that are asked for."""
  for name in (*train, *val):
    if (name in train) != (name in val):
      there, missing = config.data.train_split, config.data.val_split
      if name in val:
        there, missing = missing, there
      raise UserError(
        f'domain {name!r} is in {there!r} but not in {missing!r}: add it there,'
        ' or name the domains to use in data.domains'
      )
  wanted = config.model.num_domains
  if wanted and wanted != len(train):
    raise UserError(
      f'model.num_domains is {wanted} but the data has {len(train)} domains'
      f' ({", ".join(train)}): set it to 0 to take it from the data'
    )


def requests(
  batch: Mapping[str, Array],
) -> tuple[Array, Array, dict[str, Array]]:
  """Translations to ask for: the sources, in the styles of the references."""
  return batch['x_src'], batch['y_ref'], {'x_ref': batch['x_ref']}


def example_batch(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
  """A batch of noise that meets the contract."""
  rng = np.random.default_rng(config.seed)
  count, size = config.batch_size, config.data.img_size
  shape, domains = (count, size, size, 3), config.model.num_domains
  images = {
    key: rng.uniform(-1, 1, shape).astype(np.float32)
    for key in ('x_src', 'x_ref', 'x_ref2')
  }
  labels = {
    key: rng.integers(domains, size=count, dtype=np.int32)
    for key in ('y_src', 'y_ref')
  }
  return {**images, **labels}
