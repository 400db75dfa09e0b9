import numpy as np
import pytest
from PIL import Image

from jaxgan.metrics import features
from jaxgan.runtime import files


class _Counting(features.Inception):
  """Features without a network: colours of a corner."""

  def __init__(self):
    self.name, self.label, self.uses_img_size = 'stargan_v2', 'made', True
    self.looked = 0

  def compute(self, pictures, img_size):
    self.looked += 1
    return np.stack([np.asarray(p)[0, 0] for p in pictures]) + img_size


def _pictures(value=7):
  return [Image.new('RGB', (4, 4), (value, 2, 3))] * 3


@pytest.fixture
def compute(tmp_path):
  """(network, its cached computation of a content)."""
  network = _Counting()

  def compute(content='one', img_size=8, value=7):
    return network.compute_cached(
      _pictures(value),
      img_size,
      content=content,
      cache_dir=str(tmp_path / 'cache'),
    )

  return network, compute


def test_features_are_computed_once(compute):
  network, compute = compute
  first = compute()
  np.testing.assert_array_equal(first, [[15, 10, 11]] * 3)
  np.testing.assert_array_equal(compute(), first)
  assert network.looked == 1


def test_another_content_size_or_weight_is_computed_anew(compute):
  network, compute = compute
  compute()
  assert compute(content='two', value=9)[0, 0] == 17
  assert compute(img_size=16)[0, 0] == 23
  network.label = 'other'
  compute()
  assert network.looked == 4


def test_a_stale_or_damaged_cache_is_refused(compute, tmp_path):
  network, compute = compute
  compute()
  compute(content='two', value=9)
  one, two = sorted(
    (tmp_path / 'cache').iterdir(), key=lambda path: path.stat().st_mtime_ns
  )
  one.write_bytes(two.read_bytes())  # under the name of another content
  assert compute()[0, 0] == 15
  data = bytearray(one.read_bytes())
  data[len(data) // 2] ^= 1
  one.write_bytes(data)
  assert compute()[0, 0] == 15
  assert network.looked == 4


def test_cache_is_where_the_desktop_systems_say(monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
  assert files.default_cache_dir() == '/somewhere/jaxgan'
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/me')
  assert files.default_cache_dir() == '/me/.cache/jaxgan'


def test_clean_resizes_from_the_stored_size_without_rounding():
  picture = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
  )
  clean = features.PROTOCOLS['clean']
  x = clean.prepare(picture, 8)
  assert x.shape == (299, 299, 3) and x.dtype == np.float32
  assert x.min() == 0 and x.max() == 255  # bicubic overshoots; cut off
  assert np.abs(x - np.rint(x)).max() > 0.4
  np.testing.assert_allclose(
    clean.normalize(np.float32([0, 255])), [-1, 127 / 128]
  )
  twice = features.PROTOCOLS['stargan_v2'].prepare(picture, 8)
  assert twice.dtype == np.uint8 and np.ptp(x) > np.ptp(twice)
