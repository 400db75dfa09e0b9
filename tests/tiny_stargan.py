"""A StarGAN small enough to compile in seconds, for the tests."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import shapes
from jaxgan.inference.translator import Translator
from jaxgan.runs import checkpoint, workdir
from jaxgan.systems import contract, stargan
from jaxgan.systems.stargan import step
from jaxgan.systems.stargan.config import default_config
from jaxgan.systems.stargan.step import Model
from jaxgan.training.state import State

BATCH, SIZE, N_CRITIC = 2, 16, 2
D, G = ('D/loss',), ('G/loss',)  # phases, of one data set

# Overrides of `config`, with what the data would add.
DOMAINS = {'data__domains': shapes.DOMAINS, 'model__num_domains': 3}
ATTRIBUTES = {
  'data__name': 'shapes_attributes',
  'data__domains': shapes.ATTRIBUTES,
  'model__num_domains': 3,
}
JOINT = ATTRIBUTES | {
  'data__joint_name': 'shapes',
  'data__joint_domains': shapes.DOMAINS,
  'model__num_domains': 6,
}


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 16 px with a few channels; overrides like data__root='x'."""
  config = default_config()
  config.batch_size = BATCH
  config.num_train_steps = 4
  config.log_every_steps = 1
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 2
  config.data.update(
    name='shapes',
    root='',
    crop_size=0,
    val_split='val',
    domains=(),
    img_size=SIZE,
  )
  config.model.update(
    g_conv_dim=4, g_repeat_num=1, d_conv_dim=4, d_repeat_num=2
  )
  config.hparams.n_critic = N_CRITIC
  config.optim.lr = 1e-3
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in overrides.items()}
  )
  return config.lock()


@functools.cache
def _create(items) -> tuple[State, Model]:
  model = stargan.create_model(config(**dict(items)))
  init = functools.partial(stargan.init_state, model)
  return jax.jit(init)(jax.random.key(0)), model


def create(**overrides) -> tuple[State, Model]:
  """A state and the model of `config`, by default of the domains."""
  return _create(tuple((DOMAINS | overrides).items()))


def translator(chunk: int = 4, **overrides) -> Translator:
  """The networks of `create`, to use."""
  state, model = create(**overrides)
  system = contract.load('stargan')
  params = system.inference_params(state)
  return Translator(system, model, params, chunk=chunk)


def batch(size: int = BATCH, **overrides) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  settings = DOMAINS | {'batch_size': size} | overrides
  return stargan.create_data(config(**settings)).noise()


def drawn(size: int = BATCH) -> dict[str, jax.Array]:
  """A batch of the domains with its targets and shares, for `step.update`."""
  made = {key: jnp.asarray(x) for key, x in batch(size).items()}
  c_trg = jnp.roll(made['c0'], 1, axis=1)
  return {**made, 'c_trg0': c_trg, 'alpha0': jnp.linspace(0.25, 0.75, size)}


@functools.cache
def train_fn(phases: tuple[str, ...] = D + G):
  """The jitted `train_step` of the domains."""
  run = functools.partial(stargan.train_step, create()[1], phases=phases)
  return jax.jit(run)


def write_run(directory: pathlib.Path, **overrides) -> None:
  """The work directory of a run of the domains, without training."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config(**DOMAINS | overrides))
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, create()[0], {'domains': shapes.DOMAINS})
  checkpointer.close()


def write_old_run(directory: pathlib.Path, **overrides) -> None:
  """A run at step 2, as it was written when steps were n_critic iterations."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config(**DOMAINS | overrides))
  state = create()[0]
  parts = {
    'step': np.array(2, np.int32),
    'params': state.params,
    'opt_state': state.opt_state,
  }
  metadata = {
    'format': 1,
    'system': 'stargan',
    'domains': list(shapes.DOMAINS),
    'steps_left_out': [],
    'tries': 0,
  }
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, parts, metadata)
  checkpointer.close()


@functools.cache
def translate_fn(model: Model):
  """The jitted G: (params, x, c) -> images."""
  return jax.jit(
    lambda params, x, c: step.generate(model, params, {}, None, x, c)
  )


@functools.cache
def discriminate_fn(model: Model):
  """The jitted D: (params, x) -> how real, logits."""
  net = model.nets['discriminator']
  return jax.jit(
    lambda params, x: net.apply({'params': params['discriminator']}, x)
  )
