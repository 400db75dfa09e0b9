import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import blocks

RNG = np.random.default_rng(0)


def _draw(*shape):
  return np.float32(RNG.standard_normal(shape))


def _centre(size, channels, features=None):
  """A kernel that leaves an image as it is."""
  kernel = np.zeros((size, size, channels, features or channels), np.float32)
  kernel[size // 2, size // 2] = np.eye(channels, features)
  return {'kernel': kernel, 'bias': np.zeros(features or channels, np.float32)}


def _norm(x):
  mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
  return (x - mean) / np.sqrt(var + 1e-5)


def _block(x, modulation):
  """A block of kernels that do nothing; modulation [B, 4, C]."""
  part = modulation[:, :, None, None]
  h = np.maximum(part[:, 1] * _norm(x) + part[:, 0], 0)
  return x + part[:, 3] * _norm(h) + part[:, 2]


def test_adaptive_norms_take_bias_then_scale_in_the_order_of_the_layers():
  identity = _centre(3, 3)
  block = {'conv1': identity, 'conv2': identity}
  params = {'block_0': block, 'block_1': block, 'to_rgb': _centre(7, 3)}
  x, modulation = _draw(2, 4, 4, 3), _draw(2, 2, 4, 3)
  decoder = blocks.Decoder(0, 2)
  got = decoder.apply({'params': params}, x, modulation.reshape(2, 24))
  expected = _block(_block(x, modulation[:, 0]), modulation[:, 1])
  np.testing.assert_allclose(got, np.tanh(expected), rtol=1e-4, atol=1e-5)
  # Without them the norms are plain: a scale of one and no bias.
  got = decoder.apply({'params': params}, x)
  plain = np.tile(np.float32([0, 1, 0, 1])[None, :, None], (2, 1, 3))
  expected = np.tanh(_block(_block(x, plain), plain))
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_nothing_modulates_a_scale_of_zero():
  block = {'conv1': _centre(3, 2), 'conv2': _centre(3, 2)}
  x = _draw(1, 4, 4, 2)
  got = blocks.ResBlock().apply({'params': block}, x, jnp.zeros((1, 8)))
  np.testing.assert_array_equal(got, x)


def test_a_bias_that_a_norm_would_take_away_is_kept_and_not_used():
  conv = blocks.Convolution(2, 'same', 3, adds_bias=False)
  params = conv.init(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))['params']
  assert params['bias'].shape == (2,)
  x = _draw(1, 4, 4, 2)
  expected = conv.apply({'params': params}, x)
  moved = {**params, 'bias': params['bias'] + 1}
  np.testing.assert_array_equal(conv.apply({'params': moved}, x), expected)
  used = blocks.Convolution(2, 'same', 3).apply({'params': moved}, x)
  np.testing.assert_allclose(used, expected + 1, rtol=1e-6)


def test_borders_are_mirrored_or_of_zeros():
  kernel = np.zeros((3, 3, 1, 1), np.float32)
  kernel[1, 0] = 1  # the pixel on the left
  params = {'params': {'kernel': kernel, 'bias': np.zeros(1, np.float32)}}
  x = np.float32([[1, 2, 3], [4, 5, 6]])[None, :, :, None]
  for mode, left in (('reflect', [2, 5]), ('zero', [0, 0])):
    conv = blocks.Convolution(1, 'same', 3, mode=mode)
    got = np.asarray(conv.apply(params, x))[0, :, :, 0]
    np.testing.assert_array_equal(got, np.c_[left, [1, 4], [2, 5]])


@pytest.mark.parametrize(
  'kind, size, shape',
  [
    ('same', 3, (8, 6)),
    ('image', 7, (8, 6)),
    ('halve', 4, (4, 3)),
    ('double', 3, (16, 12)),
    ('up', 5, (16, 12)),
  ],
)
def test_sizes_of_each_kind(kind, size, shape):
  conv = blocks.Convolution(5, kind, size)
  x = jnp.zeros((2, 8, 6, 3))
  out, variables = jax.eval_shape(conv.init_with_output, jax.random.key(0), x)
  assert out.shape == (2, *shape, 5)
  assert variables['params']['kernel'].shape == (size, size, 3, 5)


def test_another_kind_is_an_error():
  with pytest.raises(ValueError, match="'other'"):
    blocks.Convolution(1, 'other', 3).init(
      jax.random.key(0), jnp.zeros((1, 4, 4, 1))
    )


def test_contents_have_lost_the_gain_and_offset_of_channels():
  encoder = blocks.ContentEncoder(3, 1, 1)
  x = _draw(2, 8, 8, 3)
  params = encoder.init(jax.random.key(0), x)
  run = jax.jit(encoder.apply)
  c = run(params, x)
  assert c.shape == (2, 4, 4, 6)
  np.testing.assert_allclose(run(params, 3 * x + 2), c, atol=1e-3)
  assert np.abs(c).max() > 0.5


def test_smaller_images_are_means_of_the_pixels_that_there_are():
  x = np.arange(1.0, 17, dtype=np.float32).reshape(1, 4, 4, 1)
  got = blocks._halve_by_mean(x)[0, :, :, 0]
  # Corner of 2 x 2, edges of 2 x 3 and 3 x 2, and one of 3 x 3.
  expected = [
    [(1 + 2 + 5 + 6) / 4, (2 + 3 + 4 + 6 + 7 + 8) / 6],
    [(5 + 6 + 9 + 10 + 13 + 14) / 6, 11.0],
  ]
  np.testing.assert_allclose(got, expected)


def test_each_scale_sees_a_smaller_image_by_its_own_network():
  net = blocks.PerDomainDiscriminator(2, 1, 2)
  x = _draw(2, 8, 8, 3)
  params = net.init(jax.random.key(0), x, method='both')['params']
  run = jax.jit(net.apply, static_argnums=2)
  first, second = run({'params': params}, x, 1)
  assert first.shape == (2, 4, 4) and second.shape == (2, 2, 2)
  own = params['of_domain_1']['scale_1']
  half = blocks._halve_by_mean(x)
  expected = blocks.PatchDiscriminator(2, 1).apply({'params': own}, half)
  np.testing.assert_allclose(second, expected, rtol=1e-4, atol=1e-6)
  lost = jax.tree.map(lambda v: v * np.nan, params['of_domain_0'])
  lone = {'params': params | {'of_domain_0': lost}}
  np.testing.assert_array_equal(run(lone, x, 1)[0], first)
  assert np.isnan(run(lone, x, 0)[0]).all()


def test_a_patch_discriminator_by_hand():
  # 2 x 2 pixels of 1, each tap of weight 1 / 16: mirrored borders see 1 too.
  params = {
    'conv_0': {
      'kernel': np.full((4, 4, 3, 1), -1 / 48, np.float32),
      'bias': np.float32([0.5]),
    },
    'to_score': {
      'kernel': np.full((1, 1, 1, 1), 3, np.float32),
      'bias': np.float32([0.25]),
    },
  }
  net = blocks.PatchDiscriminator(1, 1)
  got = net.apply({'params': params}, np.ones((1, 2, 2, 3), np.float32))
  assert got.shape == (1, 1, 1)
  # -1 + 0.5, leaky by 0.2, times 3, plus 0.25.
  np.testing.assert_allclose(got.ravel(), [3 * -0.1 + 0.25], rtol=1e-5)


@pytest.mark.parametrize(
  'kind, expected',
  [
    ('relu', [0, 0, 2]),
    ('lrelu', [-0.2, 0, 2]),
    ('prelu', [-0.25, 0, 2]),
    ('selu', [1.0507009873554805 * 1.6732632423543772 * (np.exp(-1) - 1), 0]),
    ('tanh', np.tanh([-1, 0, 2])),
    ('none', [-1, 0, 2]),
  ],
)
def test_activations_are_those_of_their_names(kind, expected):
  net = blocks.Activation(kind)
  x = jnp.array([-1.0, 0.0, 2.0])
  got, variables = net.init_with_output(jax.random.key(0), x)
  np.testing.assert_allclose(got[: len(expected)], expected, rtol=1e-6)
  assert bool(variables) == (kind == 'prelu')


@pytest.mark.parametrize(
  'norm, axes', [('in', (1, 2)), ('bn', (0, 1, 2)), ('ln', (1, 2, 3))]
)
def test_norms_of_discriminators_are_over_their_axes(norm, axes):
  """All but the first convolution are normalised, the scores are not."""
  net = blocks.PatchDiscriminator(2, 2, activ='none', norm=norm)
  x = _draw(3, 8, 8, 1)
  params = net.init(jax.random.key(0), x)['params']
  assert 'conv_0_norm' not in params and 'conv_0_bn' not in params

  def apply(params):
    return net.apply({'params': params}, x)

  # A score that is a sum over channels is one of normalised numbers.
  params = params | {
    'to_score': {
      'kernel': np.float32([1, 2, 3, 4]).reshape(1, 1, 4, 1),
      'bias': np.zeros(1, np.float32),
    }
  }
  if name := {'bn': 'conv_1_bn', 'ln': 'conv_1_norm'}.get(norm):
    params[name] = {
      'scale': np.ones(4, np.float32),
      'bias': np.zeros(4, np.float32),
    }
  conv = {
    key: blocks.Convolution(features, 'halve', 4)
    for key, features in (('conv_0', 2), ('conv_1', 4))
  }
  h = x
  for key, module in conv.items():
    h = module.apply({'params': params[key]}, h)
  h = np.asarray(h, np.float64)
  centred = h - h.mean(axes, keepdims=True)
  if norm == 'ln':
    scaled = centred / (h.std(axes, ddof=1, keepdims=True) + 1e-5)
  else:
    scaled = centred / np.sqrt(h.var(axes, keepdims=True) + 1e-5)
  np.testing.assert_allclose(
    apply(params), scaled @ [1, 2, 3, 4], rtol=1e-3, atol=1e-3
  )


def test_a_grey_image_is_one_channel_and_comes_back_as_three():
  x = jnp.asarray(np.float32([[[[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]]]))
  grey = blocks.of_channels(x, 1)
  np.testing.assert_allclose(grey[0, 0, :, 0], [0.299, 0.587, 0.114, 1])
  assert blocks.of_channels(x, 3) is x
  np.testing.assert_array_equal(blocks.as_rgb(grey)[..., 2], grey[..., 0])
  image = blocks.Decoder(1, 1, channels=1)
  out, variables = jax.eval_shape(
    image.init_with_output, jax.random.key(0), jnp.zeros((2, 4, 4, 4))
  )
  assert out.shape == (2, 8, 8, 3)
  assert variables['params']['to_rgb']['kernel'].shape == (7, 7, 2, 1)


def test_how_parameters_are_drawn():
  x = jnp.zeros((1, 16, 16, 3))
  discriminator = blocks.PerDomainDiscriminator(16, 2, 1)
  encoder, decoder = blocks.ContentEncoder(16, 1, 1), blocks.Decoder(1, 1)
  code = jnp.zeros((1, 8, 8, 32))

  @jax.jit
  def init(key):
    return {
      'd': discriminator.init(key, x, method='both')['params'],
      'e': encoder.init(key, x)['params'],
      'g': decoder.init(key, code)['params'],
    }

  flat = flax.traverse_util.flatten_dict(init(jax.random.key(0)), sep='/')
  for key, value in flat.items():
    if key.endswith('norm/scale'):
      assert 0 <= value.min() < 0.2 and 0.8 < value.max() <= 1
    elif key.endswith('bias'):
      assert not value.any()
    else:
      fan = np.prod(value.shape[:3])
      std = 0.02 if key.startswith('d/') else np.sqrt(2 / fan)
      rtol = 5 / np.sqrt(2 * value.size)
      np.testing.assert_allclose(value.std(), std, rtol=rtol, err_msg=key)
      # PyTorch's normal is not cut off at two deviations.
      assert np.abs(value).max() > 2.2 * std or value.size < 200, key
