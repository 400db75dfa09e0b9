"""Pictures of MUNIT and UNIT, and what they are exported as."""

import functools

import jax
import numpy as np
import pytest

from jaxgan.data import preprocess
from jaxgan.data.contracts import unpaired
from jaxgan.inference.translator import Translator
from jaxgan.runtime import sharding
from jaxgan.systems import contract
from tests import cells, tiny_munit, tiny_unit
from tests.tiny_two_domains import SIZE, jitted

TINY = {'munit': tiny_munit, 'unit': tiny_unit}


def _noise(count):
  rng = np.random.default_rng(1)
  return rng.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


@functools.cache
def _translator(name):
  """(translator, model, parameters) of a system."""
  model, state = TINY[name].create()
  system = contract.load(name)
  params = system.inference_params(state)
  return Translator(system, model, params, chunk=4), model, state.params


@functools.cache
def _grids(name):
  """(the grids of a system, the eight images [2, 8, S, S, 3] in them)."""
  translator, *_ = _translator(name)
  system = translator.system
  _, val = system.create_data(TINY[name].config()).evaluation()
  shown = [[val.readable(domain, i) for i in range(8)] for domain in range(2)]
  grids = system.grids(translator, val, jax.random.key(0))
  return grids, preprocess.to_float(np.array(shown))


SHAPES = {'latent': (7, 8), 'reference': (7, 9), 'cycle': (4, 8)}


def _cell(grid, row, column, kind='cycle'):
  return cells.read(grid, SIZE, *SHAPES[kind])[row, column].astype(int)


def _pixels(x):
  return np.clip((np.asarray(x) + 1) * 127.5, 0, 255)


def _near(a, b):
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_grids_of_munit_have_their_names_and_shapes():
  grids, _ = _grids('munit')
  assert list(grids) == [
    f'{pair}_{kind}'
    for pair in ('circle2triangle', 'triangle2circle')
    for kind in SHAPES
  ]
  for name, grid in grids.items():
    cells.read(grid, SIZE, *SHAPES[name.partition('_')[2]])


def test_grids_of_unit_have_their_names_and_shapes():
  grids, _ = _grids('unit')
  assert set(grids) == {'circle2triangle', 'triangle2circle'}
  for grid in grids.values():
    cells.read(grid, SIZE, *SHAPES['cycle'])


@pytest.mark.slow
def test_cells_of_munit_are_what_they_should_be():
  grids, shown = _grids('munit')
  translator, model, params = _translator('munit')

  def run(name, domain, *arrays):
    return jitted(model, name, domain)(params, *arrays)

  translate = tiny_munit.translator(model, 0)
  x, x_ref = shown[1][2:3], shown[0][1:2]
  by_reference = translate(params, x, run('style', 0, x_ref))
  own, c = run('style', 1, x), run('content', 1, x)
  # Six styles for all sources, and one for each source of the cycles.
  z = np.asarray(jax.random.normal(jax.random.key(0), (6 + 8, 3)))
  fake = translate(params, x, z[8:9])
  back = tiny_munit.translator(model, 1)(params, fake, own)
  for name, row, column, expected in (
    ('triangle2circle_latent', 0, 2, x),
    ('triangle2circle_latent', 1, 2, translate(params, x, z[:1])),
    ('triangle2circle_latent', 6, 2, translate(params, x, z[5:6])),
    ('triangle2circle_reference', 0, 3, x),
    ('triangle2circle_reference', 2, 0, x_ref),
    ('triangle2circle_reference', 2, 3, by_reference),
    ('triangle2circle_cycle', 0, 2, x),
    ('triangle2circle_cycle', 1, 2, run('decode', 1, c, own)),
    ('triangle2circle_cycle', 2, 2, fake),
    ('triangle2circle_cycle', 3, 2, back),
  ):
    got = _cell(grids[name], row, column, name.partition('_')[2])
    assert abs(got - _pixels(expected[0])).max() <= 1, (name, row)
  # A row has one style, and another one than the next.
  latent = grids['triangle2circle_latent']
  first, second = (_cell(latent, row, 2, 'latent') for row in (1, 2))
  assert (first != second).any()
  _, val = translator.system.create_data(tiny_munit.config()).evaluation()
  again = translator.system.grids(translator, val, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal, again, grids)


def test_cells_of_unit_are_what_they_should_be():
  grids, shown = _grids('unit')
  _, model, params = _translator('unit')
  x = shown[0][3:4]
  fake = tiny_unit.translator(model, 1)(params, x)
  h = jitted(model, 'encode', 0)(params, x)
  (own,) = jitted(model, 'decode', (0,))(params, h)
  back = tiny_unit.translator(model, 0)(params, fake)
  for row, expected in enumerate((x, own, fake, back)):
    got = _cell(grids['circle2triangle'], row, 3)
    assert abs(got - _pixels(expected[0])).max() <= 1, row


def test_munit_translates_into_styles_of_a_domain():
  translator, model, params = _translator('munit')
  assert sharding.create_local_mesh().size == 2
  x, y = _noise(5), np.array([1, 0, 0, 1, 0])
  s = translator.style(y, x_ref=x)
  assert s.shape == (5, 3)
  translated = translator.translate(x, y[::-1], s[::-1])
  reconstruct = translator.system.reconstruct
  reconstructed = translator.apply(reconstruct, y, x)
  for i, domain in enumerate(y.tolist()):
    row = x[i : i + 1]
    own = jitted(model, 'style', domain)(params, row)
    _near(s[i], own[0])
    run = tiny_munit.translator(model, y[::-1].tolist()[i])
    _near(translated[i], run(params, row, s[::-1][i : i + 1])[0])
    c = jitted(model, 'content', domain)(params, row)
    expected = jitted(model, 'decode', domain)(params, c, own)
    _near(reconstructed[i], expected[0])
  rows = translator.translate_all(x[:2], 0, s[:3])
  _near(rows[2, 1], translator.translate(x[1:2], y[1:2], s[2:3])[0])


def test_drawn_styles_are_latents_and_truncated_about_zero():
  translator, *_ = _translator('munit')
  z = np.float32([[1, -2, 3]])
  for y in range(2):
    assert translator.style(np.array([y]), z=z).tolist() == z.tolist()
    assert translator.mean_style(y, 3).tolist() == [0, 0, 0]
    half = translator.truncated_style(y, z, 0.5)
    assert half.tolist() == [[0.5, -1, 1.5]]


def test_unit_translates_to_a_domain():
  translator, model, params = _translator('unit')
  x, y = _noise(3), np.array([1, 0, 1])
  translated = translator.translate(x, y)
  reconstructed = translator.apply(translator.system.reconstruct, y, x)
  for i, domain in enumerate(y.tolist()):
    row = x[i : i + 1]
    _near(translated[i], tiny_unit.translator(model, domain)(params, row)[0])
    h = jitted(model, 'encode', domain)(params, row)
    _near(reconstructed[i], jitted(model, 'decode', (domain,))(params, h)[0][0])
  # Nothing is drawn.
  np.testing.assert_array_equal(translator.translate(x, y), translated)
  _near(translator.translate_all(x, 1)[0, 0], translated[0])
  _near(translator.translate_all(x, 0)[0, 1], translated[1])


def test_programs_do_what_the_translators_do():
  x, y = _noise(2), np.array([1, 0], np.int32)
  translator, *_ = _translator('munit')
  programs = translator.programs(2)
  assert (
    set(programs)
    == set(translator.system.KINDS)
    == {
      'latent',
      'reference',
    }
  )
  z = np.random.default_rng(2).standard_normal((2, 3), np.float32)
  got = jax.jit(programs['latent'])(x, z, y)
  assert got.dtype == np.float32
  _near(got, translator.translate(x, y, z))
  got = jax.jit(programs['reference'])(x, x[::-1], y)
  s = translator.style(y, x_ref=x[::-1])
  _near(got, translator.translate(x, y, s))

  translator, *_ = _translator('unit')
  programs = translator.programs(2)
  assert set(programs) == set(translator.system.KINDS) == {'label'}
  got = jax.jit(programs['label'])(x, y)
  _near(got, translator.translate(x, y))


def test_a_batch_is_translated_for_measurements():
  batch = tiny_munit.batch()
  x, y, source = unpaired.Data.requests(batch)
  np.testing.assert_array_equal(x, batch['x_b'])
  np.testing.assert_array_equal(source['x_ref'], batch['x_a'])
  assert y == 0
  for name in TINY:
    system = contract.load(name)
    _, model, params = _translator(name)

    def run(params, system=system, model=model):
      s = system.style and system.style(model, params, y, **source)
      return system.translate(model, params, {}, x, y, s, None)

    style = []
    if name == 'munit':
      style = [jitted(model, 'style', 0)(params, batch['x_a'])]
    fake = TINY[name].translator(model, 0)(params, batch['x_b'], *style)
    _near(jax.jit(run)(params), fake)


@pytest.mark.parametrize('name', TINY)
def test_one_image_of_one_domain_is_enough(name):
  translator, *_ = _translator(name)
  x, s = _noise(1), np.zeros((1, 3), np.float32)
  fake = translator.translate_all(x, 0, s if name == 'munit' else None)
  assert fake.shape == (1, 1, SIZE, SIZE, 3)
