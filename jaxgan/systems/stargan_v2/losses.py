"""The losses of StarGAN v2 (Choi et al. 2020, section 2.2)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.losses import adversarial, distances
from jaxgan.systems.stargan_v2 import networks
from jaxgan.training.phases import Forward

Array = jax.Array
Batch = Mapping[str, Array]

# What the target styles come from, and those of the second image of the
# diversity term: arrays of the batch.
LATENT = ('z_trg', 'z_trg2')
REFERENCE = ('x_ref', 'x_ref2')


class Weights(NamedTuple):
  """The weights of the terms in one iteration."""

  lambda_reg: float  # R1
  lambda_sty: float  # style reconstruction
  lambda_ds: Array  # diversity
  lambda_cyc: float  # cycle consistency


def style(f: Forward, batch: Batch, source: str) -> Array:
  """Style codes [B, style_dim] of the targets: F(z, y), or E(x_ref, y)."""
  network = 'mapping_network' if source in LATENT else 'style_encoder'
  code: Array = f(network, batch[source], batch['y_ref'])
  return code


def masks(f: Forward, x: Array) -> networks.Masks | None:
  """The masks of the high-pass path of images x, constants; None without it."""
  if not f.has('fan'):
    return None
  found: networks.Masks = f('fan', jax.lax.stop_gradient(x))
  return found


def d_loss(
  f: Forward, batch: Batch, w: Weights, *, sources: tuple[str, str]
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss: adversarial terms (eq. 1) plus R1 on real images.

  Args:
    f: the networks.
    batch: of `data.contracts.domains_ref`, with z_trg and z_trg2
      [B, latent_dim].
    w: weights of the terms.
    sources: LATENT or REFERENCE.
  """
  x_real, y_org, y_trg = batch['x_src'], batch['y_src'], batch['y_ref']
  s_trg = style(f, batch, sources[0])
  x_fake = f('generator', x_real, s_trg, masks(f, x_real))

  real_logits = f('discriminator', x_real, y_org)
  fake_logits = f('discriminator', x_fake, y_trg)
  real = adversarial.logistic_real(real_logits)
  fake = adversarial.logistic_fake(fake_logits)
  reg = adversarial.r1_penalty(lambda x: f('discriminator', x, y_org), x_real)
  total = real + fake + w.lambda_reg * reg

  # Logged alone: how far from certain D is, the size of d (real + fake) / d D.
  doubt = (jax.nn.sigmoid(-real_logits) + jax.nn.sigmoid(fake_logits)) / 2
  terms = {'total': total, 'real': real, 'fake': fake, 'reg': reg}
  return total, {**terms, 'doubt': jnp.mean(doubt)}


def g_loss(
  f: Forward, batch: Batch, w: Weights, *, sources: tuple[str, str]
) -> tuple[Array, dict[str, Array]]:
  """Generator loss (eq. 5); arguments as in `d_loss`."""
  x_real, y_org, y_trg = batch['x_src'], batch['y_src'], batch['y_ref']
  x_masks = masks(f, x_real)

  s_trg = style(f, batch, sources[0])
  x_fake = f('generator', x_real, s_trg, x_masks)
  adv = adversarial.logistic_real(f('discriminator', x_fake, y_trg))

  # Style reconstruction (eq. 2); the target s_trg is trained by it as well.
  sty = distances.l1(f('style_encoder', x_fake, y_trg), s_trg)

  # Diversity (eq. 3). Differs from the paper: like the original code, no
  # gradient through the second image.
  s_trg2 = style(f, batch, sources[1])
  x_fake2 = f('generator', x_real, s_trg2, x_masks)
  ds = distances.l1(x_fake, jax.lax.stop_gradient(x_fake2))

  # Cycle consistency (eq. 4); the masks of the way back are the fake's.
  s_org = f('style_encoder', x_real, y_org)
  x_rec = f('generator', x_fake, s_org, masks(f, x_fake))
  cyc = distances.l1(x_rec, x_real)

  total = adv + w.lambda_sty * sty - w.lambda_ds * ds + w.lambda_cyc * cyc
  terms = {'total': total, 'adv': adv, 'sty': sty, 'ds': ds, 'cyc': cyc}
  terms['src'] = distances.l1(x_fake, x_real)  # logged alone
  return total, terms
