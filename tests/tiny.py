"""A StarGAN v2 small enough to compile in seconds, for the tests."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import shapes
from jaxgan.runs import checkpoint, workdir
from jaxgan.systems.stargan_v2 import step
from jaxgan.systems.stargan_v2.config import default_config
from jaxgan.training import phases
from jaxgan.training.state import State

Array = jax.Array
Tree = Any

BATCH, SIZE, DOMAINS = 2, 32, 3


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 32 px with a few channels; overrides like data__root='x'."""
  config = default_config()
  config.seed = 0
  config.batch_size = BATCH
  config.num_train_steps = 4
  config.log_every_steps = 1
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 2
  config.data.name = 'shapes'
  config.data.root = ''
  config.data.img_size = SIZE
  config.model.update(
    channel_base=128,
    max_conv_dim=8,
    hidden_dim=8,
    style_dim=5,
    latent_dim=4,
  )
  config.hparams.ds_iter = 10
  config.hparams.ema_decay = 0.5  # so that a test sees it move
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in overrides.items()}
  )
  return config.lock()


def batch(size: int = BATCH) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  rng = np.random.default_rng(0)
  x = rng.uniform(-1, 1, (3, size, SIZE, SIZE, 3)).astype(np.float32)
  y = rng.integers(0, DOMAINS, (2, size)).astype(np.int32)
  return {
    'x_src': x[0],
    'x_ref': x[1],
    'x_ref2': x[2],
    'y_src': y[0],
    'y_ref': y[1],
  }


@functools.cache
def create(**overrides) -> tuple[step.Model, State]:
  """The system of `config`, and its state of step 0."""
  model = step.create_model(config(model__num_domains=DOMAINS, **overrides))
  init_state = functools.partial(step.init_state, model)
  return model, jax.jit(init_state)(jax.random.key(0))


def write_run(directory: pathlib.Path, steps: Sequence[int] = (2,)) -> None:
  """The work directory of a run, as training leaves it, without training."""
  settings = config(
    data__domains=shapes.DOMAINS[:DOMAINS], model__num_domains=DOMAINS
  )
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), settings)
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints', keep=9)
  for number in steps:
    checkpointer.save(number, create()[1], {'domains': shapes.DOMAINS})
  checkpointer.close()


def drawn() -> dict[str, Array]:
  """`batch` with its latents, as `step.update` takes it."""
  shape = (2, BATCH, create()[0].latent_dim)
  z_trg, z_trg2 = jax.random.normal(jax.random.key(1), shape)
  return {**batch(), 'z_trg': z_trg, 'z_trg2': z_trg2}


@functools.cache
def update_fn() -> Callable[..., phases.Result]:
  """(state, batch) -> the result of the default tiny system's update."""
  update = jax.jit(functools.partial(step.update, create()[0]))
  return lambda state, batch: update(state, {}, batch, jax.random.key(0))


@functools.cache
def one_update() -> tuple[State, State, Tree, Tree]:
  """(old state, new state, metrics, gradients by phase)."""
  _, state = create()
  return state, *update_fn()(state, drawn())
