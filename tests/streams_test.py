"""Random streams: apart from each other, and alike on host and devices."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data import streams
from jaxgan.data.streams import Stream

# Of each argument one value and another.
PLACES = {'seed': (3, 4), 'stream': (0, 1), 'step': (7, 8), 'slot': (2, 3)}


def host_words(attempt=0, **place):
  seed, stream = place.pop('seed'), place.pop('stream')
  return streams.words(seed, stream, 6, attempt=attempt, **place)


def host_numbers(attempt=0, **place):
  rng = streams.generator(attempt=attempt, **place)
  return rng.integers(0, 2**32, 6, np.uint32)


@functools.cache
def _device_words():
  return jax.jit(
    lambda seed, stream, step, slot: streams.device_words(
      seed, stream, step, slot, 6
    ),
    static_argnums=(0, 1),
  )


def device_words(**place):
  return np.asarray(_device_words()(**place))


@pytest.fixture
def bits():
  rng = np.random.default_rng(0)
  ends = [0, 1, 255, 256, 2**31 - 1, 2**31, 2**32 - 1]
  return np.append(rng.integers(0, 2**32, 1000), ends).astype(np.uint32)


def test_no_two_streams_are_one():
  # What IntEnum would take for another name of the same member.
  assert len(Stream.__members__) == len(set(Stream)) == 12


@pytest.mark.parametrize('draw', [host_words, host_numbers, device_words])
def test_places_that_differ_have_other_words(draw):
  places = [
    dict(zip(PLACES, values, strict=True))
    for values in itertools.product(*PLACES.values())
  ]
  drawn = [draw(**place) for place in places]
  if draw is not device_words:
    drawn += [draw(**place, attempt=1) for place in places]
    assert len(drawn) == 32
  drawn.append(draw(**places[0] | {'stream': Stream.JOINT_ATTRIBUTES}))
  words = np.stack(drawn)
  assert words.dtype == np.uint32 and words.shape[1] == 6
  assert len(np.unique(words)) == words.size
  np.testing.assert_array_equal(draw(**places[0]), words[0])


def test_fewer_words_are_the_first_of_more():
  few, many = (streams.words(3, 0, n, slot=2, step=7) for n in (5, 5000))
  np.testing.assert_array_equal(few, many[:5])
  # Nothing is used twice, and all bits are.
  assert len(np.unique(many)) > 0.999 * 5000
  bits = np.unpackbits(many.view(np.uint8)).reshape(5000, 32)
  np.testing.assert_allclose(bits.mean(0), 0.5, atol=4 * 0.5 / 5000**0.5)


def test_steps_have_no_end():
  words = [streams.words(3, 0, 9, step=step) for step in (0, 2**32, 2**40)]
  assert len(np.unique(words)) == 27


def test_host_and_devices_make_the_same_of_words(bits):
  words = jnp.array(bits)
  for stop in (1, 2, 3, 1000, 2**31 - 1):
    numbers = streams.below(bits, stop)
    assert numbers.dtype == np.int32
    assert 0 <= numbers.min() and numbers.max() <= stop - 1
    np.testing.assert_array_equal(numbers, streams.below(words, stop))
  stops = np.arange(len(bits)) + 1
  numbers = streams.below(bits, stops)
  assert (numbers < stops).all() and (numbers[-300:] > 300).any()
  np.testing.assert_array_equal(numbers, streams.below(words, stops))
  u = streams.uniform(bits)
  assert u.dtype == np.float32 and u.min() == 0 and 0.9999 < u.max() < 1
  np.testing.assert_array_equal(u, streams.uniform(words))
  heads = streams.heads(bits)
  assert heads[-7:].tolist() == [False] * 5 + [True] * 2
  np.testing.assert_array_equal(heads, streams.heads(words))
  assert streams.numpy_of(bits[0]) is np and streams.numpy_of(words) is jnp


@pytest.mark.parametrize('kind', [np.array, jnp.array])
def test_words_are_drawn_from_evenly(kind):
  words = kind(streams.words(3, 0, 6000))
  share = np.bincount(np.asarray(streams.below(words, 5))) / 6000
  assert len(share) == 5  # Within 4 standard deviations, here as below.
  np.testing.assert_allclose(share, 1 / 5, atol=4 * 0.0052)
  share = np.histogram(streams.uniform(words), 5, (0, 1))[0] / 6000
  np.testing.assert_allclose(share, 1 / 5, atol=4 * 0.0052)
  assert abs(streams.heads(words).mean() - 0.5) < 4 * 0.0065


def test_words_of_devices_are_the_same_for_any_number_of_slots():
  def draw(slot):
    return streams.device_words(3, Stream.BATCH, jnp.int32(7), slot, 24)

  few, many = (
    np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(n))) for n in (5, 6000)
  )
  np.testing.assert_array_equal(few, many[:5])
  np.testing.assert_array_equal(few[2], draw(jnp.int32(2)))
  # Nothing is used twice, and all bits are.
  assert len(np.unique(many)) > 0.9999 * many.size
  bits = np.unpackbits(many.view(np.uint8))
  assert abs(bits.mean() - 0.5) < 4 * 0.5 / bits.size**0.5
