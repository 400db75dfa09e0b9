"""What the update steps of systems share: gradients, and PyTorch's Adam."""

from collections.abc import Callable, Mapping
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
