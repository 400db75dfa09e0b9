"""What a file is that is not what its name says, told by its first bytes."""

import io
import re
import zipfile
from typing import NamedTuple


class Foreign(NamedTuple):
  """A kind of file.

  Attributes:
    what: it is, with an article.
    cure: what to do to have the file that is meant.
  """

  what: str
  cure: str


_AGAIN = 'download or copy it again'
_UNPACK = 'unpack it, and name the file that is in it'
_CONVERT = 'load it with the code that wrote it, and torch.save its state_dict'
# By the bytes that a file opens with, but for white space in front of text.
_OPENINGS = {
  b'version https://git-lfs': Foreign(
    'a pointer of Git LFS', 'get the file itself with git lfs pull'
  ),
  b'/annex/objects/': Foreign(
    'a pointer of git-annex', 'get the file itself with git annex get'
  ),
  b'\x1f\x8b': Foreign('a gzip archive', _UNPACK),
  b'BZh': Foreign('a bzip2 archive', _UNPACK),
  b'\xfd7zXZ\0': Foreign('an xz archive', _UNPACK),
  b'\x28\xb5\x2f\xfd': Foreign('a Zstandard archive', _UNPACK),
  b"7z\xbc\xaf'\x1c": Foreign('a 7z archive', _UNPACK),
  b'Rar!\x1a\x07': Foreign('a RAR archive', _UNPACK),
  b'\x89HDF\r\n': Foreign('an HDF5 file, as of Keras', _CONVERT),
  b'\x93NUMPY': Foreign('an array of NumPy', _CONVERT),
  b'GGUF': Foreign('a GGUF file', _CONVERT),
  b'\x04\0\0\0\x01\0\0\0': Foreign('a file of Lua Torch', _CONVERT),
  b'%PDF': Foreign('a PDF document', _AGAIN),
  b'\x89PNG': Foreign('a picture', _AGAIN),
  b'\xff\xd8\xff': Foreign('a picture', _AGAIN),
  b'GIF8': Foreign('a picture', _AGAIN),
}
# Names in the archives of PyTorch's first form.
_FIRST_PYTORCH = (b'sys_info', b'pickle', b'tensors', b'storages')
_BEGINNING = 512  # bytes that tell whether it is a text
CUT_OFF = Foreign('cut off, as by a download that broke off', _AGAIN)
_WEB_PAGE = Foreign(
  'a web page, as of a download that failed',
  'download the file itself (curl -L follows a moved address)',
)
_MARKUP = re.compile(
  rb'(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)*'
  rb'<(?:\?xml|!doctype html|html|head|body)',
  re.IGNORECASE | re.DOTALL,
)


def find(data: bytes) -> Foreign | None:
  """The kind of a file, of those that are no archive of arrays or weights.

  Args:
    data: its content.

  Returns:
    None where nothing tells; a ZIP archive is one for its reader to look at.
  """
  if not data:
    return Foreign('an empty file', _AGAIN)
  if _MARKUP.match(data[:4096]):
    return _WEB_PAGE
  for opening, kind in _OPENINGS.items():
    if data.startswith(opening):
      return kind
  if data[257:262] == b'ustar':
    if data[:100].rstrip(b'\0') in _FIRST_PYTORCH:
      return Foreign('a tar archive of the first PyTorch', _CONVERT)
    return Foreign('a tar archive', _UNPACK)
  if is_safetensors(data):
    return Foreign('a file of safetensors', _CONVERT)
  if data[:1] == b'\x08' and re.search(rb'pytorch|onnx|graph', data[:256]):
    return Foreign('an ONNX file', _CONVERT)
  if data[:2] == b'PK' and not zipfile.is_zipfile(io.BytesIO(data)):
    return CUT_OFF
  if _is_text(data[:_BEGINNING]):
    text = data[:_BEGINNING].decode(errors='replace')
    text = ' '.join(text.split())[:40]
    return Foreign(f'a text that begins with {text!r}', _AGAIN)
  return None


def is_safetensors(data: bytes) -> bool:
  """Whether a file begins as one of safetensors."""
  return data[8:9] == b'{' and int.from_bytes(data[:8], 'little') < len(data)


def _is_text(data: bytes) -> bool:
  text = data.decode('utf-8', 'surrogateescape')
  if len(data) == _BEGINNING:
    text = text[:-3]  # the last letter may be cut
  return not re.search('[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]', text)
