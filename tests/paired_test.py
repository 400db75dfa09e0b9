"""Batches of sources and their targets: the same item, cropped alike."""

import itertools

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import crops, preprocess, shapes
from jaxgan.data.contracts import paired
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError
from tests import tiny_pix2pix as tiny

SIZE, NUM = tiny.SIZE, 5
PAIR = ('edges', 'photos')


def picture(number, width=24, height=20):
  """Noise in which blue tells the number."""
  rng = np.random.default_rng(number)
  pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
  pixels[..., 2] = 40 * number
  return pixels


def write(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
  """<split>/edges and <split>/photos: a photo is the negative of its edges."""
  for split, i in itertools.product(('train', 'val'), range(NUM)):
    # In the two folders the names sort differently.
    write(tmp_path / split / 'edges' / f'{i}.png', picture(i))
    write(tmp_path / split / 'photos' / f'{i}.bmp', 255 - picture(i))
  return tmp_path


@pytest.fixture
def side_by_side(tmp_path):
  """<split>/<number>.png: the right half is the negative of the left one."""
  for split, i in itertools.product(('train', 'val'), range(NUM)):
    whole = np.concatenate([picture(i), 255 - picture(i)], axis=1)
    write(tmp_path / split / f'{i}.png', whole)
  return tmp_path


def config(root, **overrides):
  name = 'folder' if (root / 'train' / 'edges').is_dir() else 'paired'
  pair = PAIR if name == 'folder' else paired.SIDES
  data = {'data__name': name, 'data__root': str(root), 'data__pair': pair}
  return tiny.config(**data | overrides)


def open_train(config):
  return paired.Data(config).training(0, 1)


def batches(config, count=4):
  made = open_train(config).source.batches()
  return [next(made) for _ in range(count)]


@pytest.mark.parametrize('layout', ['folder', 'side_by_side'])
@pytest.mark.parametrize('load_size', [0, 24])
def test_both_sides_are_of_one_item_and_cropped_alike(
  request, layout, load_size
):
  root = request.getfixturevalue(layout)
  made = batches(config(root, data__load_size=load_size, batch_size=8))
  numbers = set()
  for batch in made:
    assert batch['x_a'].shape == (8, SIZE, SIZE, 3)
    # A negative of the same pixels: resampling is linear up to rounding.
    np.testing.assert_allclose(batch['x_a'], -batch['x_b'], atol=2.1 / 127.5)
    blue = (batch['x_a'][..., 2].mean(axis=(1, 2)) + 1) * 127.5
    numbers |= set(np.rint(blue / 40).astype(int).tolist())
  assert numbers == set(range(NUM))
  first, second = made[0]['x_a'][:2]
  assert np.abs(first - second).max() > 0.1


def test_a_batch_is_a_function_of_its_step(folder):
  settings = config(folder, data__load_size=24)
  made = batches(settings)
  resumed = next(open_train(settings).source.batches(2))
  np.testing.assert_array_equal(made[2]['x_a'], resumed['x_a'])
  np.testing.assert_array_equal(made[2]['x_b'], resumed['x_b'])
  assert (made[0]['x_a'] != made[1]['x_a']).any()


def test_the_pair_tells_the_direction(side_by_side):
  forth = batches(config(side_by_side))[0]
  back = batches(config(side_by_side, data__pair=('B', 'A')))[0]
  np.testing.assert_array_equal(forth['x_a'], back['x_b'])
  np.testing.assert_array_equal(forth['x_b'], back['x_a'])
  opened = open_train(config(side_by_side, data__pair=('B', 'A')))
  assert opened.domains == opened.resolved['data.domains'] == ('A',)
  assert opened.resolved['model.num_domains'] == 1


@pytest.mark.parametrize('layout', ['folder', 'side_by_side'])
def test_both_sides_have_the_name_of_the_item(request, layout):
  root = request.getfixturevalue(layout)
  _, val = paired.Data(config(root)).evaluation()
  for side in (0, 1):
    names = [val.name(side, number) for number in range(NUM)]
    assert names == ['0', '1', '2', '3', '4']


def test_validation_sees_all_of_a_picture(folder):
  _, val = paired.Data(config(folder, data__load_size=24)).evaluation()
  assert (val.domains, val.counts) == (PAIR, (NUM, NUM))
  for number in range(NUM):
    ((_, x),), ((_, y),) = (val.images(side, [number]) for side in (0, 1))
    whole = Image.fromarray(picture(number))
    np.testing.assert_array_equal(x, preprocess.resize(whole, SIZE))
    assert np.abs(x.astype(int) + y - 255).max() <= 1


def test_squeezed_squares_are_those_of_the_original():
  # Both sides become 24, of which 16 x 16 are cut out: at (8, 8) the last ones.
  pixels = picture(1, 72, 48)
  crop = crops.Square(SIZE, 24, squeeze=True)
  words = np.array([8, 8, 0], np.uint32)
  cut = crop.on_host(words, Image.fromarray(pixels), SIZE)
  whole = preprocess.resize(Image.fromarray(pixels), 24)
  assert np.abs(cut.astype(int) - whole[8:, 8:]).max() <= 1


def test_on_devices_the_same_holds(folder):
  settings = config(
    folder,
    data__on_device=True,
    data__load_size=24,
    data__cache_dir=str(folder / 'cache'),
    batch_size=8,
  )
  mesh = sharding.create_mesh(8, 1)
  fed, to_batch = open_train(settings).source.feed(mesh, 0, 1)
  batch = to_batch(next(iter(fed)), np.int32(0))
  x_a, x_b = np.asarray(batch['x_a']), np.asarray(batch['x_b'])
  np.testing.assert_allclose(x_a, -x_b, atol=2.1 / 127.5)
  assert np.abs(x_a[0] - x_a[1]).max() > 0.1


def _damage(folder):
  (folder / 'train' / 'photos' / '2.bmp').write_bytes(b'BM')
  return {'data__skip_bad_images': True}


def test_of_an_unreadable_image_the_whole_pair_is_skipped(folder):
  settings = config(folder, batch_size=8, **_damage(folder))
  opened = open_train(settings)
  made = opened.source.batches()
  for batch in (next(made) for _ in range(4)):
    np.testing.assert_allclose(batch['x_a'], -batch['x_b'], atol=2.1 / 127.5)
  assert opened.source.skipped > 0


def test_on_devices_a_half_readable_pair_is_refused(folder):
  settings = config(
    folder,
    data__on_device=True,
    data__cache_dir=str(folder / 'cache'),
    **_damage(folder),
  )
  message = r'1 pairs have an unreadable image \(the first is number 2\)'
  with pytest.raises(UserError, match=message):
    open_train(settings)


def test_an_image_without_a_partner_is_named(folder):
  (folder / 'train' / 'photos' / '3.bmp').unlink()
  message = "edges/3.png and 0 others have no partner of the .* in 'photos'"
  with pytest.raises(UserError, match=message):
    open_train(config(folder))


def test_two_images_of_one_name_are_refused(folder):
  write(folder / 'train' / 'photos' / '3.png', picture(3))
  with pytest.raises(UserError, match=r"3\.\w+ is one of 2 images named '3'"):
    open_train(config(folder))


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'data__pair': ('A',)}, "must be 'A' and 'B', the source first"),
    ({'data__pair': (1, 2)}, "must be 'A' and 'B', the source first"),
    ({'data__pair': ('A', 'C')}, "must be 'A' and 'B', the source first"),
    ({'data__pair': ('A', 'A')}, "must be 'A' and 'B', the source first"),
    (
      {'data__domains': ('A',)},
      r"must be \(\) or 'B', the target of",
    ),
    ({'data__name': 'tfds:x'}, 'has no pairs: known are paired, folder, shap'),
    ({'data__load_size': 8}, 'load_size is 8: squares of img_size'),
  ],
)
def test_settings_that_cannot_be_are_named(side_by_side, changes, message):
  with pytest.raises(UserError, match=message):
    open_train(config(side_by_side, **changes))


def test_drawn_pairs_are_contours_and_shapes():
  images = paired.open_pairs(tiny.config(data__img_size=32), 'val')
  for number in range(6):
    contour, filled = images.get(0, number), images.get(1, number)
    ground = np.rint(255 * shapes.GROUND)
    lines = np.abs(contour - ground).max(axis=-1) > 1
    inside = np.abs(filled - ground).max(axis=-1) > 1
    assert 0.1 < lines.sum() / inside.sum() < 0.75
    assert not (lines & ~inside).any()
  assert (images.get(1, 0) != images.get(1, 1)).any()


@pytest.mark.parametrize(
  'pair, message',
  [
    (
      ('edges', 'edges'),
      "pair must be two names, the source first, for .*'fol",
    ),
    (('edges', 'foto'), "data.pair names 'foto', which is not in .*photos"),
  ],
)
def test_folders_that_cannot_be_a_pair_are_named(folder, pair, message):
  with pytest.raises(UserError, match=message):
    open_train(config(folder, data__pair=pair))
