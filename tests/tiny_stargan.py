"""A StarGAN small enough to compile in seconds, for the tests."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import shapes
from jaxgan.runs import checkpoint, workdir
from jaxgan.systems import stargan
from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import data, losses

BATCH, SIZE, N_CRITIC = 2, 16, 2

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
  config = config_lib.default_config()
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
def _create(items):
  init_fn, static = stargan.create_training(config(**dict(items)))
  return jax.jit(init_fn)(jax.random.key(0)), static


def create(**overrides):
  """(state, static) of `config`, of the domains if nothing else is said."""
  return _create(tuple((DOMAINS | overrides).items()))


def batch(size: int = BATCH, **overrides) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  settings = DOMAINS | {'batch_size': size} | overrides
  return dict(data.example_batch(config(**settings)))


def iteration(size: int = BATCH) -> dict[str, jax.Array]:
  """A batch of `losses.d_loss` of the domains, the same at every call."""
  made = batch(size)
  x, c = jnp.asarray(made['x0'][:, 0]), jnp.asarray(made['c0'][:, 0])
  alpha = jnp.linspace(0.25, 0.75, size)
  return {'x': x, 'c': c, 'c_trg': jnp.roll(c, 1, axis=1), 'alpha': alpha}


@functools.cache
def train_fn():
  """The jitted `train_step` of the domains."""
  return jax.jit(functools.partial(stargan.train_step, **create()[1]))


def write_run(directory: pathlib.Path, **overrides) -> None:
  """The work directory of a run of the domains, without training."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config(**DOMAINS | overrides))
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, create()[0], {'domains': shapes.DOMAINS})
  checkpointer.close()


@functools.cache
def translate_fn(nets):
  """The jitted `losses.translate`."""
  return jax.jit(functools.partial(losses.translate, nets))


@functools.cache
def discriminate_fn(nets):
  """The jitted `losses.discriminate`."""
  return jax.jit(functools.partial(losses.discriminate, nets))
