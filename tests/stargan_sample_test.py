import functools
import importlib

import jax
import numpy as np
import pytest

from jaxgan.runtime import sharding
from jaxgan.systems import stargan
from jaxgan.systems.stargan.labels import FLIP, KEEP
from jaxgan.systems.stargan.sample import NUM_SOURCES, Translator
from tests import tiny_stargan as tiny


def _translator(**overrides):
  state, static = tiny.create(**overrides)
  return Translator(state.params, {}, chunk=4, **static), state, static


def _noise(count):
  rng = np.random.default_rng(1)
  shape = (count, tiny.SIZE, tiny.SIZE, 3)
  return rng.uniform(-1, 1, shape).astype(np.float32)


@functools.cache
def _grids(kind):
  overrides = getattr(tiny, kind)
  state, static = tiny.create(**overrides)
  _, val = stargan.create_datasets(tiny.config(**overrides), 0, 1)
  grids = stargan.sample(state.params, {}, val, jax.random.key(0), **static)
  return grids, val.batch(NUM_SOURCES), state, static


@pytest.mark.parametrize(
  'kind, heights',
  [
    ('DOMAINS', {'targets': 1 + 3, 'cycle': 3}),
    (
      'JOINT',
      {'targets': 1 + 6, 'cycle': 3, 'joint_targets': 1 + 6, 'joint_cycle': 3},
    ),
  ],
)
def test_grids_have_their_names_and_shapes(kind, heights):
  grids, *_ = _grids(kind)
  pitch = tiny.SIZE + 2
  assert {name: x.shape for name, x in grids.items()} == {
    name: (2 + rows * pitch, 2 + 8 * pitch, 3) for name, rows in heights.items()
  }
  assert all(x.dtype == np.uint8 for x in grids.values())


def _cell(grid, row, column):
  top, left = (2 + i * (tiny.SIZE + 2) for i in (row, column))
  return grid[top : top + tiny.SIZE, left : left + tiny.SIZE].astype(int)


def _pixels(x):
  return np.clip((np.asarray(x) + 1) * 127.5, 0, 255)


def test_cells_are_sources_translations_and_the_way_back():
  grids, batch, state, static = _grids('DOMAINS')
  translate = functools.partial(tiny.translate_fn(static['nets']), state.params)
  x = batch['x0'][3:4]  # a circle
  there = [translate(x, np.eye(3, dtype=np.float32)[[i]]) for i in range(3)]
  back = translate(there[2], batch['c0'][3:4])
  for name, row, expected in (
    ('targets', 0, x),
    *(('targets', 1 + i, fake) for i, fake in enumerate(there)),
    ('cycle', 0, x),
    ('cycle', 1, there[2]),
    ('cycle', 2, back),
  ):
    got = _cell(grids[name], row, 3)
    assert abs(got - _pixels(expected[0])).max() <= 1, (name, row)


def test_of_many_targets_the_grids_show_some(monkeypatch):
  # Not by its name, which is that of a function too.
  module = importlib.import_module('jaxgan.systems.stargan.sample')
  monkeypatch.setattr(module, 'MAX_TARGETS', 2)
  state, static = tiny.create()
  _, val = stargan.create_datasets(tiny.config(**tiny.DOMAINS), 0, 1)
  grids = stargan.sample(state.params, {}, val, None, **static)
  whole, *_ = _grids('DOMAINS')
  assert grids['targets'].shape[0] == 2 + 3 * (tiny.SIZE + 2)
  for row, same in ((1, 1), (2, 3)):  # the first and the last
    np.testing.assert_array_equal(
      _cell(grids['targets'], row, 0), _cell(whole['targets'], same, 0)
    )


def test_translations_are_the_same_on_one_and_two_devices():
  translator, state, static = _translator()
  assert sharding.create_local_mesh().size == 2
  x, codes = _noise(3), translator.label_styles(np.array([2, 0]))
  got = translator.translate_all(x, codes)
  assert got.shape == (2, 3, tiny.SIZE, tiny.SIZE, 3)
  assert codes.tolist() == [[0, 0, 1], [1, 0, 0]]
  for of_code, code in zip(got, codes, strict=True):
    c = np.tile(code, (3, 1))
    expected = tiny.translate_fn(static['nets'])(state.params, x, c)
    np.testing.assert_allclose(of_code, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('given', [True, False])
def test_what_is_kept_and_turned_over_is_given_or_seen(given):
  translator, state, static = _translator(**tiny.ATTRIBUTES)
  x, codes = _noise(3), translator.label_styles(np.array([1]))
  assert codes.tolist() == [[KEEP, FLIP, KEEP]]
  _, logits = tiny.discriminate_fn(static['nets'])(state.params, x)
  seen = np.asarray(logits > 0, np.float32)
  own = 1 - seen if given else seen
  got = translator.translate_all(x, codes, own if given else None)
  asked = np.abs(own - np.float32([[0, 1, 0]]))
  expected = tiny.translate_fn(static['nets'])(state.params, x, asked)
  np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-5)
  # Another label would be another picture.
  other = tiny.translate_fn(static['nets'])(state.params, x, 1 - asked)
  assert np.abs(other - expected).max() > 1e-3


@pytest.mark.parametrize('kind', ['DOMAINS', 'ATTRIBUTES', 'JOINT'])
def test_the_program_does_what_the_translator_does(kind):
  translator, _, static = _translator(**getattr(tiny, kind))
  names = static['labels'].names
  (program,) = translator.programs().values()
  assert list(translator.programs()) == list(translator.STYLES) == ['label']
  x = np.tile(_noise(1), (len(names), 1, 1, 1))
  got = jax.jit(program)(x, np.arange(len(names), dtype=np.int32))
  codes = translator.label_styles(np.arange(len(names)))
  expected = translator.translate_all(x[:1], codes)[:, 0]
  assert got.dtype == np.float32
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
