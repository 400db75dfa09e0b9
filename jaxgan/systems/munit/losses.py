"""The losses of MUNIT (Huang et al. 2018, sections 3.2 and 5.1).

Domain a is 0 and b is 1; what ends in `_a` is about images that are of domain
a, or made to be.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax

from jaxgan.losses import adversarial, distances
from jaxgan.training.phases import Forward

Array = jax.Array
Batch = Mapping[str, Array]


class Weights(NamedTuple):
  """The weights of the terms."""

  gan_type: str  # of `adversarial.GAN_TYPES`
  lambda_gan: float
  lambda_x: float  # reconstruction of images,
  lambda_s: float  # of styles,
  lambda_c: float  # of contents
  lambda_cyc: float  # style-augmented cycle
  lambda_vgg: float  # perceptual


def d_loss(
  f: Forward, batch: Batch, w: Weights
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss (eq. 4, of least squares), summed over the scales.

  Args:
    f: the networks.
    batch: x_a, x_b [B, S, S, 3], and drawn styles s_a2, s_b2 [B, style_dim].
    w: the weights of the terms.
  """
  content, decode = (
    partial(f, 'generator', method=name) for name in ('content', 'decode')
  )
  x_a, x_b = batch['x_a'], batch['x_b']
  x_ba = decode(content(x_b, 1), batch['s_a2'], 0)
  x_ab = decode(content(x_a, 0), batch['s_b2'], 1)
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
  """Loss of both auto-encoders (eq. 5).

  Args:
    f: the networks; 'vgg' is among them where the perceptual term is wanted.
    batch: as in `d_loss`, and other styles s_a, s_b.
    w: the weights of the terms.
  """
  content, style, decode = (
    partial(f, 'generator', method=name)
    for name in ('content', 'style', 'decode')
  )
  gan = partial(adversarial.multiscale_g_loss, w.gan_type)
  x_a, x_b, s_a, s_b = (batch[key] for key in ('x_a', 'x_b', 's_a', 's_b'))
  c_a, c_b = content(x_a, 0), content(x_b, 1)
  own_a, own_b = style(x_a, 0), style(x_b, 1)
  x_aa, x_bb = decode(c_a, own_a, 0), decode(c_b, own_b, 1)
  x_ba, x_ab = decode(c_b, s_a, 0), decode(c_a, s_b, 1)
  # The targets of contents are trained as well; those of styles are drawn.
  c_ba, c_ab = content(x_ba, 0), content(x_ab, 1)

  terms = {
    'x_a': distances.l1(x_aa, x_a),  # eq. 1
    'x_b': distances.l1(x_bb, x_b),
    's_a': distances.l1(style(x_ba, 0), s_a),  # eq. 3
    's_b': distances.l1(style(x_ab, 1), s_b),
    'c_a': distances.l1(c_ab, c_a),  # eq. 2
    'c_b': distances.l1(c_ba, c_b),
    'gan_a': gan(f('discriminator', x_ba, 0)),
    'gan_b': gan(f('discriminator', x_ab, 1)),
  }
  total = (
    w.lambda_gan * (terms['gan_a'] + terms['gan_b'])
    + w.lambda_x * (terms['x_a'] + terms['x_b'])
    + w.lambda_s * (terms['s_a'] + terms['s_b'])
    + w.lambda_c * (terms['c_a'] + terms['c_b'])
  )
  if w.lambda_cyc > 0:
    terms['cyc_a'] = distances.l1(decode(c_ab, own_a, 0), x_a)
    terms['cyc_b'] = distances.l1(decode(c_ba, own_b, 1), x_b)
    total += w.lambda_cyc * (terms['cyc_a'] + terms['cyc_b'])
  if f.has('vgg'):
    features = partial(f, 'vgg')
    terms['vgg_a'] = distances.perceptual(features, x_ba, x_b)
    terms['vgg_b'] = distances.perceptual(features, x_ab, x_a)
    total += w.lambda_vgg * (terms['vgg_a'] + terms['vgg_b'])

  # Logged alone: how far outputs are from their sources, and from others.
  logged = {
    'change_a': distances.l1(x_ba, x_b),
    'change_b': distances.l1(x_ab, x_a),
    'diversity_a': distances.l1(x_ba, decode(c_b, batch['s_a2'], 0)),
    'diversity_b': distances.l1(x_ab, decode(c_a, batch['s_b2'], 1)),
  }
  return total, {'total': total, **terms, **logged}
