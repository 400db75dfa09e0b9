"""A pix2pix small enough to compile in seconds, for the tests."""

import functools
import pathlib

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data.contracts import paired
from jaxgan.runs import checkpoint, workdir
from jaxgan.systems import pix2pix
from jaxgan.systems.pix2pix.config import default_config

BATCH, SIZE = 2, 16
# What the data would add to a config.
DOMAINS = {'data__domains': ('filled',), 'model__num_domains': 1}


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 16 px for a few steps; overrides like data__root='x'."""
  config = default_config()
  config.batch_size = BATCH
  config.num_train_steps = 4
  config.log_every_steps = 1
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 2
  config.data.update(
    name='shapes', root='', pair=paired.DRAWN, img_size=SIZE, load_size=0
  )
  config.model.update(dim=2, depth=3, d_dim=2, d_layers=2, resample='plain')
  config.optim.update(lr=1e-3, decay_start=2, decay_steps=4)
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in overrides.items()}
  )
  return config.lock()


@functools.cache
def create(**overrides):
  """(model, state) of `config`."""
  model = pix2pix.create_model(config(**DOMAINS | overrides))
  init_state = functools.partial(pix2pix.init_state, model)
  return model, jax.jit(init_state)(jax.random.key(0))


def batch(size: int = BATCH) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  return paired.Data(config(batch_size=size)).noise()


def write_run(directory: pathlib.Path, **overrides) -> None:
  """The work directory of a run, without training."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config(**DOMAINS | overrides))
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, create(**overrides)[1], {'domains': ['filled']})
  checkpointer.close()
