"""The losses of StarGAN (Choi et al. 2018, section 3.1, and its WGAN-GP)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.data.labels import Labels
from jaxgan.losses import adversarial, distances
from jaxgan.training.phases import Forward

Array = jax.Array
Batch = Mapping[str, Array]


class Weights(NamedTuple):
  """The weights of the terms."""

  lambda_cls: float  # classification
  lambda_rec: float  # reconstruction
  lambda_gp: float  # gradient penalty


def classification(logits: Array, c: Array, exclusive: bool) -> Array:
  """Mean over the batch of -log p(c) (eq. 2 and 3).

  Args:
    logits: [B, C].
    c: labels [B, C] of zeros and ones.
    exclusive: one of them holds; else each by itself, and the terms add up.
  """
  if exclusive:
    terms = optax.losses.softmax_cross_entropy(logits, c)
  else:
    terms = optax.losses.sigmoid_binary_cross_entropy(logits, c).sum(axis=1)
  return jnp.mean(terms)


def d_loss(
  f: Forward, batch: Batch, w: Weights, *, labels: Labels, index: int
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss: critic (eq. 8), and the labels of real images (eq. 2).

  Args:
    f: the networks.
    batch: x<i> [B, S, S, 3] of the data set i, c<i> and c_trg<i> [B, C], the
      labels they have and are to get, alpha<i> [B] in [0, 1], the share of the
      real image between it and the fake one.
    w: weights of the terms.
    labels: of the data sets.
    index: of the one whose images are looked at.
  """
  x_real, c_org = batch[f'x{index}'], batch[f'c{index}']
  c_trg = labels.complete(index, batch[f'c_trg{index}'])
  span, exclusive = labels.span(index), labels.sets[index].exclusive
  x_fake = f('generator', x_real, c_trg)

  source, logits = f('discriminator', x_real)
  real = -jnp.mean(source)
  cls = classification(logits[:, span], c_org, exclusive)
  fake = jnp.mean(f('discriminator', x_fake)[0])
  alpha = batch[f'alpha{index}'][:, None, None, None]
  gp = adversarial.gradient_penalty(
    lambda x: f('discriminator', x)[0], alpha * x_real + (1 - alpha) * x_fake
  )
  total = real + fake + w.lambda_cls * cls + w.lambda_gp * gp
  terms = {'total': total, 'real': real, 'fake': fake, 'cls': cls, 'gp': gp}
  return total, terms


def g_loss(
  f: Forward, batch: Batch, w: Weights, *, labels: Labels, index: int
) -> tuple[Array, dict[str, Array]]:
  """Generator loss (eq. 3, 4 and 6); arguments as in `d_loss`."""
  x_real, c = batch[f'x{index}'], batch[f'c_trg{index}']
  c_org = labels.complete(index, batch[f'c{index}'])
  c_trg = labels.complete(index, c)
  span, exclusive = labels.span(index), labels.sets[index].exclusive

  x_fake = f('generator', x_real, c_trg)
  source, logits = f('discriminator', x_fake)
  fake = -jnp.mean(source)
  cls = classification(logits[:, span], c, exclusive)
  rec = distances.l1(f('generator', x_fake, c_org), x_real)
  total = fake + w.lambda_rec * rec + w.lambda_cls * cls
  terms = {'total': total, 'fake': fake, 'rec': rec, 'cls': cls}
  terms['src'] = distances.l1(x_fake, x_real)  # logged alone
  return total, terms
