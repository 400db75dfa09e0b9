"""All that changes in training."""

from typing import Any

import flax
import jax
import jax.numpy as jnp

Array = jax.Array
Tree = Any


class State(flax.struct.PyTreeNode):
  """What a checkpoint holds; {network: tree} in all but step and memory.

  Attributes:
    step: finished iterations, int32.
    params: of the networks that are trained.
    opt_state: of their optimisers.
    ema_params: averages of params, of the networks that have one.
    variables: statistics of norms, of the networks that have some.
    memory: what an iteration leaves to the next, as pools of images, by name.
  """

  step: Array
  params: dict[str, Tree]
  opt_state: dict[str, Tree]
  ema_params: dict[str, Tree] = flax.struct.field(default_factory=dict)
  variables: dict[str, Tree] = flax.struct.field(default_factory=dict)
  memory: dict[str, Tree] = flax.struct.field(default_factory=dict)


def create(
  params: dict[str, Tree],
  tx: dict[str, Any],
  *,
  averaged: tuple[str, ...] = (),
  variables: dict[str, Tree] | None = None,
  memory: dict[str, Tree] | None = None,
) -> State:
  """The state of step 0.

  Args:
    params: {network: tree}, freshly drawn.
    tx: an optimiser for each network that is stepped.
    averaged: the networks that have an average, at first a copy.
    variables: as in `State`.
    memory: as in `State`.
  """
  return State(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state={name: tx[name].init(params[name]) for name in tx},
    # Copies: a donated state must not hold one buffer twice.
    ema_params={
      name: jax.tree.map(jnp.copy, params[name]) for name in averaged
    },
    variables=variables or {},
    memory=memory or {},
  )
