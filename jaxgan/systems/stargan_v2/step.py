"""The model of StarGAN v2, its iteration, and its use: style and translate."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgan.losses import distances
from jaxgan.nets import layers
from jaxgan.pytorch import torch_files
from jaxgan.runs.collapse import Sign
from jaxgan.runtime import errors
from jaxgan.systems.frozen import Frozen, same_shapes
from jaxgan.systems.stargan_v2 import losses, networks, wing
from jaxgan.training import ema, optim, phases, schedules, state
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Tree = Any

KINDS = ('latent', 'reference')
PSI = 0.7  # the usual truncation of latent styles
SEPARABLE = True

EMA_NETWORKS = ('generator', 'mapping_network', 'style_encoder')


def _phase(name: str, loss: Callable, sources: Any, *steps: str) -> Phase:
  return Phase(name, functools.partial(loss, sources=sources), steps)


# In the original's order. The style encoder is not stepped in the last phase:
# stepped there too it makes the diversity loss diverge.
PHASES = (
  _phase('D/latent', losses.d_loss, losses.LATENT, 'discriminator'),
  _phase('D/ref', losses.d_loss, losses.REFERENCE, 'discriminator'),
  _phase('G/latent', losses.g_loss, losses.LATENT, *EMA_NETWORKS),
  _phase('G/ref', losses.g_loss, losses.REFERENCE, 'generator'),
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
COLLAPSE_SIGNS = (
  Sign('G/latent_diversity', 0.3, *_ALIKE),
  Sign('G/ref_diversity', 0.1, *_ALIKE),
  Sign('G/latent_change', 0.1, *_SOURCES),
  Sign('G/ref_change', 0.1, *_SOURCES),
  Sign('D/latent_doubt', 0.05, *_CERTAIN),
  Sign('D/ref_doubt', 0.05, *_CERTAIN),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """Networks, optimisers and constants; no numbers that are trained."""

  nets: networks.Networks
  frozen_nets: Mapping[str, Callable[..., Any]]
  tx: Mapping[str, optax.GradientTransformation]
  micro_batches: int
  img_size: int
  latent_dim: int
  style_dim: int
  lr: float
  f_lr: float  # of the mapping network
  ema_decay: float
  ds_iter: int  # steps after which lambda_ds is 0
  lambda_ds: float  # at step 0
  lambda_reg: float
  lambda_sty: float
  lambda_cyc: float

  def weights(self, step: Array) -> losses.Weights:
    """The weights of the terms in an iteration."""
    return losses.Weights(
      lambda_reg=self.lambda_reg,
      lambda_sty=self.lambda_sty,
      lambda_ds=schedules.linear_to_zero(step, self.lambda_ds, self.ds_iter),
      lambda_cyc=self.lambda_cyc,
    )

  def rates(self) -> dict[str, Array]:
    """The learning rates, which never change."""
    lr = {name: jnp.asarray(self.lr) for name in self.nets}
    return {**lr, 'mapping_network': jnp.asarray(self.f_lr)}


def create_model(config: ml_collections.ConfigDict) -> Model:
  """Builds networks and optimisers; draws and allocates nothing.

  Args:
    config: all settings, `model.num_domains` set.
  """
  model, hparams, adam = config.model, config.hparams, config.optim
  form = model.resample
  nets = networks.create_networks(
    img_size=config.data.img_size,
    num_domains=model.num_domains,
    channel_base=model.channel_base,
    max_conv_dim=model.max_conv_dim,
    hidden_dim=model.hidden_dim,
    style_dim=model.style_dim,
    w_hpf=model.w_hpf,
    form=layers.best_resample_form() if form == 'auto' else form,
    remat=model.remat,
    select_heads=model.select_heads,
    dtype=jnp.dtype(model.dtype),
  )
  tx = optim.adam(
    beta1=adam.beta1, beta2=adam.beta2, weight_decay=adam.weight_decay
  )
  return Model(
    nets=nets,
    frozen_nets={'fan': wing.masks} if model.w_hpf > 0 else {},
    tx={name: tx for name in nets},
    micro_batches=config.micro_batches,
    img_size=config.data.img_size,
    latent_dim=model.latent_dim,
    style_dim=model.style_dim,
    lr=adam.lr,
    f_lr=adam.f_lr,
    **hparams,
  )


def init_state(model: Model, rng: Array) -> State:
  """A fresh state.

  Differs from the original, whose averages start from other random weights.
  """
  params = networks.init_params(
    model.nets,
    rng,
    img_size=model.img_size,
    latent_dim=model.latent_dim,
    style_dim=model.style_dim,
  )
  return state.create(params, dict(model.tx), averaged=EMA_NETWORKS)


def _load_face_network(config: ml_collections.ConfigDict) -> Tree:
  """Raises UserError where config.model.wing_file is none."""
  path = config.model.wing_file
  if not path:
    raise errors.UserError(
      'config.model.w_hpf > 0 needs the face network: give its weights with '
      '--config.model.wing_file=wing.ckpt, or train without face masks with '
      '--config.model.w_hpf=0'
    )
  try:
    return wing.from_checkpoint(torch_files.load(path))
  except (errors.UserError, ValueError) as e:
    raise errors.UserError(f'config.model.wing_file={path}: {e}') from e


def _check_face_network(params: Tree) -> None:
  if not same_shapes(params, wing.param_shapes()):
    raise errors.UserError(
      'frozen.npz does not hold the face network: restore it from a copy'
    )


FROZEN = (
  Frozen(
    'fan',
    lambda config: config.model.w_hpf > 0,
    _load_face_network,
    _check_face_network,
  ),
)


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  base, img_size = config.model.channel_base, config.data.img_size
  if img_size < 32 or img_size & (img_size - 1):
    raise errors.UserError(
      f'config.data.img_size must be a power of two, 32 or more: {img_size}'
    )
  if base < img_size:
    raise errors.UserError(
      f'config.model.channel_base {base} leaves no channels at img_size '
      f'{img_size}: it is the first width times img_size'
    )


def train_step(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> tuple[State, dict[str, Array]]:
  """One iteration: (state, batch) -> (state, metrics).

  Args:
    model: of `create_model`.
    state: before.
    frozen: parameters of the face network, where w_hpf > 0.
    batch: x_src, x_ref, x_ref2 [B, S, S, 3] in [-1, 1], y_src, y_ref [B]; the
      references are two images of domain y_ref, the target.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same latents.
  """
  rng = jax.random.fold_in(rng, state.step)
  shape = (2, len(batch['y_ref']), model.latent_dim)
  z_trg, z_trg2 = jax.random.normal(rng, shape, jnp.float32)
  drawn = {**batch, 'z_trg': z_trg, 'z_trg2': z_trg2}
  return update(model, state, frozen, drawn, rng)[:2]


def update(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> phases.Result:
  """One iteration on a batch with its latents z_trg and z_trg2."""
  w = model.weights(state.step)
  result = phases.run(
    PHASES, model, state, frozen, batch, rng, lr=model.rates(), w=w
  )
  metrics = {'G/lambda_ds': w.lambda_ds, **result.metrics}
  # In units of how far two real images of one domain are apart. A ratio of
  # means over the whole batch: the same in any number of micro-batches.
  scale = distances.real_scale(batch['x_ref'], batch['x_ref2'])
  for name in ('G/latent', 'G/ref'):
    metrics[f'{name}_diversity'] = metrics[f'{name}_ds'] / scale
    metrics[f'{name}_change'] = metrics.pop(f'{name}_src') / scale

  after = result.state
  averages = ema.update(after.ema_params, after.params, model.ema_decay)
  after = after.replace(step=after.step + 1, ema_params=averages)
  return result._replace(state=after, metrics=metrics)


def style(
  model: Model,
  params: Mapping[str, Tree],
  y: Array,
  *,
  z: Array | None = None,
  x_ref: Array | None = None,
) -> Array:
  """Style codes [B, style_dim] of domains y [B]: F(z, y), or E(x_ref, y)."""
  f = phases.inference(model, params)
  code: Array = (
    f('mapping_network', z, y)
    if x_ref is None
    else f('style_encoder', x_ref, y)
  )
  return code


def translate(
  model: Model,
  params: Mapping[str, Tree],
  frozen: Tree,
  x: Array,
  y: Array,
  s: Array,
  rng: None,
) -> Array:
  """G(x, s) [B, S, S, 3]; the domain y of the style is known to s alone."""
  f = phases.inference(model, params, frozen)
  fake: Array = f('generator', x, s, losses.masks(f, x))
  return fake
