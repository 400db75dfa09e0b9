import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import convolutions
from jaxgan.systems import stargan
from jaxgan.systems.stargan import networks
from tests import tiny_stargan as tiny


@pytest.mark.parametrize(
  'img_size, num_labels, label_dim, counts',
  [
    (128, 5, 5, (8_430_528, 44_762_048)),
    (256, 5, 8, (8_439_936, 44_884_928)),
    (256, 13, 15, (8_461_888, 45_147_072)),  # two data sets
  ],
)
def test_parameter_counts(img_size, num_labels, label_dim, counts):
  nets = networks.create_networks(img_size=img_size, num_labels=num_labels)
  init = functools.partial(
    networks.init_params, nets, img_size=img_size, label_dim=label_dim
  )
  params = jax.eval_shape(init, jax.random.key(0))
  names = ('generator', 'discriminator')
  sizes = [sum(x.size for x in jax.tree.leaves(params[n])) for n in names]
  assert tuple(sizes) == counts

  def apply(name, *args):
    variables = {'params': params[name]}
    return jax.eval_shape(nets[name].apply, variables, *args)

  x, c = jnp.zeros((2, img_size, img_size, 3)), jnp.zeros((2, label_dim))
  assert apply('generator', x, c).shape == x.shape
  source, logits = apply('discriminator', x)
  assert source.shape == (2, img_size // 64, img_size // 64)
  assert logits.shape == (2, num_labels)


@pytest.mark.parametrize('form', convolutions.RESAMPLE_FORMS)
def test_doubling_by_hand(form):
  # Pixel i adds k times tap t to pixel 2 i - 1 + t of the result.
  rows, columns = np.array([1.0, 2, 3, 4]), np.array([1.0, 10, 100, 1000])
  kernel = jnp.asarray(np.outer(rows, columns)[:, :, None, None])
  x = jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1)
  got = convolutions.double(x, kernel, form)[0, :, :, 0]
  expected = [[20, 204, 2040, 400], [30, 306, 3060, 600]]
  np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize('form', convolutions.RESAMPLE_FORMS)
def test_halving_by_hand(form):
  kernel = jnp.arange(16.0).reshape(4, 4, 1, 1)
  x = jnp.array([[1.0, 2, 3, 4], [5, 6, 7, 8]]).reshape(1, 2, 4, 1)
  got = convolutions.halve(x, kernel, form)[0, :, :, 0]
  # Taps 5, 6, 7 and 9, 10, 11 on the left, 4, 5, 6 and 8, 9, 10 on the right:
  # where the fourth tap would be, and above and below, is zero padding.
  left = 5 * 1 + 6 * 2 + 7 * 3 + 9 * 5 + 10 * 6 + 11 * 7
  right = 4 * 2 + 5 * 3 + 6 * 4 + 8 * 6 + 9 * 7 + 10 * 8
  np.testing.assert_allclose(got, [[left, right]])


@pytest.mark.parametrize('resample', [convolutions.halve, convolutions.double])
def test_phases_are_the_plain_convolution_and_so_are_its_gradients(resample):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.standard_normal((2, 4, 6, 3)))
    kernel = jnp.asarray(rng.standard_normal((4, 4, 3, 5)))
    results = []
    for form in ('plain', 'phases'):
      y, pull = jax.vjp(functools.partial(resample, form=form), x, kernel)
      weights = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
      results.append((y, *pull(weights)))
    assert results[0][0].dtype == np.float64
  for plain, phases in zip(*results, strict=True):
    np.testing.assert_allclose(phases, plain, rtol=1e-12, atol=1e-12)


def test_parameters_are_drawn_as_pytorch_does():
  nets = networks.create_networks(
    img_size=16,
    num_labels=7,
    g_conv_dim=8,
    g_repeat_num=1,
    d_conv_dim=8,
    d_repeat_num=2,
  )
  init = functools.partial(networks.init_params, nets, img_size=16, label_dim=7)
  params = jax.jit(init)(jax.random.key(0))
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  kernels = {key: x for key, x in flat.items() if key.endswith('kernel')}
  assert len(kernels) == 8 + 4
  for key, kernel in kernels.items():
    height, width, inputs, outputs = kernel.shape
    # PyTorch takes the outputs of a transposed convolution for its inputs.
    fan = height * width * (outputs if '/up_' in key else inputs)
    bound = 1 / math.sqrt(fan)
    assert 0.95 * bound < np.abs(kernel).max() <= bound, key
    error = 5 * bound / math.sqrt(kernel.size)  # of a uniform draw, amply
    np.testing.assert_allclose(kernel.mean(), 0, atol=error, err_msg=key)
    np.testing.assert_allclose(
      kernel.std(), bound / math.sqrt(3), atol=error, err_msg=key
    )
  biases = {k: x for k, x in flat.items() if k.endswith('bias')}
  for key, bias in biases.items():
    if key.startswith('generator'):  # of a norm
      assert not bias.any()
      assert (flat[key.replace('bias', 'scale')] == 1).all()
    else:
      shape = flat[key.replace('bias', 'kernel')].shape
      bound = 1 / math.sqrt(math.prod(shape[:3]))
      assert 0.5 * bound < np.abs(bias).max() <= bound, key
      assert bias.min() < 0 < bias.max(), key


def test_the_label_reaches_the_picture():
  # A norm would take away constant planes if padding were not of zeros.
  state, model = tiny.create()
  x = tiny.drawn()['x0']
  translate = tiny.translate_fn(model)
  fakes = [translate(state.params, x, jnp.eye(2, 3, k)) for k in (0, 1)]
  assert np.abs(fakes[0] - fakes[1]).max() > 1e-3
  assert np.abs(fakes[0]).max() < 1


def test_bfloat16_keeps_parameters_and_outputs_float32():
  config = tiny.config(**tiny.DOMAINS, model__dtype='bfloat16')
  model = stargan.create_model(config)
  init = functools.partial(stargan.init_state, model)
  state = jax.eval_shape(init, jax.random.key(0))
  assert {x.dtype for x in jax.tree.leaves(state.params)} == {
    np.dtype('float32')
  }
  batch, (state, exact) = tiny.drawn(), tiny.create()

  def run(model):
    fake = tiny.translate_fn(model)(state.params, batch['x0'], batch['c0'])
    return fake, *tiny.discriminate_fn(model)(state.params, batch['x0'])

  for a, b in zip(run(model), run(exact), strict=True):
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, rtol=0.1, atol=0.05)
    assert np.any(np.asarray(a) != np.asarray(b))
