"""How far images are apart, on average."""

import jax
import jax.numpy as jnp

from jaxgan.nets import layers

Array = jax.Array

_GREY_LEVEL = 2 / 255  # of 8 bits in [-1, 1]


def l1(a: Array, b: Array) -> Array:
  """Mean of |a - b|, in float32 or better."""
  dtype = layers.at_least_float32(a.dtype)
  return jnp.mean(jnp.abs(a.astype(dtype) - b.astype(dtype)))


def real_scale(a: Array, b: Array) -> Array:
  """How far real images are apart, a grey level at least: b may be a copy."""
  return jnp.maximum(l1(a, b), _GREY_LEVEL)
