"""State dicts of networks whose modules bear the names PyTorch gives them.

A state dict is {key: array}, the modules' names joined by dots and then the
name of the tensor; convolutions are [O, I, H, W] there and [H, W, I, O] here.
"""

from collections.abc import Mapping
from typing import Any

import flax
import numpy as np

Tree = Any
StateDict = dict[str, np.ndarray]

_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}


def from_state_dict(state_dict: Mapping[str, np.ndarray], like: Tree) -> Tree:
  """Converts tensors into parameters; keys that no parameter has are left.

  Args:
    state_dict: {key: array}.
    like: parameters, or their shapes, as the result's.

  Raises:
    ValueError: a tensor is missing or has another shape.
  """
  params = {}
  for path, leaf in flax.traverse_util.flatten_dict(like).items():
    key = _key(path)
    if key not in state_dict:
      raise ValueError(f'there is no tensor {key}')
    value = np.asarray(state_dict[key])
    if value.ndim == 4:
      value = value.transpose(2, 3, 1, 0)
    if value.shape != leaf.shape:
      raise ValueError(
        f'{key} has shape {np.shape(state_dict[key])}, which does not fit a '
        f'parameter of shape {leaf.shape}'
      )
    params[path] = value
  return flax.traverse_util.unflatten_dict(params)


def to_state_dict(params: Tree) -> StateDict:
  """Converts parameters back into tensors."""
  state_dict = {}
  for path, value in flax.traverse_util.flatten_dict(params).items():
    value = np.asarray(value)
    if value.ndim == 4:
      value = value.transpose(3, 2, 0, 1)
    state_dict[_key(path)] = value
  return state_dict


def _key(path: tuple[str, ...]) -> str:
  *modules, leaf = path
  return '.'.join([*modules, _LEAVES[leaf]])
