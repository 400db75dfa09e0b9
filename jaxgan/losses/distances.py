"""How far images are apart, on average."""

from collections.abc import Callable

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


def perceptual(features: Callable[[Array], Array], x: Array, y: Array) -> Array:
  """Mean squared difference of two images in normalised features.

  The normalisation, over each image and channel, takes away what features say
  of the colours of a domain (Huang et al. 2018, section 5.1).

  Args:
    features: maps images to [B, H, W, C], float32 or better.
    x: [B, S, S, 3] in [-1, 1], the translations.
    y: of the same shape, their sources: constants, as nothing is trained
      through real images.
  """
  h, target = (
    layers.instance_norm(features(images))
    for images in (x, jax.lax.stop_gradient(y))
  )
  return jnp.mean(jnp.square(h - target))
