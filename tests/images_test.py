import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.runtime import images
from tests import cells


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


def test_labels_are_shortened_to_their_column():
  cell = np.zeros((64, 64, 3), np.uint8)
  names = ['x' * 100, 'short']
  grid = images.labelled_grid([[cell, cell]], names, [''])
  assert grid.shape == (16 + 68, 134, 3)
  dark = (grid[:16] < 128).all(-1).any(0)
  assert dark[:64].sum() > 30 and not dark[62:66].any()


def test_labels_to_the_left_have_the_room_that_they_need():
  cell = np.zeros((64, 64, 3), np.uint8)
  widths = [
    images.labelled_grid([[cell]], [''], [label]).shape[1] - 68
    for label in ('', 'cat', 'triangle\nlatent 1', 'l' * 999, 'w' * 999)
  ]
  assert widths[0] == 0 < widths[1] < widths[2] < 100
  assert 130 < max(widths[3:]) <= 12 * 12 + 4


@pytest.mark.parametrize(
  'size, side, line', [(2, 64, 16), (32, 64, 16), (48, 96, 16), (256, 256, 33)]
)
def test_small_cells_are_enlarged_whole_and_fonts_grow(size, side, line):
  pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
  grid = images.labelled_grid([[pixels, None]], ['a', 'b'], [''])
  assert grid.shape == (line + side + 4, 2 * side + 6, 3)
  np.testing.assert_array_equal(cells.read(grid, size, 1, 2)[0, 0], pixels)
  np.testing.assert_array_equal(
    grid, images.labelled_grid([[pixels, None]], ['a', 'b'], [''])
  )


def test_names_are_shown_or_numbered():
  names = [
    'cat',
    'Caf\xe9',
    'Ｗide',
    '猫',
    '😀',
    'a\n\x1b',
    'cat',
    '\udcff',
    'b?',
  ]
  assert images.name_all(names, 'domain') == [
    *('cat', 'Cafe', 'Wide', 'domain 4', 'domain 5', r'a\n\x1b', 'cat'),
    *(r'\udcff', 'b?'),
  ]
  # Names that would look alike.
  assert images.name_all(['\xe9', 'e', 'f'], 'x') == ['x 1', 'x 2', 'f']


def test_no_label_is_a_box():
  cell = np.zeros((64, 64, 3), np.uint8)
  drawn, expected = (
    images.labelled_grid([[cell]], [text], ['']) for text in ('\xe9猫😀', 'e??')
  )
  np.testing.assert_array_equal(drawn, expected)


def test_png_round_trip(tmp_path):
  image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
  images.write_png(epath.Path(tmp_path / 'x.png'), image)
  with Image.open(tmp_path / 'x.png') as read:
    np.testing.assert_array_equal(np.asarray(read), image)
