"""Values that are functions of the iteration, counted from 0."""

import jax
import jax.numpy as jnp

Array = jax.Array


def linear_to_zero(step: Array, value: float, steps: int) -> Array:
  """A value that falls linearly to 0, which it reaches at step `steps`."""
  progress = step.astype(jnp.result_type(float)) / steps
  return value * jnp.maximum(0.0, 1.0 - progress)


def constant_then_linear(
  step: Array, value: float, start: int, steps: int, every: int = 1
) -> Array:
  """A value that is constant up to `start` and then falls to 0.

  Args:
    step: the iteration.
    value: up to and at `start`.
    start: from here on it falls.
    steps: how often it falls until it is 0; with every=1, in each iteration.
    every: it falls at multiples of this alone, as in released codes that set
      their rate every so many iterations.
  """
  changes = step // every - start // every
  falls = jnp.where(step > start, changes, 0)
  progress = falls.astype(jnp.result_type(float)) / steps
  return value * jnp.clip(1 - progress, 0.0)


def step_decay(step: Array, value: float, every: int, gamma: float) -> Array:
  """A value that falls to `gamma` of itself every so many steps; 0: never."""
  falls = step // every if every else jnp.zeros_like(step)
  return value * gamma ** falls.astype(jnp.result_type(float))


def switch(step: Array, before: float, at: int, after: float) -> Array:
  """One value before the step `at`, and another one from it on."""
  values = jnp.asarray([before, after], jnp.result_type(float))
  return values[(step >= at).astype(jnp.int32)]
