"""Pictures of MUNIT and UNIT, and what they are exported as."""

import functools

import jax
import numpy as np
import pytest

from jaxgan.runtime import sharding
from jaxgan.systems import munit, unit
from tests import tiny_munit, tiny_unit

SIZE = tiny_munit.SIZE
PITCH = SIZE + 2


def _noise(count):
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


@functools.cache
def _munit():
  state, static = tiny_munit.create()
  return munit.Translator(state.params, {}, chunk=4, **static), state, static


@functools.cache
def _unit():
  state, static = tiny_unit.create()
  return unit.Translator(state.params, {}, chunk=4, **static), state, static


@functools.cache
def _grids(system, tiny):
  state, static = tiny.create()
  _, val = system.create_datasets(tiny.config(), 0, 1)
  rng = jax.random.key(0)
  return system.sample(state.params, {}, val, rng, **static), val.batch(8)


def _cell(grid, row, column):
  top, left = (2 + i * PITCH for i in (row, column))
  return grid[top : top + SIZE, left : left + SIZE].astype(int)


def _pixels(x):
  return np.clip((np.asarray(x) + 1) * 127.5, 0, 255)


def _near(a, b):
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_grids_of_munit_have_their_names_and_shapes():
  grids, _ = _grids(munit, tiny_munit)
  sizes = {'latent': (7, 8), 'reference': (7, 9), 'cycle': (4, 8)}
  assert {name: x.shape for name, x in grids.items()} == {
    f'{pair}_{kind}': (2 + rows * PITCH, 2 + columns * PITCH, 3)
    for pair in ('circle2triangle', 'triangle2circle')
    for kind, (rows, columns) in sizes.items()
  }


def test_grids_of_unit_have_their_names_and_shapes():
  grids, _ = _grids(unit, tiny_unit)
  assert {name: x.shape for name, x in grids.items()} == {
    pair: (2 + 4 * PITCH, 2 + 8 * PITCH, 3)
    for pair in ('circle2triangle', 'triangle2circle')
  }


@pytest.mark.slow
def test_cells_of_munit_are_what_they_should_be():
  grids, batch = _grids(munit, tiny_munit)
  _, state, static = _munit()

  def run(name, domain, *arrays):
    fn = tiny_munit.jitted(static['nets'], name, domain)
    return fn(state.params, *arrays)

  x, x_ref = batch['x_b'][2:3], batch['x_a'][1:2]
  by_reference = run('translate', 0, x, run('style', 0, x_ref))
  own, c = run('style', 1, x), run('content', 1, x)
  for name, row, column, expected in (
    ('triangle2circle_latent', 0, 2, x),
    ('triangle2circle_reference', 0, 3, x),
    ('triangle2circle_reference', 2, 0, x_ref),
    ('triangle2circle_reference', 2, 3, by_reference),
    ('triangle2circle_cycle', 0, 2, x),
    ('triangle2circle_cycle', 1, 2, run('decode', 1, c, own)),
  ):
    got = _cell(grids[name], row, column)
    assert abs(got - _pixels(expected[0])).max() <= 1, (name, row)
  # A row has one style, and another one than the next.
  latent = grids['triangle2circle_latent']
  assert (_cell(latent, 1, 2) != _cell(latent, 2, 2)).any()
  again = munit.sample(
    state.params,
    {},
    munit.create_datasets(tiny_munit.config(), 0, 1)[1],
    jax.random.key(0),
    **static,
  )
  jax.tree.map(np.testing.assert_array_equal, again, grids)


def test_cells_of_unit_are_what_they_should_be():
  grids, batch = _grids(unit, tiny_unit)
  _, state, static = _unit()

  def run(name, domain, *arrays):
    fn = tiny_unit.jitted(static['nets'], name, domain)
    return fn(state.params, *arrays)

  x = batch['x_a'][3:4]
  fake = run('translate', 1, x)
  (own,) = run('decode', (0,), run('encode', 0, x))
  for row, expected in enumerate((x, own, fake, run('translate', 0, fake))):
    got = _cell(grids['circle2triangle'], row, 3)
    assert abs(got - _pixels(expected[0])).max() <= 1, row


def test_a_style_of_munit_tells_its_domain():
  translator, state, static = _munit()
  assert sharding.create_local_mesh().size == 2
  x, y = _noise(5), np.array([1, 0, 0, 1, 0])
  s = translator.encode(x, y)
  assert s.shape == (5, 4) and s[:, -1].tolist() == y.tolist()
  translated = translator.translate(x, s[::-1])
  reconstructed = translator.reconstruct(x, y)
  for i, domain in enumerate(y):
    run = functools.partial(tiny_munit.jitted, static['nets'])
    own = run('style', domain)(state.params, x[i : i + 1])
    _near(s[i, :-1], own[0])
    style = s[::-1][i : i + 1]
    expected = run('translate', int(style[0, -1]))(
      state.params, x[i : i + 1], style[:, :-1]
    )
    _near(translated[i], expected[0])
    c = run('content', domain)(state.params, x[i : i + 1])
    expected = run('decode', domain)(state.params, c, own)
    _near(reconstructed[i], expected[0])
  rows = translator.translate_all(x[:2], s[:3])
  _near(rows[2, 1], translator.translate(x[1:2], s[2:3])[0])


def test_drawn_styles_are_latents_and_truncated_about_zero():
  translator, _, _ = _munit()
  z = np.float32([[1, -2, 3]])
  assert translator.map(z)[0].tolist() == [[1, -2, 3, 0], [1, -2, 3, 1]]
  mean = translator.mean_styles(jax.random.key(0), 3)
  assert mean.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
  half = translator.map_truncated(z, mean, 0.5)[0]
  assert half.tolist() == [[0.5, -1, 1.5, 0], [0.5, -1, 1.5, 1]]


def test_a_style_of_unit_is_a_domain():
  translator, state, static = _unit()
  x, y = _noise(3), np.array([1, 0, 1])
  s = translator.label_styles(y)
  assert s.tolist() == [[1], [0], [1]]
  translated = translator.translate(x, s)
  reconstructed = translator.reconstruct(x, y)
  for i, domain in enumerate(y):
    run = functools.partial(tiny_unit.jitted, static['nets'])
    _near(
      translated[i],
      run('translate', domain)(state.params, x[i : i + 1])[0],
    )
    h = run('encode', domain)(state.params, x[i : i + 1])
    _near(reconstructed[i], run('decode', (domain,))(state.params, h)[0][0])
  # Nothing is drawn.
  np.testing.assert_array_equal(translator.translate(x, s), translated)
  rows = translator.translate_all(x, s[:2])
  _near(rows[0, 0], translated[0])
  _near(rows[1, 1], translated[1])


def test_programs_do_what_the_translators_do():
  x, y = _noise(2), np.array([1, 0], np.int32)
  translator, *_ = _munit()
  programs = translator.programs()
  assert set(programs) == set(translator.STYLES) == {'latent', 'reference'}
  z = np.random.default_rng(2).standard_normal((2, 3), np.float32)
  got = jax.jit(programs['latent'])(x, z, y)
  assert got.dtype == np.float32
  s = translator.map(z)[np.arange(2), y]
  _near(got, translator.translate(x, s))
  got = jax.jit(programs['reference'])(x, x[::-1], y)
  _near(got, translator.translate(x, translator.encode(x[::-1], y)))

  translator, *_ = _unit()
  programs = translator.programs()
  assert set(programs) == set(translator.STYLES) == {'label'}
  got = jax.jit(programs['label'])(x, y)
  _near(got, translator.translate(x, translator.label_styles(y)))


def test_a_batch_is_translated_for_measurements():
  for system, tiny, direction in (
    (munit, tiny_munit, 'ba'),
    (unit, tiny_unit, 'ab'),
  ):
    state, static = tiny.create()
    batch = tiny.batch()
    run = jax.jit(functools.partial(system.translate_batch, **static))
    got = run(system.inference_params(state), {}, batch)
    source, target = direction
    domain = 'ab'.index(target)
    fn = tiny.jitted(static['nets'], 'translate', domain)
    more = []
    if system is munit:
      style = tiny.jitted(static['nets'], 'style', domain)
      more = [style(state.params, batch[f'x_{target}'])]
    _near(got, fn(state.params, batch[f'x_{source}'], *more))


@pytest.mark.parametrize('translator', [_munit, _unit], ids=['munit', 'unit'])
def test_one_image_of_one_domain_is_enough(translator):
  made, *_ = translator()
  x = _noise(1)
  s = made.map(np.zeros((1, 3)))[0, :1] if translator is _munit else [[0.0]]
  assert made.translate_all(x, np.float32(s)).shape == (1, 1, SIZE, SIZE, 3)
