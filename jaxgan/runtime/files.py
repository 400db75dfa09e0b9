"""Files: written whole or not at all, and read as data that anyone may send."""

import contextlib
import fnmatch
import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from jaxgan.runtime import foreign

# What an archive may unpack to if it is larger than the archive itself.
_MAX_UNPACKED = 2**26
_NO_NAME = re.compile(r'[/\x00-\x1f\x7f-\x9f\ud800-\udfff]')


def default_cache_dir() -> str:
  """Where a user's caches are, by the convention of the desktop systems."""
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(home, 'jaxgan')


def write_whole(path: epath.Path, data: bytes | str) -> None:
  """Writes bytes or text under another name and renames; folder must exist."""
  partial = partial_path(path)
  with naming(path):
    try:
      if isinstance(data, str):
        partial.write_text(data)
      else:
        partial.write_bytes(data)
      partial.replace(path)
    except OSError:
      with contextlib.suppress(OSError):
        partial.unlink()  # a full disk has better use for the room
      raise


@contextlib.contextmanager
def naming(path: epath.Path) -> Iterator[None]:
  """Inside, an OSError names the file, as those of a full disk do not."""
  try:
    yield
  except OSError as e:
    e.filename = e.filename or os.fspath(path)
    raise


def partial_path(path: epath.Path) -> epath.Path:
  """Where to write what will become `path` when it is whole."""
  partial = path.parent / f'{path.name}.partial'
  remove_unless_regular(partial)
  return partial


def remove_unless_regular(path: epath.Path) -> None:
  """Removes a link or a pipe, which would lead elsewhere or block a writer."""
  with contextlib.suppress(FileNotFoundError):
    if '://' not in os.fspath(path) and not stat.S_ISREG(
      os.lstat(path).st_mode
    ):
      os.unlink(path)


def is_name(text: str) -> bool:
  """Whether a text names a file or folder, and none outside of its own."""
  return text not in ('', '.', '..') and not _NO_NAME.search(text)


def numbers_in(directory: epath.Path) -> list[int]:
  """The names in a directory that are numbers, in order; it may be missing."""
  if not directory.is_dir():
    return []
  names = [path.name for path in directory.iterdir()]
  return sorted(int(n) for n in names if n.isascii() and n.isdigit())


def matching(directory: epath.Path, pattern: str) -> list[epath.Path]:
  """The paths in a directory whose names fit; none where it is missing.

  `epath.Path.glob` makes one pattern of both, in which `[old] runs` is a folder
  called `o`, `l` or `d`; so it is used nowhere.
  """
  if not directory.is_dir():
    return []
  return sorted(
    path
    for path in directory.iterdir()
    if fnmatch.fnmatchcase(path.name, pattern)
  )


def is_regular(path: epath.PathLike) -> bool:
  """Whether this is a file that ends: no folder, pipe or device.

  Raises:
    OSError: there is nothing.
  """
  path = os.fspath(path)  # a bucket (gs://...) holds nothing but files
  return '://' in path or stat.S_ISREG(os.stat(path).st_mode)


def read_json(path: epath.Path) -> dict[str, Any]:
  """The object in a JSON file; raises ValueError if there is none."""
  if not is_regular(path):
    raise ValueError('not a file')
  try:
    content = json.loads(path.read_text())
  except RecursionError:
    raise ValueError('nested too deeply') from None
  if not isinstance(content, dict):
    raise ValueError('something else than an object')
  return content


def read_npz(path: epath.Path) -> dict[str, np.ndarray]:
  """The arrays of numbers or text in an .npz file, every sum checked.

  Raises:
    OSError: there is no such file.
    ValueError: it is no such archive, or no whole one.
  """
  if not is_regular(path):
    raise ValueError('not a file')
  data = path.read_bytes()
  try:
    if kind := foreign.find(data):
      raise ValueError(f'it is {kind.what}')
    check_unpacked_size(data)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
      arrays = dict(archive)
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
      raise ValueError('not all of its files are arrays')
    return arrays
  # zipfile, zlib and NumPy raise almost anything on foreign bytes.
  except Exception as e:
    raise ValueError(' '.join(str(e).split()) or type(e).__name__) from e


def check_unpacked_size(data: bytes) -> None:
  """Raises ValueError for a ZIP archive that would unpack to much more."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    size = sum(entry.file_size for entry in archive.infolist())
  if size > max(len(data), _MAX_UNPACKED):
    raise ValueError(f'an archive of {len(data):,} bytes for {size:,}')
