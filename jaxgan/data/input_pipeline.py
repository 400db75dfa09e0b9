"""Batches of source and reference images, each a pure function of its step.

A batch of B slots is a dict of

  x_src, x_ref, x_ref2: float32 [B, S, S, 3] in [-1, 1]
  y_src, y_ref: int32 [B]

where x_src is of domain y_src, and x_ref and x_ref2 are two images of domain
y_ref. What slot i of step n holds depends on (seed, n, i) only: a run resumed
at step n, on any number of processes, sees what it would have seen.

Both kinds of training data, `TrainData` and `OnDeviceData`, have `domains`,
`facts`, `skipped` and `feed`, which `systems` describes.
"""

import atexit
import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np
from absl import logging
from PIL import Image

from jaxgan import sharding
from jaxgan.data import (
  cache,
  on_device,
  preprocess,
  reading,
  shapes,
  sources,
)
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.errors import UserError

Batch = dict[str, np.ndarray]
Slot = dict[str, np.ndarray | np.int32]  # one of a batch
Feed = tuple[Iterator[Any], Callable[[Any, jax.Array], dict[str, jax.Array]]]

MAX_ATTEMPTS = 100
PREFETCHED_BATCHES = 2
NUM_EVAL_SHAPES = 1000  # of each domain and split
# The roles: one stream each. 3 is that of stargan_v2.evaluate.
_SOURCE, _REFERENCE, _VALIDATION, _REALS = 0, 1, 2, 4


class Images(Protocol):
  """Images of each domain, as pixels: what files and drawn shapes share."""

  domains: tuple[str, ...]
  counts: tuple[int, ...]

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    """Draws one image or two different ones: uint8 [count, S, S, 3]."""

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, not augmented: uint8 [S, S, 3]."""

  def picture(self, domain: int, index: int) -> Image.Image:
    """Image `index` of a domain at its stored size, mode RGB."""

  def digest(self, domain: int) -> str:
    """A sum of all that the images of a domain are made from."""


def create_datasets(
  config: ml_collections.ConfigDict, process_index: int, process_count: int
) -> tuple['TrainData | OnDeviceData', 'EvalData']:
  """Opens the training and the validation images; mistakes end here."""
  _check_batch_size(config.batch_size, process_count)
  data = config.data
  train = _open_images(config, data.train_split, data.augment)
  val = _open_images(config, data.val_split, augment=False)
  check_domains(config, train.domains, val.domains)
  if data.check_images and data.name != 'shapes':
    # Images that are kept on the devices are decoded anyway.
    for images in (val,) if data.on_device else (train, val):
      check_images(images, data.skip_bad_images, process_index, process_count)
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
  train = _open_images(config, config.data.train_split, augment=False)
  val = _open_images(config, config.data.val_split, augment=False)
  check_domains(config, train.domains, val.domains)
  skip = config.data.skip_bad_images
  return EvalData(train, skip), EvalData(val, skip)


class TrainData:
  """The endless training batches, this process's slots of each."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    images: Images,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Process p of P holds slots p * B / P up to (p + 1) * B / P."""
    self.domains = images.domains
    self._images = images
    self._skips = _Skips(config.data.skip_bad_images)
    self._seed = config.seed
    self._img_size = config.data.img_size
    self._num_slots = config.batch_size // process_count
    self._first_slot = process_index * self._num_slots

  @property
  def facts(self) -> dict[str, Any]:
    """What the data decided, by the config's names for it."""
    return _facts(self.domains)

  @property
  def skipped(self) -> int:
    """How many times an unreadable image was drawn and another one taken."""
    return self._skips.count

  def feed(
    self, mesh: jax.sharding.Mesh, start_step: int, num_steps: int
  ) -> Feed:
    """Batches, copied to the devices ahead of their step."""
    batches = itertools.islice(self.batches(start_step), num_steps)
    fed = sharding.prefetch_to_devices(batches, mesh)
    return fed, lambda batch, step: batch

  def batches(self, start_step: int = 0) -> Iterator[Batch]:
    """Yields the batch of `start_step` and those that follow."""
    # By step; TensorFlow would bury them in tracebacks.
    errors: dict[int, Exception] = {}
    # TensorFlow's threads must be out of Python before Python ends, or the
    # program hangs: the iterator goes at exit even if nobody closed this one.
    held = [self._dataset(start_step, errors).as_numpy_iterator()]
    atexit.register(held.clear)
    try:
      for step in itertools.count(start_step):
        batch = next(held[0])
        if step in errors:
          raise errors[step]
        yield batch
    finally:
      held.clear()
      atexit.unregister(held.clear)

  def _dataset(self, start_step: int, errors: dict[int, Exception]) -> Any:
    """A tf.data.Dataset of batches; a step that fails is noted in `errors`."""
    try:
      import tensorflow as tf
    except ImportError as error:
      raise UserError(
        f'TensorFlow cannot be imported ({error}): install it, or set '
        'config.data.on_device=True'
      ) from None

    tf.config.set_visible_devices([], 'GPU')  # They are JAX's.
    shape = (self._img_size, self._img_size, 3)
    pixels = np.zeros(shape, np.uint8)
    blank = _to_batch(pixels, 0, pixels, pixels, 0)

    def load(number):
      step, slot = divmod(int(number), self._num_slots)
      try:
        values = self._slot(step, self._first_slot + slot)
      except Exception as error:
        errors.setdefault(step, error)
        values = blank
      return tuple(values[key] for key in _KEYS)

    def load_in_graph(number):
      types = [tf.as_dtype(blank[key].dtype) for key in _KEYS]
      values = tf.numpy_function(load, [number], types, stateful=False)
      for value in values:
        value.set_shape(shape if value.dtype == tf.float32 else ())
      return dict(zip(_KEYS, values, strict=True))

    # Element i is slot i % B of step i // B: nothing to count up or restore.
    dataset = tf.data.Dataset.range(start_step * self._num_slots, tf.int64.max)
    dataset = dataset.map(load_in_graph, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(self._num_slots, drop_remainder=True)
    return dataset.prefetch(PREFETCHED_BATCHES)

  def _slot(self, step: int, slot: int) -> Slot:
    """One slot of a batch: each array without its leading axis."""
    y_src, (x_src,) = self._draw(_SOURCE, step, slot, 1)
    y_ref, (x_ref, x_ref2) = self._draw(_REFERENCE, step, slot, 2)
    return _to_batch(x_src, y_src, x_ref, x_ref2, y_ref)

  def _draw(
    self, role: int, step: int, slot: int, count: int
  ) -> tuple[int, np.ndarray]:
    """A domain, and images of it: uint8 [count, S, S, 3]."""
    rng = _stream(self._seed, role, 0, slot, step)
    domain = int(rng.random() * len(self.domains))
    for attempt in range(1, 2 * MAX_ATTEMPTS + 1):
      rng = _stream(self._seed, role, attempt, slot, step)
      # Where two readable images are hard to find, one is taken twice.
      wanted = count if attempt <= MAX_ATTEMPTS else 1
      try:
        drawn = self._images.draw(rng, domain, wanted)
        return domain, drawn.repeat(count // wanted, axis=0)
      except UnreadableImage as error:
        self._skips.add(error)
    raise UserError(
      f'no readable image of {self.domains[domain]!r} in {2 * MAX_ATTEMPTS}'
      ' draws: remove or repair the unreadable ones'
    )


class OnDeviceData:
  """Training images that stay in device memory and are drawn there.

  What can be read is decoded once and kept in a file. `shapes` are then its
  NUM_EVAL_SHAPES images of each domain, the ones that `get` draws. No host work
  is left in a step, and nothing asks for TensorFlow.
  """

  skipped = 0  # Unreadable images are left out beforehand, and never drawn.

  def __init__(self, config: ml_collections.ConfigDict, images: Images):
    """Decodes the images, or opens what an earlier start has decoded.

    Raises:
      UserError: they do not fit, or cannot be read or kept.
    """
    data = config.data
    on_device.check_fits(sum(images.counts), data.img_size)
    self.domains = images.domains
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
    images, sizes, counts, _ = self._decoded
    resident = on_device.place(images, sizes, counts, mesh)
    to_batch = functools.partial(on_device.batch, mesh=mesh, **self._settings)
    return itertools.repeat(resident, num_steps), to_batch


def _facts(domains: tuple[str, ...]) -> dict[str, Any]:
  return {'data.domains': domains, 'model.num_domains': len(domains)}


class EvalData:
  """Images as they are: few of them as a batch, or all of a domain."""

  def __init__(self, images: Images, skip_bad_images: bool):
    """Takes the images as they are."""
    self.domains = images.domains
    self.counts = images.counts
    # A sum of all that the images of a domain are made from; reads them all, a
    # part on each process.
    self.digest = functools.cache(images.digest)
    self._images = images
    self._skips = _Skips(skip_bad_images)

  def batch(self, num_slots: int) -> Batch:
    """The same images at every call, the domains in turn."""
    num_domains = len(self.domains)
    num_rows = -(-num_slots // num_domains)
    slots = []
    for row, y_src in (divmod(i, num_domains) for i in range(num_slots)):
      y_ref = (y_src + 1) % num_domains
      x_src = self._readable(y_src, row)
      # References are other images than the sources, where there are enough.
      x_ref = self._readable(y_ref, row + num_rows)
      x_ref2 = self._readable(y_ref, row + 2 * num_rows)
      slots.append(_to_batch(x_src, y_src, x_ref, x_ref2, y_ref))
    return {key: np.stack([slot[key] for slot in slots]) for key in _KEYS}

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
    """Those images of a domain, of the size they are stored in."""
    for index in indices:
      try:
        yield self._images.picture(domain, index)
      except UnreadableImage as error:
        self._skips.add(error)

  def _readable(self, domain: int, index: int) -> np.ndarray:
    """Image `index`, counted round the domain, or the next readable one."""
    count = self.counts[domain]
    for attempt in range(count):
      try:
        return self._images.get(domain, (index + attempt) % count)
      except UnreadableImage as error:
        self._skips.add(error)
    raise UserError(f'no readable validation image of {self.domains[domain]!r}')


class _Skips:
  """Decides what an unreadable image means: the end, or one more skipped."""

  def __init__(self, allowed: bool):
    self.count = 0
    self._allowed = allowed
    self._named: set[str] = set()
    self._lock = threading.Lock()

  def add(self, error: UnreadableImage) -> None:
    if not self._allowed:
      raise UserError(f'{error}: {reading.CURE}') from None
    with self._lock:
      self.count += 1
      is_new = str(error) not in self._named
      self._named.add(str(error))
    if is_new:
      logging.warning('Skipping %s', error)


class FileImages:
  """The images of a source of files."""

  def __init__(
    self,
    source: sources.Source,
    img_size: int,
    augment: bool,
    timeout: float = 300,
  ):
    """Draws are augmented if `augment`; `timeout` s are for reading a file."""
    self.domains, self.counts = source.domains, source.counts
    self._source = source
    self._img_size = img_size
    self._augment = augment
    self._timeout = timeout

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    """Draws one image or two different ones: uint8 [count, S, S, 3]."""
    total = self.counts[domain]
    first = int(rng.random() * total)
    # Any image but the first; the first again where there is no other.
    second = (first + 1 + int(rng.random() * (total - 1))) % total
    return np.stack(
      [self._load(rng, domain, index) for index in (first, second)[:count]]
    )

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, not augmented: uint8 [S, S, 3]."""
    return preprocess.resize(self.picture(domain, index), self._img_size)

  def digest(self, domain: int) -> str:
    """A sum of all that the images of a domain are made from.

    Each process reads a part of them; all must call it together.
    """

    def digest_file(index: int) -> bytes:
      try:
        return hashlib.sha256(self._read(domain, index)).digest()
      except OSError:
        return bytes(32)  # named when the image is asked for

    count = self.counts[domain]
    with futures.ThreadPoolExecutor() as pool:
      own = b''.join(
        pool.map(digest_file, range(count)[sharding.own_part(count)])
      )
    parts = sharding.gather(np.frombuffer(own, np.uint8))
    return hashlib.sha256(parts.tobytes()).hexdigest()

  def picture(self, domain: int, index: int) -> Image.Image:
    """Image `index` at its stored size; UnreadableImage names the file."""
    try:
      return preprocess.decode(self._read(domain, index))
    except (UnreadableImage, OSError) as error:
      name = self._source.describe(domain, index)
      raise UnreadableImage(f'{name} cannot be read ({error})') from None

  def _read(self, domain: int, index: int) -> bytes:
    return reading.read_in_time(
      lambda: self._source.read(domain, index),
      self._timeout,
      lambda: self._source.describe(domain, index),
    )

  def _load(
    self, rng: np.random.Generator, domain: int, index: int
  ) -> np.ndarray:
    if not self._augment:
      return self.get(domain, index)
    image = self.picture(domain, index)
    return preprocess.augment(image, rng, self._img_size)


class ShapesImages:
  """Shapes drawn when asked for; no files."""

  def __init__(self, config: ml_collections.ConfigDict, split: str):
    """Draws the shapes that data.domains names, or all of them."""
    self.domains = sources.select_domains(
      shapes.DOMAINS, config.data.domains, 'shapes'
    )
    self.counts = (NUM_EVAL_SHAPES,) * len(self.domains)
    self._role = _VALIDATION if split == config.data.val_split else _REALS
    self._seed = config.seed
    self._img_size = config.data.img_size

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    """Draws images of a domain: uint8 [count, S, S, 3]."""
    shape = shapes.DOMAINS.index(self.domains[domain])
    return shapes.draw_images(rng, shape, count, self._img_size)

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, as scored: uint8 [S, S, 3]."""
    rng = _stream(self._seed, self._role, 0, index, domain)
    return self.draw(rng, domain, 1)[0]

  def picture(self, domain: int, index: int) -> Image.Image:
    """The same, mode RGB."""
    return Image.fromarray(self.get(domain, index))

  def digest(self, domain: int) -> str:
    """What the images of a domain are drawn from."""
    return (
      f'shapes {self.domains[domain]} x {self.counts[domain]}, seed '
      f'{self._seed}, role {self._role}, {self._img_size} px'
    )


_KEYS = ('x_src', 'y_src', 'x_ref', 'x_ref2', 'y_ref')


def _to_batch(x_src, y_src, x_ref, x_ref2, y_ref) -> Slot:
  return {
    'x_src': preprocess.to_float(x_src),
    'y_src': np.int32(y_src),
    'x_ref': preprocess.to_float(x_ref),
    'x_ref2': preprocess.to_float(x_ref2),
    'y_ref': np.int32(y_ref),
  }


def _stream(
  seed: int, role: int, attempt: int, slot: int, step: int
) -> np.random.Generator:
  # Philox is a function of key and counter. Its draws advance the first word
  # of the counter, so that streams that differ in another never meet.
  counter = [0, attempt, slot, step]
  bits = np.random.Philox(key=[seed, role], counter=counter)
  return np.random.Generator(bits)


def _open_images(
  config: ml_collections.ConfigDict, split: str, augment: bool
) -> Images:
  data = config.data
  if data.name == 'shapes':
    return ShapesImages(config, split)
  if not 0 < data.timeout <= threading.TIMEOUT_MAX:
    raise UserError(
      f'config.data.timeout must be a number of seconds: {data.timeout}'
    )
  source = sources.create_source(data.name, data.root, split, data.domains)
  for name, count in zip(source.domains, source.counts, strict=True):
    if count == 1 and split == data.train_split:
      logging.warning('Domain %r has one image: x_ref2 repeats x_ref', name)
  return FileImages(source, data.img_size, augment, data.timeout)


def _check_batch_size(batch_size: int, process_count: int) -> None:
  if batch_size < 1 or batch_size % process_count:
    raise UserError(
      'batch_size must be a positive multiple of the number of processes'
      f' ({process_count}), got {batch_size}'
    )


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


def check_images(
  images: Images,
  skip_bad: bool,
  process_index: int = 0,
  process_count: int = 1,
) -> None:
  """Decodes this process's share of all images once, many at a time.

  Raises:
    UserError: an image is bad, and bad ones are not to be skipped; or a domain
      has no other ones.
  """
  share = [
    (domain, index)
    for domain, count in enumerate(images.counts)
    for index in range(process_index, count, process_count)
  ]

  def check(domain: int, index: int) -> None:
    images.picture(domain, index)

  bad, good = {}, [0] * len(images.domains)
  errors = reading.read_each(check, share, 'checked')
  for key, error in zip(share, errors, strict=True):
    if error:
      bad[key] = error
    good[key[0]] += not error
  # Of all processes: a domain is lost if none of them has a good image.
  good = sharding.gather(np.array([good])).sum(0)
  for (domain, _), error in bad.items():
    if not good[domain]:
      name = images.domains[domain]
      raise UserError(f'domain {name!r} has no readable image: {error}')
  reading.judge(list(bad.values()), len(share), skip_bad)
