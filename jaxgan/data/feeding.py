"""Feeds a training: each slot of each batch a pure function of its step.

What slot i of step n holds depends on (seed, n, i) only: a run resumed at step
n, on any number of processes, sees what it would have seen.
"""

import atexit
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from jaxgan.data import pictures, preprocess, streams
from jaxgan.data.crops import Crop
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.data.streams import Stream
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

Batch = dict[str, np.ndarray]
Slot = dict[str, np.ndarray | np.generic]  # one of a batch
# What is fed, and (what is fed, finished steps) -> batch, inside the step.
Feed = tuple[Iterator[Any], Callable[[Any, jax.Array], dict[str, jax.Array]]]

PREFETCHED_BATCHES = 2
_MAX_ATTEMPTS = 100


class Part(Protocol):
  """What a slot of a batch takes of one data set, drawn from random words.

  The same functions run on the host, for one slot in NumPy, and on the devices,
  for one slot under `vmap` (`pick`) or for all of them (`labels`).
  """

  @property
  def images(self) -> pictures.Images:
    """The data set."""

  @property
  def stream(self) -> Stream:
    """The random stream of the words."""

  @property
  def keys(self) -> tuple[str, ...]:
    """Names in the batch of the n images that are taken."""

  @property
  def num_words(self) -> int:
    """Words that `pick` takes."""

  @property
  def crop(self) -> Crop:
    """What training sees of an image."""

  @property
  def apart(self) -> tuple[int, ...]:
    """Which of the n are to be different images of one domain."""

  @property
  def together(self) -> bool:
    """Whether the n are one item: of one number, and cropped alike."""

  @property
  def words_per_slot(self) -> int:
    """Words that a slot takes, those of the crops among them."""

  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """Domains and numbers, int32 [n] each, of words and counts [K]."""

  def labels(self, domains: Any, rows: Any, table: Any) -> dict[str, Any]:
    """Beside the images: of domains and rows [..., n].

    `table` is that of the rows; on the host None, and rows are numbers.
    """

  def table(self, rows: Sequence[tuple[int, int]]) -> Any:
    """Arrays [N, ...] that `labels` needs on the devices, or None.

    Args:
      rows: domain and number of the image in each row.
    """


class HostFeed:
  """Makes slots of parts on the host: decodes what they pick.

  Attributes:
    feed: see `SlotFeed`.
    batches: see `SlotFeed`.
  """

  def __init__(
    self,
    parts: Sequence[Part],
    *,
    seed: int,
    batch_size: int,
    img_size: int,
    skip_bad_images: bool,
    process_index: int = 0,
    process_count: int = 1,
  ):
    self._parts, self._seed, self._img_size = tuple(parts), seed, img_size
    self._skips = pictures.Skips(skip_bad_images)
    slots = SlotFeed(
      self.slot, self._like(), batch_size, process_index, process_count
    )
    self.feed, self.batches = slots.feed, slots.batches

  @property
  def skipped(self) -> int:
    """How many times an unreadable image was drawn and another one taken."""
    return self._skips.count

  def _like(self) -> Slot:
    """A slot of nothing, for its keys, shapes and types."""
    shape = (self._img_size, self._img_size, 3)
    like: Slot = {}
    for part in self._parts:
      nothing = np.zeros(len(part.keys), np.int32)
      like |= {key: np.zeros(shape, np.float32) for key in part.keys}
      like |= part.labels(nothing, nothing, None)
    return like

  def slot(self, step: int, slot: int) -> Slot:
    """One slot of a batch: each array without its leading axis."""
    made: Slot = {}
    for part in self._parts:
      made |= self._take(part, step, slot)
    return made

  def _take(self, part: Part, step: int, slot: int) -> Slot:
    words = streams.words(
      self._seed, part.stream, part.words_per_slot, slot=slot, step=step
    )
    counts = np.array(part.images.drawable, np.int64)
    domains, numbers = part.pick(words[: part.num_words], counts)
    crops = crop_words(part, words)
    numbers = numbers.copy()
    if part.together:
      numbers[:], images = self._read_item(
        part, domains, int(numbers[0]), crops, step, slot
      )
    else:
      images = []
      for i, domain in enumerate(domains.tolist()):
        numbers[i], pixels = self._read(
          part, domain, numbers, i, crops[i], step, slot
        )
        images.append(pixels)
    made: Slot = {
      key: preprocess.to_float(pixels)
      for key, pixels in zip(part.keys, images, strict=True)
    }
    return {**made, **part.labels(domains, numbers, None)}

  def _read_item(
    self,
    part: Part,
    domains: np.ndarray,
    number: int,
    words: np.ndarray,
    step: int,
    slot: int,
  ) -> tuple[int, list[preprocess.Pixels]]:
    """The number of an item and all its crops, or of another readable one.

    Raises:
      UserError: an image is unreadable and not to be skipped, or too many are.
    """
    for attempt in range(1, 2 * _MAX_ATTEMPTS + 1):
      try:
        return number, [
          part.crop.on_host(
            own, part.images.picture(int(domain), number), self._img_size
          )
          for domain, own in zip(domains, words, strict=True)
        ]
      except UnreadableImage as error:
        self._skips.add(error)
      (again,) = streams.words(
        self._seed, part.stream, 1, attempt=attempt, slot=slot, step=step
      )
      number = int(streams.below(again, part.images.drawable[0]))
    raise _no_readable(part, domains[0])

  def _read(
    self,
    part: Part,
    domain: int,
    numbers: np.ndarray,
    i: int,
    words: np.ndarray,
    step: int,
    slot: int,
  ) -> tuple[int, preprocess.Pixels]:
    """The number and the crop of image i, or of another that can be read.

    Raises:
      UserError: an image is unreadable and not to be skipped, or too many are.
    """
    number = int(numbers[i])
    others = [numbers[j] for j in part.apart if i in part.apart and j != i]
    for attempt in range(1, 2 * _MAX_ATTEMPTS + 1):
      # Where readable images are hard to find, one is taken twice.
      if attempt == 1 or number not in others or attempt > _MAX_ATTEMPTS:
        try:
          picture = part.images.picture(domain, number)
          return number, part.crop.on_host(words, picture, self._img_size)
        except UnreadableImage as error:
          self._skips.add(error)
      again = streams.words(
        self._seed,
        part.stream,
        len(numbers),
        attempt=attempt,
        slot=slot,
        step=step,
      )
      number = int(streams.below(again[i], part.images.drawable[domain]))
    raise _no_readable(part, domain)


def crop_words(part: Part, words: Any) -> Any:
  """The words of the n crops [..., n, crop.num_words], of those of a slot."""
  rows = 1 if part.together else len(part.keys)
  xp = streams.numpy_of(words)
  shape = (*words.shape[:-1], rows, part.crop.num_words)
  own = words[..., part.num_words :].reshape(shape)
  return xp.broadcast_to(own, (*shape[:-2], len(part.keys), shape[-1]))


def _no_readable(part: Part, domain: int) -> UserError:
  return UserError(
    f'no readable image of {part.images.domains[domain]!r} in '
    f'{2 * _MAX_ATTEMPTS} draws: remove or repair the unreadable ones'
  )


class SlotFeed:
  """Makes slots in threads, this process's of each batch.

  Args:
    slot: (step, slot) -> each array of the batch without its leading axis.
    like: a slot, for its keys, shapes and types.
    batch_size: slots of all processes together.
    process_index: process p of P makes slots p * B / P up to (p + 1) * B / P.
    process_count: P, which divides B.
  """

  def __init__(
    self,
    slot: Callable[[int, int], Slot],
    like: Mapping[str, Any],
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
  ):
    self._slot, self._like = slot, dict(like)
    self._num_slots = batch_size // process_count
    self._first_slot = process_index * self._num_slots

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
    like = self._like

    def load(number):
      step, slot = divmod(int(number), self._num_slots)
      try:
        values = self._slot(step, self._first_slot + slot)
      except Exception as error:
        errors.setdefault(step, error)
        values = like
      return tuple(values[key] for key in like)

    def load_in_graph(number):
      types = [tf.as_dtype(value.dtype) for value in like.values()]
      values = tf.numpy_function(load, [number], types, stateful=False)
      named = dict(zip(like, values, strict=True))
      for key, value in named.items():
        value.set_shape(like[key].shape)
      return named

    # Element i is slot i % B of step i // B: nothing to count up or restore.
    dataset = tf.data.Dataset.range(start_step * self._num_slots, tf.int64.max)
    dataset = dataset.map(load_in_graph, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(self._num_slots, drop_remainder=True)
    return dataset.prefetch(PREFETCHED_BATCHES)


def check_batch_size(batch_size: int, process_count: int) -> None:
  """Raises UserError unless the slots can be shared out."""
  if batch_size < 1 or batch_size % process_count:
    raise UserError(
      'batch_size must be a positive multiple of the number of processes'
      f' ({process_count}), got {batch_size}'
    )
