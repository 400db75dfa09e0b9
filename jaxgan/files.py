"""Writing files whole or not at all."""

from etils import epath


def write_whole(path: epath.Path, data: bytes | str) -> None:
  """Writes bytes or text under another name and renames; folder must exist."""
  partial = path.parent / f'{path.name}.partial'
  if isinstance(data, str):
    partial.write_text(data)
  else:
    partial.write_bytes(data)
  partial.replace(path)
