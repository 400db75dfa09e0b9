"""Batches of two domains: which images, which part of them, from where."""

import functools
import itertools

import jax
import ml_collections
import numpy as np
import pytest
from absl import logging
from PIL import Image

from jaxgan.data import preprocess
from jaxgan.data.contracts import domains_ref, unpaired
from jaxgan.inference import grids
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

KEYS = {'x_a', 'x_b'}
SIZE = 16
COUNTS = {'ant': 5, 'bee': 3}


def make_config(**changes):
  config = ml_collections.ConfigDict(
    {
      'seed': 3,
      'batch_size': 4,
      'model': {'num_domains': 0},
      'data': {
        'name': 'shapes',
        'root': '',
        'img_size': SIZE,
        'load_size': 0,
        'domains': (),
        'augment': True,
        'background': '',
        'skip_bad_images': False,
        'check_images': False,
        'timeout': 300.0,
        'on_device': False,
        'cache_dir': '',
        'train_split': 'train',
        'val_split': 'test',
      },
    }
  )
  config.update_from_flattened_dict(changes)
  return config


def open_train(config, process_index=0, process_count=1):
  return unpaired.Data(config).training(process_index, process_count)


def take(data, count, start_step=0):
  return list(itertools.islice(data.source.batches(start_step), count))


def assert_equal(a, b):
  assert a.keys() == b.keys() == KEYS
  for key in a:
    np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture
def folder(tmp_path):
  """Flat pictures: red = domain, green = number in it, blue = split."""
  for blue, split in enumerate(('train', 'test')):
    for red, (name, count) in enumerate(COUNTS.items()):
      path = tmp_path / split / name
      path.mkdir(parents=True)
      for green in range(count):
        image = Image.new('RGB', (24, 20), (red, green, blue))
        image.save(path / f'{green}.png')
  return tmp_path


@pytest.fixture
def config(folder):
  return make_config(**{'data.name': 'folder', 'data.root': str(folder)})


@pytest.fixture
def warnings(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, 'warning', lambda t, *a: lines.append(t % a))
  return lines


def factors(images):
  """The three factors of flat squares in [-1, 1]: int [..., 3]."""
  images = np.asarray(images)
  assert images.dtype == np.float32 and images.shape[-3:] == (SIZE, SIZE, 3)
  assert np.ptp(images, axis=(-3, -2)).max() == 0
  return np.rint((images[..., 0, 0, :] + 1) * 127.5).astype(int)


def places(width, height):
  """A picture whose red and green are 3 times column and row."""
  y, x = np.indices((height, width), np.uint8)
  return Image.fromarray(np.stack([3 * x, 3 * y, 0 * x], axis=-1))


def test_a_batch_depends_on_seed_and_step_only():
  config = make_config(**{'data.domains': ('circle', 'square')})
  data = open_train(config)
  batches = take(data, 3)
  for x in batches[0].values():
    assert x.shape == (4, SIZE, SIZE, 3) and x.dtype == np.float32
    assert -1 <= x.min() < x.max() <= 1
  assert_equal(batches[2], take(open_train(config), 1, start_step=2)[0])
  # No image comes twice: not in a slot, and not in another one.
  x = np.stack([batch[key] for batch in batches for key in KEYS])
  assert len(np.unique(x.reshape(24, -1), axis=0)) == 24
  (far,) = take(data, 1, start_step=2**40)
  np.testing.assert_array_equal(
    far['x_b'][3], data.source.slot(2**40, 3)['x_b']
  )
  config.seed += 1
  (other,) = take(open_train(config), 1)
  assert (other['x_a'] != batches[0]['x_a']).any((1, 2, 3)).all()


def test_two_processes_share_the_batch_of_one(config):
  (whole,) = take(open_train(config), 1)
  halves = [take(open_train(config, i, 2), 1)[0] for i in range(2)]
  joined = {key: np.concatenate([half[key] for half in halves]) for key in KEYS}
  assert_equal(whole, joined)


def test_images_of_a_domain_come_alike_and_those_of_two_apart(config):
  config.batch_size = 100
  data = open_train(config)
  assert data.images_per_step == 200 and data.domains == ('ant', 'bee')
  assert data.resolved == {
    'data.domains': ('ant', 'bee'),
    'model.num_domains': 2,
  }
  batches = take(data, 6)
  a, b = (
    np.concatenate([factors(batch[key]) for batch in batches])
    for key in ('x_a', 'x_b')
  )
  for red, (drawn, count) in enumerate(zip((a, b), (5, 3), strict=True)):
    assert (drawn[:, 0] == red).all() and not drawn[:, 2].any()
    share = np.bincount(drawn[:, 1], minlength=count) / 600
    assert len(share) == count  # Within 4 standard deviations, as below.
    np.testing.assert_allclose(share, 1 / count, atol=4 * 0.0192)
  pairs = np.bincount(3 * a[:, 1] + b[:, 1], minlength=15) / 600
  np.testing.assert_allclose(pairs, 1 / 15, atol=4 * 0.0102)


@pytest.fixture
def located(config, folder):
  """A config of pictures that tell where one looks, 24 x 20."""
  for path in folder.glob('*/*/*'):
    places(24, 20).save(path)
  config.data.load_size = 20
  return config


def levels(x):
  return np.rint((np.asarray(x) + 1) * 127.5).astype(int)


def test_without_augmentation_the_middle_is_cut(located):
  located.data.augment = False
  (batch,) = take(open_train(located), 1)
  for x in map(levels, batch.values()):
    assert (x[:, 0, 0] == [3 * 4, 3 * 2, 0]).all()
    assert (x[:, -1, -1] == [3 * 19, 3 * 17, 0]).all()


def test_validation_sees_the_square_in_the_middle(located, folder):
  picture = places(24, 20)
  # 16 of the 20 pixels that the shortest side becomes, at training's scale.
  square = unpaired.Data(located).view(picture)
  np.testing.assert_array_equal(square, np.asarray(picture)[2:18, 4:20])
  located.data.load_size = 0
  largest = unpaired.Data(located).view(picture)
  np.testing.assert_array_equal(largest, np.asarray(picture)[:, 2:22])
  located.data.load_size = 20
  expected = preprocess.resize(square, SIZE)
  val = open_train(located).val
  for domain in range(2):
    np.testing.assert_array_equal(val.readable(domain, 0), expected)
  for data in unpaired.Data(located).evaluation():
    assert data.domains == ('ant', 'bee') and data.counts == (5, 3)
    np.testing.assert_array_equal(next(data.images(1, [2]))[1], expected)
    np.testing.assert_array_equal(next(data.pictures(1, [2])), square)
    # Real images that are seen whole are others.
    whole = domains_ref.Data(located).evaluation()[0]
    assert data.digest(0) != whole.digest(0)
    assert whole.digest(0) in data.digest(0)


def test_validation_images_come_in_order_and_round_the_domain(config):
  val = open_train(config).val
  x_a, x_b = (grids._load(val, [domain] * 4, 0) for domain in range(2))
  assert factors(x_a).tolist() == [[0, i, 1] for i in (0, 1, 2, 3)]
  assert factors(x_b).tolist() == [[1, i, 1] for i in (0, 1, 2, 0)]


def test_the_first_domain_is_the_one_that_is_named_first(config, folder):
  config.data.domains = ('bee', 'ant')
  train = open_train(config)
  assert train.domains == train.val.domains == ('bee', 'ant')
  assert train.resolved['data.domains'] == ('bee', 'ant')
  (batch,) = take(train, 1)
  for domain, (key, red) in enumerate((('x_a', 1), ('x_b', 0))):
    assert (factors(batch[key])[:, 0] == red).all()
    assert train.val.readable(domain, 0)[0, 0, 0] == red
  data, _ = unpaired.Data(config).evaluation()
  assert data.counts == (3, 5)
  assert [x[0, 0, 0] for _, x in data.images(0, range(3))] == [1, 1, 1]
  (folder / 'train' / 'bee' / '2.png').rename(
    folder / 'train' / 'bee' / 'z.png'
  )
  data, _ = unpaired.Data(config).evaluation()
  assert (data.name(0, 2), data.name(1, 2)) == ('z', '2')
  config.data.domains = ()
  other, _ = unpaired.Data(config).evaluation()
  assert data.digest(0) == other.digest(1) != data.digest(1)


def test_layout_of_the_originals(folder):
  for split in ('train', 'test'):
    for domain, letter in (('ant', 'A'), ('bee', 'B')):
      (folder / split / domain).rename(folder / f'{split}{letter}')
  config = make_config(**{'data.name': 'unpaired', 'data.root': str(folder)})
  train = open_train(config)
  assert train.domains == ('A', 'B') and train.val.counts == (5, 3)
  (batch,) = take(train, 1)
  for red, key in enumerate(('x_a', 'x_b')):
    assert (factors(batch[key])[:, ::2] == [red, 0]).all()
    assert train.val.readable(red, 0)[0, 0, ::2].tolist() == [red, 1]


def test_an_unreadable_image_stops_or_is_skipped(config, folder, warnings):
  sound = take(open_train(config), 5)
  bad = folder / 'train/ant/2.png'
  bad.write_bytes(bad.read_bytes()[:60])
  with pytest.raises(UserError, match='ant/2.png cannot be read .*: remove it'):
    take(open_train(config), 5)
  config.data.check_images = True
  with pytest.raises(UserError, match='1 of 8 images are bad.*ant/2.png'):
    open_train(config)
  config.data.check_images = False
  config.data.skip_bad_images = True
  data = open_train(config)
  for batch, original in zip(take(data, 5), sound, strict=True):
    np.testing.assert_array_equal(batch['x_b'], original['x_b'])
    was, now = factors(original['x_a']), factors(batch['x_a'])
    np.testing.assert_array_equal((now != was).any(-1), was[:, 1] == 2)
  assert data.source.skipped > 0
  line = f'Skipping {bad} cannot be read (image file is truncated)'
  assert set(warnings) == {line}
  for path in folder.glob('train/ant/*'):
    path.write_bytes(b'')
  with pytest.raises(UserError, match="no readable image of 'ant' in 200"):
    take(open_train(config), 1)


def test_an_unreadable_validation_image_is_passed_over(config, folder):
  (folder / 'test/bee/0.png').write_bytes(b'')
  config.data.skip_bad_images = True
  val = open_train(config).val
  numbers = factors(grids._load(val, [1] * 4, 0))[:, 1]
  assert numbers.tolist() == [1, 1, 2, 1]


def add_domain(folder):
  for split in ('train', 'test'):
    (folder / split / 'cow').mkdir()
    Image.new('RGB', (9, 9)).save(folder / split / 'cow' / '0.png')


@pytest.mark.parametrize(
  'change, setting, message',
  [
    (
      add_domain,
      {},
      r"'train' has 3 domains \(ant, bee, cow\).*"
      r"""--config.data.domains="\('ant','bee'\)"$""",
    ),
    (None, {'data.domains': ('bee',)}, r'has 1 domains \(bee\).*name two with'),
    (None, {'data.domains': ('bee', 'bee')}, r'has 1 domains \(bee\)'),
    (
      None,
      {'data.name': 'shapes'},
      r"has 3 domains \(circle, square, triangle\).*=\"\('circle','square'\)",
    ),
    (None, {'data.domains': ('bee', 'atn')}, "'atn', which .* mean 'ant'"),
    (None, {'data.load_size': 15}, r'config.data.load_size is 15: .*\(16\)'),
    (None, {'batch_size': 5}, 'multiple of the number of processes .2., got 5'),
    (None, {'model.num_domains': 3}, r'num_domains is 3 .* 2 domains'),
    (None, {'data.val_split': 'vla'}, 'vla is missing'),
    (
      lambda folder: (folder / 'test/bee').rename(folder / 'test/cow'),
      {},
      "'bee' is in 'train' but not in 'test'",
    ),
  ],
)
def test_what_is_wrong_is_said_in_a_line(
  config, folder, change, setting, message
):
  if change:
    change(folder)
  config.update_from_flattened_dict(setting)
  with pytest.raises(UserError, match=message) as caught:
    open_train(config, 0, 2)
  assert '\n' not in str(caught.value)


def test_noise_meets_the_contract(config):
  made, (real,) = unpaired.Data(config).noise(), take(open_train(config), 1)
  assert made.keys() == real.keys()
  for key, x in real.items():
    assert (made[key].shape, made[key].dtype) == (x.shape, x.dtype)
    assert -1 <= made[key].min() < -0.99 and 0.99 < made[key].max() <= 1
  assert (made['x_a'] != made['x_b']).mean() > 0.9


def open_on_device(config, tmp_path, **changes):
  config.update_from_flattened_dict(
    {
      'data.on_device': True,
      'data.cache_dir': str(tmp_path / 'cache'),
      **changes,
    }
  )
  data = open_train(config)
  mesh = sharding.create_mesh(config.batch_size)
  fed, to_batch = data.source.feed(mesh, start_step=3, num_steps=2)
  first, second = fed
  assert first is second
  return data, functools.partial(jax.jit(to_batch), first)


def test_on_the_device_images_of_a_domain_come_alike(config, tmp_path, folder):
  (folder / 'train/ant/2.png').write_bytes(b'')
  data, draw = open_on_device(
    config,
    tmp_path,
    **{
      'batch_size': 1000,
      'data.skip_bad_images': True,
      'data.domains': ('bee', 'ant'),
    },
  )
  assert data.domains == ('bee', 'ant') and data.source.skipped == 0
  assert data.resolved['model.num_domains'] == 2
  assert data.images_per_step == 2000
  batch, again, later = (draw(np.int32(n)) for n in (3, 3, 4))
  assert_equal(batch, again)
  bee, ant = (factors(batch[key]) for key in ('x_a', 'x_b'))
  for red, drawn, numbers in ((1, bee, [0, 1, 2]), (0, ant, [0, 1, 3, 4])):
    assert (drawn[:, 0] == red).all()
    found, counts = np.unique(drawn[:, 1], return_counts=True)
    assert found.tolist() == numbers
    share = 1 / len(numbers)
    np.testing.assert_allclose(counts / 1000, share, atol=4 * 0.0149)
  pairs = np.unique(3 * ant[:, 1] + bee[:, 1], return_counts=True)[1] / 1000
  np.testing.assert_allclose(pairs, 1 / 12, atol=4 * 0.0087)
  same = (factors(later['x_a']) == bee).all(-1).mean()
  assert abs(same - 1 / 3) < 4 * 0.0149


def test_on_the_device_a_slot_depends_on_its_number(located, tmp_path):
  (_, four), (_, two) = (
    open_on_device(located, tmp_path, batch_size=n) for n in (4, 2)
  )
  few = two(np.int32(7))
  for key, x in four(np.int32(7)).items():
    assert x.shape == (4, SIZE, SIZE, 3) and x.dtype == np.float32
    np.testing.assert_array_equal(x[:2], few[key])
    assert len(np.unique(np.asarray(x).reshape(4, -1), axis=0)) > 1
    assert len(x.addressable_shards[0].data) == 2
  assert (few['x_a'] != few['x_b']).any()  # of pictures that are the same


def test_on_the_device_shapes_are_as_they_are_drawn(tmp_path):
  config = make_config(
    **{'data.domains': ('square', 'circle'), 'data.load_size': 20}
  )
  _, draw = open_on_device(config, tmp_path)
  train, _ = unpaired.Data(config).evaluation()
  batch = draw(np.int32(0))
  for domain, key in enumerate(('x_a', 'x_b')):
    known = {x.tobytes() for _, x in train.images(domain, range(1000))}
    for x in np.uint8(levels(batch[key])):
      assert x.tobytes() in known
