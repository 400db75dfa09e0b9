"""Icon sets of Iconify, as npm packs or installs them: found, read, drawn.

A package holds `icons.json`, the drawings by name; `info.json`, whose they are
and under which licence; and `package.json`, its version. An archive is read in
memory and never unpacked to files.
"""

import concurrent.futures
import contextlib
import gzip
import io
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from jaxgan.runtime import errors, files, foreign

_FILES = ('icons.json', 'info.json', 'package.json')
# Where a package may lie in a folder; `{}` is its name.
_PLACES = (
  *('', 'package', '{}', '{}/package'),
  *('@iconify-json/{}', 'node_modules/@iconify-json/{}'),
)
# Bytes; the largest set known, fluent-emoji, has 2^26.6. Sets unpack to 3 to 8
# times their archives.
_MAX_BYTES = 2**27
_MAX_RATIO, _SMALL = 16, 2**20
_MAX_MEMBERS = 100
# Of the format: what an icon has where neither it nor its set says.
_BOX = {'left': 0, 'top': 0, 'width': 16, 'height': 16}
_FARTHEST = 1e6  # that a box reaches
_TURNS = {'rotate', 'hFlip', 'vFlip'}
# resvg recurses into elements, 500 of which exhaust a usual stack. The largest
# drawing known has 5,241 tags.
_STACK = 2**27
_MAX_TAGS = 20_000
_OTHER_FILE = re.compile(r'<(?:[\w.-]+:)?(?:fe)?image\b', re.IGNORECASE)


class Package(NamedTuple):
  """A package by its name below `@iconify-json/`, of one version."""

  name: str
  version: str

  def __str__(self) -> str:
    """As npm takes it."""
    return f'@iconify-json/{self.name}@{self.version}'


class Icon(NamedTuple):
  """A drawing: the elements of an SVG, and the part of the plane they are in.

  Attributes:
    body: what is inside the element `svg`.
    box: left, top, width and height.
  """

  body: str
  box: tuple[float, ...]


class IconSet(NamedTuple):
  """What is used of a package.

  Attributes:
    version: of the package.
    info: `info.json`, as it is.
    title: of the set.
    author: its name and address.
    licence: its title, its name by SPDX, and its address.
    icons: {name: drawing}, of those that were asked for and are there.
  """

  version: str
  info: bytes
  title: str
  author: tuple[str, str]
  licence: tuple[str, str, str]
  icons: dict[str, Icon]


def import_resvg() -> ModuleType:
  """resvg-py, an optional package; raises UserError if it is not installed."""
  try:
    import resvg_py
  except ImportError as e:
    raise errors.UserError(
      f'drawing icons needs resvg-py ({e}): pip install "resvg-py>=0.5.0"'
    ) from e
  return resvg_py


def find(folder: epath.Path, package: Package) -> epath.Path | None:
  """The folder or the archive of a package; None where there is none.

  Of several versions it is the one that is asked for.

  Args:
    folder: holds the archive that `npm pack` leaves, `node_modules`, or the
      package itself.

  Raises:
    UserError: there are several, all of other versions.
  """
  found = [*_archives(folder, package), *_folders(folder, package)]
  wanted = [path for version, path in found if version == package.version]
  if len(found) > 1 and not wanted:
    names = ', '.join(os.fspath(path) for _, path in found)
    raise errors.UserError(
      f'{names} are several versions of @iconify-json/{package.name}: keep one'
    )
  return next(iter(wanted or [path for _, path in found]), None)


def _archives(
  folder: epath.Path, package: Package
) -> Iterator[tuple[str, epath.Path]]:
  """(version, archive) by the names that npm and its registry give."""
  named = re.compile(rf'(?:iconify-json-)?{package.name}-(\d.*)\.tgz')
  for path in files.matching(folder, '*.tgz'):
    if match := named.fullmatch(path.name):
      yield match[1], path


def _folders(
  folder: epath.Path, package: Package
) -> Iterator[tuple[str, epath.Path]]:
  """(version, folder) of packages that are unpacked."""
  for place in _PLACES:
    path = folder / place.format(package.name)
    if all((path / file).exists() for file in ('icons.json', 'package.json')):
      try:
        told = files.parse_json(_read_file(path / 'package.json'))
      except ValueError as e:
        raise errors.UserError(
          f'{path}/package.json cannot be read ({e}): get it again, npm pack '
          f'{package}'
        ) from e
      if told.get('name') == f'@iconify-json/{package.name}':
        yield str(told.get('version')), path


def read(path: epath.Path, package: Package, names: Iterable[str]) -> IconSet:
  """Reads the icons of these names from a package's folder or archive.

  An alias is no icon: it may stand for an older name, which meant another
  thing (`cricket` of noto-v1, the game, is an insect elsewhere). An icon that
  is turned or mirrored is left out, too.

  Raises:
    UserError: it is damaged, something else, or has none of the names.
    OSError: it cannot be read.
  """
  try:
    if path.is_dir():
      there = [file for file in _FILES if (path / file).exists()]
      contents = {file: _read_file(path / file) for file in there}
    else:
      contents = _unpack(_read_file(path))
    return _parse(contents, package.name, names)
  except OSError:
    raise
  # gzip, zlib, tarfile and json raise almost anything on foreign bytes.
  except Exception as e:
    reason = ' '.join(str(e).split()) or type(e).__name__
    raise errors.UserError(
      f'{path} is no whole icon set {package.name} ({reason}): get it again, '
      f'npm pack {package}'
    ) from e


def _read_file(path: epath.Path) -> bytes:
  if not files.is_regular(path):
    raise ValueError(f'{path.name} is not a file')
  if (size := os.path.getsize(path)) > _MAX_BYTES:
    raise ValueError(f'{size:,} bytes, and the limit is {_MAX_BYTES:,}')
  return path.read_bytes()


def _unpack(data: bytes) -> dict[str, bytes]:
  """The files of a package that are used, of its archive."""
  if not data.startswith(b'\x1f\x8b'):
    kind = foreign.find(data)
    raise ValueError(f'it is {kind.what}' if kind else 'it is no .tgz')
  limit = min(_MAX_BYTES, max(_SMALL, _MAX_RATIO * len(data)))
  try:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
      unpacked = file.read(limit + 1)
  except OSError as e:  # a sum is wrong: no fault of the disk
    raise ValueError(str(e)) from e
  if len(unpacked) > limit:
    raise ValueError(
      f'an archive of {len(data):,} bytes for more than {limit:,}'
    )
  wanted = {f'package/{file}': file for file in _FILES}
  contents = {}
  with tarfile.open(fileobj=io.BytesIO(unpacked), mode='r:') as archive:
    for number, member in enumerate(archive):
      if number == _MAX_MEMBERS:
        raise ValueError(f'it has more than {_MAX_MEMBERS} files')
      # A sparse file may claim any size.
      if member.name in wanted and member.isreg() and not member.issparse():
        extracted = archive.extractfile(member)
        assert extracted  # of a regular file
        contents[wanted[member.name]] = extracted.read()
  return contents


def _parse(
  contents: dict[str, bytes], name: str, names: Iterable[str]
) -> IconSet:
  if missing := [file for file in _FILES if file not in contents]:
    raise ValueError(f'it has no {missing[0]}')
  parsed = {file: _parse_json(file, contents[file]) for file in _FILES}
  info, package = parsed['info.json'], parsed['package.json']
  content = parsed['icons.json']
  if content.get('prefix') != name:
    raise ValueError(f'it is of the icons {content.get("prefix")!r}')
  if not isinstance(content.get('icons'), dict):
    raise ValueError('icons.json has no icons')
  found = {n: _icon(content, n) for n in names if n in content['icons']}
  icons = {n: icon for n, icon in found.items() if icon}
  if not icons:
    raise ValueError('none of its icons has a name that is asked for')
  return IconSet(
    version=_text(package, 'version'),
    info=contents['info.json'],
    title=_text(info, 'name'),
    author=(_text(info, 'author', 'name'), _text(info, 'author', 'url')),
    licence=(
      _text(info, 'license', 'title'),
      _text(info, 'license', 'spdx'),
      _text(info, 'license', 'url'),
    ),
    icons=icons,
  )


def _parse_json(file: str, data: bytes) -> dict[str, Any]:
  try:
    return files.parse_json(data)
  except ValueError as e:
    raise ValueError(f'{file}: {e}') from e


def _text(content: Any, *keys: str) -> str:
  for key in keys:
    content = content.get(key) if isinstance(content, dict) else None
  if not isinstance(content, str):
    raise ValueError(f'it does not say its {" ".join(keys)}')
  return errors.printable(content)


def _icon(content: dict[str, Any], name: str) -> Icon | None:
  """The icon of a name; None if it is turned or mirrored."""
  icon = content['icons'][name]
  if not isinstance(icon, dict) or not isinstance(icon.get('body'), str):
    raise ValueError(f'its icon {name!r} has no body')
  box = tuple(
    icon.get(key, content.get(key, usual)) for key, usual in _BOX.items()
  )
  if not all(type(x) in (int, float) and abs(x) < _FARTHEST for x in box):
    raise ValueError(f'its icon {name!r} has a box that is not of numbers')
  if min(box[2:]) <= 0:
    raise ValueError(f'its icon {name!r} has no size')
  return None if _TURNS & icon.keys() else Icon(icon['body'], box)


@contextlib.contextmanager
def drawing() -> Iterator[Callable[[Icon, int], np.ndarray]]:
  """Gives a function that draws an icon, for use inside.

  It takes an icon and a size S, and returns uint8 [S, S, 3], the icon's box in
  the middle, as large as it fits, on white. It raises ValueError for a body
  that cannot be drawn.
  """
  before = threading.stack_size(_STACK)
  try:
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
      yield lambda icon, size: thread.submit(_draw, icon, size).result()
  finally:
    threading.stack_size(before)


def _draw(icon: Icon, size: int) -> np.ndarray:
  if icon.body.count('<') > _MAX_TAGS:
    raise ValueError(f'more than {_MAX_TAGS:,} tags')
  if _OTHER_FILE.search(icon.body):
    raise ValueError('it shows another file')
  box = ' '.join(map(str, icon.box))
  svg = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" '
    f'width="{size}" height="{size}">{icon.body}</svg>'
  )
  png = import_resvg().svg_to_bytes(
    svg_string=svg,
    width=size,
    background='#ffffff',
    skip_system_fonts=True,  # so that it is the same on all machines
  )
  return np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))
