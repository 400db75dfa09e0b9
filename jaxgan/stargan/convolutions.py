"""StarGAN's convolutions, also in forms that XLA's CPU backend runs fast."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import layers

Array = jax.Array

# Forms of the convolutions that halve, double, or touch an image: as they are
# defined, or in ways that XLA's CPU backend runs fast; the same numbers to
# rounding.
RESAMPLE_FORMS = ('plain', 'phases')


def best_resample_form() -> str:
  """The form for this process's devices: measured on CPU, not elsewhere yet.

  XLA's CPU backend runs convolutions with zeros between the pixels by plain
  loops, and those whose kernel it takes for the image; the gradients of strided
  convolutions, and their gradients, come to both.
  """
  return 'phases' if jax.default_backend() == 'cpu' else 'plain'


def _convolve(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  return layers.convolve(x, kernel, [(padding, padding)] * 2, stride)


def halve(x: Array, kernel: Array, form: str) -> Array:
  """Convolution of stride 2 and padding 1.

  Args:
    x: [B, H, W, C], H and W even.
    kernel: [4, 4, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, H / 2, W / 2, F].
  """
  if form == 'plain':
    return _convolve(x, kernel, 1, stride=2)
  kernel = kernel.astype(x.dtype)
  b, h, w, _ = x.shape
  # In a program to be exported the number of images is open.
  if isinstance(b, int) and b * h * w // 4 < kernel.shape[3]:
    return _halve_small(x, kernel)
  return _halve(x, kernel)


def _halve_small(x: Array, kernel: Array) -> Array:
  """As a product with the kernel as it lies: it is larger than the images.

  XLA's CPU backend would take it for the image of a convolution, or bring it
  into another order at every turn.
  """
  b, h, w, c = x.shape
  h, w = h // 2, w // 2
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  x = x.reshape(b, h + 1, 2, w + 1, 2, c)
  x = jnp.stack([x[:, i : i + h] for i in (0, 1)], axis=2)
  x = jnp.stack([x[:, :, :, :, j : j + w] for j in (0, 1)], axis=5)
  x = x.transpose(0, 1, 4, 2, 3, 5, 6, 7).reshape(b * h * w, 16 * c)
  return (x @ kernel.reshape(16 * c, -1)).reshape(b, h, w, -1)


def double(x: Array, kernel: Array, form: str) -> Array:
  """Transposed convolution of stride 2 and padding 1, as PyTorch's.

  Args:
    x: [B, H, W, C].
    kernel: [4, 4, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, 2 H, 2 W, F].
  """
  if form == 'plain':
    flipped = kernel[::-1, ::-1]
    return layers.convolve(x, flipped, [(2, 2)] * 2, dilation=2)
  return _double(x, kernel.astype(x.dtype))


# Each of the two is the other's gradient to x, with the channels of the kernel
# swapped, and both have the same gradient to the kernel, with their images
# swapped. So the gradient of a gradient consists of them as well.


@jax.custom_vjp
def _halve(x: Array, kernel: Array) -> Array:
  return _convolve(x, kernel, 1, stride=2)


def _halve_fwd(x: Array, kernel: Array) -> tuple[Array, tuple]:
  return _halve(x, kernel), (x, kernel)


def _halve_bwd(saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  to_x = _double(grad, kernel.swapaxes(2, 3))
  return to_x, _to_kernel(x, grad, 4, 1, stride=2)


_halve.defvjp(_halve_fwd, _halve_bwd)


@jax.custom_vjp
def _double(x: Array, kernel: Array) -> Array:
  b, h, w, c = x.shape
  # 2 x 2 pixels of the result, a border of one around it, at a time.
  kernel = kernel.reshape(2, 2, 2, 2, c, -1)[::-1, :, ::-1]
  kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
  x = _convolve(x, kernel, 1).reshape(b, h + 1, w + 1, 2, 2, -1)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * w + 2, -1)
  return x[:, 1:-1, 1:-1]


def _double_fwd(x: Array, kernel: Array) -> tuple[Array, tuple]:
  return _double(x, kernel), (x, kernel)


def _double_bwd(saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  to_x = _halve(grad, kernel.swapaxes(2, 3))
  return to_x, _to_kernel(grad, x, 4, 1, stride=2).swapaxes(2, 3)


_double.defvjp(_double_fwd, _double_bwd)


def _to_kernel(
  x: Array, grad: Array, size: int, padding: int, stride: int = 1
) -> Array:
  """Gradient of `_convolve` to its kernel [size, size, C, F]."""
  shape = (size, size, x.shape[-1], grad.shape[-1])
  transposed = jax.linear_transpose(
    lambda kernel: _convolve(x, kernel, padding, stride),
    jax.ShapeDtypeStruct(shape, x.dtype),
  )
  (gradient,) = transposed(grad)
  return gradient


def convolve_image(x: Array, kernel: Array, form: str) -> Array:
  """Convolution from an image to features, or from features to an image.

  Args:
    x: [B, H, W, C].
    kernel: [7, 7, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, H, W, F].
  """
  if form == 'plain':
    return _convolve(x, kernel, 3)
  return _convolve_image(x, kernel.astype(x.dtype))


_WIDE = 20  # channels


@jax.custom_vjp
def _convolve_image(x: Array, kernel: Array) -> Array:
  *_, channels, features = kernel.shape
  # XLA's CPU backend has fast convolutions where one side is wider than 16 and
  # the channels are even.
  if channels < features:
    more = channels % 2, max(0, _WIDE - features)
  else:
    more = max(0, _WIDE - channels), 0
  x = jnp.pad(x, ((0, 0),) * 3 + ((0, more[0]),))
  kernel = jnp.pad(kernel, ((0, 0),) * 2 + tuple((0, n) for n in more))
  return _convolve(x, kernel, 3)[..., :features]


def _convolve_image_fwd(x: Array, kernel: Array) -> tuple[Array, tuple]:
  return _convolve_image(x, kernel), (x, kernel)


def _convolve_image_bwd(saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  to_x = _convolve_image(grad, kernel[::-1, ::-1].swapaxes(2, 3))
  if kernel.shape[2] < kernel.shape[3]:
    return to_x, _to_kernel(x, grad, 7, 3)
  # As that of the convolution to x: the image is the side of few channels.
  return to_x, _to_kernel(grad, x, 7, 3)[::-1, ::-1].swapaxes(2, 3)


_convolve_image.defvjp(_convolve_image_fwd, _convolve_image_bwd)


def convolve_planes(c: Array, kernel: Array, size: tuple[int, int]) -> Array:
  """Convolution of constant planes, zeros around them.

  Args:
    c: their values [B, C].
    kernel: [7, 7, C, F].
    size: H and W.

  Returns:
    [B, H, W, F].
  """
  # Which taps of a kernel lie on the plane, for each row or column.
  rows, columns = (
    jnp.asarray((taps >= 0) & (taps < n), c.dtype)
    for n in size
    for taps in [np.arange(n)[:, None] + np.arange(-3, 4)]
  )
  x = jnp.einsum('bc,uvcf->buvf', c, kernel.astype(c.dtype))
  x = jnp.einsum('wv,buvf->buwf', columns, x)
  return jnp.einsum('hu,buwf->bhwf', rows, x)
