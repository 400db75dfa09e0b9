"""Training state of UNIT and its update: discriminators, then generators."""

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
from jaxgan.systems.unit import config as config_lib
from jaxgan.systems.unit import losses, networks
from jaxgan.training import updates

Array = jax.Array
Tree = Any
Noise = Mapping[str, Array]  # as in `losses`

NETWORKS = ('generator', 'discriminator')

_SOURCES = (
  'outputs are nearly the sources themselves',
  'lower config.hparams.lambda_cyc, and see that the domains differ',
)
# Above the limit from the first steps on in a healthy run of `shapes` (0.9 to
# 4), in batches of 8: with one image they are ratios of pairs.
SIGNS = (
  collapse.Sign('G/change_a', 0.1, *_SOURCES),
  collapse.Sign('G/change_b', 0.1, *_SOURCES),
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
  nets = _create_networks(config)
  kl, later = 'divergence', False
  if config.parity == config_lib.OFFICIAL:
    kl = 'noisy_square' if model.shared else 'square'
    later = not model.shared
  hp = losses.HParams(
    kl=kl,
    fourth_pool=not later,
    lr=optim.lr,
    step_size=optim.step_size,
    gamma=optim.gamma,
    # The released code counts an iteration before it is run.
    steps_ahead=int(later),
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


def _create_networks(config: ml_collections.ConfigDict) -> networks.Networks:
  model = config.model
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  how = form, jnp.dtype(model.dtype)
  dims = model.dim, model.n_downsample, model.n_res
  if not model.shared:
    return networks.Networks(
      networks.UnsharedGenerator(*dims, *how),
      blocks.PairDiscriminator(
        model.d_dim, model.d_layers, model.d_scales, *how
      ),
    )
  return networks.Networks(
    networks.Generator(
      *dims, model.n_shared, model.normalize, model.dropout, *how
    ),
    networks.Discriminator(
      model.d_kind,
      model.d_dim,
      model.d_layers,
      model.d_front,
      model.d_scales,
      *how,
    ),
  )


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
  model, img_size = config.model, config.data.img_size
  settings.check_least(
    config,
    {
      'model.dim': 1,
      'model.n_downsample': 1,
      'model.n_res': 0,
      'model.n_shared': 0,
      'model.d_dim': 1,
      'model.d_layers': 1,
      'model.d_front': 1,
      'model.d_scales': 1,
      'model.dropout': 0,
    },
  )
  if model.dropout >= 1 or (model.dropout and not model.shared):
    raise errors.UserError(
      'config.model.dropout must be below 1, and 0 where model.shared is '
      f'False: {model.dropout}'
    )
  if model.d_kind not in config_lib.D_KINDS:
    raise errors.UserError(
      f'config.model.d_kind must be one of {", ".join(config_lib.D_KINDS)}: '
      f'{model.d_kind!r}'
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
  if img_size < least or img_size % 2**model.n_downsample:
    raise errors.UserError(
      f'config.data.img_size must be {least} or more, for the halvings of the '
      f'networks, and a multiple of {2**model.n_downsample}: {img_size}'
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
  d_noise: Noise,
  g_noise: Noise,
  *,
  nets: networks.Networks,
  tx: Mapping[str, optax.GradientTransformation],
  hp: losses.HParams,
  domains: tuple[str, ...] = (),
) -> tuple[TrainState, dict[str, Array], dict[str, Tree]]:
  """One iteration with given noise; also returns {network: gradient}."""
  del domains
  lr = learning_rate(state.step, hp)
  params, opt_state = state.params, state.opt_state
  metrics = {'lr': lr}
  grads: dict[str, Tree] = {}
  phases: list[tuple[str, str, Callable, dict[str, Tree]]] = [
    ('D', 'discriminator', losses.d_loss, {'noise': d_noise}),
    (
      'G',
      'generator',
      functools.partial(losses.g_loss, vgg_params=frozen.get('vgg')),
      {'noise': g_noise},
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
  for key in ('change_a', 'change_b'):
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
  """One iteration of UNIT: (state, batch) -> (state, metrics).

  Args:
    state: of the function that `create_training` returns.
    frozen: parameters that are never trained, of VGG where lambda_vgg > 0.
    batch: x_a, x_b [B, S, S, 3] in [-1, 1], images of the two domains.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same noise.
    **static: of `create_training`.
  """
  rng = jax.random.fold_in(rng, state.step)
  nets = static['nets']
  d_noise, g_noise = (
    _draw_noise(nets, batch['x_a'], key, names)
    for key, names in zip(
      jax.random.split(rng), (('a', 'b'), ('a', 'b', 'aba', 'bab')), strict=True
    )
  )
  state, metrics, _ = update(state, frozen, batch, d_noise, g_noise, **static)
  return state, metrics


def _draw_noise(
  nets: networks.Networks, x: Array, rng: Array, names: tuple[str, ...]
) -> dict[str, Array]:
  """Noise on the codes of images like x, and keys of dropout, if any."""
  g = nets.generator
  b, h, w, _ = x.shape
  shape = (b, h >> g.n_downsample, w >> g.n_downsample, g.dim << g.n_downsample)
  normal_rng, dropout_rng = jax.random.split(rng)
  drawn = jax.random.normal(normal_rng, (len(names), *shape), jnp.float32)
  noise = dict(zip(names, drawn, strict=True))
  if g.dropout:
    noise['dropout'] = jax.random.split(dropout_rng, b)
  return noise
