"""A UNIT small enough to compile in seconds, for the tests."""

import functools
import pathlib

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data.contracts import unpaired
from jaxgan.runs import checkpoint, workdir
from jaxgan.systems import unit
from jaxgan.systems.unit import losses, step
from jaxgan.systems.unit.config import default_config, unshared_config

BATCH, SIZE = 2, 16
NAMES = ('circle', 'triangle')
CODE = (SIZE // 2, SIZE // 2, 4)  # shape of a code

# Overrides of `config`: what the data would add.
DOMAINS = {'data__domains': NAMES, 'model__num_domains': 2}
UNSHARED = {'model__shared': False}  # the settings of the later code


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 16 px with a few channels; overrides like data__root='x'."""
  shared = overrides.get('model__shared', True)
  config = default_config() if shared else unshared_config()
  config.batch_size = BATCH
  config.num_train_steps = 4
  config.log_every_steps = 1
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 2
  config.data.update(
    name='shapes', root='', val_split='val', domains=NAMES, img_size=SIZE
  )
  config.model.update(
    dim=2,
    n_downsample=1,
    n_res=1,
    d_dim=2,
    d_layers=3 if shared else 2,
    d_scales=2,
    resample='plain',
  )
  config.optim.lr = 1e-3
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in overrides.items()}
  )
  return config.lock()


@functools.cache
def _create(items):
  init_fn, static = unit.create_training(config(**dict(items)))
  return jax.jit(init_fn)(jax.random.key(0)), static


def create(**overrides):
  """(state, static) of `config`."""
  return _create(tuple((DOMAINS | overrides).items()))


def batch(size: int = BATCH) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  return dict(unpaired.example_batch(config(batch_size=size)))


def noise(size: int = BATCH) -> list[dict[str, np.ndarray]]:
  """Of the discriminator's phase and the generator's, always the same."""
  rng = np.random.default_rng(3)
  drawn = rng.standard_normal((6, size, *CODE), np.float32)
  d_names, g_names = ('a', 'b'), ('a', 'b', 'aba', 'bab')
  return [
    dict(zip(d_names, drawn[:2], strict=True)),
    dict(zip(g_names, drawn[2:], strict=True)),
  ]


@functools.cache
def _update_fn(items):
  return jax.jit(functools.partial(step.update, **create(**dict(items))[1]))


def update_fn(**overrides):
  """The jitted `step.update` of the system."""
  return _update_fn(tuple(overrides.items()))


@functools.cache
def one_update():
  """(old state, new state, metrics, gradients by network)."""
  state, _ = create()
  return state, *update_fn()(state, {}, batch(), *noise())


@functools.cache
def jitted(nets, name, domain):
  """`losses.<name>` of a domain or some: (params, *arrays) -> arrays."""
  fn = getattr(losses, name)
  return jax.jit(lambda params, *arrays: fn(nets, params, *arrays, domain))


def write_run(directory: pathlib.Path) -> None:
  """The work directory of a run, without training."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config(**DOMAINS))
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, create()[0], {'domains': NAMES})
  checkpointer.close()
