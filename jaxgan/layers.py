"""Layers that several systems share, with PyTorch's numbers where they differ.

Images are [B, H, W, C]. Every layer computes in `dtype`; parameters and the
statistics of norms are float32 or better.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
DType = jax.typing.DTypeLike

# Flax's he_normal is truncated; PyTorch's kaiming_normal_ is not.
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')
he_normal_stacked = nn.initializers.variance_scaling(
  2.0, 'fan_in', 'normal', batch_axis=(0,)
)
leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)


def at_least_float32(dtype: DType) -> DType:
  """float32, or `dtype` itself where that is wider."""
  return jnp.promote_types(dtype, jnp.float32)


def avg_pool(x: Array) -> Array:
  """Halves height and width by the mean of 2 x 2 pixels."""
  return nn.avg_pool(x, (2, 2), (2, 2))


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
  """One fully connected layer per domain, all of them applied.

  The leading axis of `kernel` [K, C, features] and `bias` [K, features] is the
  domain. Name such a module `heads...`: fine-tuning finds the axis by it.
  """

  num_domains: int
  features: int
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, C], or [B, K, C] one row per domain, to [B, K, features]."""
    param_dtype = at_least_float32(self.dtype)
    shape = (self.num_domains, x.shape[-1], self.features)
    kernel = self.param('kernel', he_normal_stacked, shape, param_dtype)
    bias = self.param(
      'bias', nn.initializers.zeros, (shape[0], shape[2]), param_dtype
    )
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    equation = 'bc,kcf->bkf' if x.ndim == 2 else 'bkc,kcf->bkf'
    return jnp.einsum(equation, x, kernel) + bias[None]


def select_domain(x: Array, y: Array) -> Array:
  """Takes from x [B, K, ...] the row of domain y [B] (NaN if out of range)."""
  index = y.reshape(-1, *(1,) * (x.ndim - 1))
  return jnp.take_along_axis(x, index, axis=1)[:, 0]


class Conv(nn.Module):
  """Convolution of stride 1 with He initialisation, optionally resampling.

  `resample='down'` is the convolution and then 2 x 2 average pooling;
  `resample='up'` is nearest upsampling by 2 and then the convolution.
  """

  features: int
  kernel_size: Sequence[int] = (3, 3)
  padding: str = 'SAME'
  use_bias: bool = True
  resample: str | None = None
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    conv = nn.Conv(
      self.features,
      self.kernel_size,
      padding=self.padding,
      use_bias=self.use_bias,
      dtype=self.dtype,
      param_dtype=at_least_float32(self.dtype),
      kernel_init=he_normal,
    )
    nn.share_scope(self, conv)
    # A 1 x 1 convolution commutes with both: run it on the smaller image.
    pointwise = tuple(self.kernel_size) == (1, 1)
    if self.resample is None:
      return conv(x)
    if self.resample == 'down':
      return conv(avg_pool(x)) if pointwise else avg_pool(conv(x))
    return upsample(conv(x)) if pointwise else conv(upsample(x))


def instance_norm(x: Array, epsilon: float = 1e-5) -> Array:
  """Normalises each channel of each image: biased variance, no parameters."""
  wide = x.astype(at_least_float32(x.dtype))
  mean = jnp.mean(wide, axis=(1, 2), keepdims=True)
  centred = wide - mean
  var = jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True)
  return (centred * jax.lax.rsqrt(var + epsilon)).astype(x.dtype)


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


class AdaIN(nn.Module):
  """Instance norm whose scale and bias come from a style code."""

  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, s: Array) -> Array:
    """Maps x [B, H, W, C] and s [B, S] to [B, H, W, C]."""
    code = Dense(2 * x.shape[-1], dtype=self.dtype, name='fc')(s)
    gamma, beta = jnp.split(code[:, None, None, :], 2, axis=-1)
    return (1 + gamma) * instance_norm(x).astype(self.dtype) + beta
