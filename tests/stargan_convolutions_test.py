"""Label planes as StarGAN convolves them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets import convolutions
from jaxgan.systems.stargan import convolutions as planes_lib


def test_planes_are_a_convolution_of_constants():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    c = jnp.asarray(rng.standard_normal((2, 3)))
    kernel = jnp.asarray(rng.standard_normal((7, 7, 3, 5)))
    planes = jnp.broadcast_to(c[:, None, None], (2, 4, 9, 3))
    expected = convolutions.convolve_image(planes, kernel, 'plain')
    got = planes_lib.convolve_planes(c, kernel, (4, 9))
  np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
