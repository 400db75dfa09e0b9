"""What the update steps of systems share: gradients, and PyTorch's Adam."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

Array = jax.Array
Tree = Any


def adam(
  lr: float, *, beta1: float, beta2: float, weight_decay: float
) -> optax.GradientTransformation:
  """PyTorch's Adam: weight decay is L2 inside the gradient, not AdamW's."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.adam(lr, b1=beta1, b2=beta2, eps=1e-8),
  )


def mean_grads(
  loss_fn: Callable,
  trained: Tree,
  params: Tree,
  data: Mapping[str, Tree],
  parts: int,
) -> tuple[Tree, dict[str, Array]]:
  """Gradient and terms of a loss that is a mean over its images.

  Args:
    loss_fn: (trained, params, **data) -> loss, {name: term}.
    trained: parameters that the gradient is to.
    params: all parameters.
    data: arrays [B, ...].
    parts: divides B; the images of one part are in memory at a time.
  """
  grad_fn = jax.grad(loss_fn, has_aux=True)
  if parts == 1:
    return grad_fn(trained, params, **data)

  # Image i goes to part i % parts: every device has its share of each part.
  split = jax.tree.map(
    lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), data
  )

  def add_part(total, part):
    return jax.tree.map(jnp.add, total, grad_fn(trained, params, **part)), None

  first = jax.tree.map(lambda x: x[0], split)
  shapes = jax.eval_shape(lambda: grad_fn(trained, params, **first))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  total, _ = jax.lax.scan(add_part, zeros, split)
  return jax.tree.map(lambda x: x / parts, total)


def step_networks(
  loss_fn: Callable,
  names: Sequence[str],
  params: Mapping[str, Tree],
  opt_state: Mapping[str, Tree],
  data: Mapping[str, Tree],
  tx: Mapping[str, optax.GradientTransformation],
  *,
  parts: int = 1,
  lr: Array | None = None,
) -> tuple[dict[str, Tree], dict[str, Tree], dict[str, Array], Tree]:
  """One step of some networks down the gradient of a loss.

  Args:
    loss_fn: as of `mean_grads`.
    names: of the networks that are trained.
    params: of all networks.
    opt_state: of all optimisers.
    data: arrays [B, ...].
    tx: an optimiser for each network.
    parts: divides B; the images of one part are in memory at a time.
    lr: the rate, where the optimisers are of rate 1.

  Returns:
    Parameters and optimisers after it, the terms of the loss, the gradients.
  """
  trained = {name: params[name] for name in names}
  grads, terms = mean_grads(loss_fn, trained, params, data, parts)
  params, opt_state = dict(params), dict(opt_state)
  for name in names:
    change, opt_state[name] = tx[name].update(
      grads[name], opt_state[name], params[name]
    )
    if lr is not None:
      change = jax.tree.map(lambda x: lr.astype(x.dtype) * x, change)
    params[name] = optax.apply_updates(params[name], change)
  return params, opt_state, terms, grads


def step_decay(step: Array, lr: float, every: int, gamma: float) -> Array:
  """A rate that falls to `gamma` of itself every so many steps; 0 for never."""
  falls = step // every if every else jnp.zeros_like(step)
  return lr * gamma ** falls.astype(jnp.result_type(float))
