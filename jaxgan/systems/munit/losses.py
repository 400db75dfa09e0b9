"""The losses of MUNIT (Huang et al. 2018, sections 3.2 and 5.1).

In both losses the first argument holds the network that is trained; `params`
holds both and is a constant wherever `trained` has no entry. Domain a is 0 and
b is 1; what ends in `_a` is about images that are of domain a, or made to be.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan.losses import adversarial, distances
from jaxgan.nets import layers, vgg
from jaxgan.systems.munit import networks

Array = jax.Array
Params = Mapping[str, Mapping]
Tree = Any

_DOMAINS = (('a', 0), ('b', 1))


@dataclasses.dataclass(frozen=True)
class HParams:
  """Weights of the terms, and constants of the schedule and the step."""

  gan_type: str = 'lsgan'
  lambda_gan: float = 1.0
  lambda_x: float = 10.0  # reconstruction of images
  lambda_s: float = 1.0  # of styles
  lambda_c: float = 1.0  # of contents
  lambda_cyc: float = 0.0  # style-augmented cycle
  lambda_vgg: float = 0.0  # perceptual
  fourth_pool: bool = True  # of VGG
  latent_dim: int = 8  # of a style
  lr: float = 1e-4
  step_size: int = 100_000
  gamma: float = 0.5
  steps_ahead: int = 0  # of the schedule
  micro_batches: int = 1  # parts in which a phase takes its batch


def _apply(
  nets: networks.Networks, params: Params, method: str, *args: Any
) -> Any:
  variables = {'params': params['generator']}
  return nets.generator.apply(variables, *args, method=method)


def content(
  nets: networks.Networks, params: Params, x: Array, domain: int
) -> Array:
  """The content [B, h, w, C] of images of a domain."""
  return _apply(nets, params, 'content', x, domain)


def style(
  nets: networks.Networks, params: Params, x: Array, domain: int
) -> Array:
  """The style [B, style_dim] of images of a domain, float32 or better."""
  s = _apply(nets, params, 'style', x, domain)
  return s.astype(layers.at_least_float32(s.dtype))


def decode(
  nets: networks.Networks, params: Params, c: Array, s: Array, domain: int
) -> Array:
  """Images [B, S, S, 3] of a domain, float32 or better."""
  x = _apply(nets, params, 'decode', c, s, domain)
  return x.astype(layers.at_least_float32(x.dtype))


def translate(
  nets: networks.Networks, params: Params, x: Array, s: Array, domain: int
) -> Array:
  """Images of the other domain in styles [B, style_dim] of this one."""
  return decode(nets, params, content(nets, params, x, 1 - domain), s, domain)


def discriminate(
  nets: networks.Networks, params: Params, x: Array, domain: int
) -> tuple[Array, ...]:
  """Maps of scores, one of each scale; high where x looks like the domain."""
  variables = {'params': params['discriminator']}
  scores: Any = nets.discriminator.apply(variables, x, domain)
  return scores


def d_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  styles: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss (eq. 4, of least squares), summed over the scales.

  Args:
    trained: parameters of the discriminator.
    params: parameters of both networks.
    nets: the modules.
    hp: weights of the terms.
    batch: x_a, x_b [B, S, S, 3].
    styles: a, b [B, style_dim], drawn.
  """
  judge = adversarial.sum_scales
  real_term, fake_term = adversarial.GAN_TYPES[hp.gan_type]
  c_a, c_b = (content(nets, params, batch[f'x_{n}'], i) for n, i in _DOMAINS)
  terms = {}
  for (name, domain), c in zip(_DOMAINS, (c_b, c_a), strict=True):
    x_fake = decode(nets, params, c, styles[name], domain)
    real = discriminate(nets, trained, batch[f'x_{name}'], domain)
    fake = discriminate(nets, trained, x_fake, domain)
    terms[name] = judge(real_term, real) + judge(fake_term, fake)
  total = hp.lambda_gan * (terms['a'] + terms['b'])
  return total, {'total': total, **terms}


def g_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  styles: Mapping[str, Array],
  others: Mapping[str, Array],
  vgg_params: Tree,
) -> tuple[Array, dict[str, Array]]:
  """Loss of both auto-encoders (eq. 5); arguments as in `d_loss`, and

  Args:
    others: a, b [B, style_dim], other styles, to tell how far outputs differ.
    vgg_params: of `vgg`, where lambda_vgg > 0.
  """
  judge = adversarial.sum_scales
  real_term, _ = adversarial.GAN_TYPES[hp.gan_type]
  params = {**params, **trained}
  x_a, x_b = batch['x_a'], batch['x_b']
  c_a, c_b = content(nets, params, x_a, 0), content(nets, params, x_b, 1)
  s_a, s_b = style(nets, params, x_a, 0), style(nets, params, x_b, 1)

  terms = {
    'x_a': distances.l1(decode(nets, params, c_a, s_a, 0), x_a),  # eq. 1
    'x_b': distances.l1(decode(nets, params, c_b, s_b, 1), x_b),
  }
  x_ba = decode(nets, params, c_b, styles['a'], 0)
  x_ab = decode(nets, params, c_a, styles['b'], 1)
  # The targets of contents are trained as well; those of styles are drawn.
  c_ba, c_ab = content(nets, params, x_ba, 0), content(nets, params, x_ab, 1)
  terms |= {
    's_a': distances.l1(style(nets, params, x_ba, 0), styles['a']),  # eq. 3
    's_b': distances.l1(style(nets, params, x_ab, 1), styles['b']),
    'c_a': distances.l1(c_ab, c_a),  # eq. 2
    'c_b': distances.l1(c_ba, c_b),
    'gan_a': judge(real_term, discriminate(nets, params, x_ba, 0)),
    'gan_b': judge(real_term, discriminate(nets, params, x_ab, 1)),
  }
  if hp.lambda_cyc > 0:
    terms |= {
      'cyc_a': distances.l1(decode(nets, params, c_ab, s_a, 0), x_a),
      'cyc_b': distances.l1(decode(nets, params, c_ba, s_b, 1), x_b),
    }
  if hp.lambda_vgg > 0:
    pool = hp.fourth_pool
    terms |= {
      'vgg_a': vgg.distance(vgg_params, x_ba, x_b, fourth_pool=pool),
      'vgg_b': vgg.distance(vgg_params, x_ab, x_a, fourth_pool=pool),
    }
  weighted = [
    getattr(hp, f'lambda_{key[:-2]}') * value for key, value in terms.items()
  ]
  total = jnp.sum(jnp.stack(weighted))

  # Only told: how far outputs are from their sources, and from other outputs.
  stop = jax.lax.stop_gradient
  told = {
    'change_a': distances.l1(x_ba, x_b),
    'change_b': distances.l1(x_ab, x_a),
  }
  constant = stop(params)
  for name, domain, c, x in (('a', 0, c_b, x_ba), ('b', 1, c_a, x_ab)):
    other = decode(nets, constant, stop(c), others[name], domain)
    told[f'diversity_{name}'] = distances.l1(x, other)
  return total, {'total': total, **terms, **stop(told)}
