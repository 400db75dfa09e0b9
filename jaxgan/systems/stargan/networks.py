"""The two networks of StarGAN (Choi et al. 2018, appendix, tables 4 and 5).

Images are [B, S, S, 3] in [-1, 1], S = img_size; c is a label [B, label_dim].
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import convolutions, layers

Array = jax.Array
DType = jax.typing.DTypeLike

# PyTorch's own: uniform within 1 / sqrt(fan in). It takes the outputs of a
# transposed convolution for its inputs.
_fan_in_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
_fan_out_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_out', 'uniform')


class Halving(nn.Module):
  """4 x 4 convolution of stride 2."""

  features: int
  use_bias: bool
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H / 2, W / 2, features]."""
    param_dtype = layers.at_least_float32(self.dtype)
    shape = (4, 4, x.shape[-1], self.features)
    kernel = self.param('kernel', _fan_in_uniform, shape, param_dtype)
    h = convolutions.halve(x.astype(self.dtype), kernel, self.form)
    if self.use_bias:
      init = layers.uniform_within(1 / math.sqrt(math.prod(shape[:3])))
      bias = self.param('bias', init, shape[3:], param_dtype)
      h = h + bias.astype(self.dtype)[None, None, None]
    return h


class Doubling(nn.Module):
  """4 x 4 transposed convolution of stride 2, without a bias."""

  features: int
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, 2 H, 2 W, features]."""
    param_dtype = layers.at_least_float32(self.dtype)
    shape = (4, 4, x.shape[-1], self.features)
    kernel = self.param('kernel', _fan_out_uniform, shape, param_dtype)
    return convolutions.double(x.astype(self.dtype), kernel, self.form)


class ImageConv(nn.Module):
  """7 x 7 convolution of an image, or to one, without a bias."""

  features: int
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, c: Array | None = None) -> Array:
    """Maps [B, H, W, C] to [B, H, W, features].

    Args:
      x: the image, or features.
      c: [B, C'], values of constant planes that lie beside it.
    """
    channels = x.shape[-1]
    shape = (7, 7, channels + (0 if c is None else c.shape[-1]), self.features)
    kernel = self.param(
      'kernel', _fan_in_uniform, shape, layers.at_least_float32(self.dtype)
    )
    x = x.astype(self.dtype)
    if c is None:
      return convolutions.convolve_image(x, kernel, self.form)
    c = c.astype(self.dtype)
    if self.form == 'plain':
      planes = jnp.broadcast_to(c[:, None, None], (*x.shape[:3], c.shape[-1]))
      x = jnp.concatenate([x, planes], axis=-1)
      return convolutions.convolve_image(x, kernel, self.form)
    of_x = convolutions.convolve_image(x, kernel[:, :, :channels], self.form)
    return of_x + convolutions.convolve_planes(
      c, kernel[:, :, channels:], (x.shape[1], x.shape[2])
    )


class ResidualBlock(nn.Module):
  """Two normalised convolutions beside the identity; nothing after the sum."""

  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    h = x
    for i in (1, 2):
      h = layers.Conv(
        x.shape[-1],
        use_bias=False,
        kernel_init=_fan_in_uniform,
        dtype=self.dtype,
        name=f'conv{i}',
      )(h)
      h = layers.InstanceNorm(dtype=self.dtype, name=f'norm{i}')(h)
      h = nn.relu(h) if i == 1 else h
    return x + h


class Generator(nn.Module):
  """G(x, c): translates an image to a label.

  The label is laid beside the image as constant planes. Padding is of zeros: a
  norm would take away what is constant up to the border.
  """

  conv_dim: int = 64
  repeat_num: int = 6
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, c: Array) -> Array:
    """Maps x and c to images of the shape of x, in [-1, 1].

    They are in float32 or better.
    """

    def normalized(h: Array, name: str) -> Array:
      return nn.relu(layers.InstanceNorm(dtype=self.dtype, name=name)(h))

    h = ImageConv(self.conv_dim, self.form, self.dtype, name='stem')(x, c)
    h = normalized(h, 'stem_norm')
    for i in range(2):
      features = self.conv_dim * 2 ** (i + 1)
      h = Halving(features, False, self.form, self.dtype, name=f'down_{i}')(h)
      h = normalized(h, f'down_{i}_norm')
    for i in range(self.repeat_num):
      h = ResidualBlock(self.dtype, name=f'block_{i}')(h)
    for i in range(2):
      features = self.conv_dim * 2 ** (1 - i)
      h = Doubling(features, self.form, self.dtype, name=f'up_{i}')(h)
      h = normalized(h, f'up_{i}_norm')
    rgb = ImageConv(3, self.form, self.dtype, name='to_rgb')(h)
    rgb = jnp.tanh(rgb)
    return rgb.astype(layers.at_least_float32(rgb.dtype))


class Discriminator(nn.Module):
  """D(x): is each patch of x real, and what label has x?"""

  img_size: int
  num_labels: int
  conv_dim: int = 64
  repeat_num: int = 6
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, Array]:
    """Maps x to a map [B, h, w] of how real, and logits [B, num_labels].

    h = w = img_size / 2 ** repeat_num; both in float32 or better.
    """
    h = x
    for i in range(self.repeat_num):
      features = self.conv_dim * 2**i
      h = Halving(features, True, self.form, self.dtype, name=f'conv_{i}')(h)
      h = nn.leaky_relu(h, 0.01)
    wide = layers.at_least_float32(self.dtype)
    size = self.img_size // 2**self.repeat_num
    source = layers.Conv(
      1,
      use_bias=False,
      kernel_init=_fan_in_uniform,
      dtype=wide,
      name='src',
    )(h)
    # One row for each label, on the last axis: not one of the domains' heads
    # that fine-tuning would find by their names.
    logits = layers.Conv(
      self.num_labels,
      (size, size),
      padding='VALID',
      use_bias=False,
      kernel_init=_fan_in_uniform,
      dtype=wide,
      name='cls',
    )(h)
    return source[..., 0], logits[:, 0, 0]


# The two modules, under the names their parameters have everywhere.
Networks = dict[str, nn.Module]


def create_networks(
  *,
  img_size: int,
  num_labels: int,
  g_conv_dim: int = 64,
  g_repeat_num: int = 6,
  d_conv_dim: int = 64,
  d_repeat_num: int = 6,
  form: str = 'plain',
  dtype: DType = jnp.float32,
) -> Networks:
  """Builds the modules.

  Args:
    img_size: S.
    num_labels: that the discriminator tells apart.
    g_conv_dim: first width of the generator.
    g_repeat_num: its residual blocks.
    d_conv_dim: first width of the discriminator.
    d_repeat_num: its halvings.
    form: of the convolutions, one of `convolutions.RESAMPLE_FORMS`.
    dtype: of computation.
  """
  return {
    'generator': Generator(g_conv_dim, g_repeat_num, form, dtype),
    'discriminator': Discriminator(
      img_size, num_labels, d_conv_dim, d_repeat_num, form, dtype
    ),
  }


def init_params(
  nets: Networks, rng: Array, *, img_size: int, label_dim: int
) -> dict[str, dict]:
  """Draws the parameters of both: {network: tree}, PyTorch's own way."""
  x = jnp.zeros((1, img_size, img_size, 3))
  inputs = {
    'generator': (x, jnp.zeros((1, label_dim))),
    'discriminator': (x,),
  }
  rngs = jax.random.split(rng, len(inputs))
  return {
    name: nets[name].init(rng, *args)['params']
    for rng, (name, args) in zip(rngs, inputs.items(), strict=True)
  }
