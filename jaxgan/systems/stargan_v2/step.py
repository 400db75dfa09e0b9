"""Training state of StarGAN v2 and its update: four phases, then the EMA."""

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
from jaxgan.nets import layers
from jaxgan.pytorch import torch_files
from jaxgan.runs import collapse
from jaxgan.runtime import errors
from jaxgan.systems import settings
from jaxgan.systems.stargan_v2 import losses, networks, wing
from jaxgan.training import updates

Array = jax.Array
Tree = Any
# (frozen parameters, images [B, S, S, 3]) -> masks of the high-pass path
MasksFn = Callable[[Tree, Array], networks.Masks]

EMA_NETWORKS = ('generator', 'mapping_network', 'style_encoder')


@flax.struct.dataclass
class TrainState:
  """All that changes in training; {network: tree} in each of the three."""

  step: Array  # finished iterations, int32
  params: dict[str, Tree]
  opt_state: dict[str, Tree]
  ema_params: dict[str, Tree]


@dataclasses.dataclass(frozen=True)
class Phase:
  """One update: the gradient of a loss steps the networks in `trained`."""

  name: str  # prefix of its metrics
  loss_fn: Callable
  source: str  # where the target style comes from
  trained: tuple[str, ...]


# In the original's order. The style encoder is not stepped in the last phase:
# stepped there too it makes the diversity loss diverge.
PHASES = (
  Phase('D/latent', losses.d_loss, 'latent', ('discriminator',)),
  Phase('D/ref', losses.d_loss, 'ref', ('discriminator',)),
  Phase('G/latent', losses.g_loss, 'latent', EMA_NETWORKS),
  Phase('G/ref', losses.g_loss, 'ref', ('generator',)),
)

_ALIKE = (
  'outputs of one source in two styles hardly differ',
  'raise config.hparams.lambda_ds or ds_iter, or lower lambda_cyc',
)
_SOURCES = (
  'outputs are nearly the sources themselves',
  'lower config.hparams.lambda_cyc, and see that the domains differ',
)
_CERTAIN = (
  'the discriminator is certain of every image and learns no more',
  'raise config.hparams.lambda_reg, or take more images',
)
# Below what healthy runs show from their first tenth on (benchmarks.sweep).
# Styles of references come later than those of latents.
SIGNS = (
  collapse.Sign('G/latent_diversity', 0.3, *_ALIKE),
  collapse.Sign('G/ref_diversity', 0.1, *_ALIKE),
  collapse.Sign('G/latent_change', 0.1, *_SOURCES),
  collapse.Sign('G/ref_change', 0.1, *_SOURCES),
  collapse.Sign('D/latent_doubt', 0.05, *_CERTAIN),
  collapse.Sign('D/ref_doubt', 0.05, *_CERTAIN),
)


def create_training(
  config: ml_collections.ConfigDict, masks_fn: MasksFn | None = None
) -> tuple[Callable[[Array], TrainState], dict[str, Any]]:
  """Builds networks and optimisers; draws and allocates nothing.

  Args:
    config: all settings, `model.num_domains` set.
    masks_fn: where `model.w_hpf` > 0; None for the face network's.

  Returns:
    A function from a key to a fresh state, to be jitted, and the keyword
    arguments that complete `train_step`.
  """
  check_config(config)
  model, img_size = config.model, config.data.img_size
  nets = networks.create_networks(
    img_size=img_size,
    num_domains=model.num_domains,
    channel_base=model.channel_base,
    max_conv_dim=model.max_conv_dim,
    hidden_dim=model.hidden_dim,
    style_dim=model.style_dim,
    w_hpf=model.w_hpf,
    form=(
      layers.best_resample_form()
      if model.resample == 'auto'
      else model.resample
    ),
    remat=model.remat,
    select_heads=model.select_heads,
    dtype=jnp.dtype(model.dtype),
  )
  hp = losses.HParams(
    latent_dim=model.latent_dim,
    micro_batches=config.micro_batches,
    **config.hparams,
  )
  optim = config.optim
  create_adam = functools.partial(
    updates.adam,
    beta1=optim.beta1,
    beta2=optim.beta2,
    weight_decay=optim.weight_decay,
  )
  lrs = {'mapping_network': optim.f_lr}
  names = [field.name for field in dataclasses.fields(nets)]
  tx = {name: create_adam(lrs.get(name, optim.lr)) for name in names}

  def init_fn(rng: Array) -> TrainState:
    params = networks.init_params(
      nets,
      rng,
      img_size=img_size,
      latent_dim=model.latent_dim,
      style_dim=model.style_dim,
    )
    opt_state = {name: tx[name].init(params[name]) for name in names}
    # Differs from the original, whose EMA starts from other random weights.
    # Copies: a donated state must not hold one buffer twice.
    ema_params = {
      name: jax.tree.map(jnp.copy, params[name]) for name in EMA_NETWORKS
    }
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, ema_params)

  if model.w_hpf > 0 and masks_fn is None:
    masks_fn = wing.masks
  static = {'nets': nets, 'tx': tx, 'hp': hp, 'masks_fn': masks_fn}
  return init_fn, static


def create_frozen(config: ml_collections.ConfigDict) -> dict[str, Tree]:
  """Parameters that are never trained: the face network's where w_hpf > 0.

  Raises:
    UserError: they cannot be read from config.model.wing_file.
  """
  if config.model.w_hpf <= 0:
    return {}
  path = config.model.wing_file
  if not path:
    raise errors.UserError(
      'config.model.w_hpf > 0 needs the face network: give its weights with '
      '--config.model.wing_file=wing.ckpt, or train without face masks with '
      '--config.model.w_hpf=0'
    )
  try:
    return {'fan': wing.from_checkpoint(torch_files.load(path))}
  except (errors.UserError, ValueError) as e:
    raise errors.UserError(f'config.model.wing_file={path}: {e}') from e


def check_frozen(
  frozen: Mapping[str, Tree], config: ml_collections.ConfigDict
) -> None:
  """Raises UserError unless the face network is among them where w_hpf > 0."""

  def shapes(tree: Tree) -> dict[tuple[str, ...], tuple[int, ...]]:
    flat = flax.traverse_util.flatten_dict(tree)
    return {path: jnp.shape(value) for path, value in flat.items()}

  if config.model.w_hpf > 0:
    fan = frozen.get('fan')
    if not isinstance(fan, dict) or shapes(fan) != shapes(wing.param_shapes()):
      raise errors.UserError(
        'frozen.npz does not hold the face network: restore it from a copy'
      )


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  model, img_size = config.model, config.data.img_size
  if img_size < 32 or img_size & (img_size - 1):
    raise errors.UserError(
      f'config.data.img_size must be a power of two, 32 or more: {img_size}'
    )
  settings.check_least(
    config,
    {
      'model.max_conv_dim': 1,
      'model.hidden_dim': 1,
      'model.style_dim': 1,
      'model.latent_dim': 1,
      'hparams.ds_iter': 1,
    },
  )
  if model.channel_base < img_size:
    raise errors.UserError(
      f'config.model.channel_base {model.channel_base} leaves no channels at '
      f'img_size {img_size}: it is the first width times img_size'
    )
  settings.check_computation(config, layers.RESAMPLE_FORMS)


def lambda_ds(step: Array, hp: losses.HParams) -> Array:
  """Weight of the diversity term at a step: linear from hp.lambda_ds to 0."""
  progress = step.astype(jnp.result_type(float)) / hp.ds_iter
  return hp.lambda_ds * jnp.maximum(0.0, 1.0 - progress)


def inference_params(state: TrainState) -> dict[str, Tree]:
  """What to sample and evaluate with: the EMA."""
  return state.ema_params


def update(
  state: TrainState,
  frozen: Tree,
  batch: Mapping[str, Array],
  z_trg: Array,
  z_trg2: Array,
  *,
  nets: networks.Networks,
  tx: Mapping[str, optax.GradientTransformation],
  hp: losses.HParams,
  masks_fn: MasksFn | None,
) -> tuple[TrainState, dict[str, Array], dict[str, dict[str, Tree]]]:
  """One iteration with given latents; also returns {phase: gradients}."""

  def constant_masks(x):
    if masks_fn is None:
      return None
    return masks_fn(frozen, jax.lax.stop_gradient(x))

  weight = lambda_ds(state.step, hp)
  loss_args = {
    'nets': nets,
    'hp': dataclasses.replace(hp, lambda_ds=weight),
    'masks_fn': constant_masks,
  }
  sources = {
    'latent': ({'z': z_trg}, {'z': z_trg2}),
    'ref': ({'x_ref': batch['x_ref']}, {'x_ref': batch['x_ref2']}),
  }

  params, opt_state = state.params, state.opt_state
  metrics, grads = {'G/lambda_ds': weight}, {}
  for phase in PHASES:
    params, opt_state, terms, grads[phase.name] = updates.step_networks(
      functools.partial(phase.loss_fn, **loss_args),
      phase.trained,
      params,
      opt_state,
      {'batch': batch, 'source': sources[phase.source]},
      tx,
      parts=hp.micro_batches,
    )
    metrics |= {f'{phase.name}_{key}': value for key, value in terms.items()}

  # In units of how far two real images of one domain are apart. A ratio of
  # means over the whole batch: the same in any number of micro-batches.
  unit = distances.unit(batch['x_ref'], batch['x_ref2'])
  for name in ('G/latent', 'G/ref'):
    metrics[f'{name}_diversity'] = metrics[f'{name}_ds'] / unit
    metrics[f'{name}_change'] = metrics.pop(f'{name}_src') / unit

  ema_params = optax.incremental_update(
    {name: params[name] for name in EMA_NETWORKS},
    state.ema_params,
    1 - hp.ema_decay,
  )
  state = dataclasses.replace(
    state,
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    ema_params=ema_params,
  )
  return state, metrics, grads


def train_step(
  state: TrainState,
  frozen: Tree,
  batch: Mapping[str, Array],
  rng: Array,
  *,
  nets: networks.Networks,
  tx: Mapping[str, optax.GradientTransformation],
  hp: losses.HParams,
  masks_fn: MasksFn | None,
) -> tuple[TrainState, dict[str, Array]]:
  """One iteration of StarGAN v2: (state, batch) -> (state, metrics).

  Args:
    state: of the function that `create_training` returns.
    frozen: parameters that are never trained, the first argument of masks_fn.
    batch: x_src, x_ref, x_ref2 [B, S, S, 3] in [-1, 1], y_src, y_ref [B]; the
      references are two images of domain y_ref, the target.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same latents.
    nets: the modules.
    tx: an optimiser per network.
    hp: weights and schedule.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
  """
  rng = jax.random.fold_in(rng, state.step)
  shape = (2, len(batch['y_ref']), hp.latent_dim)
  z_trg, z_trg2 = jax.random.normal(rng, shape, jnp.float32)
  state, metrics, _ = update(
    state,
    frozen,
    batch,
    z_trg,
    z_trg2,
    nets=nets,
    tx=tx,
    hp=hp,
    masks_fn=masks_fn,
  )
  return state, metrics
