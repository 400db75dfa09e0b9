"""Feeds a training: each slot of each batch a pure function of its step.

What slot i of step n holds depends on (seed, n, i) only: a run resumed at step
n, on any number of processes, sees what it would have seen.
"""

import atexit
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

Batch = dict[str, np.ndarray]
Slot = dict[str, np.ndarray | np.generic]  # one of a batch
# What is fed, and (what is fed, finished steps) -> batch, inside the step.
Feed = tuple[Iterator[Any], Callable[[Any, jax.Array], dict[str, jax.Array]]]

PREFETCHED_BATCHES = 2


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
