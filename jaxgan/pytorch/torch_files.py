"""Files of weights: PyTorch's and safetensors, as trees of NumPy arrays.

Both are read without PyTorch, which is an optional package, imported only here
and only to write its files.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from jaxgan.pytorch import torch_reader
from jaxgan.runtime import errors, files, foreign

Tree = Any

SAFETENSORS = '.safetensors'  # how the names of such files end
_DTYPES = {
  'F64': np.float64,
  'F32': np.float32,
  'F16': np.float16,
  'BF16': jnp.bfloat16,
  'I64': np.int64,
  'I32': np.int32,
  'I16': np.int16,
  'I8': np.int8,
  'U64': np.uint64,
  'U32': np.uint32,
  'U16': np.uint16,
  'U8': np.uint8,
  'BOOL': np.bool_,
}


def load(path: epath.PathLike) -> Tree:
  """Reads a file that torch.save wrote, of 2018 or of today, or safetensors.

  Only tensors and plain containers are read, nothing that could run code.

  Returns:
    The dicts, lists and numbers of the file, tensors as NumPy arrays; those of
    half precision, float16 and bfloat16, as float32. Of safetensors a dict.

  Raises:
    UserError: the file is not one of those, and then what it is, or has numbers
      that are NaN or infinite.
  """
  path = files.user_path(path)
  if not path.exists() or not files.is_regular(path):
    raise errors.UserError(f'there is no file {path}')
  data, what = path.read_bytes(), 'PyTorch weights'
  try:
    if foreign.is_safetensors(data):
      what = 'safetensors'
      return _read_safetensors(data)
    kind = foreign.find(data) or _find_zip(data)
    if not kind:
      return torch_reader.read(data)
  except torch_reader.HoldsCode as e:
    raise errors.UserError(
      f'{path} holds a Python object ({e}), which could run code: load it with '
      'the code that wrote it, and torch.save the state_dict alone'
    ) from e
  except EOFError:
    kind = foreign.CUT_OFF
  except Exception as e:  # zipfile raises almost anything on foreign bytes
    reason = ' '.join(str(e).split()) or type(e).__name__
    raise errors.UserError(
      f'{path} is no whole file of {what} ({reason[:120]})'
    ) from e
  raise errors.UserError(
    f'{path} is {kind.what}, no whole file of PyTorch weights: {kind.cure}'
  )


def _read_safetensors(data: bytes) -> Tree:
  tree = {}
  for key, entry in safetensors.deserialize(data):
    if entry['dtype'] not in _DTYPES:
      raise ValueError(f'{key} is of the type {entry["dtype"]}')
    dtype = np.dtype(_DTYPES[entry['dtype']])
    # A copy may be written to.
    x = np.frombuffer(bytearray(entry['data']), dtype).reshape(entry['shape'])
    tree[key] = torch_reader.to_array(x)
  return tree


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


def is_weights(tree: Tree) -> bool:
  """Whether there are only arrays, below names, as safetensors can hold."""
  return all(isinstance(x, np.ndarray) for _, x in _leaves(tree))


def save(path: epath.PathLike, tree: Tree) -> None:
  """Writes a tree of dicts, lists, numbers and arrays.

  Args:
    path: of the file; one that ends in `.safetensors` becomes one of those, in
      which the keys of a dict in a dict are joined by dots.
    tree: what `torch.load` will give; of safetensors only `is_weights`.

  Raises:
    UserError: torch, by which its files are written, is not installed.
  """
  path = files.user_path(path)
  if path.suffix == SAFETENSORS:
    # It wants arrays in one piece.
    tensors = {key: x.copy(order='C') for key, x in _leaves(tree)}
    content = safetensors.numpy.save(tensors, {'format': 'pt'})
  else:
    content = _to_torch(tree)
  files.write_whole(path, content)


def _leaves(tree: Tree, key: str = '') -> Iterator[tuple[str, Any]]:
  if not isinstance(tree, Mapping):
    yield key, tree
    return
  for name, value in tree.items():
    yield from _leaves(value, f'{key}.{name}' if key else str(name))


def _to_torch(tree: Tree) -> bytes:
  try:
    import torch
  except ImportError:
    raise errors.UserError(
      'writing files of PyTorch needs torch: pip install torch (files of '
      'safetensors need none)'
    ) from None
  buffer = io.BytesIO()
  torch.save(
    _map_leaves(
      lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else x, tree
    ),
    buffer,
  )
  return buffer.getvalue()


def _map_leaves(fn: Any, tree: Tree) -> Tree:
  if isinstance(tree, Mapping):
    return {key: _map_leaves(fn, value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return type(tree)(_map_leaves(fn, value) for value in tree)
  return fn(tree)
