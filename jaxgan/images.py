"""Pictures of arrays: uint8, grids, PNG files."""

import io
from collections.abc import Sequence

import jax
import numpy as np
from etils import epath
from PIL import Image

Array = jax.Array | np.ndarray


def to_uint8(x: Array) -> np.ndarray:
  """Maps [-1, 1] to 0..255, rounded; values outside are clipped."""
  x = np.asarray(x, np.float32)
  return np.uint8(np.clip(np.rint((x + 1) * 127.5), 0, 255))


def grid(rows: Sequence[Sequence[Array | None]], pad: int = 2) -> np.ndarray:
  """Lays out images [S, S, 3] in [-1, 1] in rows; None leaves a white cell.

  Returns:
    uint8 [H, W, 3] with `pad` white pixels around every image.
  """
  size = next(x.shape[0] for row in rows for x in row if x is not None)
  pitch = size + pad
  height = pad + pitch * len(rows)
  width = pad + pitch * max(len(row) for row in rows)
  canvas = np.full((height, width, 3), 255, np.uint8)
  for i, row in enumerate(rows):
    for j, x in enumerate(row):
      if x is not None:
        top, left = pad + pitch * i, pad + pitch * j
        canvas[top : top + size, left : left + size] = to_uint8(x)
  return canvas


def write_png(path: epath.Path, image: np.ndarray) -> None:
  """Writes uint8 [H, W, 3]; the directory must exist."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG')
  path.write_bytes(buffer.getvalue())
