"""Folders of pictures: what is read of them, and by kind what is not."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from absl import logging
from etils import epath

from jaxgan.runtime import files, processes
from jaxgan.runtime.errors import UserError, printable

EXTENSIONS = (
  *('.jpg', '.jpeg', '.jfif', '.png', '.webp', '.bmp', '.tif', '.tiff'),
  *('.gif', '.avif', '.heic', '.heif'),
)
READ = ' '.join(EXTENSIONS)
_NOT_READ = (
  *('.apng', '.arw', '.cr2', '.cr3', '.dng', '.exr', '.ico', '.j2k', '.jp2'),
  *('.jpe', '.jxl', '.nef', '.orf', '.pbm', '.pgm', '.pnm', '.ppm', '.psd'),
  *('.raf', '.rw2', '.svg', '.tga'),
)

# Kinds of what is not used.
OTHER_PICTURES = 'pictures of formats that are not read'
OUTSIDE = 'images outside of the folders of domains'
FOLDERS = 'folders among images'
DOMAINS = 'further domains'
SPLITS = 'further splits or folders'
NO_LABEL = 'records without a label'
NOT_LISTED = 'images that the list does not name'
NO_IMAGE = 'names in the list without an image'
TWICE = 'names that the list has more than once'
OTHER_FILES = 'other files'
HIDDEN = 'hidden files and folders'
KINDS = (  # what matters most comes first
  *(DOMAINS, OTHER_PICTURES, OUTSIDE, FOLDERS, SPLITS, NO_LABEL),
  *(NOT_LISTED, NO_IMAGE, TWICE, OTHER_FILES, HIDDEN),
)
_BY_ENDING = (OTHER_PICTURES, OUTSIDE, NOT_LISTED, OTHER_FILES)
_MOST = 3  # endings, or names, that a line has of a kind

Unused = dict[str, list[str]]  # {kind: names or paths}


def entries(folder: epath.Path) -> list[epath.Path]:
  """All that a folder holds, by name; UserError if it cannot be listed."""
  try:
    return sorted(folder.iterdir(), key=lambda entry: entry.name)
  except OSError as error:
    raise UserError(f'cannot list {folder} ({error})') from None


def is_visible(entry: epath.Path) -> bool:
  """Whether it is none of the system's own: such folders are no domains."""
  return not files.is_foreign(entry.name)


def is_image(entry: epath.Path) -> bool:
  """Whether it is a picture of a kind that is read, by its name."""
  return entry.suffix.lower() in EXTENSIONS


def images(folder: epath.Path) -> tuple[list[epath.Path], Unused]:
  """The images that lie in a folder, and what else does."""
  there = entries(folder)
  found = [e for e in there if is_visible(e) and is_image(e)]
  taken = set(found)
  return found, by_kind(e for e in there if e not in taken)


def by_kind(others: Iterable[epath.Path]) -> Unused:
  """Sorts what is no image of a domain."""
  unused: Unused = defaultdict(list)
  for entry in others:
    if not is_visible(entry):
      kind = HIDDEN
    elif is_image(entry):
      kind = OUTSIDE
    elif entry.suffix.lower() in _NOT_READ:
      kind = OTHER_PICTURES
    else:
      kind = FOLDERS if entry.is_dir() else OTHER_FILES
    unused[kind].append(printable(str(entry)))
  return dict(unused)


def walk(folder: epath.Path) -> tuple[list[epath.Path], Unused]:
  """The images in a folder and in those in it, in order, and what else is."""
  found: list[epath.Path] = []
  others: list[epath.Path] = []
  for entry in _walk(folder):
    (found if is_visible(entry) and is_image(entry) else others).append(entry)
  return found, by_kind(others)


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
  waiting, seen = [folder], set()
  while waiting:
    path = waiting.pop()
    # What was named is looked into, whatever its name.
    if path == folder or (is_visible(path) and path.is_dir()):
      # By its real name: links may lead in circles.
      text = os.fspath(path)
      real = text if '://' in text else os.path.realpath(text)
      if real not in seen:
        seen.add(real)
        waiting += reversed(entries(path))
    else:
      yield path


def merged(parts: Iterable[Unused]) -> Unused:
  """What several have, kind by kind."""
  unused: Unused = defaultdict(list)
  for part in parts:
    for kind, names in part.items():
      unused[kind] += names
  return dict(unused)


def summary(unused: Unused) -> str:
  """How many of each kind, and their commonest endings or first names."""
  return '; '.join(
    f'{kind}: {len(unused[kind])} ({_examples(kind, unused[kind])})'
    for kind in KINDS
    if kind in unused
  )


def _examples(kind: str, names: Sequence[str]) -> str:
  if kind in _BY_ENDING:
    endings = Counter(
      os.path.splitext(name)[1].lower() or 'no ending' for name in names
    )
    shown = [
      f'{count} {ending}' if len(endings) > 1 else ending
      for ending, count in endings.most_common(_MOST)
    ]
    more = len(endings) > _MOST
  else:
    shown = [name.rpartition('/')[2] for name in names[:_MOST]]
    more = len(names) > _MOST
  return ', '.join([*shown, *(['...'] if more else [])])


def tell(where: str, unused: Unused) -> None:
  """Warns of what is not used, in one line of the first process."""
  if unused and processes.is_first():
    logging.warning('%s: not used: %s', where, summary(unused))


def no_images(folder: epath.Path, unused: Unused, cure: str = '') -> UserError:
  """The error of a folder without images, which says what it has instead."""
  but = f', but {summary(unused)}' if unused else ''
  return UserError(
    f'{folder} holds no images ({READ}){but}' + (f': {cure}' if cure else '')
  )


def there(folder: epath.Path) -> str:
  """' (there: a, b)' of the folders in a folder, or of what it has instead."""
  found = entries(folder)
  names = [e.name for e in found if is_visible(e) and e.is_dir()]
  if names:
    shown = ', '.join(map(printable, names[:12]))
    return f' (there: {shown}{", ..." if names[12:] else ""})'
  unused = by_kind(found)
  return f' (there: {summary(unused)})' if unused else ' (there: nothing)'
