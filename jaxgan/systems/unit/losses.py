"""The losses of UNIT (Liu et al. 2017, section 3, eq. 3 to 6).

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
from jaxgan.systems.unit import networks

Array = jax.Array
Params = Mapping[str, Mapping]
Tree = Any


@dataclasses.dataclass(frozen=True)
class HParams:
  """Weights of the terms, and constants of the schedule and the step."""

  gan_type: str = 'nsgan'
  lambda_gan: float = 10.0
  lambda_x: float = 100.0  # reconstruction of images
  lambda_kl: float = 0.1  # their codes, to the prior
  lambda_cyc: float = 100.0  # cycle
  lambda_klc: float = 0.1  # the codes of translations, to the prior
  lambda_vgg: float = 0.0  # perceptual
  kl: str = 'divergence'  # of _KL
  fourth_pool: bool = True  # of VGG
  lr: float = 1e-4
  step_size: int = 0
  gamma: float = 0.5
  steps_ahead: int = 0  # of the schedule
  micro_batches: int = 1  # parts in which a phase takes its batch


# Of a code h and the noise n on it, by name. The first is the divergence of
# N(h, 1) from N(0, 1), for each number of the code; the others are what the
# released code has in its place, of twice its gradient.
_KL = {
  'divergence': lambda h, n: jnp.mean(jnp.square(h)) / 2,
  'square': lambda h, n: jnp.mean(jnp.square(h)),
  'noisy_square': lambda h, n: jnp.mean(jnp.square(h + n)),
}


def encode(
  nets: networks.Networks,
  params: Params,
  x: Array,
  domain: int,
  rng: Array | None = None,
) -> Array:
  """The code [B, h, w, C] of images of a domain, float32 or better.

  Args:
    nets: the modules.
    params: of the generator.
    x: [B, S, S, 3].
    domain: 0 or 1.
    rng: of dropout, in training where there is dropout.
  """
  h: Any = nets.generator.apply(
    {'params': params['generator']},
    x,
    domain,
    rng is not None,
    method='encode',
    rngs=None if rng is None else {'dropout': rng},
  )
  return h.astype(layers.at_least_float32(h.dtype))


def decode(
  nets: networks.Networks,
  params: Params,
  z: Array,
  domains: tuple[int, ...],
  rng: Array | None = None,
) -> tuple[Array, ...]:
  """Images [B, S, S, 3] of each of these domains, float32 or better."""
  images: Any = nets.generator.apply(
    {'params': params['generator']},
    z,
    domains,
    rng is not None,
    method='decode',
    rngs=None if rng is None else {'dropout': rng},
  )
  return tuple(x.astype(layers.at_least_float32(x.dtype)) for x in images)


def translate(
  nets: networks.Networks, params: Params, x: Array, domain: int
) -> Array:
  """Images of the other domain as of this one, without noise."""
  h = encode(nets, params, x, 1 - domain)
  return decode(nets, params, h, (domain,))[0]


def discriminate(
  nets: networks.Networks, params: Params, x: Array, domain: int
) -> tuple[Array, ...]:
  """Maps of scores, one of each scale; high where x looks like the domain."""
  variables = {'params': params['discriminator']}
  scores: Any = nets.discriminator.apply(variables, x, domain)
  return scores


def _rngs(noise: Mapping[str, Array], count: int) -> list[Array | None]:
  """Keys of dropout, where there is any."""
  if 'dropout' not in noise:
    return [None] * count
  # A key for each image, of which the first is taken: no two parts of a batch
  # draw the same.
  return list(jax.random.split(noise['dropout'][0], count))


def d_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  noise: Mapping[str, Array],
) -> tuple[Array, dict[str, Array]]:
  """Discriminator loss (eq. 5): only translations are to look real.

  Args:
    trained: parameters of the discriminator.
    params: parameters of both networks.
    nets: the modules.
    hp: weights of the terms.
    batch: x_a, x_b [B, S, S, 3].
    noise: a, b, on the codes of these; dropout, keys [B], where there is any.
  """
  judge = adversarial.sum_scales
  real_term, fake_term = adversarial.GAN_TYPES[hp.gan_type]
  terms = {}
  rngs = _rngs(noise, 4)
  for source, target, domain in (('b', 'a', 0), ('a', 'b', 1)):
    x, rng, other_rng = batch[f'x_{source}'], rngs[domain], rngs[2 + domain]
    z = encode(nets, params, x, 1 - domain, rng) + noise[source]
    (x_fake,) = decode(nets, params, z, (domain,), other_rng)
    real = discriminate(nets, trained, batch[f'x_{target}'], domain)
    fake = discriminate(nets, trained, x_fake, domain)
    terms[target] = judge(real_term, real) + judge(fake_term, fake)
  total = hp.lambda_gan * (terms['a'] + terms['b'])
  return total, {'total': total, **terms}


def g_loss(
  trained: Params,
  params: Params,
  *,
  nets: networks.Networks,
  hp: HParams,
  batch: Mapping[str, Array],
  noise: Mapping[str, Array],
  vgg_params: Tree,
) -> tuple[Array, dict[str, Array]]:
  """Loss of both auto-encoders (eq. 3 to 6); arguments as in `d_loss`, and

  Args:
    noise: also aba and bab, on the codes of the translations of a and b.
    vgg_params: of `vgg`, where lambda_vgg > 0.
  """
  judge = adversarial.sum_scales
  real_term, _ = adversarial.GAN_TYPES[hp.gan_type]
  params = {**params, **trained}
  x_a, x_b = batch['x_a'], batch['x_b']
  rngs = _rngs(noise, 8)
  h_a = encode(nets, params, x_a, 0, rngs[0])
  h_b = encode(nets, params, x_b, 1, rngs[1])
  # The same noise for reconstruction and translation.
  x_aa, x_ab = decode(nets, params, h_a + noise['a'], (0, 1), rngs[2])
  x_ba, x_bb = decode(nets, params, h_b + noise['b'], (0, 1), rngs[3])
  h_aba = encode(nets, params, x_ab, 1, rngs[4])
  h_bab = encode(nets, params, x_ba, 0, rngs[5])

  kl = _KL[hp.kl]
  terms = {
    'x_a': distances.l1(x_aa, x_a),
    'x_b': distances.l1(x_bb, x_b),
    'kl_a': kl(h_a, noise['a']),
    'kl_b': kl(h_b, noise['b']),
    'klc_a': kl(h_aba, noise['aba']),
    'klc_b': kl(h_bab, noise['bab']),
    'gan_a': judge(real_term, discriminate(nets, params, x_ba, 0)),
    'gan_b': judge(real_term, discriminate(nets, params, x_ab, 1)),
  }
  if hp.lambda_cyc > 0:
    (x_aba,) = decode(nets, params, h_aba + noise['aba'], (0,), rngs[6])
    (x_bab,) = decode(nets, params, h_bab + noise['bab'], (1,), rngs[7])
    terms |= {
      'cyc_a': distances.l1(x_aba, x_a),
      'cyc_b': distances.l1(x_bab, x_b),
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
  # Only told: how far outputs are from their sources.
  told = {
    'change_a': distances.l1(x_ba, x_b),
    'change_b': distances.l1(x_ab, x_a),
  }
  told = jax.lax.stop_gradient(told)
  return total, {'total': total, **terms, **told}
