"""Convolutions of networks from image to image, also in forms fast on CPUs.

Images are [B, H, W, C]; `form` is one of RESAMPLE_FORMS.

Times in comments are of one operation of StarGAN at `shapes` (32 px, first
widths 16, batch 16), where nothing else is said, on one core (x86-64, jax
0.10.2, float32). In these forms a step takes 131 ms instead of 327, and at 64
px, first widths 32 and batch 4, 1203 instead of 3722.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.nets import layers

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


# Borders of images, and the names that NumPy has for them.
PADDINGS = {'reflect': 'reflect', 'zero': 'constant', 'replicate': 'edge'}


def pad(x: Array, n: int, mode: str) -> Array:
  """Pads height and width by n on both sides.

  Args:
    x: [B, H, W, C].
    n: pixels.
    mode: of PADDINGS; 'reflect' is the image mirrored, its border not repeated,
      'replicate' the border repeated.

  Returns:
    [B, H + 2 n, W + 2 n, C].

  Raises:
    ValueError: if there is too little to mirror, or of another mode.
  """
  if mode not in PADDINGS:
    raise ValueError(f'padding is one of {", ".join(PADDINGS)}, got {mode!r}')
  h, w = x.shape[1:3]
  if mode == 'reflect' and min(h, w) <= n:
    raise ValueError(
      f'an image of {h} x {w} pixels is too small to mirror {n} at each border'
    )
  widths = ((0, 0), (n, n), (n, n), (0, 0))
  return jnp.pad(x, widths, mode=PADDINGS[mode])


def _convolve(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  return layers.convolve(x, kernel, [(padding, padding)] * 2, stride)


# XLA's CPU backend is up to 40 times faster where there is some padding, of up
# to half a kernel; at best of nothing but zeros that are cut off again.
_SOME = [(0, 0), (0, 1)]


def _convolve_inside(x: Array, kernel: Array, stride: int = 1) -> Array:
  """Convolution without padding."""
  w = (x.shape[2] - len(kernel)) // stride + 1
  return layers.convolve(x, kernel, _SOME, stride)[:, :, :w]


def halve(x: Array, kernel: Array, form: str, mode: str = 'zero') -> Array:
  """Convolution of stride 2 and padding 1.

  Args:
    x: [B, H, W, C].
    kernel: [4, 4, C, F] or [3, 3, C, F].
    form: one of RESAMPLE_FORMS.
    mode: of padding, see `pad`.

  Returns:
    [B, H / 2, W / 2, F]; odd sizes are rounded down with a 4 x 4 kernel, up
    with a 3 x 3 one.
  """
  padding = 1
  if mode != 'zero':
    x, padding = pad(x, 1, mode), 0
  if form == 'plain':
    return _convolve(x, kernel, padding, stride=2)
  kernel = kernel.astype(x.dtype)
  b, h, w, _ = x.shape
  odd = h % 2, w % 2
  if any(odd):
    x = jnp.pad(x, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)))
  # In a program to be exported the number of images is open.
  if isinstance(b, int) and b * h * w // 4 < kernel.shape[3]:
    y = _halve_small(pad(x, padding, 'zero'), kernel)
  else:
    y = _halve(x, kernel, padding)
  if any(odd) and kernel.shape[0] == 4:
    y = y[:, : y.shape[1] - odd[0], : y.shape[2] - odd[1]]
  return y


def _halve_small(x: Array, kernel: Array) -> Array:
  """As a product with the kernel as it lies: it is larger than the images.

  XLA's CPU backend would take it for the image of a convolution, or bring it
  into another order at every turn: without this, StarGAN's step at 64 px was
  0.59 times as fast as the original's, with it 1.38 times.
  """
  b, h, w, c = x.shape
  h, w, size = h // 2 - 1, w // 2 - 1, kernel.shape[0]
  x = x.reshape(b, h + 1, 2, w + 1, 2, c)
  # Tap i of a kernel lies on row i % 2 of the pair i // 2 below.
  x = jnp.stack([x[:, i // 2 :, i % 2][:, :h] for i in range(size)], axis=2)
  x = jnp.stack(
    [x[:, :, :, j // 2 :, j % 2][:, :, :, :w] for j in range(size)], axis=4
  )
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b * h * w, size * size * c)
  return (x @ kernel.reshape(size * size * c, -1)).reshape(b, h, w, -1)


def double(x: Array, kernel: Array, form: str) -> Array:
  """Transposed convolution of stride 2 and padding 1, as PyTorch's.

  Args:
    x: [B, H, W, C].
    kernel: [4, 4, C, F], or [3, 3, C, F] as with an output padding of 1.
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, 2 H, 2 W, F].
  """
  if form == 'plain':
    flipped = kernel[::-1, ::-1]
    padding = (kernel.shape[0] - 2, 2)
    return layers.convolve(x, flipped, [padding] * 2, dilation=2)
  return _double(x, kernel.astype(x.dtype), 1)


# Each of the two is the other's gradient to x, with the channels of the kernel
# swapped, and both have the same gradient to the kernel, with their images
# swapped. So the gradient of a gradient consists of them as well. Left to XLA,
# that of the gradient penalty was over a quarter of a step: it takes a gradient
# to a kernel through a gradient to an image for a convolution whose kernel is
# larger than its image, swaps the two, and has plain loops alone for that (7.4,
# 6.0 and 2.9 ms for three layers).


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _halve(x: Array, kernel: Array, padding: int) -> Array:
  # Strided 0.3 ms, by 2 x 2 pixels 0.5; the gradient to the kernel 0.4 and 0.8.
  if padding:
    return _convolve(x, kernel, padding, stride=2)
  return _convolve_inside(x, kernel, stride=2)


def _halve_fwd(x: Array, kernel: Array, padding: int) -> tuple[Array, tuple]:
  return _halve(x, kernel, padding), (x, kernel)


def _halve_bwd(padding: int, saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  to_x = _double(grad, kernel.swapaxes(2, 3), padding)
  return to_x, _to_kernel(x, grad, len(kernel), padding, stride=2)


_halve.defvjp(_halve_fwd, _halve_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _double(x: Array, kernel: Array, padding: int) -> Array:
  b, h, w, c = x.shape
  if len(kernel) == 3 and padding:
    return _double_by_taps(x, kernel)
  if len(kernel) == 3:
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
  # 2 x 2 pixels of the result, a border of one around it, at a time. To take
  # the inner taps alone for them saves no more than padding their gradient.
  kernel = kernel.reshape(2, 2, 2, 2, c, -1)[::-1, :, ::-1]
  kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
  x = _convolve(x, kernel, 1).reshape(b, h + 1, w + 1, 2, 2, -1)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * w + 2, -1)
  return x[:, 1:-1, 1:-1] if padding else x


def _double_by_taps(x: Array, kernel: Array) -> Array:
  """Of 3 x 3 taps, even rows (columns) see one, odd ones the two others."""
  b, h, w, _ = x.shape
  rows = kernel[1:2], kernel[2::-2]
  phases = [
    [layers.convolve(x, taps, [(0, i), (0, j)]) for j, taps in enumerate(row)]
    for i, row in enumerate((r[:, 1:2], r[:, 2::-2]) for r in rows)
  ]
  stacked = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
  return stacked.reshape(b, 2 * h, 2 * w, -1)


def _double_fwd(x: Array, kernel: Array, padding: int) -> tuple[Array, tuple]:
  return _double(x, kernel, padding), (x, kernel)


def _double_bwd(padding: int, saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  to_x = _halve(grad, kernel.swapaxes(2, 3), padding)
  # As that of halving 0.4 ms, as its own 1.5.
  to_kernel = _to_kernel(grad, x, len(kernel), padding, stride=2)
  return to_x, to_kernel.swapaxes(2, 3)


_double.defvjp(_double_fwd, _double_bwd)


def _to_kernel(
  x: Array, grad: Array, size: int, padding: int, stride: int = 1
) -> Array:
  """Gradient of `_convolve` to its kernel [size, size, C, F].

  Where images are large XLA's CPU backend takes twice as long for it as oneDNN
  (3 x 3, 256 channels, 54 px: 27.9 and 14.0 ms; the output and the gradient to
  the image take 13 to 14 in both). Products of matrices in its place are no
  better: of images shifted by one tap after another 20.9 ms, but at 64 px 40.9
  instead of 33.5; of all taps at once 38.8 and 56.4; nor at 8 and 16 px.
  """
  # With several images some padding pays, for a column of taps too many.
  some = not padding and x.shape[0] != 1
  shape = (size, size + some, x.shape[-1], grad.shape[-1])
  pads = _SOME if some else [(padding, padding)] * 2
  transposed = jax.linear_transpose(
    lambda kernel: layers.convolve(x, kernel, pads, stride),
    jax.ShapeDtypeStruct(shape, x.dtype),
  )
  (gradient,) = transposed(grad)
  return gradient[:, :size]


def convolve_image(
  x: Array, kernel: Array, form: str, mode: str = 'zero'
) -> Array:
  """Convolution from an image to features, or from features to an image.

  Args:
    x: [B, H, W, C].
    kernel: [7, 7, C, F].
    form: one of RESAMPLE_FORMS.
    mode: of padding, see `pad`.

  Returns:
    [B, H, W, F].
  """
  padding = 3
  if mode != 'zero':
    x, padding = pad(x, 3, mode), 0
  if form == 'plain':
    return _convolve(x, kernel, padding)
  return _convolve_image(x, kernel.astype(x.dtype), padding)


_WIDE = 20  # channels


def _convolve_wide(x: Array, kernel: Array, padding: int) -> Array:
  *_, channels, features = kernel.shape
  # XLA's CPU backend has fast convolutions where one side is wider than 16 and
  # the channels are even: 16 to 3 channels take 0.8 ms so and 3.7 as they are,
  # 3 to 16 take 0.7 and 1.5. Of no use were: padding the output of narrow ones
  # instead of the input (13 ms for 3 to 20 channels), blocks of 2 x 2 and other
  # pixels (0.5 for 3 to 16, but 15 instead of 1.2 for 32 to 3 at 64 px), a
  # 7 x 1 convolution and a sum of seven shifted slices (0.9, elsewhere twice as
  # slow as the plain one).
  if channels < features:
    more = channels % 2, max(0, _WIDE - features)
  else:
    more = max(0, _WIDE - channels), 0
  x = jnp.pad(x, ((0, 0),) * 3 + ((0, more[0]),))
  kernel = jnp.pad(kernel, ((0, 0),) * 2 + tuple((0, n) for n in more))
  if padding:
    y = _convolve(x, kernel, padding)
  else:
    y = _convolve_inside(x, kernel)
  return y[..., :features]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_image(x: Array, kernel: Array, padding: int) -> Array:
  return _convolve_wide(x, kernel, padding)


def _convolve_image_fwd(
  x: Array, kernel: Array, padding: int
) -> tuple[Array, tuple]:
  return _convolve_image(x, kernel, padding), (x, kernel)


def _convolve_image_bwd(
  padding: int, saved: tuple, grad: Array
) -> tuple[Array, Array]:
  x, kernel = saved
  flipped = kernel[::-1, ::-1].swapaxes(2, 3)
  # Padding by more than half a kernel is slow if left to the convolution.
  wide = pad(grad, 3 - padding, 'zero')
  # The barrier keeps XLA from doing that.
  wide = jax.lax.optimization_barrier(wide)
  to_x = _convolve_image(wide, flipped, 3)
  if kernel.shape[2] < kernel.shape[3]:
    return to_x, _to_kernel(x, grad, 7, padding)
  # As that of the convolution to x, for the image is the side of few channels:
  # 0.7 ms instead of 3.5, at 64 px 1.0 instead of 16.7. Products of matrices of
  # shifted images took 2 to 80.
  more = max(0, _WIDE - kernel.shape[2])
  x = jnp.pad(x, ((0, 0),) * 3 + ((0, more),))
  swapped = _to_kernel(wide, x, 7, 3)[::-1, ::-1].swapaxes(2, 3)
  return to_x, swapped[:, :, : kernel.shape[2]]


_convolve_image.defvjp(_convolve_image_fwd, _convolve_image_bwd)

# What the rows (columns) of a repeated image see of a 5 x 5 kernel: [2, 3, 5],
# the taps that fall on the pixel before, on it, and after it.
_REPEATED = np.array(
  [
    [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
    [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]],
  ]
)
_REPEATED_2D = np.einsum('ipu,jqv->pqijuv', _REPEATED, _REPEATED)


def convolve_up(
  x: Array, kernel: Array, form: str, mode: str = 'reflect'
) -> Array:
  """Repeats each pixel 2 x 2 times, then convolves.

  Args:
    x: [B, H, W, C].
    kernel: [5, 5, C, F].
    form: one of RESAMPLE_FORMS.
    mode: of padding, see `pad`.

  Returns:
    [B, 2 H, 2 W, F].

  Raises:
    ValueError: if H or W is 1, which leaves too little to mirror.
  """
  if form == 'plain' or min(x.shape[1:3]) < 2:
    return _convolve(pad(layers.upsample(x), 2, mode), kernel, 0)
  kernel = kernel.astype(x.dtype)
  # A border of one here is one of two in the repeated image.
  y = _convolve_repeated(
    pad(x, 1, 'replicate' if mode == 'reflect' else mode), kernel
  )
  if mode != 'reflect':
    return y
  # There the borders were the nearest pixels. A mirror shows the same, but the
  # outermost tap of the outermost rows and columns sees one pixel further in.
  for axis in (1, 2):
    for last in (False, True):
      i, step, tap = (x.shape[axis] - 1, -1, 4) if last else (0, 1, 0)
      border = [jax.lax.index_in_dim(x, n, axis) for n in (i + step, i)]
      line = jnp.repeat(border[0] - border[1], 2, axis=3 - axis)
      widths = [(0, 0)] * 4
      widths[3 - axis] = (2, 2)
      # The corners' own share belongs to the rows.
      line = jnp.pad(line, widths, mode='reflect' if axis == 1 else 'edge')
      taps = jax.lax.index_in_dim(kernel, tap, axis - 1)
      widths = [(0, 0)] * 4
      rest = y.shape[axis] - 1
      widths[axis] = (rest, 0) if last else (0, rest)
      y = y + jnp.pad(_convolve(line, taps, 0), widths)
  return y


def _convolve_repeated(x: Array, kernel: Array) -> Array:
  """`convolve_up` of an image with a border: 36 products a pixel, not 100."""
  b, h, w, c = x.shape[0], x.shape[1] - 2, x.shape[2] - 2, x.shape[3]
  matrix = _REPEATED_2D.reshape(-1, 25).astype(x.dtype)
  # A product of matrices: XLA's CPU backend is slow at sums of many slices.
  mixed = jnp.dot(
    matrix, kernel.reshape(25, -1), precision=jax.lax.Precision.HIGHEST
  )
  mixed = mixed.reshape(3, 3, 2, 2, c, -1).transpose(0, 1, 4, 2, 3, 5)
  y = _convolve_inside(x, mixed.reshape(3, 3, c, -1))
  y = y.reshape(b, h, w, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
  return y.reshape(b, 2 * h, 2 * w, -1)


def convolve_same(
  x: Array, kernel: Array, form: str, mode: str = 'zero'
) -> Array:
  """Convolution of stride 1 that keeps height and width.

  Args:
    x: [B, H, W, C].
    kernel: [3, 3, C, F] or [1, 1, C, F].
    form: one of RESAMPLE_FORMS.
    mode: of padding, see `pad`.

  Returns:
    [B, H, W, F].
  """
  padding = len(kernel) // 2
  if mode == 'zero' or not padding:
    return _convolve(x, kernel, padding)
  x = pad(x, padding, mode)
  if form == 'plain':
    return _convolve(x, kernel, 0)
  return _convolve_inside(x, kernel)


def convolve_planes(c: Array, kernel: Array, size: tuple[int, int]) -> Array:
  """Convolution of constant planes, zeros around them.

  Two small products of matrices, 0.1 ms at `shapes` on one core; and labels are
  no channels of the stem any more, whose number decides how fast that is.

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
