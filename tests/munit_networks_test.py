import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.systems import munit
from jaxgan.systems.munit.config import default_config
from jaxgan.training import phases
from tests import tiny_munit as tiny
from tests.tiny_two_domains import DOMAINS, jitted


def _size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@functools.cache
def _published():
  model = munit.create_model(default_config())
  init_state = functools.partial(munit.init_state, model)
  return model, jax.eval_shape(init_state, jax.random.key(0)).params


def test_parameter_counts():
  _, params = _published()
  parts = {
    'style_encoder': 2_764_936,
    'content_encoder': 5_385_856,
    'decoder': 5_754_627,
    'mlp': 1_120_768,
  }
  assert sum(parts.values()) == 15_026_187
  generator, discriminator = params['generator'], params['discriminator']
  for i in range(2):
    got = {part: _size(generator[f'{part}_{i}']) for part in parts}
    assert got == parts
    assert _size(discriminator[f'of_domain_{i}']) == 8_271_171
  assert _size(generator) == 2 * 15_026_187
  assert _size(discriminator) == 2 * 8_271_171


def test_published_sizes():
  model, params = _published()
  x = jnp.zeros((2, 256, 256, 3))

  def run(params):
    f = phases.inference(model, params)
    c = f('generator', x, 0, method='content')
    s = f('generator', x, 0, method='style')
    y = f('generator', c, s, 1, method='decode')
    return c, s, y, f('discriminator', x, 0)

  c, s, y, scores = jax.eval_shape(run, params)
  assert c.shape == (2, 64, 64, 256) and s.shape == (2, 8)
  assert y.shape == x.shape
  assert [m.shape for m in scores] == [(2, n, n) for n in (16, 8, 4)]


def _x():
  return jnp.asarray(tiny.batch()['x_a'])


def test_styles_keep_the_contrast_that_contents_lose():
  # No norm and, at first, no bias: all layers are positively homogeneous.
  model, state = tiny.create()
  style, content = jitted(model, 'style', 0), jitted(model, 'content', 0)
  s, c = style(state.params, _x()), content(state.params, _x())
  assert np.abs(s).min() > 1e-3
  double = 2 * _x()
  np.testing.assert_allclose(style(state.params, double), 2 * s, rtol=1e-4)
  np.testing.assert_allclose(content(state.params, double), c, atol=1e-3)


def test_each_domain_has_networks_of_its_own():
  model, state = tiny.create()
  generator = state.params['generator']
  translate = tiny.translator(model, 0)
  s = tiny.drawn()['s_a']
  expected = translate(state.params, _x(), s)
  # From b to a: the content of b, and what makes an a of it.
  used = {'content_encoder_1', 'mlp_0', 'decoder_0'}
  lost = {
    key: tree if key in used else jax.tree.map(lambda v: v * np.nan, tree)
    for key, tree in generator.items()
  }
  got = translate({'generator': lost}, _x(), s)
  np.testing.assert_array_equal(got, expected)
  for key in used:
    tree = jax.tree.map(lambda v: v * np.nan, generator[key])
    got = translate({'generator': {**generator, key: tree}}, _x(), s)
    assert np.isnan(got).all(), key


def test_the_style_changes_the_picture():
  model, state = tiny.create()
  translate, drawn = tiny.translator(model, 0), tiny.drawn()
  fakes = [translate(state.params, _x(), drawn[k]) for k in ('s_a', 's_a2')]
  assert np.abs(fakes[0] - fakes[1]).max() > 1e-2
  assert np.abs(fakes[0]).max() <= 1


def test_bfloat16_keeps_parameters_and_outputs_float32():
  model = munit.create_model(tiny.config(**DOMAINS, model__dtype='bfloat16'))
  init_state = functools.partial(munit.init_state, model)
  shapes = jax.eval_shape(init_state, jax.random.key(0))
  assert {x.dtype for x in jax.tree.leaves(shapes.params)} == {
    np.dtype('float32')
  }
  exact, state = tiny.create()

  def run(model):
    return (
      jitted(model, 'style', 0)(state.params, _x()),
      tiny.translator(model, 0)(state.params, _x(), s),
      *jitted(model, 'discriminate', 0)(state.params, _x()),
    )

  s = tiny.drawn()['s_a']
  for a, b in zip(run(model), run(exact), strict=True):
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=0.2, atol=0.1)
    assert np.any(np.asarray(a) != np.asarray(b))
