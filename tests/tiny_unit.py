"""A UNIT small enough to compile in seconds, for the tests."""

import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgan.data.contracts import unpaired
from jaxgan.systems import unit
from jaxgan.systems.unit import step
from jaxgan.systems.unit.config import default_config, unshared_config
from tests import tiny_two_domains
from tests.tiny_two_domains import BATCH, DOMAINS, SIZE

CODE = (SIZE // 2, SIZE // 2, 4)  # shape of a code
UNSHARED = {'model__shared': False}  # the settings of the later code


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 16 px with a few channels; overrides like data__root='x'."""
  shared = overrides.get('model__shared', True)
  config = default_config() if shared else unshared_config()
  config.model.update(
    dim=2,
    n_downsample=1,
    n_res=1,
    d_dim=2,
    d_layers=3 if shared else 2,
    d_scales=2,
  )
  return tiny_two_domains.complete(config, **overrides)


@functools.cache
def create(**overrides):
  """(model, state) of `config`."""
  return tiny_two_domains.create(unit, config(**DOMAINS | overrides))


def batch(size: int = BATCH) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  return unpaired.Data(config(batch_size=size)).noise()


def drawn(size: int = BATCH) -> dict[str, np.ndarray]:
  """`batch` with its noise, as `step.update` takes it."""
  rng = np.random.default_rng(3)
  names = ('n_a2', 'n_b2', 'n_a', 'n_b', 'n_aba', 'n_bab')
  noise = rng.standard_normal((6, size, *CODE), np.float32)
  return {**batch(size), **dict(zip(names, noise, strict=True))}


@functools.cache
def update_fn():
  """(state, batch) -> the result of the jitted `step.update`."""
  return tiny_two_domains.update_fn(step, create()[0])


@functools.cache
def one_update():
  """(old state, new state, metrics, gradients by phase)."""
  _, state = create()
  return state, *update_fn()(state, drawn())


@functools.cache
def translator(model, domain: int) -> Any:
  """The jitted `step.translate` to a domain: (params, x) -> images."""
  return jax.jit(
    lambda params, x: step.translate(model, params, {}, x, domain, None, None)
  )


def write_run(directory: pathlib.Path) -> None:
  """The work directory of a run, without training."""
  tiny_two_domains.write_run(directory, config(**DOMAINS), create()[1])
