"""Convolutions by their definition, and their fast forms as they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import convolutions


def _draw(*shapes):
  rng = np.random.default_rng(0)
  return [rng.standard_normal(shape) for shape in shapes]


def _apply(name, x, kernel, form, mode):
  """One of the functions; those of one kind of padding take no mode."""
  function = getattr(convolutions, name)
  if name == 'double':
    return function(x, kernel, form)
  return function(x, kernel, form, mode)


def _mirrored(i, size):
  i = abs(i)
  return 2 * (size - 1) - i if i >= size else i


def _pixel(x, i, j, mode):
  """The pixels [B, C] at i, j, which may lie outside."""
  h, w = x.shape[1:3]
  if mode == 'reflect':
    return x[:, _mirrored(i, h), _mirrored(j, w)]
  if mode == 'replicate':
    return x[:, min(max(i, 0), h - 1), min(max(j, 0), w - 1)]
  inside = 0 <= i < h and 0 <= j < w
  return x[:, i, j] if inside else np.zeros_like(x[:, 0, 0])


def _defined(name, x, kernel, mode):
  """What a function returns, pixel by pixel."""
  size = len(kernel)
  if name == 'convolve_up':
    x = x.repeat(2, axis=1).repeat(2, axis=2)
  b, h, w, _ = x.shape
  taps = [(u, v) for u in range(size) for v in range(size)]
  if name == 'double':
    y = np.zeros((b, 2 * h + 2, 2 * w + 2, kernel.shape[3]))
    for i in range(h):
      for j in range(w):
        for u, v in taps:
          y[:, 2 * i + u, 2 * j + v] += x[:, i, j] @ kernel[u, v]
    return y[:, 1:-1, 1:-1]
  stride = 2 if name == 'halve' else 1
  padding = 1 if name == 'halve' else size // 2
  sizes = ((n + 2 * padding - size) // stride + 1 for n in (h, w))
  y = np.zeros((b, *sizes, kernel.shape[3]))
  for i in range(y.shape[1]):
    for j in range(y.shape[2]):
      for u, v in taps:
        at = stride * i + u - padding, stride * j + v - padding
        y[:, i, j] += _pixel(x, *at, mode) @ kernel[u, v]
  return y


CASES = [
  ('halve', (3, 8, 6, 3), (4, 4, 3, 5), 'zero'),
  ('halve', (1, 8, 6, 3), (4, 4, 3, 5), 'reflect'),
  ('halve', (3, 8, 6, 3), (4, 4, 3, 5), 'reflect'),
  ('halve', (3, 4, 2, 3), (4, 4, 3, 9), 'reflect'),  # smaller than its kernel
  ('halve', (3, 7, 4, 2), (4, 4, 2, 5), 'reflect'),
  ('halve', (3, 4, 7, 2), (4, 4, 2, 5), 'zero'),
  ('halve', (3, 8, 6, 3), (4, 4, 3, 5), 'replicate'),
  ('halve', (3, 8, 6, 3), (3, 3, 3, 5), 'zero'),
  ('halve', (3, 7, 5, 3), (3, 3, 3, 5), 'zero'),
  ('halve', (3, 8, 5, 3), (3, 3, 3, 5), 'reflect'),
  ('halve', (3, 2, 3, 2), (3, 3, 2, 9), 'zero'),
  ('double', (3, 4, 3, 3), (4, 4, 3, 5), 'zero'),
  ('double', (3, 4, 3, 3), (3, 3, 3, 5), 'zero'),
  ('double', (3, 1, 2, 3), (3, 3, 3, 5), 'zero'),
  ('convolve_image', (3, 6, 4, 3), (7, 7, 3, 5), 'zero'),
  ('convolve_image', (3, 6, 4, 3), (7, 7, 3, 24), 'reflect'),
  ('convolve_image', (1, 4, 5, 5), (7, 7, 5, 3), 'reflect'),
  ('convolve_image', (3, 2, 4, 3), (7, 7, 3, 5), 'replicate'),
  ('convolve_image', (2, 4, 5, 24), (7, 7, 24, 3), 'reflect'),
  ('convolve_up', (3, 4, 3, 3), (5, 5, 3, 2), 'reflect'),
  ('convolve_up', (1, 2, 2, 3), (5, 5, 3, 2), 'reflect'),
  ('convolve_up', (3, 4, 3, 3), (5, 5, 3, 2), 'zero'),
  ('convolve_up', (3, 4, 3, 3), (5, 5, 3, 2), 'replicate'),
  ('convolve_same', (3, 4, 3, 3), (3, 3, 3, 2), 'zero'),
  ('convolve_same', (3, 4, 2, 3), (3, 3, 3, 2), 'reflect'),
  ('convolve_same', (3, 1, 2, 3), (1, 1, 3, 2), 'reflect'),
]


@pytest.mark.parametrize('name, shape, kernel_shape, mode', CASES)
def test_plain_is_the_definition_and_phases_are_plain(
  name, shape, kernel_shape, mode
):
  x, kernel = _draw(shape, kernel_shape)
  results = []
  with jax.enable_x64(True):
    for form in convolutions.RESAMPLE_FORMS:

      @jax.jit
      def run(x, kernel, form=form):
        apply = functools.partial(_apply, name, form=form, mode=mode)
        y, pull = jax.vjp(apply, x, kernel)
        return y, *pull(jnp.cos(y))

      results.append(run(x, kernel))
  expected = _defined(name, x, kernel, mode)
  np.testing.assert_allclose(results[0][0], expected, rtol=1e-12, atol=1e-12)
  for plain, phases in zip(*results, strict=True):
    assert plain.dtype == phases.dtype == np.float64
    np.testing.assert_allclose(phases, plain, rtol=1e-12, atol=1e-12)


# Wide images and small ones, which are products; one to an inner pixel.
@pytest.mark.parametrize(
  'shape', [(2, 8, 6, 3, 5), (2, 4, 4, 3, 9), (2, 2, 2, 3, 5)]
)
@pytest.mark.parametrize('resample', [convolutions.halve, convolutions.double])
def test_gradients_of_gradients_of_phases_are_those_of_plain(resample, shape):
  b, h, w, c, f = shape
  x, kernel = _draw((b, h, w, c), (4, 4, c, f))

  def penalty(kernel, form):
    def value(x):
      return jnp.sum(jnp.sin(resample(x, kernel, form)))

    return jnp.sum(jax.grad(value)(x) ** 3)

  with jax.enable_x64(True):
    x = jnp.asarray(x)
    plain, phases = (
      jax.grad(penalty)(jnp.asarray(kernel), form)
      for form in ('plain', 'phases')
    )
  np.testing.assert_allclose(phases, plain, rtol=1e-11, atol=1e-11)


def _all(x, kernels, form):
  """One of each in turn: [B, 4, 4, 8] to the same shape."""
  x = convolutions.convolve_image(x, kernels[0], form, 'reflect')
  x = convolutions.halve(x, kernels[1], form, 'reflect')
  x = convolutions.convolve_up(x, kernels[2], form)
  x = convolutions.halve(x, kernels[3], form)
  x = convolutions.double(x, kernels[3], form)
  return convolutions.convolve_same(x, kernels[3], form, 'reflect')


def _kernels(dtype):
  kernels = _draw(*((n, n, 8, 8) for n in (7, 4, 5, 3)))
  return [jnp.asarray(k / k.shape[0] / 2, dtype) for k in kernels]


@pytest.mark.parametrize('form', convolutions.RESAMPLE_FORMS)
def test_half_precision_stays_and_is_near(form):
  (x,) = _draw((2, 4, 4, 8))
  run = jax.jit(functools.partial(_all, form=form))
  got = run(jnp.asarray(x, jnp.bfloat16), _kernels(jnp.float32))
  assert got.dtype == jnp.bfloat16
  expected = run(jnp.asarray(x, jnp.float32), _kernels(jnp.float32))
  error = np.abs(np.float32(got) - expected).max() / np.abs(expected).max()
  assert error < 0.03


@pytest.mark.parametrize('form', convolutions.RESAMPLE_FORMS)
def test_the_number_of_images_may_be_open(form):
  kernels = _kernels(jnp.float32)
  run = jax.jit(lambda x: _all(x, kernels, form))
  (b,) = jax.export.symbolic_shape('b')
  exported = jax.export.export(run)(
    jax.ShapeDtypeStruct((b, 4, 4, 8), jnp.float32)
  )
  (x,) = _draw((3, 4, 4, 8))
  x = jnp.asarray(x, jnp.float32)
  np.testing.assert_allclose(exported.call(x), run(x), rtol=1e-5, atol=1e-5)


def test_gradients_in_a_loop_are_those_outside():
  kernels = _kernels(jnp.float32)
  (xs,) = _draw((2, 1, 4, 4, 8))
  xs = jnp.asarray(xs, jnp.float32)

  def grad(kernels, x):
    def value(kernels):
      return jnp.sum(_all(x, kernels, 'phases') ** 2)

    return jax.grad(value)(kernels)

  def body(total, x):
    return jax.tree.map(jnp.add, total, grad(kernels, x)), None

  zeros = jax.tree.map(jnp.zeros_like, kernels)
  looped, _ = jax.jit(lambda xs: jax.lax.scan(body, zeros, xs))(xs)
  at_once = jax.jit(grad)(kernels, xs[:, 0])
  for got, expected in zip(looped, at_once, strict=True):
    np.testing.assert_allclose(
      got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


def test_padding_mirrors_repeats_or_is_of_zeros():
  x = jnp.arange(3.0).reshape(1, 3, 1, 1) + jnp.zeros((1, 3, 3, 1))
  got = convolutions.pad(x, 2, 'reflect')[0, :, 2, 0]
  np.testing.assert_array_equal(got, [2, 1, 0, 1, 2, 1, 0])
  got = convolutions.pad(x, 1, 'zero')[0, :, 1, 0]
  np.testing.assert_array_equal(got, [0, 0, 1, 2, 0])
  got = convolutions.pad(x, 2, 'replicate')[0, :, 2, 0]
  np.testing.assert_array_equal(got, [0, 0, 0, 1, 2, 2, 2])


@pytest.mark.parametrize('form', convolutions.RESAMPLE_FORMS)
def test_what_cannot_be_mirrored_is_said(form):
  with pytest.raises(ValueError, match='3 x 8 pixels is too small'):
    convolutions.convolve_image(
      jnp.zeros((1, 3, 8, 3)), jnp.zeros((7, 7, 3, 4)), form, 'reflect'
    )
  with pytest.raises(ValueError, match='too small'):
    convolutions.convolve_up(
      jnp.zeros((1, 1, 2, 3)), jnp.zeros((5, 5, 3, 4)), form
    )
  with pytest.raises(ValueError, match="got 'edge'"):
    convolutions.halve(
      jnp.zeros((1, 4, 4, 3)), jnp.zeros((4, 4, 3, 4)), form, 'edge'
    )


def test_planes_are_a_convolution_of_constants():
  c, kernel = _draw((2, 3), (7, 7, 3, 5))
  with jax.enable_x64(True):
    c, kernel = jnp.asarray(c), jnp.asarray(kernel)
    planes = jnp.broadcast_to(c[:, None, None], (2, 4, 9, 3))
    expected = convolutions.convolve_image(planes, kernel, 'plain')
    got = convolutions.convolve_planes(c, kernel, (4, 9))
  np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
