"""The two networks of StarGAN (Choi et al. 2018, appendix, tables 4 and 5).

Images are [B, S, S, 3] in [-1, 1], S = img_size; c is a label [B, label_dim].
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import layers

Array = jax.Array
DType = jax.typing.DTypeLike

# Forms of a convolution that halves, or doubles: by stride, or by convolutions
# of stride 1 on 2 x 2 pixels at a time; the same numbers to rounding.
RESAMPLE_FORMS = ('plain', 'phases')

# PyTorch's own: uniform within 1 / sqrt(fan in). It takes the outputs of a
# transposed convolution for its inputs.
_fan_in_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')
_fan_out_uniform = nn.initializers.variance_scaling(1 / 3, 'fan_out', 'uniform')


def best_resample_form() -> str:
  """The form for this process's devices: measured on CPU, not elsewhere yet.

  XLA's CPU backend runs the gradients of strided convolutions by plain loops.
  """
  return 'phases' if jax.default_backend() == 'cpu' else 'plain'


def _convolve(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel.astype(x.dtype),
    (stride, stride),
    [(padding, padding)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


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
  b, h, w, c = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  x = x.reshape(b, h // 2 + 1, 2, w // 2 + 1, 2, c)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2 + 1, w // 2 + 1, 4 * c)
  kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5)
  return _convolve(x, kernel.reshape(2, 2, 4 * c, -1), 0)


def double(x: Array, kernel: Array, form: str) -> Array:
  """Transposed convolution of stride 2 and padding 1, as PyTorch's.

  Args:
    x: [B, H, W, C].
    kernel: [4, 4, C, F].
    form: one of RESAMPLE_FORMS.

  Returns:
    [B, 2 H, 2 W, F].
  """
  b, h, w, c = x.shape
  if form == 'plain':
    return jax.lax.conv_general_dilated(
      x,
      kernel[::-1, ::-1].astype(x.dtype),
      (1, 1),
      [(2, 2)] * 2,
      lhs_dilation=(2, 2),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
  # 2 x 2 pixels of the result, a border of one around it, at a time.
  kernel = kernel.reshape(2, 2, 2, 2, c, -1)[::-1, :, ::-1]
  kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
  # Padded beforehand: in the gradient to the kernel XLA would change image and
  # kernel, of which that is the larger, and its CPU backend is slow at that.
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  x = _convolve(x, kernel, 0).reshape(b, h + 1, w + 1, 2, 2, -1)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * w + 2, -1)
  return x[:, 1:-1, 1:-1]


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
    h = halve(x.astype(self.dtype), kernel, self.form)
    if self.use_bias:
      scale = 2 / math.sqrt(math.prod(shape[:3]))

      def init(*args):  # uniform within 1 / sqrt(fan in)
        return nn.initializers.uniform(scale)(*args) - scale / 2

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
    return double(x.astype(self.dtype), kernel, self.form)


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
    """Maps x and c to images of the shape of x, in [-1, 1]."""

    def conv(features: int, name: str) -> layers.Conv:
      return layers.Conv(
        features,
        (7, 7),
        use_bias=False,
        kernel_init=_fan_in_uniform,
        dtype=self.dtype,
        name=name,
      )

    def normalized(h: Array, name: str) -> Array:
      return nn.relu(layers.InstanceNorm(dtype=self.dtype, name=name)(h))

    planes = jnp.broadcast_to(
      c[:, None, None].astype(x.dtype), (*x.shape[:3], c.shape[-1])
    )
    h = jnp.concatenate([x, planes], axis=-1)
    h = normalized(conv(self.conv_dim, 'stem')(h), 'stem_norm')
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
    return jnp.tanh(conv(3, 'to_rgb')(h))


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


@dataclasses.dataclass(frozen=True)
class Networks:
  """The two modules, under the names their parameters have everywhere."""

  generator: Generator
  discriminator: Discriminator


def init_params(
  nets: Networks, rng: Array, *, label_dim: int
) -> dict[str, dict]:
  """Draws the parameters of both: {network: tree}, PyTorch's own way."""
  size = nets.discriminator.img_size
  x = jnp.zeros((1, size, size, 3))
  inputs = {
    'generator': (x, jnp.zeros((1, label_dim))),
    'discriminator': (x,),
  }
  rngs = jax.random.split(rng, len(inputs))
  return {
    name: getattr(nets, name).init(rng, *args)['params']
    for rng, (name, args) in zip(rngs, inputs.items(), strict=True)
  }
