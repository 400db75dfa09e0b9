"""Files as torch.save writes them, made without PyTorch, good ones and bad."""

import io
import pathlib
import struct
import zipfile

import numpy as np

PROTO, STOP = b'\x80\x02', b'.'
_STORAGES = {
  'float64': 'DoubleStorage',
  'float32': 'FloatStorage',
  'float16': 'HalfStorage',
  'int64': 'LongStorage',
  'int32': 'IntStorage',
  'uint8': 'ByteStorage',
  'bool': 'BoolStorage',
}


def write(path, tree):
  """Writes a tree of dicts, lists, numbers and arrays, as of today."""
  storages = []
  pickle = PROTO + _encode(tree, storages) + STOP
  entries = {f'data/{i}': data for i, data in enumerate(storages)}
  pathlib.Path(path).write_bytes(archive(pickle, **entries))


def archive(pickle, **entries):
  """The ZIP archive of a pickle, and of bytes by their names."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as file:
    for name, data in {'data.pkl': pickle, **entries}.items():
      file.writestr(f'x/{name}', data)
  return buffer.getvalue()


def text(value):
  value = value.encode()
  return b'X' + struct.pack('<I', len(value)) + value


def number(value):
  size = value.bit_length() // 8 + 1
  return b'\x8a' + bytes([size]) + value.to_bytes(size, 'little', signed=True)


def group(*items):
  return b'(' + b''.join(items) + b't'


def name(module, value):
  return f'c{module}\n{value}\n'.encode()


def storage(numel, kind='FloatStorage', key='0', view=b''):
  kind = name('torch', kind)
  view = (view,) if view else ()
  return (
    group(text('storage'), kind, text(key), text('cpu'), number(numel), *view)
    + b'Q'
  )


def tensor(of, size=(4,), stride=(1,), offset=0):
  """A view of a `storage`."""
  sizes, strides = (group(*map(number, values)) for values in (size, stride))
  arguments = group(of, number(offset), sizes, strides, b'\x89', b'}')
  return name('torch._utils', '_rebuild_tensor_v2') + arguments + b'R'


def _encode(x, storages):
  if isinstance(x, dict):
    items = [_encode(part, storages) for pair in x.items() for part in pair]
    return b'}(' + b''.join(items) + b'u'
  if isinstance(x, list):
    return b'](' + b''.join(_encode(part, storages) for part in x) + b'e'
  if isinstance(x, np.ndarray):
    of = storage(x.size, _STORAGES[x.dtype.name], str(len(storages)))
    storages.append(x.tobytes())
    strides = [
      step // x.itemsize for step in np.empty(x.shape, x.dtype).strides
    ]
    return tensor(of, x.shape, strides)
  if isinstance(x, str):
    return text(x)
  if isinstance(x, float):
    return b'G' + struct.pack('>d', x)
  return number(x)
