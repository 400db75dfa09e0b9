"""What the tiny MUNIT and the tiny UNIT of the tests have in common."""

import functools
import pathlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import ml_collections
from etils import epath

from jaxgan.runs import checkpoint, workdir
from jaxgan.systems.two_domains import Model
from jaxgan.training import phases
from jaxgan.training.state import State

BATCH, SIZE = 2, 16
NAMES = ('circle', 'triangle')

# Overrides of a config: what the data would add.
DOMAINS = {'data__domains': NAMES, 'model__num_domains': 2}


def complete(
  config: ml_collections.ConfigDict, **overrides
) -> ml_collections.ConfigDict:
  """`shapes` at 16 px for a few steps; overrides like data__root='x'."""
  config.batch_size = BATCH
  config.num_train_steps = 4
  config.log_every_steps = 1
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 2
  config.data.update(
    name='shapes', root='', val_split='val', domains=NAMES, img_size=SIZE
  )
  config.model.resample = 'plain'
  config.optim.lr = 1e-3
  config.update_from_flattened_dict(
    {key.replace('__', '.'): value for key, value in overrides.items()}
  )
  return config.lock()


def create(
  system: ModuleType, config: ml_collections.ConfigDict
) -> tuple[Model, State]:
  """The model of a config, and its state of step 0."""
  model = system.create_model(config)
  init_state = functools.partial(system.init_state, model)
  return model, jax.jit(init_state)(jax.random.key(0))


def update_fn(step: ModuleType, model: Model) -> Callable[..., phases.Result]:
  """(state, batch) -> the result of the system's `update`, jitted."""
  update = jax.jit(functools.partial(step.update, model))
  return lambda state, batch: update(state, {}, batch, jax.random.key(0))


@functools.cache
def jitted(model: Model, name: str, *domain: Any) -> Callable[..., Any]:
  """A method of the generator, or the discriminator: (params, *arrays) -> ...

  Args:
    model: of a system.
    name: of the method, or 'discriminate'.
    *domain: the method's last arguments.
  """

  def run(params, *arrays):
    f = phases.inference(model, params)
    if name == 'discriminate':
      return f('discriminator', *arrays, *domain)
    return f('generator', *arrays, *domain, method=name)

  return jax.jit(run)


def write_run(
  directory: pathlib.Path, config: ml_collections.ConfigDict, state: State
) -> None:
  """The work directory of a run, without training."""
  directory.mkdir(parents=True, exist_ok=True)
  workdir.save_config(epath.Path(directory), config)
  checkpointer = checkpoint.Checkpointer(directory / 'checkpoints')
  checkpointer.save(2, state, {'domains': NAMES})
  checkpointer.close()
