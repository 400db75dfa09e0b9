"""The fast forms of StarGAN's convolutions are the plain ones, to rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.stargan import convolutions


# Wide images and small ones, which are products; one to an inner pixel.
@pytest.mark.parametrize(
  'shape', [(2, 8, 6, 3, 5), (2, 4, 4, 3, 9), (2, 2, 2, 3, 5)]
)
@pytest.mark.parametrize('resample', [convolutions.halve, convolutions.double])
def test_gradients_of_gradients_of_phases_are_those_of_plain(resample, shape):
  rng = np.random.default_rng(0)
  b, h, w, c, f = shape
  with jax.enable_x64(True):
    x = jnp.asarray(rng.standard_normal((b, h, w, c)))
    kernel = jnp.asarray(rng.standard_normal((4, 4, c, f)))

    def penalty(kernel, form):
      def value(x):
        return jnp.sum(jnp.sin(resample(x, kernel, form)))

      return jnp.sum(jax.grad(value)(x) ** 3)

    plain, phases = (jax.grad(penalty)(kernel, f) for f in ('plain', 'phases'))
  np.testing.assert_allclose(phases, plain, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
  'channels, features', [(3, 5), (3, 24), (5, 3), (24, 3)]
)
def test_convolutions_of_images_and_their_gradients(channels, features):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.standard_normal((2, 6, 8, channels)))
    kernel = jnp.asarray(rng.standard_normal((7, 7, channels, features)))
    results = []
    for form in ('plain', 'phases'):
      y, pull = jax.vjp(
        functools.partial(convolutions.convolve_image, form=form), x, kernel
      )
      results.append((y, *pull(jnp.cos(y))))
  for plain, phases in zip(*results, strict=True):
    np.testing.assert_allclose(phases, plain, rtol=1e-11, atol=1e-11)


def test_planes_are_a_convolution_of_constants():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    c = jnp.asarray(rng.standard_normal((2, 3)))
    kernel = jnp.asarray(rng.standard_normal((7, 7, 3, 5)))
    planes = jnp.broadcast_to(c[:, None, None], (2, 4, 9, 3))
    expected = convolutions.convolve_image(planes, kernel, 'plain')
    got = convolutions.convolve_planes(c, kernel, (4, 9))
  np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
