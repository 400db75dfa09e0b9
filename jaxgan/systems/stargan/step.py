"""The model of StarGAN, its iteration, and its use: translate."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgan.data import labels as labels_lib
from jaxgan.data.labels import Labels
from jaxgan.losses import distances
from jaxgan.nets import convolutions
from jaxgan.runs.collapse import Sign
from jaxgan.runtime import errors
from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import losses, networks
from jaxgan.training import optim, schedules
from jaxgan.training import phases as engine
from jaxgan.training import state as state_lib
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Params = Mapping[str, Any]
Tree = Any

KINDS = ('label',)
SEPARABLE = True

_SET_NAMES = ('', 'joint_')  # of the data sets, in the names of metrics

COLLAPSE_SIGNS = tuple(
  Sign(
    f'G/{name}change',
    0.1,
    'outputs are nearly the sources themselves',
    'lower config.hparams.lambda_rec, and see that the labels differ',
  )
  for name in _SET_NAMES
)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """Networks, optimisers and constants; no numbers that are trained."""

  nets: networks.Networks
  frozen_nets: Mapping[str, Callable[..., Any]]
  tx: Mapping[str, optax.GradientTransformation]
  micro_batches: int
  phases: tuple[Phase, ...]  # of an iteration that steps the generator as well
  labels: Labels
  img_size: int
  n_critic: int  # the generator is stepped in every so many iterations
  # By network, up to decay_start; then they fall to 0 in decay_steps.
  lr: Mapping[str, float]
  decay_start: int
  decay_steps: int
  lr_update_step: int  # the rate changes at multiples of this
  lambda_cls: float
  lambda_rec: float
  lambda_gp: float

  def weights(self) -> losses.Weights:
    """The weights of the terms, which never change."""
    return losses.Weights(
      lambda_cls=self.lambda_cls,
      lambda_rec=self.lambda_rec,
      lambda_gp=self.lambda_gp,
    )

  def rates(self, step: Array) -> dict[str, Array]:
    """The learning rates of an iteration, by network.

    Differs from the paper where `lr_update_step` is not 1: like the released
    code, it then falls by the share of one iteration each time it changes.
    """
    when = self.decay_start, self.decay_steps, self.lr_update_step
    return {
      name: schedules.constant_then_linear(step, lr, *when)
      for name, lr in self.lr.items()
    }


def create_model(config: ml_collections.ConfigDict) -> Model:
  """Builds networks and optimisers; draws and allocates nothing.

  Args:
    config: all settings, with what the data decided.
  """
  model, adam = config.model, config.optim
  labels = labels_lib.find_labels(config)
  form = model.resample
  nets = networks.create_networks(
    img_size=config.data.img_size,
    num_labels=len(labels.names),
    g_conv_dim=model.g_conv_dim,
    g_repeat_num=model.g_repeat_num,
    d_conv_dim=model.d_conv_dim,
    d_repeat_num=model.d_repeat_num,
    form=convolutions.best_resample_form() if form == 'auto' else form,
    dtype=jnp.dtype(model.dtype),
  )
  tx = optim.adam(beta1=adam.beta1, beta2=adam.beta2)
  released = config.parity == config_lib.OFFICIAL
  return Model(
    nets=nets,
    frozen_nets={},
    tx={name: tx for name in nets},
    micro_batches=config.micro_batches,
    phases=_phases(labels),
    labels=labels,
    img_size=config.data.img_size,
    lr={
      'generator': adam.g_lr or adam.lr,
      'discriminator': adam.d_lr or adam.lr,
    },
    decay_start=adam.decay_start,
    decay_steps=adam.decay_steps,
    lr_update_step=adam.lr_update_step if released else 1,
    **config.hparams,
  )


def _phases(labels: Labels) -> tuple[Phase, ...]:
  """Of each data set the discriminator's, then the generator's."""
  networks_of = {
    'D': (losses.d_loss, 'discriminator'),
    'G': (losses.g_loss, 'generator'),
  }
  return tuple(
    Phase(
      f'{letter}/{_SET_NAMES[index]}loss',
      functools.partial(loss, labels=labels, index=index),
      (network,),
    )
    for index in range(len(labels.sets))
    for letter, (loss, network) in networks_of.items()
  )


def init_state(model: Model, rng: Array) -> State:
  """A fresh state."""
  params = networks.init_params(
    model.nets, rng, img_size=model.img_size, label_dim=model.labels.dim
  )
  return state_lib.create(params, dict(model.tx))


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  model, img_size = config.model, config.data.img_size
  halvings = model.d_repeat_num
  if img_size < 4 or img_size % 4 or img_size % 2**halvings:
    raise errors.UserError(
      f'config.data.img_size must be a multiple of 4 and of 2 to the power of '
      f'config.model.d_repeat_num {halvings}: {img_size}'
    )


def phases_at(model: Model, step: int) -> tuple[str, ...]:
  """The phases of the iteration after `step`, by name, in their order.

  The discriminator is stepped on every data set, the generator too in every
  n_critic-th iteration.
  """
  critic_alone = (step + 1) % model.n_critic != 0
  return tuple(
    phase.name
    for phase in model.phases
    if not (critic_alone and 'generator' in phase.steps)
  )


def train_step(
  model: Model,
  state: State,
  frozen: Tree,
  batch: Batch,
  rng: Array,
  phases: tuple[str, ...],
) -> tuple[State, dict[str, Array]]:
  """One iteration: (state, batch) -> (state, metrics).

  The targets of a batch are its own labels in another order, as the original
  draws them: an image may be asked to stay what it is.

  Args:
    model: of `create_model`.
    state: before.
    frozen: not used.
    batch: x0 [B, S, S, 3] in [-1, 1] and c0 [B, C] of the first data set, x1
      and c1 of the second.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same targets.
    phases: of `phases_at`.
  """
  rng = jax.random.fold_in(rng, state.step)
  drawn = dict(batch)
  for index in range(len(model.labels.sets)):
    order_rng, alpha_rng = jax.random.split(jax.random.fold_in(rng, index))
    c = batch[f'c{index}']
    drawn[f'c_trg{index}'] = jax.random.permutation(order_rng, c)
    drawn[f'alpha{index}'] = jax.random.uniform(
      alpha_rng, (len(c),), jnp.float32
    )
  return update(model, state, frozen, drawn, rng, phases)[:2]


def update(
  model: Model,
  state: State,
  frozen: Tree,
  batch: Batch,
  rng: Array,
  phases: tuple[str, ...],
) -> engine.Result:
  """One iteration on a batch with its targets and shares: `losses.d_loss`."""
  lr = model.rates(state.step)
  result = engine.run(
    [phase for phase in model.phases if phase.name in phases],
    model,
    state,
    frozen,
    batch,
    rng,
    lr=lr,
    w=model.weights(),
  )
  metrics = {'lr': lr['generator'], **result.metrics}
  if model.lr['discriminator'] != model.lr['generator']:
    metrics['d_lr'] = lr['discriminator']
  for index, name in enumerate(_SET_NAMES):
    if f'G/{name}loss_src' in metrics:
      # In units of how far two real images are apart.
      x = batch[f'x{index}']
      scale = distances.real_scale(x, jnp.roll(x, 1, axis=0))
      metrics[f'G/{name}change'] = metrics.pop(f'G/{name}loss_src') / scale
  after = result.state.replace(step=state.step + 1)
  return result._replace(state=after, metrics=metrics)


def translate(
  model: Model,
  params: Params,
  frozen: Tree,
  x: Array,
  y: Array,
  s: None = None,
  rng: None = None,
) -> Array:
  """G(x, c) [B, S, S, 3], where c is what target y makes of the label of x.

  Where that depends on the label x has, the discriminator's classifier tells
  it.
  """
  if not model.labels.ask:
    return generate(
      model, params, frozen, y, x, jnp.asarray(model.labels.codes)[y]
    )
  c = estimate(model, params, frozen, y, x)
  return translate_known(model, params, frozen, y, x, c)


def source_labels(model: Model) -> tuple[str, ...]:
  """The attributes of a source that `translate` asks the classifier for."""
  return model.labels.asked


# Functions for `Translator.apply`.


def translate_known(
  model: Model, params: Params, frozen: Tree, y: Array, x: Array, c: Array
) -> Array:
  """As `translate`, of sources whose labels c [B, names] are known."""
  c_trg = labels_lib.resolve(jnp.asarray(model.labels.codes)[y], c)
  return generate(model, params, frozen, y, x, c_trg)


def generate(
  model: Model, params: Params, frozen: Tree, y: Array, x: Array, c: Array
) -> Array:
  """G(x, c) of labels c [B, dim]; y is not used."""
  fake: Array = engine.inference(model, params, frozen)('generator', x, c)
  return fake


def estimate(
  model: Model, params: Params, frozen: Tree, y: Array, x: Array
) -> Array:
  """The labels [B, names] that the classifier sees in x; y is not used."""
  f = engine.inference(model, params, frozen)
  return model.labels.estimate(f('discriminator', x)[1])
