"""PyTorch's optimisers, of rate 1: the rate of a step is given to the step.

So every rate is a function of the iteration (`schedules`), stands beside the
optimiser that it is for, and is logged as it was used.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Tree = Any


def adam(
  *, beta1: float, beta2: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
  """PyTorch's Adam: weight decay is L2 inside the gradient, not AdamW's."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.adam(1.0, b1=beta1, b2=beta2, eps=1e-8),
  )


def rmsprop(
  *, alpha: float = 0.99, weight_decay: float = 0.0
) -> optax.GradientTransformation:
  """PyTorch's RMSprop: epsilon 1e-8 is added to the root, not inside it."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_rms(decay=alpha, eps=1e-8, eps_in_sqrt=False),
    optax.scale(-1.0),
  )


def trained_part(
  tx: optax.GradientTransformation, is_trained: Callable[[Tree], Tree]
) -> optax.GradientTransformation:
  """An optimiser of a part of a network; the rest neither moves nor decays.

  Args:
    tx: the optimiser; it keeps no state of the rest.
    is_trained: of the parameters, a tree of bools like them.
  """

  def is_frozen(params: Tree) -> Tree:
    return jax.tree.map(lambda trained: not trained, is_trained(params))

  return optax.chain(
    optax.masked(tx, is_trained), optax.masked(optax.set_to_zero(), is_frozen)
  )


def step(
  tx: Mapping[str, optax.GradientTransformation],
  grads: Mapping[str, Tree],
  params: Mapping[str, Tree],
  opt_state: Mapping[str, Tree],
  lr: Mapping[str, Array],
) -> tuple[dict[str, Tree], dict[str, Tree]]:
  """One step of the networks that have a gradient.

  Args:
    tx: optimisers of rate 1, by network.
    grads: gradients of the networks to step.
    params: of all networks.
    opt_state: of all optimisers.
    lr: rates, by network.

  Returns:
    Parameters and optimisers after it, of all networks.
  """
  params, opt_state = dict(params), dict(opt_state)
  for name, gradient in grads.items():
    change, opt_state[name] = tx[name].update(
      gradient, opt_state[name], params[name]
    )
    rate = jnp.asarray(lr[name])
    change = jax.tree.map(lambda x, r=rate: r.astype(x.dtype) * x, change)
    params[name] = optax.apply_updates(params[name], change)
  return params, opt_state
