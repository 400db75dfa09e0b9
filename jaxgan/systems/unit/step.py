"""The model of UNIT, its iteration, and its use: translate."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxgan.nets import blocks, convolutions
from jaxgan.runs.collapse import Sign
from jaxgan.runtime import errors
from jaxgan.systems import two_domains
from jaxgan.systems.unit import config as config_lib
from jaxgan.systems.unit import losses, networks
from jaxgan.training import phases
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Tree = Any

KINDS = ('label',)
SOURCES = 'other'
BY_DOMAIN = True
SEPARABLE = True

PHASES = (
  Phase('D/loss', losses.d_loss, ('discriminator',)),
  Phase('G/loss', losses.g_loss, ('generator',)),
)

_SOURCES = (
  'outputs are nearly the sources themselves',
  'lower config.hparams.lambda_cyc, and see that the domains differ',
)
# Above the limit from the first steps on in a healthy run of `shapes` (0.9 to
# 4), in batches of 8: with one image they are ratios of pairs.
COLLAPSE_SIGNS = (
  Sign('G/change_a', 0.1, *_SOURCES),
  Sign('G/change_b', 0.1, *_SOURCES),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Model(two_domains.Model):
  """Networks, optimisers and constants; no numbers that are trained."""

  code_shape: tuple[int, int, int]  # of an image


def create_model(config: ConfigDict) -> Model:
  """Builds networks and optimisers; draws and allocates nothing."""
  model = config.model
  kl, released = 'divergence', False
  if config.parity == config_lib.OFFICIAL:
    kl = 'noisy_square' if model.shared else 'square'
    released = not model.shared
  side = config.data.img_size >> model.n_downsample
  return Model(
    nets=_create_networks(config),
    constants=losses.Weights(kl=kl, **config.hparams),
    code_shape=(side, side, model.dim << model.n_downsample),
    **two_domains.model_settings(config, released=released),
  )


def _create_networks(config: ConfigDict) -> dict[str, nn.Module]:
  model = config.model
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  how = form, jnp.dtype(model.dtype)
  dims = model.dim, model.n_downsample, model.n_res
  channels = two_domains.channels_of(config)
  if not model.shared:
    g_how, d_how = two_domains.block_settings(config, how)
    return {
      'generator': networks.UnsharedGenerator(*dims, *g_how),
      'discriminator': blocks.PerDomainDiscriminator(
        model.d_dim, model.d_layers, model.d_scales, *d_how
      ),
    }
  return {
    'generator': networks.Generator(
      *dims, model.n_shared, model.normalize, model.dropout, *how, channels
    ),
    'discriminator': networks.Discriminator(
      model.d_kind,
      model.d_dim,
      model.d_layers,
      model.d_front,
      model.d_scales,
      *how,
      channels,
    ),
  }


def check_config(config: ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  two_domains.check_config(config)
  model, img_size = config.model, config.data.img_size
  if model.dropout and not model.shared:
    raise errors.UserError(
      'config.model.dropout must be 0 where model.shared is False: '
      f'{model.dropout}'
    )
  for name, setting in two_domains.BLOCKS.items():
    value = model[name.removeprefix('model.')]
    if model.shared and value != setting.default:
      raise errors.UserError(
        f'config.{name} must be {setting.default!r} where model.shared is '
        f'True, for that code has no other: {value!r}'
      )
  if model.d_kind == 'shared' and model.d_front >= model.d_layers:
    raise errors.UserError(
      f'config.model.d_front must be less than d_layers {model.d_layers}, so '
      f'that there are layers to share: {model.d_front}'
    )
  least = 2 ** (model.n_downsample + 1)
  if not model.shared:
    # Paddings reflect: of the smallest image that a discriminator looks at, the
    # last halving starts from two pixels.
    least = max(least, 2 ** (model.d_layers + model.d_scales - 1))
    two_domains.check_blocks(config)
  if img_size < least or img_size % 2**model.n_downsample:
    raise errors.UserError(
      f'config.data.img_size must be {least} or more, for the halvings of the '
      f'networks, and a multiple of {2**model.n_downsample}: {img_size}'
    )


def train_step(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> tuple[State, dict[str, Array]]:
  """One iteration: (state, batch) -> (state, metrics).

  Args:
    model: of `create_model`.
    state: before.
    frozen: parameters of VGG, where lambda_vgg > 0.
    batch: x_a, x_b [B, S, S, 3] in [-1, 1], images of the two domains.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same noise.
  """
  rng = jax.random.fold_in(rng, state.step)
  d_rng, g_rng = jax.random.split(rng)
  shape = (len(batch['x_a']), *model.code_shape)
  noise = {
    **_draw_noise(d_rng, ('n_a2', 'n_b2'), shape),
    **_draw_noise(g_rng, ('n_a', 'n_b', 'n_aba', 'n_bab'), shape),
  }
  return update(model, state, frozen, {**batch, **noise}, rng)[:2]


def _draw_noise(
  rng: Array, names: tuple[str, ...], shape: tuple[int, ...]
) -> dict[str, Array]:
  """Noise of a phase, by name."""
  # The other half was once a key of dropout: resumed runs draw what they drew.
  normal_rng, _ = jax.random.split(rng)
  drawn = jax.random.normal(normal_rng, (len(names), *shape), jnp.float32)
  return dict(zip(names, drawn, strict=True))


def update(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> phases.Result:
  """One iteration on a batch with the noise that `losses` add to codes."""
  return two_domains.update(
    PHASES,
    model,
    state,
    frozen,
    batch,
    rng,
    relative=('change_a', 'change_b'),
  )


def translate(
  model: Model,
  params: Mapping[str, Tree],
  frozen: Tree,
  x: Array,
  y: int,
  s: None,
  rng: None,
) -> Array:
  """Images [B, S, S, 3] of the other domain as of y, without noise."""
  return _decode(model, params, x, 1 - y, y)


def reconstruct(
  model: Model, params: Mapping[str, Tree], frozen: Tree, y: int, x: Array
) -> Array:
  """Images of domain y from their own code."""
  return _decode(model, params, x, y, y)


def _decode(
  model: Model, params: Mapping[str, Tree], x: Array, source: int, target: int
) -> Array:
  """Images of one domain as of another, or of the same."""
  f = phases.inference(model, params)
  h = f('generator', x, source, method='encode')
  (decoded,) = f('generator', h, (target,), method='decode')
  out: Array = decoded
  return out
