"""What a file of torch.save holds, read without PyTorch and without risk.

A pickle is a program that calls what it names. Nothing is called here:
`pickletools` takes the pickle apart, and `_Unpickler` follows the few opcodes
that plain containers and tensors are written with. A name is one of a table or
ends the reading. A tensor is looked for among the bytes when all is known.
"""

import dataclasses
import io
import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

Tree = Any

_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, 'little')
_PROTOCOL = 1001
# More than any checkpoint has, of opcodes and of items in its containers: these
# can be shared so that a few opcodes make billions.
_MAX_ITEMS = 2**20
_MAX_DEPTH = 100
# What all that shares bytes, or repeats them, may come to: so many times the
# file, or so many bytes.
_MAX_SHARED, _MAX_BYTES = 4, 2**26
_MAX_AXES, _MAX_NAME = 64, 100
_BEYOND = 'it has a tensor that goes beyond its storage'
_ITEM = 64  # bytes, of an item of a container; rather more

_STORAGES = {
  'torch.DoubleStorage': np.dtype(np.float64),
  'torch.FloatStorage': np.dtype(np.float32),
  'torch.HalfStorage': np.dtype(np.float16),
  'torch.BFloat16Storage': np.dtype(jnp.bfloat16),
  'torch.LongStorage': np.dtype(np.int64),
  'torch.IntStorage': np.dtype(np.int32),
  'torch.ShortStorage': np.dtype(np.int16),
  'torch.CharStorage': np.dtype(np.int8),
  'torch.ByteStorage': np.dtype(np.uint8),
  'torch.BoolStorage': np.dtype(np.bool_),
}
_DTYPE = re.compile(r'torch\.(bool|b?float\d+|u?int\d+)')
_OTHER_TENSOR = re.compile(r'torch\..*(Storage|_rebuild_\w+)')
_ORDERS = {b'little': '<', b'big': '>'}
_KEYS = (str, bytes, int, float, bool, type(None))


class HoldsCode(ValueError):
  """A pickle names what is no data; the message is the name."""


class _Budget:
  """Bytes that a file of some size may still become."""

  def __init__(self, size: int):
    self._left = max(_MAX_SHARED * size, _MAX_BYTES)

  def spend(self, count: int) -> None:
    self._left -= count
    if self._left < 0:
      raise ValueError('it would become far larger than it is')


@dataclasses.dataclass(frozen=True)
class _Global:
  name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
  """Numbers of one kind: a part of those that lie in the file under a key."""

  dtype: np.dtype
  key: str
  numel: int  # of all under the key
  start: int
  stop: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A view of a storage, in numbers and not in bytes."""

  storage: _Storage
  offset: int
  size: tuple[int, ...]
  stride: tuple[int, ...]


@dataclasses.dataclass
class _NumPyType:
  dtype: np.dtype


@dataclasses.dataclass
class _NumPyArray:
  value: np.ndarray | None = None


def read(data: bytes) -> Tree:
  """The content of a file of torch.save, tensors as NumPy arrays.

  Raises:
    HoldsCode: it names a Python object.
    EOFError: it is cut off.
    Exception: it is damaged, or holds what is not read; of any type.
  """
  if data[:2] != b'PK' and _MAGIC not in data[:32]:
    raise ValueError('nothing tells what it is')
  try:
    return _read_zip(data) if data[:2] == b'PK' else _read_legacy(data)
  except (LookupError, TypeError) as e:
    raise ValueError('its parts do not fit together') from e


def to_array(x: np.ndarray) -> np.ndarray:
  """An array as it is given to users: half precision as float32.

  Raises:
    ValueError: it has numbers that are NaN or infinite.
  """
  if x.dtype in (np.float16, jnp.bfloat16):
    x = x.astype(np.float32)
  if x.dtype.kind == 'f' and not np.isfinite(x).all():
    raise ValueError('it has numbers that are NaN or infinite')
  return x


def _read_zip(data: bytes) -> Tree:
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    names = archive.namelist()
    name = min((n for n in names if n.endswith('data.pkl')), key=len)
    prefix = name.removesuffix('data.pkl')
    order = '<'
    if f'{prefix}byteorder' in names:
      order = _ORDERS[archive.read(f'{prefix}byteorder')]
    tree = _Unpickler(archive.read(name)).load()

    def find_bytes(key: str) -> bytes:
      return archive.read(f'{prefix}data/{key}')

    return _Builder(find_bytes, order, len(data)).build(tree)


def _read_legacy(data: bytes) -> Tree:
  """Five pickles, then the storages; always little-endian."""
  unpickler = _Unpickler(data)
  _, protocol, _, tree, keys = (unpickler.load() for _ in range(5))
  if protocol != _PROTOCOL:
    raise ValueError(f'its protocol is {str(protocol)[:20]}')
  found, rest, position = {}, memoryview(data), unpickler.position
  for key in keys:
    storage = unpickler.storages[_text(key)]
    start = position + 8
    if int.from_bytes(rest[position:start], 'little') != storage.numel:
      raise EOFError if start > len(data) else ValueError('its sizes differ')
    position = start + storage.numel * storage.dtype.itemsize
    if position > len(data):
      raise EOFError
    found[key] = rest[start:position]
  return _Builder(found.__getitem__, '<', len(data)).build(tree)


class _Unpickler:
  """Reads one pickle after the other, as data.

  Attributes:
    storages: {key: the whole storage}, of all pickles so far.
  """

  def __init__(self, data: bytes):
    self._file, self._budget = io.BytesIO(data), _Budget(len(data))
    self.storages: dict[str, _Storage] = {}

  @property
  def position(self) -> int:
    """Where the pickles that were read end."""
    return self._file.tell()

  def load(self) -> Any:
    """What a pickle describes; a tensor in it is a `_Tensor`."""
    self._stack: list[Any] = []
    self._below: list[list[Any]] = []  # the stacks under marks
    self._memo: dict[int, Any] = {}
    opcodes = pickletools.genops(self._file)
    for _ in range(_MAX_ITEMS):
      try:
        opcode, argument, _ = next(opcodes)
      except ValueError as e:
        if not self._file.read(1):
          raise EOFError from e
        raise ValueError('its pickle is damaged') from e
      try:
        if opcode.name == 'STOP':
          return self._stack.pop()
        self._follow(opcode.name, argument)
      except (ArithmeticError, LookupError, TypeError) as e:
        raise ValueError('its pickle is damaged') from e
    raise ValueError('its pickle is too long')

  def _follow(self, name: str, argument: Any) -> None:
    stack = self._stack
    if name in _LITERALS:
      stack.append(argument)
    elif name in _EMPTY:
      stack.append(_EMPTY[name]())
    elif name in ('BINGET', 'LONG_BINGET'):
      stack.append(self._memo[argument])
    elif name in ('BINPUT', 'LONG_BINPUT'):
      self._memo[argument] = stack[-1]
    elif name == 'MEMOIZE':
      self._memo[len(self._memo)] = stack[-1]
    elif name == 'MARK':
      self._below.append(stack)
      self._stack = []
    elif name in _TUPLES:
      items = self._pop(_TUPLES[name])
      self._stack.append(tuple(items))
    elif name in ('APPEND', 'APPENDS'):
      items = self._pop(1 if name == 'APPEND' else None)
      _expect(self._stack[-1], list).extend(items)
    elif name in ('SETITEM', 'SETITEMS'):
      items = self._pop(2 if name == 'SETITEM' else None)
      pairs = zip(items[::2], items[1::2], strict=True)
      _expect(self._stack[-1], dict).update(_mapping(pairs))
    elif name == 'ADDITEMS':
      items = self._pop(None)
      _expect(self._stack[-1], set).update(map(_key, items))
    elif name == 'GLOBAL':
      stack.append(_find_global(*argument.split(' ', 1)))
    elif name == 'STACK_GLOBAL':
      stack.append(_find_global(*map(_text, self._pop(2))))
    elif name == 'REDUCE':
      constructor, arguments = self._pop(2)
      fn = _CONSTRUCTORS[_expect(constructor, _Global).name]
      self._budget.spend(_copied(_expect(arguments, tuple)))
      stack.append(fn(*arguments))
    elif name == 'BUILD':
      (state,) = self._pop(1)
      self._budget.spend(_copied(state))
      _set_state(stack[-1], state)
    elif name == 'BINPERSID':
      stack.append(self._find_storage(*_expect(stack.pop(), tuple)))
    elif name not in ('PROTO', 'FRAME'):
      raise ValueError(f'its pickle has {name}, which data has not')

  def _pop(self, count: int | None) -> list[Any]:
    """The newest items of the stack; None for those down to the last mark."""
    if count is None:
      items, self._stack = self._stack, self._below.pop()
      return items
    if len(self._stack) < count:
      raise LookupError
    items = self._stack[-count:]
    del self._stack[-count:]
    return items

  def _find_storage(
    self,
    what: str,
    kind: _Global,
    key: str,
    location: str,
    numel: int,
    view: tuple[str, int, int] | None = None,
  ) -> _Storage:
    del location
    dtype = _STORAGES[_expect(kind, _Global).name]
    if what != 'storage':
      raise TypeError
    whole = _Storage(dtype, _text(key), _count(numel), 0, numel)
    whole = self.storages.setdefault(key, whole)
    if view is None:
      return whole
    _, start, size = view
    stop = _count(start) + _count(size)
    if stop > whole.numel:
      raise LookupError
    return dataclasses.replace(whole, start=start, stop=stop)


_LITERALS = {
  *('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
  *('BINUNICODE', 'SHORT_BINUNICODE', 'BINBYTES', 'SHORT_BINBYTES'),
  *('BINSTRING', 'SHORT_BINSTRING'),
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {
  'NONE': lambda: None,
  'NEWTRUE': lambda: True,
  'NEWFALSE': lambda: False,
  'EMPTY_TUPLE': tuple,
  'EMPTY_LIST': list,
  'EMPTY_DICT': dict,
  'EMPTY_SET': set,
}
_TUPLES = {'TUPLE': None, 'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


def _find_global(module: str, name: str) -> _Global:
  full = f'{module}.{name}'[:_MAX_NAME]
  full = full.removeprefix('__builtin__.').removeprefix('builtins.')
  if full in _STORAGES or full in _CONSTRUCTORS or _DTYPE.fullmatch(full):
    return _Global(full)
  if _OTHER_TENSOR.fullmatch(full):
    raise ValueError(f'it has a tensor of a kind that is not read: {full}')
  raise HoldsCode(full)


def _copied(arguments: Any) -> int:
  """Bytes that a copy of each of these would need, about."""
  return sum(
    len(x) if type(x) in (str, bytes) else _ITEM * len(x)
    for x in arguments
    if type(x) in (str, bytes, list, tuple, dict, set)
  )


def _expect(value: Any, kind: type) -> Any:
  if type(value) is not kind:
    raise TypeError
  return value


def _text(value: Any) -> str:
  return _expect(value, str)


def _count(value: Any) -> int:
  if _expect(value, int) < 0:
    raise ValueError('it has a negative size')
  return value


def _key(value: Any) -> Any:
  # A tuple in a tuple in a tuple ... would exhaust the interpreter's own stack
  # when it is hashed; longer numbers can be made to have one hash.
  if type(value) not in _KEYS or (type(value) is int and abs(value) >= 2**64):
    raise ValueError('it has a key that is no text and no number')
  return value


def _mapping(pairs: Iterable[Any] = ()) -> dict[Any, Any]:
  pairs = pairs.items() if isinstance(pairs, dict) else pairs
  return {_key(key): value for key, value in pairs}


def _rebuild_tensor(
  storage: _Storage,
  offset: int,
  size: tuple[int, ...],
  stride: tuple[int, ...],
  requires_grad: bool = False,
  hooks: Any = None,
  metadata: Any = None,
) -> _Tensor:
  del requires_grad, hooks
  if metadata:
    raise ValueError('it has a tensor of a kind that is not read: a lazy one')
  numbers = (offset, *_expect(size, tuple), *_expect(stride, tuple))
  if len(size) > _MAX_AXES or max(map(_count, numbers)) >= 2**63:
    raise ValueError(_BEYOND)  # before they are multiplied
  return _Tensor(_expect(storage, _Storage), offset, size, stride)


def _rebuild_parameter(
  data: _Tensor, requires_grad: bool, hooks: Any, state: Any = None
) -> _Tensor:
  del requires_grad, hooks, state
  return _expect(data, _Tensor)


def _device(kind: str, index: int | None = None) -> str:
  return _text(kind) if index is None else f'{_text(kind)}:{_count(index)}'


def _encode(text: str, encoding: str = 'latin1') -> bytes:
  if encoding != 'latin1':  # as pickles of protocol 2 write bytes
    raise TypeError
  return _text(text).encode('latin1')


def _numpy_type(code: str, *_: Any) -> _NumPyType:
  if not re.fullmatch(r'b1|f[248]|[iu][1248]', _text(code)):
    raise HoldsCode(f'numpy.dtype {code[:20]}')
  return _NumPyType(np.dtype(code))


def _numpy_scalar(kind: _NumPyType, content: bytes | str) -> int | float | bool:
  (value,) = _numpy_array((1,), kind, False, content)
  return value.item()


def _numpy_array(
  shape: tuple[int, ...],
  kind: _NumPyType,
  fortran: bool,
  content: bytes | str,
) -> np.ndarray:
  if type(content) is str:  # of Python 2
    content = _encode(content)
  dtype = _expect(kind, _NumPyType).dtype
  return np.ndarray(
    tuple(map(_count, shape)),
    dtype,
    _expect(content, bytes),
    order='F' if fortran else 'C',
  ).astype(dtype.newbyteorder('='))


_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
  'collections.OrderedDict': _mapping,
  'collections.Counter': _mapping,
  'set': lambda items=(): set(map(_key, items)),
  'torch._utils._rebuild_tensor': _rebuild_tensor,
  'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
  'torch._utils._rebuild_parameter': _rebuild_parameter,
  'torch._utils._rebuild_parameter_with_state': _rebuild_parameter,
  'torch.Size': tuple,
  'torch.device': _device,
  '_codecs.encode': _encode,
  'numpy.dtype': _numpy_type,
  'numpy.ndarray': lambda: None,  # a name that the next is called with
}
for _core in ('core', '_core'):  # NumPy 2 has moved them
  _CONSTRUCTORS |= {
    f'numpy.{_core}.multiarray.scalar': _numpy_scalar,
    f'numpy.{_core}.multiarray._reconstruct': lambda *_: _NumPyArray(),
  }


def _set_state(target: Any, state: Any) -> None:
  if type(target) is _NumPyType:
    target.dtype = np.dtype(_expect(state[1], str) + target.dtype.str[1:])
  elif type(target) is _NumPyArray:
    target.value = _numpy_array(*state[1:])
  elif type(target) is not dict:  # with versions of modules, which say nothing
    raise TypeError


class _Builder:
  """Makes a tree of users' types out of what an `_Unpickler` read.

  Args:
    find_bytes: key of a storage to its bytes.
    order: of them, '<' or '>'.
    size: of the file.
  """

  def __init__(
    self, find_bytes: Callable[[str], Any], order: str, size: int
  ) -> None:
    self._find_bytes, self._order = find_bytes, order
    self._items, self._budget = _MAX_ITEMS, _Budget(size)
    self._found: dict[str, np.ndarray] = {}

  def build(self, x: Any, depth: int = 0) -> Any:
    """The tree, copied; `depth` is that of x in it."""
    self._items -= 1
    if self._items < 0 or depth > _MAX_DEPTH:
      raise ValueError('its containers hold too many others')
    if type(x) is dict:
      return {key: self.build(value, depth + 1) for key, value in x.items()}
    if type(x) in (list, tuple):
      return type(x)(self.build(value, depth + 1) for value in x)
    if type(x) is _Tensor:
      return to_array(self._make_array(x))
    if type(x) is _NumPyArray and x.value is not None:
      self._budget.spend(x.value.nbytes)
      return to_array(x.value)
    if type(x) is _Global and _DTYPE.fullmatch(x.name):
      return x.name
    if type(x) in (*_KEYS, set):
      return x
    raise ValueError('it has a value that is no data')

  def _make_array(self, x: _Tensor) -> np.ndarray:
    dtype, itemsize = x.storage.dtype, x.storage.dtype.itemsize
    self._budget.spend(math.prod(x.size) * itemsize)
    if 0 in x.size:
      return np.zeros(x.size, dtype)
    words = self._find_words(x.storage)[x.storage.start : x.storage.stop]
    strides = [step * itemsize for step in x.stride]
    try:
      # NumPy checks that all numbers are among the words.
      array = np.ndarray(
        x.size, words.dtype, words, x.offset * itemsize, strides
      )
    except (OverflowError, TypeError, ValueError) as e:
      raise ValueError(_BEYOND) from e
    # A byte of a bool may be any.
    return array.astype(dtype) if dtype == np.bool_ else array.view(dtype)

  def _find_words(self, storage: _Storage) -> np.ndarray:
    """The bytes of a whole storage, in the order of this machine."""
    if storage.key not in self._found:
      itemsize = storage.dtype.itemsize
      content = self._find_bytes(storage.key)[: storage.numel * itemsize]
      if len(content) < storage.numel * itemsize:
        raise EOFError
      words = np.frombuffer(content, f'{self._order}u{itemsize}')
      self._found[storage.key] = words.astype(f'u{itemsize}')
    return self._found[storage.key]
