"""The losses of pix2pix (Isola et al. 2017, section 3.1)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.losses import adversarial, distances
from jaxgan.training.phases import Forward

Array = jax.Array
Batch = Mapping[str, Array]


class Weights(NamedTuple):
  """The weights of the terms."""

  lambda_l1: float


def d_loss(
  f: Forward, batch: Batch, w: Weights
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss, halved (section 3.3): it sees y beside x.

  Args:
    f: the networks.
    batch: x_a and x_b [B, S, S, 3], the sources x and their targets y.
    w: weights of the terms.
  """
  del w
  x, y = batch['x_a'], batch['x_b']
  y_fake = f('generator', x, keep=False)  # the one that G is trained on below
  fake = adversarial.logistic_fake(f('discriminator', _beside(x, y_fake)))
  real = adversarial.logistic_real(f('discriminator', _beside(x, y)))
  total = 0.5 * (real + fake)
  return total, {'total': total, 'real': real, 'fake': fake}


def g_loss(
  f: Forward, batch: Batch, w: Weights
) -> tuple[Array, dict[str, Array]]:
  """Generator loss (eq. 4): fools D, and is near y; as in `d_loss`."""
  x, y = batch['x_a'], batch['x_b']
  y_fake = f('generator', x)
  gan = adversarial.logistic_real(f('discriminator', _beside(x, y_fake)))
  l1 = distances.l1(y_fake, y)
  total = gan + w.lambda_l1 * l1
  change = distances.l1(y_fake, x)  # logged alone
  return total, {'total': total, 'gan': gan, 'l1': l1, 'change': change}


def _beside(x: Array, y: Array) -> Array:
  return jnp.concatenate([x, y], axis=-1)
