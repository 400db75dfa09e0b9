"""A MUNIT small enough to compile in seconds, for the tests."""

import functools
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgan.data.contracts import unpaired
from jaxgan.systems import munit
from jaxgan.systems.munit import step
from jaxgan.systems.munit.config import default_config
from tests import tiny_two_domains
from tests.tiny_two_domains import BATCH, DOMAINS

LATENT_DIM = 3


def config(**overrides) -> ml_collections.ConfigDict:
  """`shapes` at 16 px with a few channels; overrides like data__root='x'."""
  config = default_config()
  config.model.update(
    dim=2,
    n_downsample=1,
    n_res=1,
    latent_dim=LATENT_DIM,
    mlp_dim=4,
    d_dim=2,
    d_layers=2,
    d_scales=2,
  )
  return tiny_two_domains.complete(config, **overrides)


@functools.cache
def create(**overrides):
  """(model, state) of `config`."""
  return tiny_two_domains.create(munit, config(**DOMAINS | overrides))


def batch(size: int = BATCH) -> dict[str, np.ndarray]:
  """Noise in the batch contract, the same at every call."""
  return unpaired.Data(config(batch_size=size)).noise()


def drawn(size: int = BATCH) -> dict[str, np.ndarray]:
  """`batch` with its styles, as `step.update` takes it."""
  rng = np.random.default_rng(3)
  names = ('s_a2', 's_b2', 's_a', 's_b')
  styles = rng.standard_normal((4, size, LATENT_DIM), np.float32)
  return {**batch(size), **dict(zip(names, styles, strict=True))}


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
  """The jitted `step.translate` to a domain: (params, x, s) -> images."""
  return jax.jit(
    lambda params, x, s: step.translate(model, params, {}, x, domain, s, None)
  )


def write_run(directory: pathlib.Path, **overrides) -> None:
  """The work directory of a run, without training."""
  settings = config(**DOMAINS | overrides)
  tiny_two_domains.write_run(directory, settings, create()[1])
