"""The model of MUNIT, its iteration, and its use: style and translate."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxgan.nets import blocks, convolutions
from jaxgan.runs.collapse import Sign
from jaxgan.runtime import errors
from jaxgan.systems import two_domains
from jaxgan.systems.munit import config as config_lib
from jaxgan.systems.munit import losses, networks
from jaxgan.training import phases
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Tree = Any

KINDS = ('latent', 'reference')
SOURCES = 'other'
PSI = 1.0  # Differs from StarGAN v2: the original does not truncate.
BY_DOMAIN = True
SEPARABLE = True

PHASES = (
  Phase('D/loss', losses.d_loss, ('discriminator',)),
  Phase('G/loss', losses.g_loss, ('generator',)),
)

_SOURCES = (
  'outputs are nearly the sources themselves',
  'lower config.hparams.lambda_c and lambda_cyc, and see that the domains '
  'differ',
)
_ALIKE = (
  'outputs of one source in two styles hardly differ',
  'raise config.hparams.lambda_s',
)
# Above the limits from the first steps on in healthy runs of `shapes` (0.7 to
# 1.6 and 0.6 to 1.1), in batches of 8: with one image they are ratios of pairs.
COLLAPSE_SIGNS = (
  Sign('G/change_a', 0.1, *_SOURCES),
  Sign('G/change_b', 0.1, *_SOURCES),
  Sign('G/diversity_a', 0.05, *_ALIKE),
  Sign('G/diversity_b', 0.05, *_ALIKE),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Model(two_domains.Model):
  """Networks, optimisers and constants; no numbers that are trained."""

  latent_dim: int
  style_dim: int  # the same: a latent is a style


def create_model(config: ConfigDict) -> Model:
  """Builds networks and optimisers; draws and allocates nothing."""
  model = config.model
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  g_how, d_how = two_domains.block_settings(
    config, (form, jnp.dtype(model.dtype))
  )
  nets = {
    'generator': networks.Generator(
      model.dim,
      model.n_downsample,
      model.n_res,
      model.latent_dim,
      model.mlp_dim,
      *g_how,
    ),
    'discriminator': blocks.PerDomainDiscriminator(
      model.d_dim, model.d_layers, model.d_scales, *d_how
    ),
  }
  return Model(
    nets=nets,
    constants=losses.Weights(**config.hparams),
    latent_dim=model.latent_dim,
    style_dim=model.latent_dim,
    **two_domains.model_settings(
      config, released=config.parity == config_lib.OFFICIAL
    ),
  )


def check_config(config: ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  two_domains.check_config(config)
  model, img_size = config.model, config.data.img_size
  # Paddings reflect: of the halvings of the style encoder, and of the smallest
  # image that a discriminator looks at, the last starts from two pixels.
  least = max(
    2**4,
    2 ** (model.n_downsample + 1),
    2 ** (model.d_layers + model.d_scales - 1),
  )
  if img_size < least or img_size % 2**model.n_downsample:
    raise errors.UserError(
      f'config.data.img_size must be {least} or more, for the halvings of '
      'model.n_downsample, d_layers and d_scales, and a multiple of '
      f'{2**model.n_downsample}: {img_size}'
    )
  two_domains.check_blocks(config)


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
      draws the same styles.
  """
  rng = jax.random.fold_in(rng, state.step)
  shape = (2, 2, len(batch['x_a']), model.style_dim)
  (s_a2, s_b2), (s_a, s_b) = jax.random.normal(rng, shape, jnp.float32)
  styles = {'s_a': s_a, 's_b': s_b, 's_a2': s_a2, 's_b2': s_b2}
  return update(model, state, frozen, {**batch, **styles}, rng)[:2]


def update(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> phases.Result:
  """One iteration on a batch with the styles that `losses` draw."""
  relative = ('change_a', 'change_b', 'diversity_a', 'diversity_b')
  return two_domains.update(
    PHASES, model, state, frozen, batch, rng, relative=relative
  )


def style(
  model: Model,
  params: Mapping[str, Tree],
  y: int,
  *,
  z: Array | None = None,
  x_ref: Array | None = None,
) -> Array:
  """Styles [B, style_dim] of domain y: latents themselves, or of images."""
  if z is not None:
    return z
  f = phases.inference(model, params)
  s: Array = f('generator', x_ref, y, method='style')
  return s


def mean_style(model: Model, y: int) -> np.ndarray:
  """The mean of the prior, which styles of both domains have."""
  return np.zeros(model.style_dim, np.float32)


def translate(
  model: Model,
  params: Mapping[str, Tree],
  frozen: Tree,
  x: Array,
  y: int,
  s: Array,
  rng: None,
) -> Array:
  """Images [B, S, S, 3] of domain y, of the content of those of the other."""
  f = phases.inference(model, params)
  c = f('generator', x, 1 - y, method='content')
  fake: Array = f('generator', c, s, y, method='decode')
  return fake


def reconstruct(
  model: Model, params: Mapping[str, Tree], frozen: Tree, y: int, x: Array
) -> Array:
  """Images of domain y, of their own content and style."""
  f = phases.inference(model, params)
  c = f('generator', x, y, method='content')
  s = f('generator', x, y, method='style')
  x_rec: Array = f('generator', c, s, y, method='decode')
  return x_rec
