"""The losses of StarGAN (Choi et al. 2018, section 3.1, and its WGAN-GP).

In both losses the first argument holds the network that is trained; `params`
holds both and is a constant wherever `trained` has no entry.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgan.losses import adversarial, distances
from jaxgan.nets import layers
from jaxgan.systems.stargan import networks
from jaxgan.systems.stargan.labels import Labels

Array = jax.Array
Params = Mapping[str, Mapping]


@dataclasses.dataclass(frozen=True)
class HParams:
  """Weights of the terms, and constants of the schedule and the step."""

  lambda_cls: float = 1.0  # classification
  lambda_rec: float = 10.0  # reconstruction
  lambda_gp: float = 10.0  # gradient penalty
  n_critic: int = 5  # iterations of a step
  lr: float = 1e-4
  decay_start: int = 100_000
  decay_steps: int = 100_000
  lr_update_step: int = 1  # the rate changes at multiples of this
  micro_batches: int = 1  # parts in which a phase takes its batch


def translate(
  nets: networks.Networks, params: Params, x: Array, c: Array
) -> Array:
  """G(x, c) [B, S, S, 3], float32 or better."""
  variables = {'params': params['generator']}
  fake: Any = nets.generator.apply(variables, x, c)
  return fake.astype(layers.at_least_float32(fake.dtype))


def discriminate(
  nets: networks.Networks, params: Params, x: Array
) -> tuple[Array, Array]:
  """D(x): the map of how real [B, h, w], and the logits of all labels."""
  variables = {'params': params['discriminator']}
  outputs: Any = nets.discriminator.apply(variables, x)
  return outputs


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
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  labels: Labels,
  index: int,
  hp: HParams,
  batch: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss: critic (eq. 8), and the labels of real images (eq. 2).

  Args:
    trained: parameters of the discriminator.
    params: parameters of both networks.
    nets: the modules.
    labels: of the data sets.
    index: of the set that the batch is of.
    hp: weights of the terms.
    batch: x [B, S, S, 3], c and c_trg [B, C], the labels they have and are to
      get, alpha [B] in [0, 1], the share of the real image between it and the
      fake one.
  """
  x_real, alpha = batch['x'], batch['alpha'][:, None, None, None]
  c_trg = labels.complete(index, batch['c_trg'])
  x_fake = translate(nets, params, x_real, c_trg)

  source, logits = discriminate(nets, trained, x_real)
  real = -jnp.mean(source)
  cls = classification(
    logits[:, labels.span(index)], batch['c'], labels.sets[index].exclusive
  )
  fake = jnp.mean(discriminate(nets, trained, x_fake)[0])
  gp = adversarial.gradient_penalty(
    lambda x: discriminate(nets, trained, x)[0],
    alpha * x_real + (1 - alpha) * x_fake,
  )
  total = real + fake + hp.lambda_cls * cls + hp.lambda_gp * gp
  terms = {'total': total, 'real': real, 'fake': fake, 'cls': cls, 'gp': gp}
  return total, terms


def g_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  labels: Labels,
  index: int,
  hp: HParams,
  batch: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
  """Generator loss (eq. 3, 4 and 6); arguments as in `d_loss`."""
  x_real = batch['x']
  params = {**params, **trained}
  c_org, c_trg = (labels.complete(index, batch[k]) for k in ('c', 'c_trg'))

  x_fake = translate(nets, params, x_real, c_trg)
  source, logits = discriminate(nets, params, x_fake)
  fake = -jnp.mean(source)
  cls = classification(
    logits[:, labels.span(index)], batch['c_trg'], labels.sets[index].exclusive
  )
  rec = distances.l1(translate(nets, params, x_fake, c_org), x_real)
  total = fake + hp.lambda_rec * rec + hp.lambda_cls * cls
  terms = {'total': total, 'fake': fake, 'rec': rec, 'cls': cls}
  return total, {**terms, 'src': distances.l1(x_fake, x_real)}  # only told
