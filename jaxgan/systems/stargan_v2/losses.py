"""The losses of StarGAN v2 (Choi et al. 2020, section 2.2).

In both losses the first argument holds the networks that are trained; `params`
holds all of them and is a constant wherever `trained` has no entry.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.losses import adversarial, distances
from jaxgan.nets import layers
from jaxgan.systems.stargan_v2 import networks

Array = jax.Array
Params = Mapping[str, Mapping]
MasksFn = Callable[[Array], networks.Masks | None]


@dataclasses.dataclass(frozen=True)
class HParams:
  """Weights of the terms, and constants of the schedule and the step."""

  lambda_reg: float = 1.0  # R1
  lambda_sty: float = 1.0  # style reconstruction
  lambda_ds: float | Array = 1.0  # diversity; at step 0, falling to 0
  lambda_cyc: float = 1.0  # cycle consistency
  ds_iter: int = 100_000  # steps after which lambda_ds is 0
  ema_decay: float = 0.999
  latent_dim: int = 16
  micro_batches: int = 1  # parts in which a phase takes its batch


def style(
  nets: networks.Networks,
  params: Params,
  y: Array,
  *,
  z: Array | None = None,
  x_ref: Array | None = None,
) -> Array:
  """Style codes [B, style_dim] of domain y: F(z, y), or E(x_ref, y)."""
  s: Any
  if x_ref is None:
    s = nets.mapping_network.apply({'params': params['mapping_network']}, z, y)
  else:
    s = nets.style_encoder.apply({'params': params['style_encoder']}, x_ref, y)
  return s


def translate(
  nets: networks.Networks,
  params: Params,
  x: Array,
  s: Array,
  masks: networks.Masks | None = None,
) -> Array:
  """G(x, s) [B, S, S, 3], float32 or better."""
  variables = {'params': params['generator']}
  fake: Any = nets.generator.apply(variables, x, s, masks)
  return fake.astype(layers.at_least_float32(fake.dtype))


def discriminate(
  nets: networks.Networks, params: Params, x: Array, y: Array
) -> Array:
  """D(x, y): logits [B], high where x looks like a real image of domain y."""
  variables = {'params': params['discriminator']}
  logits: Any = nets.discriminator.apply(variables, x, y)
  return logits


def d_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  source: tuple[Mapping, Mapping],
  masks_fn: MasksFn,
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss: adversarial terms (eq. 1) plus R1 on real images.

  Args:
    trained: parameters of the discriminator.
    params: parameters of all networks.
    nets: the modules.
    hp: weights of the terms.
    batch: the batch contract of `data.contracts.domains_ref`.
    source: what the target style comes from, {'z': ...} or {'x_ref': ...};
      the second one is for the diversity term.
    masks_fn: maps images to the masks of the high-pass path, or to None.
  """
  x_real, y_org, y_trg = batch['x_src'], batch['y_src'], batch['y_ref']
  s_trg = style(nets, params, y_trg, **source[0])
  x_fake = translate(nets, params, x_real, s_trg, masks_fn(x_real))

  real_logits = discriminate(nets, trained, x_real, y_org)
  fake_logits = discriminate(nets, trained, x_fake, y_trg)
  real = adversarial.logistic_real(real_logits)
  fake = adversarial.logistic_fake(fake_logits)
  reg = adversarial.r1_penalty(
    lambda x: discriminate(nets, trained, x, y_org), x_real
  )
  total = real + fake + hp.lambda_reg * reg

  # Only told: how far from certain D is, the size of d (real + fake) / d D.
  doubt = (jax.nn.sigmoid(-real_logits) + jax.nn.sigmoid(fake_logits)) / 2
  terms = {'total': total, 'real': real, 'fake': fake, 'reg': reg}
  return total, {**terms, 'doubt': jnp.mean(doubt)}


def g_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  source: tuple[Mapping, Mapping],
  masks_fn: MasksFn,
) -> tuple[Array, dict[str, Array]]:
  """Generator loss (eq. 5); arguments as in `d_loss`."""
  x_real, y_org, y_trg = batch['x_src'], batch['y_src'], batch['y_ref']
  params = {**params, **trained}
  masks = masks_fn(x_real)

  s_trg = style(nets, params, y_trg, **source[0])
  x_fake = translate(nets, params, x_real, s_trg, masks)
  adv = adversarial.logistic_real(discriminate(nets, params, x_fake, y_trg))

  # Style reconstruction (eq. 2); the target s_trg is trained by it as well.
  sty = distances.l1(style(nets, params, y_trg, x_ref=x_fake), s_trg)

  # Diversity (eq. 3). Differs from the paper: like the original code, no
  # gradient through the second image.
  s_trg2 = style(nets, params, y_trg, **source[1])
  x_fake2 = translate(nets, params, x_real, s_trg2, masks)
  ds = distances.l1(x_fake, jax.lax.stop_gradient(x_fake2))

  # Cycle consistency (eq. 4); the masks of the way back are the fake's.
  s_org = style(nets, params, y_org, x_ref=x_real)
  x_rec = translate(nets, params, x_fake, s_org, masks_fn(x_fake))
  cyc = distances.l1(x_rec, x_real)

  total = adv + hp.lambda_sty * sty - hp.lambda_ds * ds + hp.lambda_cyc * cyc
  terms = {'total': total, 'adv': adv, 'sty': sty, 'ds': ds, 'cyc': cyc}
  terms['src'] = distances.l1(x_fake, x_real)  # only told
  return total, terms
