import collections
import functools
import itertools
import os
import threading

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from absl import logging
from PIL import Image

from jaxgan.data import crops, feeding, shapes, sources, streams
from jaxgan.data.contracts import domains_ref
from jaxgan.data.streams import Stream
from jaxgan.inference import grids
from jaxgan.runtime.errors import UserError

KEYS = {'x_src', 'x_ref', 'x_ref2', 'y_src', 'y_ref'}


def make_config(**changes):
  config = ml_collections.ConfigDict(
    {
      'seed': 3,
      'batch_size': 4,
      'model': {'num_domains': 0},
      'data': {
        'name': 'shapes',
        'root': '',
        'img_size': 32,
        'domains': (),
        'augment': True,
        'background': '',
        'skip_bad_images': False,
        'check_images': False,
        'timeout': 300.0,
        'on_device': False,
        'cache_dir': '',
        'train_split': 'train',
        'val_split': 'val',
      },
    }
  )
  config.update_from_flattened_dict(changes)
  return config


def open_train(config, process_index=0, process_count=1):
  return domains_ref.Data(config).training(process_index, process_count)


def take(data, count, start_step=0):
  return list(itertools.islice(data.source.batches(start_step), count))


def assert_equal(a, b):
  assert a.keys() == b.keys() == KEYS
  for key in a:
    np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture
def folder(tmp_path):
  """Flat squares: red = domain, green = number in it, blue = split."""
  for blue, split in enumerate(('train', 'val')):
    for red, (name, count) in enumerate({'ant': 5, 'bee': 3}.items()):
      path = tmp_path / split / name
      path.mkdir(parents=True)
      for green in range(count):
        image = Image.new('RGB', (40, 40), (red, green, blue))
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
  assert images.dtype == np.float32 and images.shape[-3:] == (32, 32, 3)
  assert np.ptp(images, axis=(-3, -2)).max() == 0
  return np.rint((images[..., 0, 0, :] + 1) * 127.5).astype(int)


@pytest.mark.parametrize('name', ['shapes', 'folder'])
def test_a_batch_depends_on_seed_and_step_only(config, name):
  config.data.name = name
  batches = take(open_train(config), 5)
  assert_equal(batches[3], take(open_train(config), 1, start_step=3)[0])
  assert not np.array_equal(batches[3]['x_src'], batches[4]['x_src'])
  config.seed += 1
  other = take(open_train(config), 4)[3]
  assert not np.array_equal(batches[3]['x_src'], other['x_src'])
  (far,) = take(data := open_train(config), 1, start_step=2**40)
  slot = data.source.slot(2**40, 3)
  assert_equal({key: x[3] for key, x in far.items()}, slot)


@pytest.mark.parametrize('augment', [True, False])
def test_augmentation_can_be_switched_off(config, folder, augment):
  for path in folder.glob('train/*/*'):
    Image.linear_gradient('L').rotate(90).save(path)
  config.data.augment = augment
  (batch,) = take(open_train(config), 1)
  images = np.concatenate([batch['x_src'], batch['x_ref'], batch['x_ref2']])
  assert len(np.unique(images, axis=0)) == 1 or augment
  assert len(np.unique(images, axis=0)) > 4 or not augment


def test_two_processes_share_the_batch_of_one(config, monkeypatch):
  (whole,) = take(open_train(config), 1)
  slots = collections.defaultdict(set)
  made = feeding.HostFeed.slot

  def record(self, step, slot):
    slots[self].add(slot)  # also by threads that go on behind our back
    return made(self, step, slot)

  monkeypatch.setattr(feeding.HostFeed, 'slot', record)
  halves = []
  for process in range(2):
    data = open_train(config, process, 2)
    halves += take(data, 1)
    assert slots[data.source] == {2 * process, 2 * process + 1}
  both = {key: np.concatenate([half[key] for half in halves]) for key in KEYS}
  assert_equal(whole, both)


def test_only_drawn_files_are_read(config, monkeypatch):
  read = []
  original = sources.FolderSource.read

  def record(self, domain, index):
    read.append((domain, index))
    return original(self, domain, index)

  monkeypatch.setattr(sources.FolderSource, 'read', record)
  source = open_train(config).source
  read.clear()  # the first of each domain tells it from another
  slot = source.slot(5, 1)
  drawn = [factors(slot[key]) for key in ('x_src', 'x_ref', 'x_ref2')]
  assert read == [(red, green) for red, green, _ in drawn]


def test_images_are_of_their_domain_and_references_differ(config):
  for batch in take(open_train(config), 10):
    src, ref, ref2 = (factors(batch[k]) for k in ('x_src', 'x_ref', 'x_ref2'))
    np.testing.assert_array_equal(src[:, 0], batch['y_src'])
    np.testing.assert_array_equal(ref[:, 0], batch['y_ref'])
    np.testing.assert_array_equal(ref2[:, 0], batch['y_ref'])
    assert (ref[:, 1] != ref2[:, 1]).all() and not src[:, 2].any()


def test_domains_and_images_are_drawn_evenly(config):
  config.batch_size = 100
  batches = take(open_train(config), 6)
  source, first, second = (
    np.concatenate([factors(batch[key]) for batch in batches])
    for key in ('x_src', 'x_ref', 'x_ref2')
  )
  for drawn in (source, first, second):  # Within 4 standard deviations.
    assert abs(drawn[:, 0].mean() - 0.5) < 0.08
    ants = np.bincount(drawn[drawn[:, 0] == 0, 1], minlength=5) / 300
    np.testing.assert_allclose(ants, 0.2, atol=0.1)
  # Source and reference are drawn independently.
  assert abs((source[:, 0] == first[:, 0]).mean() - 0.5) < 0.08


COUNTS, STARTS = (5, 3, 1), np.array([0, 5, 8])


@functools.cache
def draws(seed=3, step=7, slots=6000):
  """Rows [slots, 3] of what many slots pick, and their words."""
  part = domains_ref.Picks(
    None, crops.ResizedCrop(), Stream.BATCH, domains_ref.KEYS, num_words=5
  )

  def draw(slot):
    words = streams.device_words(
      seed, part.stream, jnp.int32(step), slot, part.words_per_slot
    )
    return *part.pick(words[:5], jnp.array(COUNTS)), words

  drawn = jax.jit(jax.vmap(draw))(jnp.arange(slots))
  domains, numbers, words = jax.device_get(drawn)
  return STARTS[domains] + numbers, domains[:, 0], domains[:, 1], words


def test_many_slots_are_drawn_evenly():
  rows, y_src, y_ref, _ = draws()
  for y, columns in ((y_src, [0]), (y_ref, [1, 2])):
    # Within 4 standard deviations of a binomial, here as below.
    share = np.bincount(y, minlength=3) / len(y)
    np.testing.assert_allclose(share, 1 / 3, atol=4 * 0.0061)
    for domain, (start, count) in enumerate(zip(STARTS, COUNTS, strict=True)):
      for column in columns:
        numbers = rows[y == domain, column] - start
        assert numbers.min() >= 0 and numbers.max() < count
        share = np.bincount(numbers) / len(numbers)
        np.testing.assert_allclose(share, 1 / count, atol=4 * 0.011)
  # Source and reference are drawn independently.
  assert abs((y_src == y_ref).mean() - 1 / 3) < 4 * 0.0061
  both = (y_src == 0) & (y_ref == 0)
  same = (rows[both, 0] == rows[both, 1]).mean()
  assert abs(same - 1 / 5) < 4 * (0.16 / both.sum()) ** 0.5


def test_references_differ_where_there_are_two():
  rows, _, y_ref, _ = draws()
  several = y_ref < 2
  assert (rows[several, 1] != rows[several, 2]).all()
  assert (rows[~several, 1:] == 8).all()
  # Every other image is as likely.
  of_five = rows[y_ref == 0]
  ahead = (of_five[:, 2] - of_five[:, 1]) % 5
  share = np.bincount(ahead, minlength=5)[1:] / len(ahead)
  np.testing.assert_allclose(share, 1 / 4, atol=4 * 0.0098)


def test_a_slot_depends_on_seed_step_and_slot_only():
  few, many = draws(slots=5), draws()
  for a, b in zip(few, many, strict=True):
    np.testing.assert_array_equal(a, b[:5])
  rows, _, _, words = many
  for other in (draws(seed=4), draws(step=8)):
    assert (other[3] != words).any(-1).all()
    assert 0.7 < (other[0] != rows).mean() < 0.95


def test_an_unreadable_image_stops_or_is_skipped(config, folder, warnings):
  sound = take(open_train(config), 5)
  bad = folder / 'train/ant/2.png'
  bad.write_bytes(bad.read_bytes()[:60])
  with pytest.raises(UserError, match='ant/2.png cannot be read .*: remove it'):
    take(open_train(config), 5)
  config.data.skip_bad_images = True
  data = open_train(config)
  batches = take(data, 5)
  assert_equal(batches[4], take(open_train(config), 1, start_step=4)[0])
  for batch, original in zip(batches, sound, strict=True):
    np.testing.assert_array_equal(batch['y_src'], original['y_src'])
    was = factors(original['x_src'])
    hit = (was[:, 0] == 0) & (was[:, 1] == 2)
    changed = (factors(batch['x_src']) != was).any(-1)
    np.testing.assert_array_equal(changed, hit)
  assert data.source.skipped > 0
  line = f'Skipping {bad} cannot be read (image file is truncated)'
  assert set(warnings) == {line} and len(warnings) <= 2  # Once a run.
  for green in range(5):
    (folder / f'train/ant/{green}.png').write_bytes(b'')
  with pytest.raises(UserError, match="no readable image of 'ant' in 200"):
    take(open_train(config), 5)


def test_a_file_that_does_not_answer_is_named_and_never_skipped(
  config, folder, monkeypatch
):
  read = sources.read_file

  def freezing(path):
    if os.fspath(path).endswith('ant/2.png'):
      threading.Event().wait()  # nobody sets it
    return read(path)

  monkeypatch.setattr(sources, 'read_file', freezing)
  for timeout in (0.0, -1.0, float('inf')):
    config.data.timeout = timeout
    with pytest.raises(UserError, match='timeout must be a number of seconds'):
      open_train(config)
  config.data.timeout = 0.5
  config.data.skip_bad_images = True
  message = 'ant/2.png could not be read in 0.5 s: is its file system alive'
  with pytest.raises(UserError, match=message):
    take(open_train(config), 5)
  config.data.check_images = True
  with pytest.raises(UserError, match=message):
    open_train(config)


def test_checking_finds_bad_images_before_training(config, folder, warnings):
  (folder / 'train/ant/1.png').write_bytes(b'')
  (folder / 'train/ant/3.png').write_bytes(b'nonsense')
  config.data.check_images = True
  message = '2 of 8 images are bad, the first: .*ant/1.png cannot be read'
  with pytest.raises(UserError, match=message):
    open_train(config)
  open_train(config, 0, 2)  # The odd ones are the other process's share.
  config.data.skip_bad_images = True
  open_train(config)
  assert len(warnings) == 1 and warnings[0].startswith('2 of 8 images')


def test_images_to_be_scored(config, folder):
  """Both splits in order, as stored, with a sum of their content."""
  train, val = domains_ref.Data(config).evaluation()
  assert (train.counts, val.counts) == ((5, 3), (5, 3))
  pictures = list(train.pictures(1, range(3)))
  assert [p.getpixel((0, 0))[1] for p in pictures] == [0, 1, 2]
  digests = [data.digest(i) for data in (train, val) for i in (0, 1)]
  assert len(set(digests)) == 4
  assert digests[1] == domains_ref.Data(config).evaluation()[0].digest(1)
  path = sorted((folder / 'train' / 'bee').iterdir())[2]
  path.write_bytes(path.read_bytes() + b'0')
  again = domains_ref.Data(config).evaluation()[0]
  assert again.digest(0) == digests[0] and again.digest(1) != digests[1]


def test_drawn_images_to_be_scored_differ_between_splits():
  train, val = domains_ref.Data(make_config()).evaluation()
  assert train.counts == (1000,) * 3
  a, b = next(train.pictures(0, [0])), next(val.pictures(0, [0]))
  assert a.size == (32, 32) and np.abs(np.int16(a) - np.int16(b)).max() > 20
  np.testing.assert_array_equal(a, next(train.images(0, [0]))[1])
  assert train.digest(0) != val.digest(0)


def test_validation_images(config, warnings):
  data = open_train(config).val
  assert data.domains == ('ant', 'bee') and data.counts == (5, 3)
  images = list(data.images(0, range(1, 4)))
  assert [(index, tuple(image[0, 0])) for index, image in images] == [
    (green, (0, green, 1)) for green in range(1, 4)
  ]
  # Of a domain the images one after the other, and the first ones again.
  x_src = grids._load(data, [0, 1, 0, 1], 0)
  assert factors(x_src)[:, 1].tolist() == [0, 0, 1, 1]
  x_ref = grids._load(data, [1, 0, 1, 0], 2)
  assert factors(x_ref)[:, 1].tolist() == [2, 2, 0, 3]
  x_ref = grids._load(data, [1, 0, 1, 0], 4)
  assert factors(x_ref)[:, 1].tolist() == [1, 4, 2, 0]
  np.testing.assert_array_equal(x_ref, grids._load(data, [1, 0, 1, 0], 4))


def test_shapes():
  config = make_config(**{'data.domains': ('square', 'triangle')})
  train = open_train(config)
  val = train.val
  assert train.domains == val.domains == ('square', 'triangle')
  assert train.images_per_step == 4 and train.resolved == {
    'data.domains': ('square', 'triangle'),
    'model.num_domains': 2,
  }
  first, again = (next(val.images(1, [0]))[1] for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, next(val.images(0, [0]))[1])
  rng = streams.generator(config.seed, Stream.VALIDATION, slot=0, step=1)
  (expected,) = shapes.draw_images(rng, 2, 1, 32)  # The triangle.
  np.testing.assert_array_equal(first, expected)
  assert set(take(train, 1)[0]['y_src']) <= {0, 1}


def test_a_folder_beside_drawn_data_or_splits_is_told(folder, warnings):
  open_train(make_config(**{'data.root': 'photos'}))
  assert warnings.pop() == "photos: not used: config.data.name is 'shapes'"
  (folder / 'test').mkdir()
  names = {'data.name': 'folder', 'data.root': str(folder)}
  open_train(make_config(**names))
  assert warnings == [
    f'{folder}: not used: further splits or folders: 1 (test)'
  ]


def test_one_domain_of_one_image_trains(config, folder, warnings):
  config.data.domains = ('bee',)
  for green in (1, 2):
    (folder / f'train/bee/{green}.png').unlink()
  (batch,) = take(open_train(config), 1)
  np.testing.assert_array_equal(batch['x_ref'], batch['x_ref2'])
  assert warnings == [
    *(
      f'{folder}/{split}: not used: further domains: 1 (ant)'
      for split in ('train', 'val')
    ),
    "Domain 'bee' has one image: x_ref2 repeats x_ref",
  ]


@pytest.mark.parametrize(
  'change, message',
  [
    ({'batch_size': 0}, 'batch_size .* got 0'),
    ({'batch_size': 5}, 'multiple of the number of processes .2., got 5'),
    ({'model.num_domains': 3}, r'num_domains is 3 .* 2 domains \(ant, bee\)'),
    ({'data.name': 'shape'}, "unknown: did you mean 'shapes'"),
    ({'data.val_split': 'vla'}, 'vla is missing'),
  ],
)
def test_what_is_wrong_is_said_before_training(config, change, message):
  config.update_from_flattened_dict(change)
  with pytest.raises(UserError, match=message):
    open_train(config, 0, 2)


def test_domains_of_training_and_validation_must_agree(config, folder):
  (folder / 'val/bee').rename(folder / 'val/cow')
  with pytest.raises(UserError, match="'bee' is in 'train' but not in 'val'"):
    open_train(config)
  (folder / 'train/bee').rename(folder / 'other')
  with pytest.raises(UserError, match="'cow' is in 'val' but not in 'train'"):
    open_train(config)


def test_noise_meets_the_contract(config):
  config.model.num_domains = 2
  made, (real,) = domains_ref.Data(config).noise(), take(open_train(config), 1)
  assert made.keys() == real.keys()
  for key, x in real.items():
    assert (made[key].shape, made[key].dtype) == (x.shape, x.dtype)
    if key[0] == 'x':
      assert -1 <= made[key].min() < -0.99 and 0.99 < made[key].max() <= 1
    else:
      assert set(made[key]) <= {0, 1}
  assert (made['x_ref'] != made['x_ref2']).mean() > 0.9


def test_a_batch_asks_for_its_sources_as_its_references(config):
  config.model.num_domains = 2
  data = domains_ref.Data(config)
  batch = data.noise() | {'y_ref': np.array([0, 1, 1, 0], np.int32)}
  x, y, source = data.requests(batch)
  assert x is batch['x_src'] and y is batch['y_ref']
  assert source.keys() == {'x_ref'} and source['x_ref'] is batch['x_ref']


def test_a_picture_is_seen_whole(config):
  picture = Image.new('RGB', (7, 5))
  assert domains_ref.Data(config).view(picture) is picture
