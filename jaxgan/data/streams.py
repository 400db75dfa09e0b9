"""Random streams by name, and what is made of their bits.

A stream is a function of the seed, its name, a step, a slot and an attempt. The
functions of words serve NumPy on the host and `jax.numpy` on the devices alike.
"""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Words = Any  # uint32 of NumPy or JAX

_ON_DEVICES = 0x64617461  # keeps these apart from the loop's keys, of one seed


class Stream(enum.IntEnum):
  """All random streams that a seed has."""

  BATCH = 0  # the slots of a batch
  JOINT_BATCH = 1  # of the second of two data sets
  VALIDATION = 2  # drawn images to validate with
  FACTORS = 3  # drawn sources and references of an evaluation
  REALS = 4  # drawn images to train on, and to compare with
  OUTPUTS = 5  # styles of an evaluation's outputs
  CLASSIFIER = 6  # batches of the classifier of domains
  ATTRIBUTE_CLASSIFIER = 9  # and of the one of attributes
  ATTRIBUTES = 17  # drawn images with attributes to train on
  JOINT_ATTRIBUTES = 18
  ATTRIBUTES_VALIDATION = 27
  JOINT_ATTRIBUTES_VALIDATION = 28


def generator(
  seed: int, stream: int, *, attempt: int = 0, slot: int = 0, step: int = 0
) -> np.random.Generator:
  """Random numbers that are a function of the five."""
  return np.random.Generator(_bits(seed, stream, attempt, slot, step))


def words(
  seed: int,
  stream: int,
  count: int,
  *,
  attempt: int = 0,
  slot: int = 0,
  step: int = 0,
) -> np.ndarray:
  """Random bits on the host, uint32 [count]."""
  raw = _bits(seed, stream, attempt, slot, step).random_raw(count)
  return (raw & np.uint64(2**32 - 1)).astype(np.uint32)


def _bits(
  seed: int, stream: int, attempt: int, slot: int, step: int
) -> np.random.Philox:
  # Philox is a function of key and counter. Its draws advance the first word
  # of the counter, so that streams that differ in another never meet.
  return np.random.Philox(
    key=[seed, int(stream)], counter=[0, attempt, slot, step]
  )


def device_words(
  seed: int, stream: int, step: Array, slot: Array, count: int
) -> Array:
  """Random bits inside a jitted step, uint32 [count]."""
  # Named, whatever JAX's default is: other kinds of keys may draw other numbers
  # under vmap than outside of it.
  key = jax.random.key(seed, impl='threefry2x32')
  for part in (_ON_DEVICES, int(stream), step, slot):
    key = jax.random.fold_in(key, part)
  return jax.random.bits(key, (count,), jnp.uint32)


def numpy_of(x: Any) -> Any:
  """The module that an array belongs to: `jax.numpy`, or else NumPy."""
  return jnp if isinstance(x, jax.Array) else np


def below(word: Words, stop: Any) -> Any:
  """A whole number from 0 to `stop` - 1, int32; uneven by stop / 2**32."""
  xp = numpy_of(word)
  return (word % xp.asarray(stop, xp.uint32)).astype(xp.int32)


def uniform(word: Words) -> Any:
  """A number in [0, 1), float32."""
  return (word >> 8).astype('float32') * np.float32(2**-24)


def heads(word: Words) -> Any:
  """True with probability 0.5."""
  return word >= np.uint32(2**31)
