"""Exponential moving averages of parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Tree = Any


def update(
  ema_params: Mapping[str, Tree],
  params: Mapping[str, Tree],
  decay: float | Array,
  *,
  step: Array | None = None,
  start: int = 0,
) -> dict[str, Tree]:
  """The averages after an iteration.

  Args:
    ema_params: {network: tree} before it.
    params: parameters after it, of these networks and perhaps of others.
    decay: the share that stays.
    step: the iteration, counted from 0, where `start` is not 0.
    start: before this iteration the averages are the parameters.
  """
  own = {name: params[name] for name in ema_params}
  if start:
    assert step is not None
    decay = jnp.where(step < start, 0.0, decay)
  return dict(optax.incremental_update(own, dict(ema_params), 1 - decay))
