"""Files that PyTorch wrote or will read, as trees of NumPy arrays.

torch is an optional package and imported only here.
"""

import io
import warnings
import zipfile
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from etils import epath

from jaxgan.runtime import errors, files

Tree = Any


def load(path: epath.PathLike) -> Tree:
  """Reads a file that torch.save wrote, of 2019 or of today.

  Only tensors and plain containers are read, nothing that could run code.

  Returns:
    The dicts, lists and numbers of the file, tensors as NumPy arrays.

  Raises:
    UserError: torch is not installed, the file is not one of those, or has
      numbers that are NaN or infinite.
  """
  torch, path = _import_torch(), files.user_path(path)
  if not path.exists() or not files.is_regular(path):
    raise errors.UserError(f'there is no file {path}')
  try:
    data = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(data)):
      files.check_unpacked_size(data)
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of old formats
      tree = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    return _map_leaves(lambda x: _to_numpy(x, torch), tree)
  except Exception as e:  # torch raises almost anything on foreign bytes
    raise errors.UserError(
      f'{path} is no whole file of PyTorch weights '
      f'({" ".join(str(e).split())[:120]})'
    ) from e


def save(path: epath.PathLike, tree: Tree) -> None:
  """Writes a tree of dicts, lists, numbers and arrays for torch.load."""
  torch, path = _import_torch(), files.user_path(path)
  buffer = io.BytesIO()
  torch.save(
    _map_leaves(
      lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, tree
    ),
    buffer,
  )
  files.write_whole(path, buffer.getvalue())


def _to_numpy(x: Any, torch: ModuleType) -> Any:
  if not torch.is_tensor(x):
    return x
  if not torch.isfinite(x).all():
    raise ValueError('it has numbers that are NaN or infinite')
  return x.detach().numpy()


def _import_torch() -> ModuleType:
  try:
    import torch
  except ImportError:
    raise errors.UserError(
      'PyTorch files need PyTorch, which is not installed: '
      'pip install -r requirements-extra.txt'
    ) from None
  return torch


def _map_leaves(fn: Any, tree: Tree) -> Tree:
  if isinstance(tree, Mapping):
    return {key: _map_leaves(fn, value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return type(tree)(_map_leaves(fn, value) for value in tree)
  return fn(tree)
