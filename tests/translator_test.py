"""The translator of all systems, with networks of a number each."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxgan.inference.translator import NUM_MEAN_LATENTS, Translator

PARAMS = {'generator': np.float32(3), 'mapping_network': np.float32(2)}
FROZEN = {'offset': np.float32(0.5)}
# Five images of one pixel, of three domains in no order.
X = np.arange(5, dtype=np.float32)[:, None, None, None]
Y = np.array([2, 0, 1, 2, 0], np.int32)
S = np.array([[10], [20], [30], [40], [50]], np.float32)


class _Model:
  latent_dim = 1


def _style(model, params, y, *, z=None, x_ref=None):
  """2 z + y, or the mean of x_ref + y."""
  if x_ref is None:
    return params['mapping_network'] * z + _column(y)
  return jnp.mean(x_ref, axis=(1, 2)) + _column(y)


def _translate(model, params, frozen, x, y, s, rng):
  """3 x + s + 100 y + 0.5, and what is drawn."""
  fake = 0 if x is None else params['generator'] * sum(jax.tree.leaves(x))
  fake += (100 * _column(y) + frozen['offset'])[:, :, None, None]
  if s is not None:
    fake += s[:, :, None, None]
  if rng is not None:
    draw = jax.vmap(lambda key: jax.random.normal(key, (1, 1, 1)))
    fake += draw(rng)
  return fake


def _column(y):
  return jnp.reshape(y, (-1, 1)).astype(jnp.float32)


def _expected(x, y, s=0.0):
  return 3 * x + np.reshape(s + 100.0 * y + 0.5, (-1, 1, 1, 1))


def _system(translate=_translate, style=_style, **constants):
  constants = {'BY_DOMAIN': False, 'DRAWS': False} | constants
  constants = {'mean_style': None} | constants
  kinds = {'KINDS': ('latent', 'reference')}
  return types.SimpleNamespace(
    style=style, translate=translate, **kinds | constants
  )


def _translator(system, model=None, **settings):
  return Translator(system, model or _Model(), PARAMS, FROZEN, **settings)


def _spied(seen, fn=_translate):
  """The function, noting what it is traced with."""

  def run(model, params, frozen, x, y, s, rng):
    seen.append((jax.tree.map(jnp.shape, (x, s)), y, rng))
    return fn(model, params, frozen, x, y, s, rng)

  return run


@pytest.mark.parametrize('chunk, size', [(2, 2), (3, 4), (8, 8)])
def test_any_number_of_images_goes_in_chunks_of_one_size(chunk, size):
  seen = []
  translator = _translator(_system(_spied(seen)), chunk=chunk)
  fake = translator.translate(X, Y, S)
  np.testing.assert_allclose(fake, _expected(X, Y, S[:, 0]))
  assert fake.dtype == np.float32
  # Two devices divide a chunk; the last is filled up: one program for all.
  assert jax.local_device_count() == 2
  assert [shapes for shapes, _, _ in seen] == [((size, 1, 1, 1), (size, 1))]
  assert seen[0][2] is None  # nothing is drawn


def test_one_program_for_all_translators_of_a_model():
  seen, model = [], _Model()
  system = _system(_spied(seen))
  for _ in range(2):
    _translator(system, model).translate(X, Y, S)
  assert len(seen) == 1
  _translator(system).translate(X, Y, S)
  assert len(seen) == 2


@pytest.mark.parametrize('by_domain', [False, True])
def test_styles_of_latents_and_of_references(by_domain):
  translator = _translator(_system(BY_DOMAIN=by_domain), chunk=2)
  s = translator.style(Y, z=S)
  np.testing.assert_allclose(s, 2 * S + Y[:, None])
  s = translator.style(Y, x_ref=X)
  np.testing.assert_allclose(s, X[:, 0, 0] + Y[:, None])


@pytest.mark.parametrize('by_domain', [False, True])
def test_sources_may_be_a_tree_or_none(by_domain):
  translator = _translator(_system(BY_DOMAIN=by_domain), chunk=2)
  fake = translator.translate({'image': X, 'boxes': 10 * X}, Y, S)
  np.testing.assert_allclose(fake, _expected(11 * X, Y, S[:, 0]))
  fake = translator.translate(None, Y, S)
  np.testing.assert_allclose(fake, _expected(0, Y, S[:, 0]))


@pytest.mark.parametrize('y', [Y, [1, 0, 0, 1, 0], [1, 1, 1, 1, 1]])
def test_domains_with_networks_of_their_own_are_run_one_by_one(y):
  seen, y = [], np.array(y)
  translator = _translator(_system(_spied(seen), BY_DOMAIN=True), chunk=2)
  fake = translator.translate(X, y, S)  # in the order that they were given in
  np.testing.assert_allclose(fake, _expected(X, y, S[:, 0]))
  assert [y for _, y, _ in seen] == sorted(set(y.tolist()))
  assert all(type(y) is int for _, y, _ in seen)


@pytest.mark.parametrize('by_domain', [False, True])
@pytest.mark.parametrize('chunk', [2, 8])
def test_a_picture_draws_by_its_number(by_domain, chunk):
  system = _system(DRAWS=True, BY_DOMAIN=by_domain)
  translator = _translator(system, chunk=chunk, seed=7)
  fake = translator.translate(X, Y, S)
  drawn = [
    jax.random.normal(jax.random.fold_in(jax.random.key(7), i))
    for i in range(5)
  ]
  assert len(set(map(float, drawn))) == 5
  np.testing.assert_allclose(
    fake.ravel(), _expected(X, Y, S[:, 0]).ravel() + drawn, rtol=1e-6
  )
  # Whatever comes with it.
  alone = translator.translate(X[:1], Y[:1], S[:1])
  np.testing.assert_array_equal(alone, fake[:1])


def test_every_source_in_every_style():
  translator = _translator(_system(), chunk=2)
  fake = translator.translate_all(X, 1, S[:3])
  assert fake.shape == (3, 5, 1, 1, 1)
  for row, style in zip(fake, S[:3], strict=True):
    one = translator.translate(X, np.full(5, 1), style[None].repeat(5, 0))
    np.testing.assert_array_equal(row, one)
    np.testing.assert_allclose(row, _expected(X, 1, style))
  tree = translator.translate_all({'a': X, 'b': X}, 1, S[:3])
  np.testing.assert_allclose(tree - fake, np.stack([3 * X] * 3))


def test_every_source_without_styles_and_every_style_without_sources():
  translator = _translator(_system())
  fake = translator.translate_all(X, 1)
  assert fake.shape == (1, 5, 1, 1, 1)
  np.testing.assert_allclose(fake[0], _expected(X, 1))
  fake = translator.translate_all(None, 1, S)
  assert fake.shape == (5, 1, 1, 1, 1)
  np.testing.assert_allclose(fake[:, 0], _expected(0, 1, S[:, 0]))


@pytest.mark.parametrize('by_domain', [False, True])
def test_another_function_of_the_system(by_domain):
  def fn(model, params, frozen, y, x):
    return x + _column(y)[:, :, None, None] * frozen['offset']

  translator = _translator(_system(BY_DOMAIN=by_domain), chunk=2)
  expected = X + 0.5 * Y[:, None, None, None]
  np.testing.assert_allclose(translator.apply(fn, Y, X), expected)


def test_the_mean_style_and_truncation():
  calls = []

  def style(model, params, y, *, z):
    calls.append(z.shape)
    return _style(model, params, y, z=z)

  translator = _translator(_system(style=style))
  z = np.array([[1.0], [-3.0]], np.float32)
  np.testing.assert_allclose(translator.truncated_style(1, z, 1), 2 * z + 1)
  assert not translator._means  # it is not asked for
  drawn = jax.random.normal(jax.random.key(0), (NUM_MEAN_LATENTS, 1))
  mean = 2 * drawn.mean() + 1
  np.testing.assert_allclose(translator.mean_style(1, 1), [mean], rtol=1e-4)
  np.testing.assert_allclose(
    translator.truncated_style(1, z, 0), [[mean]] * 2, rtol=1e-4
  )
  np.testing.assert_allclose(
    translator.truncated_style(1, z, 0.25),
    mean + 0.25 * (2 * z + 1 - mean),
    rtol=1e-4,
  )
  # The mean of another domain is another one; of many latents few at a time.
  np.testing.assert_allclose(
    translator.mean_style(0, 1), [mean - 1], rtol=1e-3, atol=1e-5
  )
  assert set(calls) == {(64, 1)}


@pytest.mark.parametrize('draws', [False, True])
@pytest.mark.parametrize('by_domain', [False, True])
def test_programs_are_the_pure_functions_for_any_batch(by_domain, draws):
  system = _system(
    BY_DOMAIN=by_domain, DRAWS=draws, KINDS=('latent', 'reference', 'label')
  )
  translator = _translator(system, seed=7)
  programs = translator.programs(3)
  assert list(programs) == ['latent', 'reference', 'label']
  b, *_ = export.symbolic_shape('b')
  x = jax.ShapeDtypeStruct((b, 1, 1, 1), 'float32')
  y = jax.ShapeDtypeStruct((b,), 'int32')
  z = jax.ShapeDtypeStruct((b, 1), 'float32')
  for kind, shapes, arrays in (
    ('latent', (x, z, y), (X, S, Y)),
    ('reference', (x, x, y), (X, 10 * X, Y)),
    ('label', (x, y), (X, Y)),
  ):
    exported = export.export(jax.jit(programs[kind]))(*shapes)
    fake = export.deserialize(exported.serialize()).call(*arrays)
    assert fake.dtype == np.float32
    s = {
      'latent': lambda: translator.style(Y, z=S),
      'reference': lambda: translator.style(Y, x_ref=10 * X),
      'label': lambda: None,
    }[kind]()
    expected = translator.translate(X, Y, s)
    np.testing.assert_allclose(fake, expected, rtol=1e-6)


def test_programs_of_the_kinds_there_are():
  assert list(_translator(_system()).programs(3)) == ['latent', 'reference']
  system = _system(KINDS=('label',))
  assert list(_translator(system).programs(3)) == ['label']
