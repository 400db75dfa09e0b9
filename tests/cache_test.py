import errno
import json
import os
import re
import threading

import numpy as np
import pytest
from absl import logging
from PIL import Image

from jaxgan.data import cache, pictures, preprocess, reading, sources
from jaxgan.runtime.errors import UserError

SIZE = 8
COUNTS = {'ant': 3, 'bee': 2}


@pytest.fixture
def root(tmp_path):
  rng = np.random.default_rng(0)
  for name, count in COUNTS.items():
    folder = tmp_path / 'data' / 'train' / name
    folder.mkdir(parents=True)
    for i in range(count):
      pixels = rng.integers(0, 256, (10 + i, 20, 3), np.uint8)
      Image.fromarray(pixels).save(folder / f'{i}.png')
  return tmp_path


@pytest.fixture
def warnings(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, 'warning', lambda t, *a: lines.append(t % a))
  return lines


@pytest.fixture
def decodings(monkeypatch):
  """Grows by one with every decoded picture."""
  real, calls = preprocess.open_image, []

  def open_image(data):
    calls.append(len(data))
    return real(data)

  monkeypatch.setattr(preprocess, 'open_image', open_image)
  return calls


def images_of(root, img_size=SIZE):
  source = sources.FolderSource(str(root / 'data'), 'train')
  return pictures.FileImages(source, img_size)


def load(root, skip_bad=False, img_size=SIZE):
  images = images_of(root, img_size)
  return cache.load(images, img_size, str(root / 'cache'), skip_bad)


def folder_of(root):
  (folder,) = (root / 'cache').iterdir()
  return folder


def assert_all_there(root, decoded):
  images = images_of(root)
  expected = [
    images.get(domain, index)
    for domain, count in enumerate(images.counts)
    for index in range(count)
  ]
  np.testing.assert_array_equal(decoded.images, expected)
  assert decoded.images.dtype == np.uint8
  assert decoded.counts == (3, 2) and decoded.bad == ()
  assert decoded.sizes.tolist() == [[20, h] for h in (10, 11, 12, 10, 11)]


def test_images_are_decoded_once_and_in_order(root, decodings):
  first = load(root)
  assert len(decodings) == 5
  again = load(root)
  assert len(decodings) == 5
  assert_all_there(root, first)
  assert_all_there(root, again)
  assert isinstance(again.images, np.memmap)
  index = json.loads((folder_of(root) / 'index.json').read_text())
  assert index == {
    'domains': ['ant', 'bee'],
    'counts': [3, 2],
    'img_size': SIZE,
    'bad': [],
  }
  names = {path.name for path in folder_of(root).iterdir()}
  assert names == {'images.npy', 'sizes.npy', 'index.json'}


def test_other_content_and_size_are_kept_apart(root, decodings):
  load(root)
  assert load(root, img_size=4).images.shape == (5, 4, 4, 3)
  Image.new('RGB', (20, 10)).save(root / 'data/train/ant/0.png')
  assert not load(root).images[0].any()
  assert len(decodings) == 15


def test_backgrounds_are_kept_apart(root, decodings):
  image = Image.new('RGBA', (10, 10), (9, 9, 9, 0))
  image.save(root / 'data/train/ant/0.png')
  source = sources.FolderSource(str(root / 'data'), 'train')
  shown = {}
  for background in ('', 'white', '#0000ff', ''):
    images = pictures.FileImages(source, SIZE, background=background)
    decoded = cache.load(images, SIZE, str(root / 'cache'))
    shown[background] = decoded.images[0, 0, 0].tolist()
    np.testing.assert_array_equal(decoded.images[0], images.get(0, 0))
  assert shown == {'': [9, 9, 9], 'white': [255] * 3, '#0000ff': [0, 0, 255]}
  assert len(decodings) == 3 * 5 + 4


@pytest.mark.parametrize(
  'name, damage, reason',
  [
    ('images.npy', lambda data: data[:-1], 'mmap length'),
    ('images.npy', lambda data: data + b'0', 'has not 1088 bytes'),
    ('images.npy', lambda data: b'x' + data[1:], 'magic string'),
    (
      'images.npy',
      lambda data: data.replace(b'(5,', b'(4,'),
      '.4, 8, 8, 3., n',
    ),
    ('images.npy', lambda data: data.replace(b'|u1', b'|i1'), 'is int8'),
    ('sizes.npy', lambda data: data[:-4], 'mmap length'),
    ('index.json', lambda data: data[:-9], 'Expecting|Unterminated'),
    ('index.json', lambda data: data.replace(b'bee', b'cow'), 'other domains'),
    ('index.json', lambda data: b'[]', 'list indices'),
    ('index.json', lambda data: b'[' * 100_000, 'recursion'),
    ('index.json', lambda data: data.replace(b'3,', b'6, -1,'), 'has counts'),
    ('index.json', lambda data: data.replace(b'3,', b'NaN,'), 'has counts'),
    (
      'index.json',
      lambda data: data.replace(b'"bad": []', b'"bad": [[0, 99]]'),
      'out of range',
    ),
  ],
)
def test_damage_is_noticed_and_mended(
  root, decodings, warnings, name, damage, reason
):
  load(root)
  path = folder_of(root) / name
  data = path.read_bytes()
  path.write_bytes(damage(data))
  decoded = load(root)
  assert len(decodings) == 10 and path.read_bytes() == data
  assert_all_there(root, decoded)
  (line,) = warnings
  assert line.startswith(f'{path.parent} is damaged (')
  assert line.endswith('and is made anew')
  assert re.search(reason, line)


def test_an_unreadable_image_stops_or_is_left_out(root, warnings):
  bad = root / 'data/train/ant/1.png'
  bad.write_bytes(b'nonsense')
  with pytest.raises(UserError, match='1 of 5 .*ant/1.png .*: remove it or'):
    load(root)
  assert not list(folder_of(root).iterdir())
  for _ in range(2):
    decoded = load(root, skip_bad=True)
    images = images_of(root)
    keys = [(0, 0), (0, 2), (1, 0), (1, 1)]
    expected = [images.get(*key) for key in keys]
    np.testing.assert_array_equal(decoded.images, expected)
    assert decoded.counts == (2, 2) and len(decoded.bad) == 1
    assert decoded.sizes[:, 1].tolist() == [10, 12, 10, 11]
  # Also where the decoded ones are kept already.
  with pytest.raises(UserError, match='1 of 5 .*ant/1.png .*: remove it or'):
    load(root)
  assert len(warnings) == 2 and 'ant/1.png' in warnings[0]
  for i in range(3):
    (root / f'data/train/ant/{i}.png').write_bytes(b'')
  with pytest.raises(UserError, match="domain 'ant' has no readable image"):
    load(root, skip_bad=True)


def test_an_error_that_passes_does_not_stay(root, monkeypatch):
  real = pictures.FileImages.picture

  def unreadable(self, domain, index):
    if (domain, index) == (0, 1):
      raise preprocess.UnreadableImage('passing')
    return real(self, domain, index)

  with monkeypatch.context() as patch:
    patch.setattr(pictures.FileImages, 'picture', unreadable)
    assert load(root, skip_bad=True).counts == (2, 2)
  assert load(root, skip_bad=True).counts == (3, 2)


def test_what_is_killed_leaves_nothing_half(root, monkeypatch, decodings):
  real = preprocess.resize

  def killed(image, img_size):
    if len(decodings) >= 4:  # threads may pass four together
      raise KeyboardInterrupt
    return real(image, img_size)

  with monkeypatch.context() as patch:
    patch.setattr(preprocess, 'resize', killed)
    with pytest.raises(KeyboardInterrupt):
      load(root)
  assert not list(folder_of(root).iterdir())
  old, young = (folder_of(root) / f'images.npy.{i}.partial' for i in range(2))
  for path in (old, young):
    path.write_bytes(b'half')
  os.utime(old, (0, 0))
  assert_all_there(root, load(root))
  assert not old.exists() and young.exists()  # the other may be alive


def test_starts_at_once_end_with_the_same(root):
  results = []
  threads = [
    threading.Thread(target=lambda: results.append(load(root)))
    for _ in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(results) == 4
  for decoded in results:
    assert_all_there(root, decoded)


def test_what_cannot_be_written_is_one_line(root, monkeypatch):
  full = OSError(errno.ENOSPC, 'No space left on device')

  def fail(fd):
    raise full

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(UserError, match='No space left .* GB; make room') as e:
    load(root)
  assert '\n' not in str(e.value) and not list(folder_of(root).iterdir())
  (root / 'file').write_text('')
  with pytest.raises(UserError, match='cannot keep decoded images'):
    cache.load(images_of(root), SIZE, str(root / 'file'))
  with pytest.raises(UserError, match='gs://x is no local folder'):
    cache.load(images_of(root), SIZE, 'gs://x')


def test_progress_is_told(root, monkeypatch, capsys):
  times = iter(range(0, 1000, 6))
  monkeypatch.setattr(reading.time, 'monotonic', lambda: next(times))
  load(root)
  out = capsys.readouterr().out
  assert 'decoding 5 images into' in out and 'decoded 3 of 5 images' in out
