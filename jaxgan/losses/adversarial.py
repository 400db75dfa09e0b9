"""Adversarial terms on logits, and gradient penalties."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def logistic_real(logits: Array) -> Array:
  """Mean of -log sigmoid(logits): low where logits say "real"."""
  return jnp.mean(jax.nn.softplus(-logits))


def logistic_fake(logits: Array) -> Array:
  """Mean of -log(1 - sigmoid(logits)): low where logits say "fake"."""
  return jnp.mean(jax.nn.softplus(logits))


def least_squares_real(scores: Array) -> Array:
  """Mean of (scores - 1)^2 (Mao et al. 2017, eq. 9): low where all are 1."""
  return jnp.mean(jnp.square(scores - 1))


def least_squares_fake(scores: Array) -> Array:
  """Mean of scores^2 (Mao et al. 2017, eq. 9): low where all are 0."""
  return jnp.mean(jnp.square(scores))


# How to judge what is to look real, and what is to look fake, by name: least
# squares, and the logistic loss in its non-saturating form.
GAN_TYPES = {
  'lsgan': (least_squares_real, least_squares_fake),
  'nsgan': (logistic_real, logistic_fake),
}


def sum_scales(
  term: Callable[[Array], Array], scores: Sequence[Array]
) -> Array:
  """The sum of a term over the maps of several discriminators."""
  return jnp.sum(jnp.stack([term(score) for score in scores]))


def multiscale_d_loss(
  gan_type: str, real: Sequence[Array], fake: Sequence[Array]
) -> Array:
  """Loss of a discriminator, from its maps of scores of real and fake images.

  Args:
    gan_type: of GAN_TYPES.
    real: a map for each scale.
    fake: likewise.
  """
  real_term, fake_term = GAN_TYPES[gan_type]
  return sum_scales(real_term, real) + sum_scales(fake_term, fake)


def multiscale_g_loss(gan_type: str, fake: Sequence[Array]) -> Array:
  """Loss of a generator, from the maps of scores of its images."""
  return sum_scales(GAN_TYPES[gan_type][0], fake)


def r1_penalty(d_fn: Callable[[Array], Array], x_real: Array) -> Array:
  """Half the mean squared norm of d D(x) / d x (Mescheder et al. 2018, eq. 9).

  Args:
    d_fn: maps images [B, H, W, C] to logits [B], each of its own image only.
    x_real: real images, float32 or better.
  """
  grad = jax.grad(lambda x: jnp.sum(d_fn(x)))(x_real)
  return 0.5 * jnp.mean(jnp.sum(jnp.square(grad), axis=(1, 2, 3)))


def gradient_penalty(d_fn: Callable[[Array], Array], x: Array) -> Array:
  """Mean of (|d D(x) / d x| - 1)^2 (Gulrajani et al. 2017, eq. 3).

  Args:
    d_fn: maps images [B, H, W, C] to any number of values of each; their sum is
      what is differentiated.
    x: images between real and fake ones, float32 or better.
  """
  grad = jax.grad(lambda x: jnp.sum(d_fn(x)))(x)
  squared = jnp.sum(jnp.square(grad), axis=(1, 2, 3))
  # The root has no derivative at 0: there the norm is a constant.
  norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
  return jnp.mean(jnp.square(norm - 1))
