import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.training import ema

AVERAGES = {'g': {'w': jnp.array([4.0, 0.0])}}
PARAMS = {'g': {'w': jnp.array([8.0, 1.0])}, 'd': {'w': jnp.array([5.0])}}


def test_a_share_stays():
  after = ema.update(AVERAGES, PARAMS, 0.75)
  assert set(after) == {'g'}  # others have no average
  np.testing.assert_allclose(after['g']['w'], [5, 0.25])
  assert AVERAGES['g']['w'].tolist() == [4, 0]
  assert ema.update({}, PARAMS, 0.75) == {}


def test_before_the_start_averages_are_the_parameters():
  update = jax.jit(
    lambda step: ema.update(AVERAGES, PARAMS, 0.75, step=step, start=3)
  )
  for step, expected in (
    (0, [8, 1]),
    (2, [8, 1]),
    (3, [5, 0.25]),
    (9, [5, 0.25]),
  ):
    np.testing.assert_allclose(update(step)['g']['w'], expected)


def test_averages_keep_their_precision():
  for kwargs in ({}, {'step': jnp.int32(1), 'start': 3}):
    with jax.enable_x64(True):
      after = ema.update(AVERAGES, PARAMS, 0.75, **kwargs)
    assert after['g']['w'].dtype == jnp.float32
