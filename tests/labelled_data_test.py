"""Images and labels of StarGAN: every image alike, with what it is."""

import functools
import itertools
import pathlib
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging
from PIL import Image

from jaxgan.data import labelled, shapes
from jaxgan.data.contracts.labelled import Data
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.runtime import errors, sharding
from tests import tiny_stargan as tiny

NAMES = [f'{i:06}.png' for i in range(1, 13)]
ATTRIBUTES = ('Bald', 'Male', 'Young')
WIDTH, HEIGHT = 20, 24


def _open(config, process=(0, 1)):
  return Data(config).training(*process)


def _values(number):
  """Attributes of the file of that number: its last three bits."""
  return [number >> 2 & 1, number >> 1 & 1, number & 1]


def _picture(number):
  """Column, row and number of the file as red, green and blue."""
  y, x = np.indices((HEIGHT, WIDTH), np.uint8)
  return np.stack([x, y, np.full_like(x, number)], axis=-1)


@pytest.fixture
def celeba(tmp_path: pathlib.Path):
  """Twelve images, and the list of their attributes."""
  (tmp_path / 'images').mkdir()
  lines = [str(len(NAMES)), ' '.join(ATTRIBUTES) + ' ']
  for i, name in enumerate(NAMES, 1):
    Image.fromarray(_picture(i)).save(tmp_path / 'images' / name)
    signs = ['1' if value else '-1' for value in _values(i)]
    lines.append(f'{name}  {"  ".join(signs)}')
  (tmp_path / 'list_attr_celeba.txt').write_text('\n'.join(lines) + '\n')
  return tmp_path


def test_a_list_that_does_not_fit_its_images_is_told(celeba, monkeypatch):
  lines = []
  monkeypatch.setattr(logging, 'warning', lambda t, *a: lines.append(t % a))
  _open(_celeba(celeba, data__joint_root='faces'))
  assert lines == ["faces: not used: config.data.joint_name is ''"]
  lines.clear()
  path = celeba / 'list_attr_celeba.txt'
  first, *rest = path.read_text().splitlines()
  for name in ('extra.jpg', 'scan.jxl', '.DS_Store'):
    (celeba / 'images' / name).touch()
  gone = rest[4].partition(' ')[0]
  (celeba / 'images' / gone).unlink()
  path.write_text('\n'.join([first, *rest[:-2], rest[5]]) + '\n')
  labelled.CelebaSource(str(celeba), (), is_test=True, num_test=3)
  assert lines == []
  labelled.CelebaSource(str(celeba), (), is_test=False, num_test=3)
  assert lines == [
    f'{path}: not used: pictures of formats that are not read: 1 (.jxl); '
    'images that the list does not name: 3 (2 .png, 1 .jpg); names in the list '
    f'without an image: 1 ({gone}); names that the list has more than once: 1 '
    f'({rest[5].partition(" ")[0]}); hidden files and folders: 1 (.DS_Store)',
    f'{path}: its first line says 12 images, and it names 11: is it whole?',
  ]


def _celeba(root, **overrides):
  settings = {
    'data__name': 'celeba',
    'data__root': str(root),
    'data__domains': ('Young', 'Male'),
    'data__crop_size': 16,
    'data__num_test': 3,
    'data__skip_bad_images': False,
  }
  return tiny.config(**settings | overrides)


@pytest.fixture
def folder(tmp_path: pathlib.Path):
  """One image of a and three of b, in both splits, each of one grey."""
  for split in ('train', 'val'):
    for domain, greys in (('a', [10]), ('b', [20, 30, 40])):
      directory = tmp_path / split / domain
      directory.mkdir(parents=True)
      for grey in greys:
        pixels = np.full((16, 16, 3), grey, np.uint8)
        pixels[:, 0] = 200  # so that a mirrored one differs
        Image.fromarray(pixels).save(directory / f'{grey}.png')
  return tmp_path


def _folder(root, **overrides):
  settings = {'data__name': 'folder', 'data__root': str(root)}
  return tiny.config(**settings | overrides)


def _take(config, count, start=0, process=(0, 1)):
  batches = _open(config, process).source.batches(start)
  return list(itertools.islice(batches, count))


def _assert_same(a, b):
  assert a.keys() == b.keys()
  for key in a:
    np.testing.assert_array_equal(a[key], b[key])


def test_a_batch_is_a_function_of_seed_and_step():
  config = tiny.config(batch_size=4)
  batches = _take(config, 3)
  assert batches[0]['x0'].shape == (4, 16, 16, 3)
  assert batches[0]['c0'].shape == (4, 3)
  assert batches[0]['x0'].dtype == batches[0]['c0'].dtype == np.float32
  assert -1 <= batches[0]['x0'].min() < batches[0]['x0'].max() <= 1
  (again,) = _take(config, 1, start=2)
  _assert_same(again, batches[2])
  assert np.any(batches[0]['x0'] != batches[1]['x0'])
  (other,) = _take(tiny.config(batch_size=4, seed=1), 1)
  assert np.any(other['x0'] != batches[0]['x0'])
  # No image comes twice: not in a slot, and not in another one.
  x = np.stack([batch['x0'] for batch in batches]).reshape(12, -1)
  assert len(np.unique(x, axis=0)) == 12


def test_two_processes_share_the_batch_of_one():
  config = tiny.config(batch_size=4)
  (whole,) = _take(config, 1)
  parts = [_take(config, 1, process=(i, 2))[0] for i in (0, 1)]
  joined = {key: np.concatenate([p[key] for p in parts]) for key in whole}
  _assert_same(joined, whole)
  with pytest.raises(errors.UserError, match='batch_size must be'):
    _open(config, (0, 3))


def test_every_image_of_a_folder_comes_alike(folder):
  (part,) = _parts(_folder(folder))
  rng = np.random.default_rng(0)
  words = rng.integers(0, 2**32, (4000, 2), np.uint32)
  counts = part.images.counts
  assert counts == (1, 3)
  picked = [part.pick(w, np.array(counts)) for w in words]
  picked = np.array(picked)[..., 0]
  found, shares = np.unique(picked, axis=0, return_counts=True)
  assert found.tolist() == [[0, 0], [1, 0], [1, 1], [1, 2]]
  np.testing.assert_allclose(shares / 4000, 1 / 4, atol=4 * 0.0069)
  # The devices pick alike.
  on_device = jax.vmap(part.pick, (0, None))(words, jnp.array(counts))
  np.testing.assert_array_equal(np.stack(on_device, 1)[..., 0], picked)


def _parts(config):
  return _open(config).source._parts


def test_an_image_comes_with_its_label(folder):
  (batch,) = _take(_folder(folder, batch_size=32), 1)
  greys = np.rint((batch['x0'][:, 0, 8, 0] + 1) * 127.5)
  np.testing.assert_array_equal(batch['c0'][:, 0] == 1, greys == 10)
  assert (batch['c0'].sum(1) == 1).all() and batch['c0'].dtype == np.float32


def test_only_training_images_are_mirrored(folder):
  train = _open(_folder(folder, batch_size=64))
  val = train.val
  x = next(train.source.batches())['x0']
  bright = np.mean(x[:, 0, 0, 0] > 0), np.mean(x[:, 0, 15, 0] > 0)
  assert sum(bright) == 1 and 0.3 < bright[0] < 0.7
  assert (val.batch(8)['x0'][:, 0, 0, 0] > 0).all()
  (plain,) = _take(_folder(folder, batch_size=8, data__augment=False), 1)
  assert (plain['x0'][:, 0, 0, 0] > 0).all()


def test_a_validation_batch_takes_the_domains_in_turn(folder):
  val = _open(_folder(folder)).val
  batch = val.batch(5)
  greys = np.rint((batch['x0'][:, 0, 8, 0] + 1) * 127.5)
  assert greys.tolist() == [10, 20, 10, 30, 10]
  assert batch['c0'][:, 1].tolist() == [0, 1, 0, 1, 0]


def test_celeba_is_divided_as_the_original_divides_it(celeba):
  lines = list(NAMES)
  random.seed(1234)
  random.shuffle(lines)
  numbers = [int(name[:6]) for name in lines]
  assert numbers == [3, 4, 9, 5, 12, 7, 6, 10, 11, 1, 2, 8]
  config = _celeba(celeba)
  for split, expected in (('val', numbers[:3]), ('train', numbers[3:])):
    opened = labelled.open_set(config, split, 0)
    assert opened.labels == (('Young', 'Male'), False)
    assert opened.images.counts == (len(expected),)
    for i, number in enumerate(expected):
      assert opened.images.get(0, i)[0, 0, 2] == number
      bald, male, young = _values(number)
      assert opened.label(0, i).tolist() == [young, male]


def test_the_square_in_the_middle_is_seen(celeba):
  pixels = labelled.open_set(_celeba(celeba), 'val', 0).images.get(0, 0)
  assert pixels.shape == (16, 16, 3)
  assert pixels[0, 0].tolist() == [2, 4, 3]
  assert pixels[15, 15].tolist() == [17, 19, 3]
  whole = _celeba(celeba, data__crop_size=0)
  picture = labelled.open_set(whole, 'val', 0).images.picture(0, 0)
  assert picture.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
  'size, crop_size, left, top',
  [
    ((178, 218), 178, 0, 20),
    ((681, 1024), 256, 212, 384),  # 212.5, rounded to even
    ((683, 1024), 256, 214, 384),  # 213.5
    ((5, 8), 8, -1, 0),  # one column of zeros on the left, two on the right
    ((8, 1), 8, 0, -3),
  ],
)
def test_crops_lie_where_those_of_torchvision_do(size, crop_size, left, top):
  y, x = np.indices(size[::-1], np.uint16) + 1
  pixels = np.stack([x & 255, y & 255, x >> 8 | y >> 8 << 4], -1)
  picture = Image.fromarray(pixels.astype(np.uint8))
  cropped = np.asarray(labelled.crop(picture, crop_size))
  assert cropped.shape == (crop_size, crop_size, 3)
  inside = np.argwhere(cropped.any(-1))
  assert inside[0].tolist() == [max(0, -top), max(0, -left)]
  expected = pixels[max(0, top), max(0, left)]
  np.testing.assert_array_equal(cropped[tuple(inside[0])], expected)


def test_labels_of_celeba_come_with_their_images(celeba):
  config = _celeba(celeba, batch_size=16, data__domains=())
  train = _open(config)
  assert train.domains == ATTRIBUTES
  assert train.resolved == {
    'model.num_domains': 3,
    'data.domains': ATTRIBUTES,
  }
  batch = next(train.source.batches())
  x = np.rint((batch['x0'] + 1) * 127.5)
  for pixels, label in zip(x, batch['c0'], strict=True):
    number = int(pixels[0, 0, 2])
    assert number in (5, 12, 7, 6, 10, 11, 1, 2, 8)
    assert label.tolist() == _values(number)


def _write_list(text):
  return lambda root: (root / 'list_attr_celeba.txt').write_text(text)


@pytest.mark.parametrize(
  'damage, overrides, message',
  [
    (lambda r: (r / 'images').rename(r / 'x'), {}, 'images is missing: put'),
    (lambda r: (r / 'list_attr_celeba.txt').unlink(), {}, 'is no list of attr'),
    (_write_list(''), {}, 'is no list of attributes'),
    (_write_list('1\nMale Young\na.png 1\n'), {}, 'line 3 is not a file and 2'),
    (_write_list('1\nMale Young\n../a 1 1\n'), {}, 'line 3 is not a file'),
    (_write_list('1\nMale Young\n\na.png 1 1 1\n'), {}, 'line 4 is not'),
    (_write_list('0\nMale Young\n'), {}, 'has 0 lines, and 3 of them'),
    (None, {'data__num_test': 12}, 'has 12 lines, and 12 of them are for test'),
    (
      None,
      {'data__domains': ('Male', 'Old')},
      "names 'Old', which is not in .* .there: Bald, Male, Young",
    ),
    (None, {'data__domains': ('Male',)}, 'one label .Male.: StarGAN needs two'),
    (None, {'model__num_domains': 5}, 'num_domains is 5 but the data has 2'),
  ],
)
def test_what_is_wrong_with_celeba_is_one_line(
  celeba, damage, overrides, message
):
  if damage:
    damage(celeba)
  with pytest.raises(errors.UserError, match=message) as error:
    _open(_celeba(celeba, **overrides))
  assert len(str(error.value).splitlines()) == 1


def test_two_sets_are_fed_together(celeba, folder):
  config = _celeba(
    celeba, data__joint_name='folder', data__joint_root=str(folder)
  )
  train = _open(config)
  val = train.val
  assert train.domains == ('Young', 'Male', 'a', 'b')
  assert train.resolved == {
    'model.num_domains': 4,
    'data.domains': ('Young', 'Male'),
    'data.joint_domains': ('a', 'b'),
  }
  batch = next(train.source.batches())
  assert batch['c0'].shape == batch['c1'].shape == (2, 2)
  assert (batch['c1'].sum(-1) == 1).all()
  assert (batch['x0'] != batch['x1']).any()
  # The second is seen whole: its crop is a setting of its own.
  assert val.batch(2)['x1'][0, 0, 0, 0] > 0
  (alone,) = _take(_celeba(celeba), 1)
  _assert_same(alone, {key: batch[key] for key in alone})


def test_two_sets_are_drawn_apart():
  config = tiny.config(
    batch_size=16,
    data__domains=('circle', 'square'),
    data__joint_name='shapes_attributes',
  )
  first, second = _parts(config)
  assert first.stream != second.stream
  slots = [_open(config).source.slot(0, i) for i in range(2)]
  assert np.any(slots[0]['x0'] != slots[1]['x0'])


def test_labels_of_two_sets_must_differ(celeba, folder):
  for split in ('train', 'val'):
    (folder / split / 'b').rename(folder / split / 'Male')
  joint = {'data__joint_name': 'folder', 'data__joint_root': str(folder)}
  config = functools.partial(_celeba, celeba, **joint)
  with pytest.raises(errors.UserError, match="both .* label 'Male': leave"):
    _open(config())
  (folder / 'val' / 'Male').rename(folder / 'val' / 'sad')
  with pytest.raises(errors.UserError, match="domain 'Male' is in one of"):
    _open(config())


def test_a_name_that_is_given_twice_counts_once(celeba):
  config = _celeba(celeba, data__domains=('Male', 'Young', 'Male'))
  train = _open(config)
  assert train.domains == ('Male', 'Young')


def _break(celeba, *numbers):
  for number in numbers:
    (celeba / 'images' / NAMES[number - 1]).write_bytes(b'')


def test_an_unreadable_image_is_named_or_another_one_drawn(celeba):
  _break(celeba, 5, 12)
  with pytest.raises(errors.UserError, match='000005.png|000012.png'):
    _open(_celeba(celeba))
  late = _celeba(celeba, data__check_images=False, batch_size=32)
  train = _open(late)
  with pytest.raises(errors.UserError, match='0000.*png cannot be read'):
    next(train.source.batches())

  skipping = _celeba(celeba, data__skip_bad_images=True, batch_size=32)
  train = _open(skipping)
  x = np.rint((next(train.source.batches())['x0'] + 1) * 127.5)
  numbers = set(x[..., 0, 0, 2].ravel().tolist())
  assert numbers == {7, 6, 10, 11, 1, 2, 8}
  assert train.source.skipped > 0


def test_a_validation_image_that_is_skipped_takes_its_label_along(celeba):
  _break(celeba, 3)  # the first of 3, 4, 9
  config = _celeba(celeba, data__skip_bad_images=True)
  val = _open(config).val
  batch = val.batch(4)
  numbers = np.rint((batch['x0'][:, 0, 0, 2] + 1) * 127.5)
  assert numbers.tolist() == [4, 4, 9, 4]
  expected = [_values(int(number))[:0:-1] for number in numbers]
  assert batch['c0'].tolist() == expected


def test_drawn_attributes_are_what_is_measured():
  config = tiny.config(**tiny.ATTRIBUTES, data__img_size=32)
  opened = labelled.open_set(config, 'train', 0)
  numbers = [*range(60), *range(10**6, 10**6 + 60)]  # any can be drawn
  drawn = [(opened.images.get(0, i), opened.label(0, i)) for i in numbers]
  x, c = map(np.stack, zip(*drawn, strict=True))
  measured = shapes_metrics.measure(x, outlines=True)
  np.testing.assert_array_equal(shapes.attributes_of(measured), c)
  assert 0.3 < c.mean() < 0.7 and c.dtype == np.float32
  assert len(np.unique(x.reshape(120, -1), axis=0)) == 120


def test_splits_of_drawn_attributes_are_apart():
  config = tiny.config(**tiny.ATTRIBUTES)
  train, val = (
    labelled.open_set(config, s, 0).images for s in ('train', 'val')
  )
  seen = [images.get(0, i) for images in (train, val) for i in range(5)]
  assert len(np.unique(np.reshape(seen, (10, -1)), axis=0)) == 10
  assert train.digest(0) != val.digest(0)
  np.testing.assert_array_equal(val.picture(0, 2), val.get(0, 2))


def test_drawn_attributes_are_all_or_none():
  config = tiny.config(
    data__name='shapes_attributes', data__domains=('warm', 'large')
  )
  with pytest.raises(errors.UserError, match='domains must be .. for shapes_'):
    _open(config)


def test_noise_meets_the_contract():
  config = tiny.config(**tiny.JOINT)
  train = _open(config)
  made, real = Data(config).noise(), next(train.source.batches())
  assert made.keys() == real.keys()
  for key, x in real.items():
    assert (made[key].shape, made[key].dtype) == (x.shape, x.dtype)
  assert (made['c1'].sum(-1) == 1).all() and (real['c1'].sum(-1) == 1).all()
  assert set(np.unique(made['c0'])) == set(np.unique(real['c0'])) == {0, 1}


def test_a_request_asks_for_every_label_in_turn():
  batch = tiny.batch(8, **tiny.JOINT)
  x, y, source = Data.requests(batch)
  assert x is batch['x0'] and source == {}
  assert y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_what_stays_on_the_device_is_drawn_there():
  config = tiny.config(
    data__on_device=True,
    data__joint_name='shapes_attributes',
    batch_size=8,
  )
  train = _open(config)
  mesh = sharding.create_mesh(8)
  fed, to_batch = train.source.feed(mesh, 0, 2)
  resident = next(fed)
  draw = jax.jit(to_batch)
  batch, again, later = (draw(resident, np.int32(n)) for n in (3, 3, 4))
  for key, x in batch.items():
    np.testing.assert_array_equal(x, again[key])
    assert not np.array_equal(x, later[key])
  assert batch['x0'].shape == (8, tiny.SIZE, tiny.SIZE, 3)
  # Each with its own label, of images that are seen in order.
  opened = labelled.open_set(config, 'train', 0)
  known = {
    opened.images.get(y, i).tobytes(): y for y in range(3) for i in range(1000)
  }
  pixels = np.uint8(np.round((np.asarray(batch['x0']) + 1) * 127.5))
  for x, c in zip(pixels, batch['c0'], strict=True):
    np.testing.assert_array_equal(c, np.eye(3)[known[x.tobytes()]])


def test_on_the_device_half_of_the_images_are_mirrored_and_bad_ones_left_out(
  tmp_path,
):
  for split in ('train', 'val'):
    for i, domain in enumerate('ab'):
      folder = tmp_path / split / domain
      folder.mkdir(parents=True)
      pixels = np.zeros((8, 8, 3), np.uint8)
      pixels[:, :4] = 100 + i  # bright to the left
      Image.fromarray(pixels).save(folder / '1.png')
      (folder / '0.png').write_bytes(b'none')
  config = tiny.config(
    data__name='folder',
    data__root=str(tmp_path),
    data__on_device=True,
    data__skip_bad_images=True,
    data__cache_dir=str(tmp_path / 'cache'),
    batch_size=64,
  )
  train = _open(config)
  fed, to_batch = train.source.feed(sharding.create_mesh(64), 0, 1)
  batch = jax.jit(to_batch)(next(fed), np.int32(0))
  x, c = np.asarray(batch['x0']), np.asarray(batch['c0'])
  brightest = np.round((x.max((1, 2, 3)) + 1) * 127.5)
  np.testing.assert_array_equal(brightest, 100 + c[:, 1])
  left = (x[:, :, 0] > x[:, :, -1]).all((1, 2))
  assert 0.3 < left.mean() < 0.7
