"""State dicts of networks whose modules bear the names PyTorch gives them.

A state dict is {key: array}, the modules' names joined by dots and then the
name of the tensor.
"""

from collections.abc import Mapping
from typing import Any

import flax
import numpy as np

from jaxgan.pytorch import convert

Tree = Any

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
  params, _ = convert.from_tensors(places(like), state_dict, like)
  return params


def to_state_dict(params: Tree) -> convert.StateDict:
  """Converts parameters back into tensors."""
  return convert.to_tensors(places(params), params)


def places(params: Tree) -> convert.Places:
  """The table of a network; params may be shapes."""
  return {
    '.'.join([*path[:-1], _LEAVES[path[-1]]]): convert.Place(path)
    for path in flax.traverse_util.flatten_dict(params)
  }
