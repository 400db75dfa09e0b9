import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.training import schedules


def _check(fn, expected):
  """Compares values by step, all at once and compiled."""
  steps = jnp.array(list(expected), jnp.int32)
  values = jax.jit(jax.vmap(fn))(steps)
  np.testing.assert_allclose(values, list(expected.values()), rtol=1e-6)


def test_a_weight_falls_to_zero_and_stays():
  _check(
    lambda step: schedules.linear_to_zero(step, 2.0, 10),
    {0: 2, 1: 1.8, 5: 1, 9: 0.2, 10: 0, 11: 0, 10**6: 0},
  )


def test_a_rate_is_constant_and_then_falls():
  _check(
    lambda step: schedules.constant_then_linear(step, 0.8, 100, 50),
    {0: 0.8, 100: 0.8, 101: 0.8 * 49 / 50, 125: 0.4, 150: 0, 151: 0, 9999: 0},
  )


def test_a_rate_that_is_set_now_and_then_falls_by_a_part_each_time():
  # As in the released StarGAN: at each tenth step, by a fiftieth.
  _check(
    lambda step: schedules.constant_then_linear(step, 0.8, 100, 50, every=10),
    {
      100: 0.8,
      109: 0.8,
      110: 0.8 * 0.98,
      119: 0.8 * 0.98,
      120: 0.8 * 0.96,
      600: 0,
      700: 0,
    },
  )
  # The start may lie between two of them.
  _check(
    lambda step: schedules.constant_then_linear(step, 0.8, 95, 50, every=10),
    {95: 0.8, 99: 0.8, 100: 0.8 * 0.98},
  )


def test_a_rate_falls_every_so_many_steps_or_never():
  _check(
    lambda step: schedules.step_decay(step, 0.8, 10, 0.5),
    {0: 0.8, 9: 0.8, 10: 0.4, 19: 0.4, 20: 0.2, 35: 0.1},
  )
  _check(
    lambda step: schedules.step_decay(step, 0.8, 0, 0.5), {0: 0.8, 35: 0.8}
  )


def test_one_value_and_then_another():
  _check(
    lambda step: schedules.switch(step, 0.25, 10, 4.0),
    {0: 0.25, 9: 0.25, 10: 4, 11: 4},
  )


def test_values_are_of_the_precision_of_the_run():
  for x64, dtype in ((False, np.float32), (True, np.float64)):
    with jax.enable_x64(x64):
      step = jnp.int32(3)
      for value in (
        schedules.linear_to_zero(step, 2.0, 10),
        schedules.constant_then_linear(step, 2.0, 1, 10),
        schedules.step_decay(step, 2.0, 2, 0.5),
        schedules.switch(step, 1.0, 2, 2.0),
      ):
        assert value.dtype == dtype
