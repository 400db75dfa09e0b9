"""A classifier of flat colours on a noisy ground, which needs few steps."""

import functools

import jax
import numpy as np
import pytest

from jaxgan.metrics import classification
from jaxgan.runtime import sharding

SIZE = 8
STEPS = 60


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
  monkeypatch.setattr(classification, '_WIDTH', 8)


def _draw(step, *, batch=16):
  """Red and blue images, and which they are."""
  rng = np.random.default_rng(step)
  domain = rng.integers(0, 2, batch)
  x = rng.integers(0, 100, (batch, SIZE, SIZE, 3))
  x[np.arange(batch), 2:6, 2:6, 2 * domain] += 100
  return x.astype(np.uint8), np.eye(2, dtype=np.float32)[domain]


def _draw_swapped(step):
  x, labels = _draw(step)
  return x, labels[:, ::-1].copy()


def _draw_by_chance(step):
  x, labels = _draw(step)
  return x, np.random.default_rng([1, step]).permutation(labels)


def _draw_attributes(step):
  """What is red or blue may also be bright at the bottom."""
  x, labels = _draw(step)
  bright = np.random.default_rng([1, step]).integers(0, 2, len(x))
  x[:, 6:] += np.uint8(150 * bright)[:, None, None, None]
  return x, np.stack([labels[:, 1], bright], 1).astype(np.float32)


@functools.cache
def _trained(draw=_draw, exclusive=True, seed=0):
  return classification.train(
    draw, 2, exclusive=exclusive, steps=STEPS, seed=seed
  )


def _held_out(draw=_draw):
  x, labels = zip(*(draw(1000 + i) for i in range(4)), strict=True)
  return np.concatenate(x), np.concatenate(labels)


def _error(params, x, labels):
  logits = classification.predict(params, x)
  return np.mean(logits.argmax(1) != labels.argmax(1))


def test_it_tells_colours_apart_that_it_has_not_seen():
  x, labels = _held_out()
  assert _error(_trained(), x, labels) == 0
  # It learns what it is told, and no colours from labels drawn by chance.
  assert _error(_trained(_draw_swapped), x, labels) == 1
  margins = [
    np.ptp(classification.predict(_trained(draw), x), axis=1).mean()
    for draw in (_draw_by_chance, _draw)
  ]
  assert margins[0] < 1 < 2 < margins[1]


def test_labels_that_do_not_exclude_each_other():
  params = _trained(_draw_attributes, exclusive=False)
  x, labels = _held_out(_draw_attributes)
  assert {tuple(row) for row in labels} == {(0, 0), (0, 1), (1, 0), (1, 1)}
  found = classification.predict(params, x) > 0
  np.testing.assert_array_equal(found, labels > 0)


def test_the_same_seed_trains_the_same():
  again = classification.train(_draw, 2, exclusive=True, steps=STEPS)
  jax.tree.map(np.testing.assert_array_equal, again, _trained())
  other = classification.train(_draw, 2, exclusive=True, steps=1, seed=1)
  assert np.abs(other['stem']['kernel'] - again['stem']['kernel']).max() > 0.1


def test_what_is_predicted_of_bytes_and_of_floats_on_one_and_two_devices(
  monkeypatch,
):
  x, _ = _held_out()
  x = x[:5]
  expected = classification.predict(_trained(), x)
  assert expected.shape == (5, 2) and expected.dtype == np.float32
  floats = classification.predict(_trained(), x / np.float32(127.5) - 1)
  np.testing.assert_allclose(floats, expected, rtol=1e-4, atol=1e-4)
  assert sharding.create_local_mesh().size == 2
  one = jax.sharding.Mesh(jax.devices()[:1], ('data',))
  monkeypatch.setattr(sharding, 'create_local_mesh', lambda: one)
  alone = classification.predict(_trained(), x)
  np.testing.assert_allclose(alone, expected, rtol=1e-4, atol=1e-4)
  assert classification.predict(_trained(), x[:0]).shape == (0, 2)


def test_large_images_are_shrunk():
  network = classification.Classifier(3)
  params = network.init(jax.random.key(0), np.zeros((1, 128, 128, 3)))
  # The same, each pixel two by two times.
  small = np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3))
  small = np.float32(small).repeat(16, 1).repeat(16, 2)
  large = small.repeat(2, 1).repeat(2, 2)
  apply = jax.jit(network.apply)
  logits = [apply(params, x) for x in (small, large)]
  assert logits[0].shape == (1, 3)
  np.testing.assert_allclose(*logits, atol=0.05)
  assert np.abs(logits[0]).max() > 0.2


@pytest.fixture
def load(tmp_path, monkeypatch):
  """(what was trained, `load_or_train` of a content)."""
  trained = []

  def train(draw, num_labels, *, exclusive, steps, seed):
    trained.append((steps, seed))
    return classification._init(num_labels, SIZE, jax.random.key(seed))

  def load(content='one', img_size=SIZE, seed=0, exclusive=True):
    return classification.load_or_train(
      _draw,
      2,
      exclusive=exclusive,
      img_size=img_size,
      content=content,
      cache_dir=str(tmp_path / 'cache'),
      steps=7,
      seed=seed,
    )

  monkeypatch.setattr(classification, 'train', train)
  return trained, load


def test_a_classifier_is_trained_once(load):
  trained, load = load
  first = load()
  jax.tree.map(np.testing.assert_array_equal, load(), first)
  assert trained == [(7, 0)]
  assert classification.predict(load(), _draw(0)[0]).shape == (16, 2)


def test_other_content_size_seed_or_kind_is_trained_anew(load, monkeypatch):
  trained, load = load
  load()
  load(content='two')
  load(img_size=16)
  load(exclusive=False)
  other = load(seed=1)
  assert np.abs(other['head']['kernel'] - load()['head']['kernel']).max() > 0.1
  monkeypatch.setattr(classification, 'LABEL', 'classifier:0')
  load()
  assert len(trained) == 6


def test_a_damaged_or_foreign_file_is_trained_anew(load, tmp_path, caplog):
  trained, load = load
  first = load()
  (path,) = (tmp_path / 'cache').iterdir()
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  jax.tree.map(np.testing.assert_array_equal, load(), first)
  assert 'is damaged' in caplog.text
  load(seed=1)
  (other,) = set((tmp_path / 'cache').iterdir()) - {path}
  path.write_bytes(other.read_bytes())
  jax.tree.map(np.testing.assert_array_equal, load(), first)
  assert 'is of something else' in caplog.text
  assert trained == [(7, 0), (7, 0), (7, 1), (7, 0)]
  load()
  assert len(trained) == 4


def test_a_folder_that_cannot_be_written_keeps_nothing(load, tmp_path, caplog):
  trained, load = load
  (tmp_path / 'cache').touch()
  load()
  load()
  assert len(trained) == 2
  assert 'the classifier is not kept' in caplog.text
