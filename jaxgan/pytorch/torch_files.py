"""Files that PyTorch wrote or will read, as trees of NumPy arrays.

torch is an optional package and imported only here.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from etils import epath

from jaxgan.runtime import errors, files, foreign

Tree = Any

# What files begin with that torch.save wrote before it made ZIP archives.
_OLD_OPENING = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def load(path: epath.PathLike) -> Tree:
  """Reads a file that torch.save wrote, of 2019 or of today.

  Only tensors and plain containers are read, nothing that could run code.

  Returns:
    The dicts, lists and numbers of the file, tensors as NumPy arrays; those of
    half precision, float16 and bfloat16, as float32.

  Raises:
    UserError: torch is not installed, the file is not one of those, and then
      what it is, or has numbers that are NaN or infinite.
  """
  torch, path = _import_torch(), files.user_path(path)
  if not path.exists() or not files.is_regular(path):
    raise errors.UserError(f'there is no file {path}')
  data = path.read_bytes()
  try:
    kind = foreign.find(data) or _find_zip(data)
    if not kind:
      return _read(data, torch)
  except Exception as e:  # torch raises almost anything on foreign bytes
    reason = ' '.join(str(e).split())
    if found := re.search(r'Unsupported global: GLOBAL (\S+)', reason):
      raise errors.UserError(
        f'{path} holds a Python object ({found[1]}), which could run code: '
        'load it with the code that wrote it, and torch.save the state_dict '
        'alone'
      ) from e
    if data.startswith(_OLD_OPENING) and _ends_early(e):
      kind = foreign.CUT_OFF
    else:
      if 'Weights only load failed' in reason:  # advice that is of no use here
        reason = 'nothing tells what it is'
      raise errors.UserError(
        f'{path} is no whole file of PyTorch weights ({reason[:120]})'
      ) from e
  raise errors.UserError(
    f'{path} is {kind.what}, no whole file of PyTorch weights: {kind.cure}'
  )


def _read(data: bytes, torch: ModuleType) -> Tree:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of old formats
    tree = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
  return _map_leaves(lambda x: _to_numpy(x, torch), tree)


def _find_zip(data: bytes) -> foreign.Foreign | None:
  """The kind of a ZIP archive that torch.save did not write."""
  if data[:2] != b'PK':
    return None
  files.check_unpacked_size(data)
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    names = archive.namelist()
  if any(name.endswith('/constants.pkl') for name in names):
    return foreign.Foreign(
      'a program of TorchScript',
      'torch.save the state_dict of what torch.jit.load reads of it',
    )
  if any(name.endswith('data.pkl') for name in names):
    return None
  inside = ', '.join(names[:2]) + ', ...' * (len(names) > 2)
  return foreign.Foreign(
    f'a ZIP archive of other files ({inside[:80]})',
    'unpack it, and name the file that is in it',
  )


def _ends_early(e: Exception) -> bool:
  return isinstance(e, EOFError) or bool(
    re.search(r'unexpected EOF|truncated|ran out of', str(e), re.IGNORECASE)
  )


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
  if x.dtype in (torch.float16, torch.bfloat16):
    x = x.float()
  return x.detach().numpy()


def _import_torch() -> ModuleType:
  try:
    import torch
  except ImportError:
    raise errors.UserError(
      'PyTorch files need PyTorch, which is not installed: pip install torch'
    ) from None
  return torch


def _map_leaves(fn: Any, tree: Tree) -> Tree:
  if isinstance(tree, Mapping):
    return {key: _map_leaves(fn, value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return type(tree)(_map_leaves(fn, value) for value in tree)
  return fn(tree)
