"""The losses of UNIT (Liu et al. 2017, section 3, eq. 3 to 6).

Domain a is 0 and b is 1; what ends in `_a` is about images that are of domain
a, or made to be.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan.losses import adversarial, distances
from jaxgan.training.phases import Forward

Array = jax.Array
Batch = Mapping[str, Array]


class Weights(NamedTuple):
  """The weights of the terms."""

  gan_type: str  # of `adversarial.GAN_TYPES`
  kl: str  # of KL
  lambda_gan: float
  lambda_x: float  # reconstruction of images
  lambda_kl: float  # their codes, to the prior
  lambda_cyc: float  # cycle
  lambda_klc: float  # the codes of translations, to the prior
  lambda_vgg: float  # perceptual


# Of a code h and the noise n on it, by name. The first is the divergence of
# N(h, 1) from N(0, 1), for each number of the code; the others are what the
# released code has in its place, of twice its gradient.
KL = {
  'divergence': lambda h, n: jnp.mean(jnp.square(h)) / 2,
  'square': lambda h, n: jnp.mean(jnp.square(h)),
  'noisy_square': lambda h, n: jnp.mean(jnp.square(h + n)),
}


def d_loss(
  f: Forward, batch: Batch, w: Weights
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss (eq. 5): only translations are to look real.

  Args:
    f: the networks.
    batch: x_a, x_b [B, S, S, 3], and n_a2, n_b2, noise on the codes of these.
    w: the weights of the terms.
  """
  encode, decode = (
    partial(f, 'generator', method=name) for name in ('encode', 'decode')
  )
  x_a, x_b = batch['x_a'], batch['x_b']
  (x_ba,) = decode(encode(x_b, 1) + batch['n_b2'], (0,))
  (x_ab,) = decode(encode(x_a, 0) + batch['n_a2'], (1,))
  terms = {
    'a': adversarial.multiscale_d_loss(
      w.gan_type, f('discriminator', x_a, 0), f('discriminator', x_ba, 0)
    ),
    'b': adversarial.multiscale_d_loss(
      w.gan_type, f('discriminator', x_b, 1), f('discriminator', x_ab, 1)
    ),
  }
  total = w.lambda_gan * (terms['a'] + terms['b'])
  return total, {'total': total, **terms}


def g_loss(
  f: Forward, batch: Batch, w: Weights
) -> tuple[Array, dict[str, Array]]:
  """Loss of both auto-encoders (eq. 3 to 6).

  Args:
    f: the networks; 'vgg' is among them where the perceptual term is wanted.
    batch: x_a, x_b [B, S, S, 3]; n_a, n_b, noise on the codes of these; n_aba
      and n_bab, on the codes of the translations of a and b.
    w: the weights of the terms.
  """
  encode, decode = (
    partial(f, 'generator', method=name) for name in ('encode', 'decode')
  )
  gan = partial(adversarial.multiscale_g_loss, w.gan_type)
  kl = KL[w.kl]
  x_a, x_b = batch['x_a'], batch['x_b']
  h_a, h_b = encode(x_a, 0), encode(x_b, 1)
  # The same noise for reconstruction and translation.
  x_aa, x_ab = decode(h_a + batch['n_a'], (0, 1))
  x_ba, x_bb = decode(h_b + batch['n_b'], (0, 1))
  h_aba, h_bab = encode(x_ab, 1), encode(x_ba, 0)

  terms = {
    'x_a': distances.l1(x_aa, x_a),
    'x_b': distances.l1(x_bb, x_b),
    'kl_a': kl(h_a, batch['n_a']),
    'kl_b': kl(h_b, batch['n_b']),
    'klc_a': kl(h_aba, batch['n_aba']),
    'klc_b': kl(h_bab, batch['n_bab']),
    'gan_a': gan(f('discriminator', x_ba, 0)),
    'gan_b': gan(f('discriminator', x_ab, 1)),
  }
  total = (
    w.lambda_gan * (terms['gan_a'] + terms['gan_b'])
    + w.lambda_x * (terms['x_a'] + terms['x_b'])
    + w.lambda_kl * (terms['kl_a'] + terms['kl_b'])
    + w.lambda_klc * (terms['klc_a'] + terms['klc_b'])
  )
  if w.lambda_cyc > 0:
    (x_aba,) = decode(h_aba + batch['n_aba'], (0,))
    (x_bab,) = decode(h_bab + batch['n_bab'], (1,))
    terms['cyc_a'] = distances.l1(x_aba, x_a)
    terms['cyc_b'] = distances.l1(x_bab, x_b)
    total += w.lambda_cyc * (terms['cyc_a'] + terms['cyc_b'])
  if f.has('vgg'):
    features = partial(f, 'vgg')
    terms['vgg_a'] = distances.perceptual(features, x_ba, x_b)
    terms['vgg_b'] = distances.perceptual(features, x_ab, x_a)
    total += w.lambda_vgg * (terms['vgg_a'] + terms['vgg_b'])

  # Logged alone: how far outputs are from their sources.
  logged = {
    'change_a': distances.l1(x_ba, x_b),
    'change_b': distances.l1(x_ab, x_a),
  }
  return total, {'total': total, **terms, **logged}
