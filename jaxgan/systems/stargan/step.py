"""Training state of StarGAN and its update: critic, and at times generator."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgan.losses import distances
from jaxgan.nets import convolutions
from jaxgan.runs import collapse
from jaxgan.runtime import errors
from jaxgan.systems import settings
from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import losses, networks
from jaxgan.systems.stargan.labels import Labels
from jaxgan.training import updates

Array = jax.Array
Tree = Any
Batch = Mapping[str, Array]

NETWORKS = ('generator', 'discriminator')
_SET_NAMES = ('', 'joint_')  # of the data sets, in the names of metrics

SIGNS = tuple(
  collapse.Sign(
    f'G/{name}change',
    0.1,
    'outputs are nearly the sources themselves',
    'lower config.hparams.lambda_rec, and see that the labels differ',
  )
  for name in _SET_NAMES
)


@flax.struct.dataclass
class TrainState:
  """All that changes in training; {network: tree} in each of the two."""

  step: Array  # finished steps, each of n_critic iterations, int32
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
  labels = config_lib.find_labels(config)
  form = model.resample
  if form == 'auto':
    form = convolutions.best_resample_form()
  dtype = jnp.dtype(model.dtype)
  nets = networks.Networks(
    generator=networks.Generator(
      model.g_conv_dim, model.g_repeat_num, form, dtype
    ),
    discriminator=networks.Discriminator(
      config.data.img_size,
      len(labels.names),
      model.d_conv_dim,
      model.d_repeat_num,
      form,
      dtype,
    ),
  )
  released = config.parity == config_lib.OFFICIAL
  hp = losses.HParams(
    lr=optim.lr,
    decay_start=optim.decay_start,
    decay_steps=optim.decay_steps,
    lr_update_step=optim.lr_update_step if released else 1,
    micro_batches=config.micro_batches,
    **config.hparams,
  )
  # Of rate 1: the rate is a function of the iteration, not of how often an
  # optimiser has stepped.
  tx = updates.adam(1.0, beta1=optim.beta1, beta2=optim.beta2, weight_decay=0.0)

  def init_fn(rng: Array) -> TrainState:
    params = networks.init_params(nets, rng, label_dim=labels.dim)
    opt_state = {name: tx.init(params[name]) for name in NETWORKS}
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state)

  return init_fn, {'nets': nets, 'tx': tx, 'hp': hp, 'labels': labels}


def create_frozen(config: ml_collections.ConfigDict) -> dict[str, Tree]:
  """Parameters that are never trained: none."""
  del config
  return {}


def check_frozen(
  frozen: Mapping[str, Tree], config: ml_collections.ConfigDict
) -> None:
  """There is nothing to check: an import keeps unused tensors there."""
  del frozen, config


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  model, img_size = config.model, config.data.img_size
  halvings = model.d_repeat_num
  if img_size < 4 or img_size % 4 or halvings < 1 or img_size % 2**halvings:
    raise errors.UserError(
      f'config.data.img_size must be a multiple of 4 and of 2 to the power of '
      f'config.model.d_repeat_num {halvings}: {img_size}'
    )
  settings.check_computation(config, convolutions.RESAMPLE_FORMS)
  if config.parity not in ('', config_lib.OFFICIAL):
    raise errors.UserError(
      f"config.parity must be '' or {config_lib.OFFICIAL!r}: {config.parity!r}"
    )
  settings.check_least(
    config,
    {
      'model.g_conv_dim': 1,
      'model.d_conv_dim': 1,
      'model.g_repeat_num': 0,
      'hparams.n_critic': 1,
      'optim.decay_start': 0,
      'optim.decay_steps': 1,
      'optim.lr_update_step': 1,
      'data.crop_size': 0,
      'data.joint_crop_size': 0,
      'data.num_test': 1,
    },
  )


def learning_rate(iteration: Array, hp: losses.HParams) -> Array:
  """Rate of an iteration, counted from 0: linear from hp.lr to 0.

  Differs from the paper where `lr_update_step` is not 1: like the released
  code, it then falls by a decay step at multiples of that alone.
  """
  every = hp.lr_update_step
  changes = iteration // every - hp.decay_start // every
  falls = jnp.where(iteration > hp.decay_start, changes, 0)
  progress = falls.astype(jnp.result_type(float)) / hp.decay_steps
  return hp.lr * jnp.clip(1 - progress, 0.0)


def inference_params(state: TrainState) -> dict[str, Tree]:
  """What to sample and evaluate with: there are no averages.

  The discriminator is among them: it tells the labels of pictures.
  """
  return state.params


def step_network(
  name: str,
  state: TrainState,
  batch: Batch,
  lr: Array,
  *,
  nets: networks.Networks,
  tx: optax.GradientTransformation,
  hp: losses.HParams,
  labels: Labels,
  index: int,
) -> tuple[TrainState, dict[str, Array], Tree]:
  """One step of a network, on a batch of the data set `index`.

  Args:
    name: 'discriminator' or 'generator'.
    state: before.
    batch: as in `losses.d_loss`.
    lr: the learning rate.
    nets: the modules.
    tx: Adam of rate 1.
    hp: weights of the terms.
    labels: of the data sets.
    index: of the one that the batch is of.

  Returns:
    The state after it, the terms of the loss, and the gradient.
  """
  loss_fn = losses.g_loss if name == 'generator' else losses.d_loss
  params, opt_state, terms, grads = updates.step_networks(
    functools.partial(loss_fn, nets=nets, labels=labels, index=index, hp=hp),
    [name],
    state.params,
    state.opt_state,
    {'batch': batch},
    {name: tx},
    parts=hp.micro_batches,
    lr=lr,
  )
  state = dataclasses.replace(state, params=params, opt_state=opt_state)
  return state, terms, grads[name]


def update(
  state: TrainState, iterations: Sequence[Sequence[Batch]], **static: Any
) -> tuple[TrainState, dict[str, Array]]:
  """n_critic iterations with given targets and shares.

  In each the discriminator is stepped on a batch of every data set, and in the
  last one after it the generator, on the same batch. The terms that are
  returned are those of the last.

  Args:
    state: before.
    iterations: a batch of each data set for each, as in `losses.d_loss`.
    **static: of `create_training`.
  """
  hp, metrics = static['hp'], {}
  # Unrolled: XLA's CPU backend has no fast convolutions in a loop or a branch.
  for i, batches in enumerate(iterations):
    lr = learning_rate(state.step * hp.n_critic + i, hp)
    metrics['lr'] = lr
    for index, batch in enumerate(batches):
      name = _SET_NAMES[index]
      state, terms, _ = step_network(
        'discriminator', state, batch, lr, index=index, **static
      )
      metrics |= {f'D/{name}loss_{key}': value for key, value in terms.items()}
      if i + 1 < hp.n_critic:
        continue
      state, terms, _ = step_network(
        'generator', state, batch, lr, index=index, **static
      )
      # In units of how far two real images are apart.
      x = batch['x']
      change = terms.pop('src') / distances.unit(x, jnp.roll(x, 1, axis=0))
      metrics |= {f'G/{name}loss_{key}': value for key, value in terms.items()}
      metrics[f'G/{name}change'] = change
  return dataclasses.replace(state, step=state.step + 1), metrics


def train_step(
  state: TrainState,
  frozen: Tree,
  batch: Batch,
  rng: Array,
  **static: Any,
) -> tuple[TrainState, dict[str, Array]]:
  """One step of StarGAN, n_critic iterations: (state, batch) -> the next.

  The targets of a batch are its own labels in another order (as the original
  draws them): an image may be asked to stay what it is.

  Args:
    state: of the function that `create_training` returns.
    frozen: not used.
    batch: x0 [B, n_critic, S, S, 3] in [-1, 1] and c0 [B, n_critic, C] of the
      first data set, x1 and c1 of the second.
    rng: the run's key; the step folds its number in, so that a resumed run
      draws the same targets.
    **static: of `create_training`.
  """
  del frozen
  hp, rng = static['hp'], jax.random.fold_in(rng, state.step)

  def draw(i: int, k: int) -> Batch:
    """The batch of iteration i and data set k."""
    own = jax.random.fold_in(jax.random.fold_in(rng, i), k)
    order_rng, alpha_rng = jax.random.split(own)
    x, c = batch[f'x{k}'][:, i], batch[f'c{k}'][:, i]
    alpha = jax.random.uniform(alpha_rng, (len(x),), jnp.float32)
    c_trg = jax.random.permutation(order_rng, c)
    return {'x': x, 'c': c, 'c_trg': c_trg, 'alpha': alpha}

  sets = range(len(static['labels'].sets))
  iterations = [[draw(i, k) for k in sets] for i in range(hp.n_critic)]
  return update(state, iterations, **static)
