"""The images of a labelled grid, for the tests that look at them."""

import numpy as np

from jaxgan.runtime import images

MAX_LEFT = 150  # pixels that labels may take at the left of small cells


def read(grid: np.ndarray, size: int, rows: int, columns: int) -> np.ndarray:
  """Images [rows, columns, size, size, 3] of a grid that has so many."""
  factor = -(-images.MIN_CELL // size)
  pitch = factor * size + 2
  above = grid.shape[0] - (2 + rows * pitch)
  left = grid.shape[1] - (2 + columns * pitch)
  assert 0 <= above < pitch and 0 <= left < MAX_LEFT, (above, left)
  cells = grid[above + 2 :, left + 2 :]
  side = slice(0, pitch - 2, factor)
  return np.stack(
    [
      [cells[i * pitch :, j * pitch :][side, side] for j in range(columns)]
      for i in range(rows)
    ]
  )
