import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import layers
from jaxgan.systems.stargan_v2 import networks
from jaxgan.training import phases
from tests import tiny


@pytest.mark.parametrize(
  'settings, counts',
  [
    (
      {'img_size': 256, 'num_domains': 3},
      (33_892_995, 3_259_072, 20_949_760, 20_852_803),
    ),
    (  # the original's generator minus its 172,032 unused shortcut weights
      {'img_size': 256, 'num_domains': 2, 'w_hpf': 1.0},
      (43_295_363, 2_438_272, 20_916_928, 20_852_290),
    ),
    (
      {'img_size': 128, 'num_domains': 2},
      (33_632_003, 2_438_272, 20_799_744, 20_735_106),
    ),
  ],
)
def test_parameter_counts(settings, counts):
  init = functools.partial(
    networks.init_params,
    networks.create_networks(**settings),
    img_size=settings['img_size'],
    latent_dim=16,
    style_dim=64,
  )
  params = jax.eval_shape(init, jax.random.key(0))
  names = ('generator', 'mapping_network', 'style_encoder', 'discriminator')
  sizes = [sum(x.size for x in jax.tree.leaves(params[n])) for n in names]
  assert tuple(sizes) == counts


def test_init_is_he_normal_and_not_truncated():
  dense = layers.Dense(512)
  params = dense.init(jax.random.key(0), jnp.zeros((1, 512)))['params']
  kernel = np.asarray(params['kernel'])
  std = np.sqrt(2 / 512)
  np.testing.assert_allclose(kernel.std(), std, rtol=0.01)
  assert np.abs(kernel).max() > 4 * std  # a truncated normal ends at 2.3
  assert not params['bias'].any()


def _forward(**overrides) -> phases.Forward:
  """The networks of a setting, with the parameters of the default one."""
  model, _ = tiny.create(**overrides)
  return phases.inference(model, tiny.create()[1].params)


def test_output_shapes_and_dtypes():
  f, batch = _forward(), tiny.batch()
  x, y = batch['x_src'], batch['y_src']
  s = f('mapping_network', jnp.ones((2, 4)), y)
  assert s.shape == f('style_encoder', x, y).shape == (2, 5)
  assert f('generator', x, s).shape == x.shape
  assert f('discriminator', x, y).shape == (2,)


def test_adain_with_zero_code_is_instance_norm():
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
  adain = layers.AdaIN()
  params = adain.init(jax.random.key(1), x, jnp.zeros((2, 5)))
  got = adain.apply(params, x, jnp.zeros((2, 5)))
  mean, var = (
    np.mean(x, (1, 2), keepdims=True),
    np.var(x, (1, 2), keepdims=True),
  )
  np.testing.assert_allclose(got, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)


def test_adain_code_is_gamma_then_beta():
  x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
  kernel = jnp.array([[1.0, 2.0, 3.0, 4.0]])
  params = {'fc': {'kernel': kernel, 'bias': jnp.zeros(4)}}
  got = layers.AdaIN().apply({'params': params}, x, jnp.ones((1, 1)))
  gamma, beta = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
  expected = (1 + gamma)[None, None, None] * layers.instance_norm(x)
  np.testing.assert_allclose(got, expected + beta[None, None, None], rtol=1e-6)


@pytest.mark.parametrize('kernel_size', [(1, 1), (3, 3)])
@pytest.mark.parametrize('resample', ['down', 'up'])
def test_resampling_convolutions_are_the_two_in_turn(kernel_size, resample):
  x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
  plain = layers.Conv(3, kernel_size)
  params = plain.init(jax.random.key(1), x)
  if resample == 'down':
    y = np.asarray(plain.apply(params, x))
    expected = y.reshape(1, 3, 2, 3, 2, 3).mean((2, 4))
  else:
    twice = np.asarray(x).repeat(2, 1).repeat(2, 2)
    expected = plain.apply(params, twice)
  got = layers.Conv(3, kernel_size, resample=resample).apply(params, x)
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_domain_selects_its_own_head():
  model, state = tiny.create()
  y = jnp.array([1, 1])

  def loss(params):
    f = phases.inference(model, params)
    return f('mapping_network', jnp.ones((2, 4)), y).sum()

  grads = jax.grad(loss)(state.params)['mapping_network']['heads_3']['kernel']
  assert np.abs(grads[1]).max() > 0
  assert not np.any(grads[0]) and not np.any(grads[2])


def test_high_pass_is_its_kernel():
  x = jax.random.normal(jax.random.key(0), (1, 5, 5, 1))
  kernel = -np.ones((3, 3))
  kernel[1, 1] = 8
  padded = np.pad(np.asarray(x)[0, :, :, 0], 1)
  expected = [
    [np.sum(padded[i : i + 3, j : j + 3] * kernel) / 2 for j in range(5)]
    for i in range(5)
  ]
  got = networks.high_pass(x, w_hpf=2.0)[0, :, :, 0]
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_bfloat16_keeps_parameters_logits_and_images_float32():
  _, state = tiny.create(model__dtype='bfloat16')
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {
    np.dtype('float32')
  }
  batch = tiny.batch()
  f, exact = _forward(model__dtype='bfloat16'), _forward()
  args = 'discriminator', batch['x_src'], batch['y_src']
  logits = f(*args)
  assert logits.dtype == np.float32
  np.testing.assert_allclose(logits, exact(*args), rtol=0.05, atol=0.02)
  assert np.any(np.asarray(logits) != np.asarray(exact(*args)))
  s = f('mapping_network', jnp.ones((2, 4)), batch['y_ref'])
  assert s.dtype == jnp.bfloat16
  assert f('generator', batch['x_src'], s).dtype == np.float32


def test_generator_with_high_pass_needs_masks():
  nets = networks.create_networks(
    img_size=32, num_domains=2, channel_base=128, max_conv_dim=8, w_hpf=1.0
  )
  with pytest.raises(ValueError, match='needs masks'):
    nets['generator'].init(
      jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 64))
    )
