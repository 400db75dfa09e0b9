"""Writing files whole or not at all, and where caches are."""

import os

from etils import epath


def default_cache_dir() -> str:
  """Where a user's caches are, by the convention of the desktop systems."""
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(home, 'jaxgan')


def write_whole(path: epath.Path, data: bytes | str) -> None:
  """Writes bytes or text under another name and renames; folder must exist."""
  partial = path.parent / f'{path.name}.partial'
  if isinstance(data, str):
    partial.write_text(data)
  else:
    partial.write_bytes(data)
  partial.replace(path)
