import numpy as np
from etils import epath
from PIL import Image

from jaxgan.runtime import images


def test_to_uint8_rounds_and_clips():
  x = np.array([-9.0, -1.0, 0.0, 1.0, 9.0, 99 / 127.5 - 1 + 0.003])
  np.testing.assert_array_equal(images.to_uint8(x), [0, 0, 128, 255, 255, 99])


def test_grid_places_images_and_leaves_gaps_white():
  black = np.full((4, 4, 3), -1.0)
  grid = images.grid([[None, black], [black, black]], pad=2)
  assert grid.shape == (14, 14, 3)
  assert (grid[2:6, 2:6] == 255).all() and (grid[2:6, 8:12] == 0).all()
  assert (grid[8:12, 2:6] == 0).all()
  assert (grid[:2] == 255).all() and (grid[:, 6:8] == 255).all()


def test_png_round_trip(tmp_path):
  image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
  images.write_png(epath.Path(tmp_path / 'x.png'), image)
  with Image.open(tmp_path / 'x.png') as read:
    np.testing.assert_array_equal(np.asarray(read), image)
