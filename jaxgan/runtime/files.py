"""Files: written whole or not at all, and read as data that anyone may send."""

import contextlib
import errno
import fnmatch
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath

from jaxgan.runtime import foreign
from jaxgan.runtime.errors import UserError

# What an archive may unpack to if it is larger than the archive itself.
_MAX_UNPACKED = 2**26
_PARTIAL = '.partial'
_SUM = 8  # hexadecimal digits
MAX_NAME = 255 - len(_PARTIAL)  # bytes, of what is written whole
MAX_PART = 100  # bytes, of one of two names that a file is named by
# Names that file managers, file systems and archivers give, and nobody else.
_FOREIGN = re.compile(
  r'[.@]|__MACOSX|#(recycle|snapshot)$|lost\+found$|\$RECYCLE\.BIN$|Icon\r$|'
  r'System Volume Information$|(eh)?thumbs\.db$|desktop\.ini$',
  re.IGNORECASE,
)
_NO_NAME = re.compile(r'[/\x00-\x1f\x7f-\x9f\ud800-\udfff]')


def user_path(path: epath.PathLike) -> epath.Path:
  """A path as a user gives it: `~` in front is the home of the user.

  Raises:
    UserError: of a user that there is not, or on the hub (`runs.hub`).
  """
  if os.fspath(path).startswith('hf://'):
    raise UserError(
      f'{path} is on the Hugging Face hub, where runs are only read: give a '
      'folder'
    )
  expanded = os.path.expanduser(path)
  first = os.fspath(expanded).partition('/')[0]
  if first.startswith('~') and not os.path.exists(first):
    raise UserError(f'{path}: there is no user {first[1:]}')
  return epath.Path(expanded)


def default_cache_dir() -> str:
  """Where a user's caches are, by the convention of the desktop systems."""
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return os.path.join(os.path.expanduser(home), 'jaxgan')


def write_whole(path: epath.Path, data: bytes | str) -> None:
  """Writes bytes or text under another name and renames; folder must exist."""
  partial = partial_path(path)
  with naming(path):
    try:
      # UTF-8, wherever the program runs; a name may be of no encoding.
      if isinstance(data, str):
        data = data.encode(errors='backslashreplace')
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
  partial = path.parent / f'{path.name}{_PARTIAL}'
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


def check_part(name: str, what: str) -> None:
  """Raises UserError unless a name can be part of those of files.

  Args:
    name: of which two may be in one, with a few words beside them.
    what: it is, in a message.
  """
  if not is_name(name):
    raise UserError(
      f'{what} {name!r}, which cannot be part of the name of a file: rename it'
    )
  if num_bytes(name) > MAX_PART:
    raise UserError(
      f'{what} {name!r}, {num_bytes(name)} bytes: files are named by two, so '
      f'rename it to {MAX_PART} or fewer'
    )


def is_foreign(name: str) -> bool:
  """Whether a file or folder is none of a user's, by its name."""
  return bool(_FOREIGN.match(name))


def num_bytes(name: str) -> int:
  """How long a file system finds a name."""
  return len(os.fsencode(name))


def shortened(text: str, most: int) -> str:
  """The text, or of a longer one its beginning, `~` and a sum of all of it.

  Args:
    text: a name or a part of one.
    most: bytes that it may have.
  """
  if num_bytes(text) <= most:
    return text
  end = '~' + hashlib.sha256(os.fsencode(text)).hexdigest()[:_SUM]
  while num_bytes(text + end) > most:
    text = text[:-1]
  return text + end


def check_new(made: Iterable[tuple[epath.Path, str]], option: str) -> None:
  """Checks the files that are to be made before the first of them is.

  Args:
    made: the path of each, and a name for what it is made of.
    option: names the folder that they are in, in a message.

  Raises:
    UserError: two are one, also by a file system that does not tell A from a;
      one is there already; or a name is too long.
  """
  origins: dict[epath.Path, str] = {}
  for path, origin in made:
    if path in origins:
      raise _would_be_one(path, origins[path], origin, option)
    origins[path] = origin
  longest: dict[epath.Path, epath.Path] = {}  # by folder
  for path in origins:
    other = longest.setdefault(path.parent, path)
    if num_bytes(path.name) > num_bytes(other.name):
      longest[path.parent] = path
  there = {path for f in longest if f.is_dir() for path in f.iterdir()}
  for path in origins:
    if path in there:
      raise UserError(f'{path} exists: take another {option}')
  for folder, path in longest.items():
    for above in (folder, *folder.parents):
      if above in origins:
        raise _would_be_one(above, origins[above], origins[path], option)
      if above in there and not above.is_dir():
        raise UserError(f'{above} exists: take another {option}')
  for path in longest.values():
    _check_length(path)
  _check_alike(origins, there, option)


def _would_be_one(
  path: epath.Path, one: str, other: str, option: str
) -> UserError:
  return UserError(
    f'{path} would be made twice, of {one} and of {other}: rename one, or take '
    f'two {option}'
  )


def _check_length(path: epath.Path) -> None:
  if '://' in os.fspath(path):
    return
  partial, folder = epath.Path(f'{path}{_PARTIAL}'), _nearest_folder(path)
  # A path as a whole, and names where there is a folder already.
  names = [folder / name for name in partial.relative_to(folder).parts]
  for name in (partial, *names):
    try:
      os.lstat(name)
    except OSError as e:
      if e.errno == errno.ENAMETOOLONG:
        raise UserError(f'{path} is too long a name here: shorten it') from None


def _check_alike(
  origins: dict[epath.Path, str], there: set[epath.Path], option: str
) -> None:
  """Checks for names that a file system may take for one.

  They differ in case, or in how an accent is written.
  """
  seen = {_folded(path): path for path in there}
  for path, origin in origins.items():
    other = seen.setdefault(_folded(path), path)
    if other != path and _ignores_case(_nearest_folder(path)):
      if other in there:
        raise UserError(
          f'{other} exists, which is {path.name} here: take another {option}'
        )
      raise _would_be_one(path, origins[other], origin, option)


def _folded(path: epath.Path) -> str:
  return unicodedata.normalize('NFC', os.fspath(path)).casefold()


def _nearest_folder(path: epath.Path) -> epath.Path:
  """The folder of a file, or the one that it will be made in."""
  return next(folder for folder in path.parents if folder.is_dir())


def _ignores_case(folder: epath.Path) -> bool:
  if '://' in os.fspath(folder):
    return False
  with tempfile.NamedTemporaryFile(prefix='Aa', dir=folder) as probe:
    return (folder / epath.Path(probe.name).name.swapcase()).exists()


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
  return parse_json(path.read_text())


def parse_json(text: str | bytes) -> dict[str, Any]:
  """The object in a JSON text; raises ValueError if there is none."""
  try:
    content = json.loads(text)
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
