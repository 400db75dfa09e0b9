import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.systems import two_domains, unit
from jaxgan.systems.unit import networks
from jaxgan.systems.unit.config import default_config, unshared_config
from jaxgan.training import phases
from tests import tiny_unit as tiny
from tests.tiny_two_domains import DOMAINS, jitted


def _size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def _shapes(config):
  model = unit.create_model(config)
  init_state = functools.partial(unit.init_state, model)
  return model, jax.eval_shape(init_state, jax.random.key(0)).params


def _maps(model, params, img_size):
  """Shapes of the discriminator's maps of two images of b."""
  x = jnp.zeros((2, img_size, img_size, 3))
  run = jitted(model, 'discriminate', 1)
  return [m.shape for m in jax.eval_shape(run, params, x)]


def test_parameter_counts_with_shared_blocks():
  model, params = _shapes(default_config())
  generator = params['generator']
  block = 2 * (9 * 256 * 256 + 256)
  assert {key: _size(tree) for key, tree in generator.items()} == {
    'encoder_0': 378_496 + 3 * block,
    'encoder_1': 378_496 + 3 * block,
    'encoder_shared': block,
    'decoder_shared': block,
    'decoder_0': 369_027 + 3 * block,
    'decoder_1': 369_027 + 3 * block,
  }
  assert _size(generator) == 18_017_286
  x = jnp.zeros((1, 216, 216, 3))
  h = jax.eval_shape(jitted(model, 'encode', 0), params, x)
  assert h.shape == (1, 54, 54, 256)
  fake = jax.eval_shape(tiny.translator(model, 0), params, x)
  assert fake.shape == x.shape


def test_parameter_counts_without_shared_blocks():
  model, params = _shapes(unshared_config())
  assert set(params['generator']) == {
    f'{part}_{i}' for part in ('encoder', 'decoder') for i in range(2)
  }
  for i in range(2):
    own = [
      params['generator'][f'{part}_{i}'] for part in ('encoder', 'decoder')
    ]
    assert _size(own) == 11_140_483
  assert _size(params['discriminator']) == 2 * 8_271_171
  assert _maps(model, params, 256) == [(2, 16, 16), (2, 8, 8), (2, 4, 4)]


@pytest.mark.parametrize(
  'kind, n_layers, img_size, parts, maps',
  [
    (
      'shared',
      6,
      128,
      {'front_0': 83_328, 'front_1': 83_328, 'back': 25_073_409},
      [2],
    ),
    # Odd sizes are rounded up: 27, 14, 7, 4.
    ('separate', 6, 216, {f'scale_{i}_0': 25_149_057 for i in (0, 1)}, [4]),
    (
      'multiscale',
      4,
      480,
      {f'scale_{i}_{k}': 1_551_489 for i in (0, 1) for k in range(3)},
      [30, 15, 8],
    ),
  ],
)
def test_kinds_of_discriminators(kind, n_layers, img_size, parts, maps):
  config = default_config()
  config.model.update(d_kind=kind, d_layers=n_layers, dim=8)
  config.data.img_size = img_size
  model, params = _shapes(config)
  sizes = {key: _size(v) for key, v in params['discriminator'].items()}
  assert sizes == parts
  assert _maps(model, params, img_size) == [(2, n, n) for n in maps]


@pytest.mark.parametrize('kind', ['shared', 'multiscale'])
def test_a_domain_is_judged_by_its_own_layers_and_the_shared_ones(kind):
  net = networks.Discriminator(kind, 2, 2, 1, 2)
  x = jnp.asarray(tiny.batch()['x_a'])
  params = jax.jit(functools.partial(net.init, method='both'))(
    jax.random.key(0), x
  )['params']
  run = jax.jit(net.apply, static_argnums=2)
  maps = run({'params': params}, x, 1)
  assert len(maps) == (2 if kind == 'multiscale' else 1)
  for key, tree in params.items():
    lost = jax.tree.map(lambda v: v * np.nan, tree)
    got = run({'params': params | {key: lost}}, x, 1)
    broken = [bool(np.isnan(m).all()) for m in got]
    assert (
      broken
      == {
        'front_0': [False],
        'front_1': [True],
        'back': [True],
        'scale_0_0': [False, False],
        'scale_0_1': [False, False],
        'scale_1_0': [True, False],
        'scale_1_1': [False, True],
      }[key]
    )


def test_streets_are_blurred_before_they_are_halved():
  # 1 : 2 : 1 both ways, the border repeated.
  x = jnp.zeros((1, 5, 4, 1)).at[0, 0, 0, 0].set(16).at[0, 2, 2, 0].set(16)
  got = networks._blur_and_halve(x)[0, :, :, 0]
  np.testing.assert_allclose(got, [[9, 0], [0, 4], [0, 0]])
  # And at the lower border of an odd height, a row of its own.
  x = jnp.zeros((1, 5, 4, 1)).at[0, 4, 3, 0].set(16)
  got = networks._blur_and_halve(x)[0, :, :, 0]
  np.testing.assert_allclose(got, [[0, 0], [0, 0], [0, 3]])


def test_the_first_halving_of_faces_is_the_same_in_both_forms():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.standard_normal((2, 8, 6, 3)))
    results = []
    for form in ('plain', 'phases'):
      net = networks._HalvedImage(4, form, jnp.float64)
      params = net.init(jax.random.key(0), x)
      y, pull = jax.vjp(net.apply, params, x)
      results.append((y, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))))
    assert results[0][0].shape == (2, 4, 3, 4)
    assert results[0][0].dtype == np.float64
  for a, b in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)


def test_shared_blocks_are_there_once_and_learn_from_both_domains():
  model, state = tiny.create()
  params = state.params
  assert set(params['generator']) == {
    *(f'{part}_{i}' for part in ('encoder', 'decoder') for i in range(2)),
    'encoder_shared',
    'decoder_shared',
  }
  x = jnp.asarray(tiny.batch()['x_a'])

  @functools.partial(jax.jit, static_argnums=1)
  def grads(generator, domain):
    def loss(generator):
      fake = tiny.translator(model, domain)({'generator': generator}, x)
      return jnp.sum(jnp.square(fake))

    return jax.grad(loss)(generator)

  for domain in range(2):
    moved = {
      key
      for key, tree in grads(params['generator'], domain).items()
      if any(np.abs(v).max() > 1e-6 for v in jax.tree.leaves(tree))
    }
    assert moved == {
      f'encoder_{1 - domain}',
      'encoder_shared',
      'decoder_shared',
      f'decoder_{domain}',
    }


def test_a_translation_is_of_the_code_itself():
  model, state = tiny.create()
  x = jnp.asarray(tiny.batch()['x_a'])
  translate = tiny.translator(model, 1)
  y = translate(state.params, x)
  np.testing.assert_array_equal(translate(state.params, x), y)
  h = jitted(model, 'encode', 0)(state.params, x)
  assert h.shape == (tiny.BATCH, *tiny.CODE)
  (again,) = jitted(model, 'decode', (1,))(state.params, h)
  np.testing.assert_allclose(again, y, rtol=1e-5, atol=1e-7)
  (noisy,) = jitted(model, 'decode', (1,))(
    state.params, h + tiny.drawn()['n_a']
  )
  assert np.abs(noisy - y).max() > 1e-3


def test_dropout_is_of_training_alone():
  model, state = tiny.create(model__dropout=0.5)
  x = jnp.asarray(tiny.batch()['x_a'])

  @jax.jit
  def encode(rng, x):
    f = phases.Forward(model, state.params, frozen={}, variables={}, rng=rng)
    return f('generator', x, 0, method='encode')

  plain = jitted(tiny.create()[0], 'encode', 0)
  without = jitted(model, 'encode', 0)(state.params, x)
  np.testing.assert_array_equal(without, plain(state.params, x))
  first, again, other = (encode(jax.random.key(k), x) for k in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  # All see their input: what is dropped is beside the identity.
  assert np.mean(np.abs(first - without) > 1e-4) > 0.3
  assert np.mean(np.abs(first - other) > 1e-4) > 0.3
  # So do two images of a batch.
  x = x[:1].repeat(tiny.BATCH, axis=0)
  alike = encode(jax.random.key(0), x)
  assert np.mean(np.abs(alike[0] - alike[1]) > 1e-4) > 0.3


def test_half_of_a_branch_is_dropped_and_the_rest_doubled():
  block = networks.ResBlock(0.5)
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 16, 16, 4)))
  x = x.astype(jnp.float32)
  params = block.init(jax.random.key(0), x, False)
  branch = block.apply(params, x, False) - x
  rngs = {'dropout': jax.random.key(1)}
  share = (block.apply(params, x, True, rngs=rngs) - x) / branch
  dropped = np.abs(share) < 1e-2
  assert 0.4 < dropped.mean() < 0.6
  np.testing.assert_allclose(share[~dropped], 2, rtol=1e-2)


def test_parameters_are_drawn_as_pytorch_does():
  nets = {
    'generator': networks.Generator(8, 1, 1),
    'discriminator': networks.Discriminator('shared', 8, 2, 1),
  }
  init = functools.partial(two_domains.init_params, nets, img_size=16)
  params = jax.jit(init)(jax.random.key(0))
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  for key, kernel in flat.items():
    if not key.endswith('kernel'):
      continue
    rtol = 5 / math.sqrt(2 * kernel.size)
    np.testing.assert_allclose(kernel.std(), 0.02, rtol=rtol, err_msg=key)
    *size, inputs, outputs = kernel.shape
    # PyTorch takes the outputs of a transposed convolution for its inputs.
    transposed = '/up_' in key or '/to_rgb' in key
    fan = math.prod(size) * (outputs if transposed else inputs)
    bias, bound = flat[key.replace('kernel', 'bias')], 1 / math.sqrt(fan)
    least = 0.6 if bias.size >= 8 else 0.0
    assert least * bound < np.abs(bias).max() <= bound, key


@pytest.mark.parametrize(
  'overrides',
  [{}, pytest.param(tiny.UNSHARED, marks=pytest.mark.slow)],
  ids=['', 'unshared'],
)
def test_bfloat16_keeps_parameters_and_outputs_float32(overrides):
  model, params = _shapes(
    tiny.config(**DOMAINS, model__dtype='bfloat16', **overrides)
  )
  assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype('float32')}
  exact, state = tiny.create(**overrides)
  x = jnp.asarray(tiny.batch()['x_a'])

  def run(model):
    return (
      jitted(model, 'encode', 0)(state.params, x),
      tiny.translator(model, 0)(state.params, x),
      *jitted(model, 'discriminate', 0)(state.params, x),
    )

  for a, b in zip(run(model), run(exact), strict=True):
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=0.2, atol=0.2)
    assert np.any(np.asarray(a) != np.asarray(b))
