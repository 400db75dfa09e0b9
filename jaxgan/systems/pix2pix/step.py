"""The model of pix2pix, its iteration, and its use: translate."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from jaxgan.losses import distances
from jaxgan.nets import convolutions, unet
from jaxgan.runs.collapse import Sign
from jaxgan.systems.pix2pix import losses
from jaxgan.systems.pix2pix.losses import Weights
from jaxgan.training import optim, phases, schedules
from jaxgan.training import state as state_lib
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Tree = Any

KINDS = ('label',)
DRAWS = True

# Both see one fake: it is drawn alike.
PHASES = (
  Phase('D/loss', losses.d_loss, ('discriminator',), shared_draws=True),
  Phase('G/loss', losses.g_loss, ('generator',), shared_draws=True),
)

# A healthy run of `shapes` is above it from the first hundred steps on.
COLLAPSE_SIGNS = (
  Sign(
    'G/change',
    0.1,
    'outputs are nearly the sources themselves',
    'see that sources and targets differ, or lower config.optim.lr',
  ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """Networks, optimisers and constants; no numbers that are trained."""

  nets: Mapping[str, nn.Module]
  tx: Mapping[str, optax.GradientTransformation]
  img_size: int
  lr: float
  decay_start: int
  decay_steps: int
  weights: Weights

  # Of `phases.Model`; statistics are of the whole batch.
  frozen_nets: ClassVar[dict[str, Any]] = {}
  micro_batches: ClassVar[int] = 1

  def rates(self, step: Array) -> dict[str, Array]:
    """The learning rates of an iteration, one for both networks."""
    lr = schedules.constant_then_linear(
      step, self.lr, self.decay_start, self.decay_steps
    )
    return {name: lr for name in self.nets}


def create_model(config: ConfigDict) -> Model:
  """Builds networks and optimisers; draws and allocates nothing."""
  model, adam = config.model, config.optim
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  how = form, jnp.dtype(model.dtype)
  tx = optim.adam(beta1=adam.beta1, beta2=adam.beta2)
  return Model(
    nets={
      'generator': unet.UNet(
        model.dim, model.depth, model.use == 'running', *how
      ),
      'discriminator': unet.PatchDiscriminator(
        model.d_dim, model.d_layers, *how
      ),
    },
    tx={'generator': tx, 'discriminator': tx},
    img_size=config.data.img_size,
    lr=adam.lr,
    decay_start=adam.decay_start,
    decay_steps=adam.decay_steps,
    weights=Weights(**config.hparams),
  )


def init_state(model: Model, rng: Array) -> State:
  """A fresh state."""
  x = jnp.zeros((1, model.img_size, model.img_size, 3))
  g_rng, d_rng, dropout = jax.random.split(rng, 3)
  drawn = {
    'generator': model.nets['generator'].init(
      {'params': g_rng, 'dropout': dropout}, x, train=True
    ),
    'discriminator': model.nets['discriminator'].init(
      d_rng, jnp.concatenate([x, x], axis=-1)
    ),
  }
  params = {name: tree.pop('params') for name, tree in drawn.items()}
  return state_lib.create(params, dict(model.tx), variables=drawn)


def train_step(
  model: Model, state: State, frozen: Tree, batch: Batch, rng: Array
) -> tuple[State, dict[str, Array]]:
  """One iteration: (state, batch) -> (state, metrics).

  Args:
    model: of `create_model`.
    state: before.
    frozen: empty: no network is never trained.
    batch: x_a, x_b [B, S, S, 3] in [-1, 1], sources and their targets.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same dropout.
  """
  lr = model.rates(state.step)
  rng = jax.random.fold_in(rng, state.step)
  result = phases.run(
    PHASES, model, state, frozen, batch, rng, lr=lr, w=model.weights
  )
  metrics = {'lr': lr['generator'], **result.metrics}
  scale = distances.real_scale(batch['x_a'], batch['x_b'])
  metrics['G/change'] = metrics.pop('G/loss_change') / scale
  return result.state.replace(step=state.step + 1), metrics


def translate(
  model: Model,
  params: Mapping[str, Tree],
  frozen: Tree,
  x: Array,
  y: Array | int,
  s: None,
  rng: Array,
) -> Array:
  """Images [B, S, S, 3] of sources x; each by itself, with its key of rng."""
  del frozen, y, s

  def one(x: Array, rng: Array) -> Array:
    f = phases.inference(model, params, rng=rng)
    out: Array = f('generator', x[None])[0]
    return out

  return jax.vmap(one)(x, rng)
