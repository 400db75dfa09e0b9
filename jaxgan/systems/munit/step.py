"""Training state of MUNIT and its update: discriminators, then generators."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgan.losses import distances
from jaxgan.nets import blocks, convolutions, vgg
from jaxgan.runs import collapse
from jaxgan.runtime import errors
from jaxgan.systems import settings
from jaxgan.systems.munit import config as config_lib
from jaxgan.systems.munit import losses, networks
from jaxgan.training import updates

Array = jax.Array
Tree = Any
Styles = Mapping[str, Array]  # a and b, [B, style_dim]

NETWORKS = ('generator', 'discriminator')

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
SIGNS = (
  collapse.Sign('G/change_a', 0.1, *_SOURCES),
  collapse.Sign('G/change_b', 0.1, *_SOURCES),
  collapse.Sign('G/diversity_a', 0.05, *_ALIKE),
  collapse.Sign('G/diversity_b', 0.05, *_ALIKE),
)


@flax.struct.dataclass
class TrainState:
  """All that changes in training; {network: tree} in each of the two."""

  step: Array  # finished iterations, int32
  params: dict[str, Tree]
  opt_state: dict[str, Tree]


def create_training(
  config: ml_collections.ConfigDict,
) -> tuple[Callable[[Array], TrainState], dict[str, Any]]:
  """Builds networks and optimisers; draws and allocates nothing.

  Args:
    config: all settings, with what the data decided.

  Returns:
    A function from a key to a fresh state, to be jitted, and the keyword
    arguments that complete `train_step`.
  """
  check_config(config)
  model, optim = config.model, config.optim
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  how = form, jnp.dtype(model.dtype)
  nets = networks.Networks(
    generator=networks.Generator(
      model.dim,
      model.n_downsample,
      model.n_res,
      model.latent_dim,
      model.mlp_dim,
      *how,
    ),
    discriminator=blocks.PairDiscriminator(
      model.d_dim, model.d_layers, model.d_scales, *how
    ),
  )
  official = config.parity == config_lib.OFFICIAL
  hp = losses.HParams(
    fourth_pool=not official,
    latent_dim=model.latent_dim,
    lr=optim.lr,
    step_size=optim.step_size,
    gamma=optim.gamma,
    # The released code counts an iteration before it is run.
    steps_ahead=int(official),
    micro_batches=config.micro_batches,
    **config.hparams,
  )
  adam = updates.adam(
    1.0,
    beta1=optim.beta1,
    beta2=optim.beta2,
    weight_decay=optim.weight_decay,
  )
  tx = {name: adam for name in NETWORKS}

  def init_fn(rng: Array) -> TrainState:
    params = networks.init_params(nets, rng, img_size=config.data.img_size)
    opt_state = {name: tx[name].init(params[name]) for name in NETWORKS}
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state)

  domains = config_lib.domain_names(config)
  return init_fn, {'nets': nets, 'tx': tx, 'hp': hp, 'domains': domains}


def create_frozen(config: ml_collections.ConfigDict) -> dict[str, Tree]:
  """Parameters that are never trained: VGG's where lambda_vgg > 0.

  Raises:
    UserError: they cannot be read from config.model.vgg_file.
  """
  return vgg.create_frozen(config)


def check_frozen(
  frozen: Mapping[str, Tree], config: ml_collections.ConfigDict
) -> None:
  """Raises UserError unless VGG is among them where lambda_vgg > 0."""
  vgg.check_frozen(frozen, config)


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  settings.check_computation(config, convolutions.RESAMPLE_FORMS)
  settings.check_pair(config, config_lib.OFFICIAL)
  if config.hparams.lambda_vgg > 0:
    vgg.check_size(config.data.img_size, fourth_pool=True)
  settings.check_least(
    config,
    {
      'model.dim': 1,
      'model.n_downsample': 1,
      'model.n_res': 1,  # they alone see the style
      'model.latent_dim': 1,
      'model.mlp_dim': 1,
      'model.d_dim': 1,
      'model.d_layers': 1,
      'model.d_scales': 1,
    },
  )
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


def learning_rate(step: Array, hp: losses.HParams) -> Array:
  """Rate of an iteration, counted from 0: halved every step_size of them."""
  return updates.step_decay(
    step + hp.steps_ahead, hp.lr, hp.step_size, hp.gamma
  )


def inference_params(state: TrainState) -> dict[str, Tree]:
  """What to sample and evaluate with: there are no averages."""
  return {'generator': state.params['generator']}


def update(
  state: TrainState,
  frozen: Tree,
  batch: Mapping[str, Array],
  d_styles: Styles,
  g_styles: Styles,
  *,
  nets: networks.Networks,
  tx: Mapping[str, optax.GradientTransformation],
  hp: losses.HParams,
  domains: tuple[str, ...] = (),
) -> tuple[TrainState, dict[str, Array], dict[str, Tree]]:
  """One iteration with given styles; also returns {network: gradient}."""
  del domains
  lr = learning_rate(state.step, hp)
  params, opt_state = state.params, state.opt_state
  metrics = {'lr': lr}
  grads: dict[str, Tree] = {}
  phases: list[tuple[str, str, Callable, dict[str, Tree]]] = [
    ('D', 'discriminator', losses.d_loss, {'styles': d_styles}),
    (
      'G',
      'generator',
      functools.partial(losses.g_loss, vgg_params=frozen.get('vgg')),
      {'styles': g_styles, 'others': d_styles},
    ),
  ]
  for letter, name, loss_fn, drawn in phases:
    params, opt_state, terms, gradient = updates.step_networks(
      functools.partial(loss_fn, nets=nets, hp=hp),
      [name],
      params,
      opt_state,
      {'batch': batch, **drawn},
      tx,
      parts=hp.micro_batches,
      lr=lr,
    )
    grads |= gradient
    metrics |= {f'{letter}/loss_{key}': value for key, value in terms.items()}
  # In units of how far two real images are apart. A ratio of means over the
  # whole batch: the same in any number of micro-batches.
  unit = distances.unit(batch['x_a'], batch['x_b'])
  for key in ('change_a', 'change_b', 'diversity_a', 'diversity_b'):
    metrics[f'G/{key}'] = metrics.pop(f'G/loss_{key}') / unit
  state = dataclasses.replace(
    state, step=state.step + 1, params=params, opt_state=opt_state
  )
  return state, metrics, grads


def train_step(
  state: TrainState,
  frozen: Tree,
  batch: Mapping[str, Array],
  rng: Array,
  **static: Any,
) -> tuple[TrainState, dict[str, Array]]:
  """One iteration of MUNIT: (state, batch) -> (state, metrics).

  Args:
    state: of the function that `create_training` returns.
    frozen: parameters that are never trained, of VGG where lambda_vgg > 0.
    batch: x_a, x_b [B, S, S, 3] in [-1, 1], images of the two domains.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same styles.
    **static: of `create_training`.
  """
  rng = jax.random.fold_in(rng, state.step)
  shape = (2, 2, len(batch['x_a']), static['hp'].latent_dim)
  drawn = jax.random.normal(rng, shape, jnp.float32)
  d_styles, g_styles = (dict(zip('ab', pair, strict=True)) for pair in drawn)
  state, metrics, _ = update(state, frozen, batch, d_styles, g_styles, **static)
  return state, metrics
