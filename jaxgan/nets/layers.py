"""Layers that several systems share, with PyTorch's numbers where they differ.

Images are [B, H, W, C]. Every layer computes in `dtype`; parameters and the
statistics of norms are float32 or better.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Array = jax.Array
DType = jax.typing.DTypeLike

# Flax's he_normal is truncated; PyTorch's kaiming_normal_ is not.
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
he_normal_stacked = nn.initializers.variance_scaling(
  2.0, 'fan_in', 'normal', batch_axis=(0,)
)
leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)


def uniform_within(limit: float) -> nn.initializers.Initializer:
  """Draws uniformly from [-limit, limit]."""

  def init(*args):
    return nn.initializers.uniform(2 * limit)(*args) - limit

  return init


def at_least_float32(dtype: DType) -> DType:
  """float32, or `dtype` itself where that is wider."""
  return jnp.promote_types(dtype, jnp.float32)


def avg_pool(x: Array) -> Array:
  """Halves height and width by the mean of 2 x 2 pixels."""
  # By names: jax2onnx, which replaces it, takes no others.
  return nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))


def upsample(x: Array) -> Array:
  """Doubles height and width by repeating each pixel (nearest)."""
  b, h, w, c = x.shape
  x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
  return x.reshape(b, 2 * h, 2 * w, c)


class Dense(nn.Module):
  """Fully connected layer with He initialisation."""

  features: int
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, C] to [B, features]."""
    dense = nn.Dense(
      self.features,
      dtype=self.dtype,
      param_dtype=at_least_float32(self.dtype),
      kernel_init=he_normal,
    )
    nn.share_scope(self, dense)
    return dense(x)


class StackedDense(nn.Module):
  """One fully connected layer per domain.

  The leading axis of `kernel` [K, C, features] and `bias` [K, features] is the
  domain. Name such a module `heads...`: fine-tuning finds the axis by it.
  """

  num_domains: int
  features: int
  select: bool = True  # see `_runs_selected`
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    """Maps x [B, C] by the layers of domains y [B].

    Returns:
      [B, features]; NaN where y is out of range.
    """
    param_dtype = at_least_float32(self.dtype)
    shape = (self.num_domains, x.shape[-1], self.features)
    kernel = self.param('kernel', he_normal_stacked, shape, param_dtype)
    bias = self.param(
      'bias', nn.initializers.zeros, (shape[0], shape[2]), param_dtype
    )
    selected = self._runs_selected(y)
    if selected:
      kernel = kernel.at[y].get(mode='fill')
      bias = bias.at[y].get(mode='fill')
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    if selected:
      return jnp.einsum('bc,bcf->bf', x, kernel) + bias
    return select_domain(jnp.einsum('bc,kcf->bkf', x, kernel) + bias[None], y)

  def _runs_selected(self, y: Array) -> bool:
    """Whether a layer for each image is less work than all of them.

    The number of images is open in a program to be exported: all are run.
    """
    batch_size = y.shape[0]
    is_open = not isinstance(batch_size, int)
    return self.select and not is_open and self.num_domains > batch_size


def select_domain(x: Array, y: Array) -> Array:
  """Takes from x [B, K, ...] the row of domain y [B] (NaN if out of range)."""
  index = y.reshape(-1, *(1,) * (x.ndim - 1))
  return jnp.take_along_axis(x, index, axis=1)[:, 0]


# The forms of a 3 x 3 convolution with resampling; see `Conv`.
RESAMPLE_FORMS = ('plain', 'phases', 'strided')

# Row t of _BOX mixes the taps of a kernel into tap t of one that also averages
# two neighbours afterwards; twice that one repeats each pixel before.
_BOX_1D = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]) / 2
_BOX = np.kron(_BOX_1D, _BOX_1D)
# The same rows as [i, j, 2, 2]: what even and odd rows i and columns j see of a
# 4 x 4 kernel that is laid on an image with zeros between its pixels.
# Of no use were, on two CPU cores: the down form on a space-to-depth image or
# as a sum of four convolutions, a least image size for the forms, padding 3
# channels to 4, reversed taps in the matrix instead of a reversed kernel, XLA's
# flags (vector width, oneDNN, fast math, scheduler). Left are 381 copies for
# gradients of kernels, 8 % of StarGAN v2's step at `shapes`.
_PHASES = _BOX.reshape(2, 2, 2, 2, 9).transpose(1, 3, 0, 2, 4).reshape(16, 9)


def best_resample_form() -> str:
  """The form for this process's devices: measured on CPU, not elsewhere yet.

  XLA's CPU backend runs convolutions with zeros between the pixels by plain
  loops, on one thread, and the gradients of `strided` consist of them, as that
  to the kernel in R1. A step of StarGAN v2 at 64 px, original widths and batch
  2, takes 12.2 s by `phases`, 16.9 by `plain` and 26.4 by `strided` (two cores,
  jax 0.10.2); at `shapes` `phases` is 1.1 to 1.2 times as fast as `plain`.
  """
  return 'phases' if jax.default_backend() == 'cpu' else 'strided'


def convolve(
  x: Array,
  kernel: Array,
  padding: str | Sequence[tuple[int, int]],
  stride: int = 1,
  dilation: int = 1,
) -> Array:
  """Convolves x [B, H, W, C] by a kernel [h, w, C, F].

  Args:
    x: with dilation - 1 zeros put between its pixels.
    kernel: cast to the type of x.
    padding: 'SAME', 'VALID', or zeros before and after each axis.
    stride: along both axes.
    dilation: of x.
  """
  return jax.lax.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    (stride, stride),
    padding,
    lhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _mix_taps(matrix: np.ndarray, kernel: Array, *shape: int) -> Array:
  """Rows of `matrix` times the nine taps of a kernel [3, 3, C, F]."""
  # A product of matrices: XLA's CPU backend is slow at sums of many slices.
  taps = kernel.reshape(9, -1)
  mixed = jnp.dot(
    matrix.astype(taps.dtype), taps, precision=jax.lax.Precision.HIGHEST
  )
  return mixed.reshape(*shape, *kernel.shape[2:])


def _up_strided(x: Array, kernel: Array) -> Array:
  # Reversed twice: XLA's GPU backend takes the transposed convolution of cuDNN
  # for a dilated one only where its kernel is a reversed one.
  kernel = 4 * _mix_taps(_BOX, kernel[::-1, ::-1], 4, 4)[::-1, ::-1]
  return convolve(x, kernel, [(2, 2), (2, 2)], dilation=2)


def _up_phases(x: Array, kernel: Array) -> Array:
  kernels = 4 * _mix_taps(_PHASES, kernel, 2, 2, 2, 2)
  phases = [
    [convolve(x, kernels[i, j], [(1 - i, i), (1 - j, j)]) for j in (0, 1)]
    for i in (0, 1)
  ]
  b, h, w, features = phases[0][0].shape
  rows = [jnp.stack(row, axis=3) for row in phases]
  return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, features)


def _down_strided(x: Array, kernel: Array) -> Array:
  kernel = _mix_taps(_BOX, kernel, 4, 4)
  return convolve(x, kernel, [(1, 1), (1, 1)], stride=2)


@jax.custom_vjp
def _down_phases(x: Array, kernel: Array) -> Array:
  """`_down_strided`, the gradient to x by phases."""
  return _down_strided(x, kernel)


def _down_phases_fwd(x: Array, kernel: Array) -> tuple[Array, tuple]:
  return _down_strided(x, kernel), (x, kernel)


def _down_phases_bwd(saved: tuple, grad: Array) -> tuple[Array, Array]:
  x, kernel = saved
  _, to_kernel = jax.vjp(functools.partial(_down_strided, x), kernel)
  # The transpose of convolving and averaging: spreading and convolving back.
  flipped = kernel[::-1, ::-1].swapaxes(2, 3)
  return _up_phases(grad / 4, flipped), *to_kernel(grad)


_down_phases.defvjp(_down_phases_fwd, _down_phases_bwd)


def convolve_down(x: Array, kernel: Array, form: str = 'plain') -> Array:
  """Convolves by a 3 x 3 kernel, then averages 2 x 2 pixels.

  Args:
    x: [B, H, W, C], H and W even.
    kernel: [3, 3, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, H / 2, W / 2, F].
  """
  if form == 'plain':
    return avg_pool(convolve(x, kernel, 'SAME'))
  return (_down_phases if form == 'phases' else _down_strided)(x, kernel)


def convolve_up(x: Array, kernel: Array, form: str = 'plain') -> Array:
  """Repeats each pixel 2 x 2 times, then convolves by a 3 x 3 kernel.

  Args:
    x: [B, H, W, C].
    kernel: [3, 3, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, 2 H, 2 W, F].
  """
  if form == 'plain':
    return convolve(upsample(x), kernel, 'SAME')
  return (_up_phases if form == 'phases' else _up_strided)(x, kernel)


class Conv(nn.Module):
  """Convolution of stride 1, with He initialisation; optionally resampling.

  `resample='down'` is the convolution and then 2 x 2 average pooling;
  `resample='up'` is nearest upsampling by 2 and then the convolution. `form`
  tells how a 3 x 3 kernel does it: `plain` as said; `strided` as one 4 x 4
  convolution of stride 2, or transposed of stride 2, with 2.25 times fewer
  operations and no large intermediate; `phases` the same by convolutions
  without zeros between pixels. All are equal to rounding.
  """

  features: int
  kernel_size: tuple[int, int] = (3, 3)
  padding: str = 'SAME'
  use_bias: bool = True
  resample: str | None = None
  form: str = 'plain'
  kernel_init: nn.initializers.Initializer = he_normal
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    param_dtype = at_least_float32(self.dtype)
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, param_dtype)
    x = x.astype(self.dtype)
    if self.resample is None:
      x = convolve(x, kernel, self.padding)
    elif self.kernel_size == (1, 1):
      # It commutes with resampling: run it on the smaller image.
      x = avg_pool(x) if self.resample == 'down' else x
      x = convolve(x, kernel, self.padding)
    elif self.resample == 'down':
      x = convolve_down(x, kernel, self.form)
    else:
      x = convolve_up(x, kernel, self.form)
    if self.use_bias:
      zeros = nn.initializers.zeros
      bias = self.param('bias', zeros, (self.features,), param_dtype)
      x = x + bias.astype(self.dtype)[None, None, None]
    if self.resample == 'up' and self.kernel_size == (1, 1):
      x = upsample(x)
    return x


def instance_norm(x: Array, epsilon: float = 1e-5) -> Array:
  """Normalises each channel of each image: biased variance, no parameters."""
  wide = x.astype(at_least_float32(x.dtype))
  # Statistics stay [B, C] up to their use: with unit axes XLA simplifies them
  # differently under differentiation, and computes a forward pass twice. As
  # they are it merges the latent fake of StarGAN v2's discriminator phase with
  # that of the generator's, and the encodings of one source: a step of `plain`
  # layers has 11.8 GFLOP at `shapes` instead of 12.5, at 64 px 2279 instead of
  # 2405.
  mean = jnp.mean(wide, axis=(1, 2))
  centred = wide - mean[:, None, None]
  var = jnp.mean(jnp.square(centred), axis=(1, 2))
  scale = jax.lax.rsqrt(var + epsilon)
  return (centred * scale[:, None, None]).astype(x.dtype)


class InstanceNorm(nn.Module):
  """Instance norm with a learned scale and bias per channel."""

  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    shape, param_dtype = (x.shape[-1],), at_least_float32(self.dtype)
    scale = self.param('scale', nn.initializers.ones, shape, param_dtype)
    bias = self.param('bias', nn.initializers.zeros, shape, param_dtype)
    x, scale, bias = nn.dtypes.promote_dtype(
      instance_norm(x), scale, bias, dtype=self.dtype
    )
    return x * scale[None, None, None] + bias[None, None, None]


class LayerNorm(nn.Module):
  """Norm over all numbers of an image, with a scale and a bias per channel.

  As MUNIT has it: an unbiased deviation, to which epsilon is added, and scales
  that are drawn from [0, 1] at first.
  """

  epsilon: float = 1e-5
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    shape, param_dtype = (x.shape[-1],), at_least_float32(self.dtype)
    scale = self.param(
      'scale', nn.initializers.uniform(1.0), shape, param_dtype
    )
    bias = self.param('bias', nn.initializers.zeros, shape, param_dtype)
    wide = x.astype(at_least_float32(x.dtype))
    centred = wide - jnp.mean(wide, axis=(1, 2, 3))[:, None, None, None]
    total = jnp.sum(jnp.square(centred), axis=(1, 2, 3))
    var = total / (math.prod(x.shape[1:]) - 1)
    # The root has no derivative at 0: there it is a constant.
    std = jnp.where(var > 0, jnp.sqrt(jnp.where(var > 0, var, 1)), 0)
    h = centred / (std + self.epsilon)[:, None, None, None]
    h, scale, bias = nn.dtypes.promote_dtype(h, scale, bias, dtype=self.dtype)
    return h * scale[None, None, None] + bias[None, None, None]


class BatchNorm(nn.Module):
  """Batch norm with PyTorch's statistics: a running variance is unbiased.

  The running ones are the collection 'batch_stats'; they move where it is
  mutable. With `tracks=False` there are none.
  """

  momentum: float = 0.1  # the share of the batch
  epsilon: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: DType = jnp.float32
  tracks: bool = True

  @nn.compact
  def __call__(self, x: Array, *, running: bool = False) -> Array:
    """Maps [B, H, W, C] to the same shape.

    Args:
      x: features; of a single value a channel, nothing is left of them.
      running: normalise by the running statistics, and not by those of x.
    """
    shape, param_dtype = (x.shape[-1],), at_least_float32(self.dtype)
    scale = self.param('scale', self.scale_init, shape, param_dtype)
    bias = self.param('bias', nn.initializers.zeros, shape, param_dtype)
    if self.tracks:
      means, variances = (
        self.variable('batch_stats', name, init, shape, param_dtype)
        for name, init in (('mean', jnp.zeros), ('var', jnp.ones))
      )
    wide = x.astype(at_least_float32(x.dtype))
    if running:
      mean, var = means.value, variances.value
    else:
      mean = jnp.mean(wide, axis=(0, 1, 2))
      centred = wide - mean[None, None, None]
      var = jnp.mean(jnp.square(centred), axis=(0, 1, 2))
      if (
        self.tracks
        and self.is_mutable_collection('batch_stats')
        and not self.is_initializing()
      ):
        count = math.prod(x.shape[:3])
        unbiased = var * (count / max(count - 1, 1))
        for old, new in ((means, mean), (variances, unbiased)):
          old.value += self.momentum * (new.astype(param_dtype) - old.value)
    std = jnp.sqrt(var + self.epsilon)
    h = (wide - mean[None, None, None]) / std[None, None, None]
    h, scale, bias = nn.dtypes.promote_dtype(h, scale, bias, dtype=self.dtype)
    return h * scale[None, None, None] + bias[None, None, None]


class FrozenBatchNorm(nn.Module):
  """Batch norm of a trained network: statistics are parameters, never moved."""

  epsilon: float = 1e-5
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    shape, param_dtype = (x.shape[-1],), at_least_float32(self.dtype)
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    scale = self.param('scale', ones, shape, param_dtype)
    bias = self.param('bias', zeros, shape, param_dtype)
    mean = self.param('mean', zeros, shape, param_dtype)
    var = self.param('var', ones, shape, param_dtype)
    factor = scale * jax.lax.rsqrt(var + self.epsilon)
    x, factor, offset = nn.dtypes.promote_dtype(
      x, factor, bias - mean * factor, dtype=self.dtype
    )
    return x * factor[None, None, None] + offset[None, None, None]


def modulate(x: Array, scale: Array, bias: Array) -> Array:
  """Instance norm of x [B, H, W, C] with given scale and bias [B, C]."""
  h = instance_norm(x)
  scale, bias = (v[:, None, None].astype(h.dtype) for v in (scale, bias))
  return scale * h + bias


class AdaIN(nn.Module):
  """Instance norm whose scale and bias come from a style code."""

  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, s: Array) -> Array:
    """Maps x [B, H, W, C] and s [B, S] to [B, H, W, C]."""
    code = Dense(2 * x.shape[-1], dtype=self.dtype, name='fc')(s)
    gamma, beta = jnp.split(code, 2, axis=-1)
    return modulate(x.astype(self.dtype), 1 + gamma, beta)
