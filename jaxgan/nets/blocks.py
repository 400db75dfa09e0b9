"""What auto-encoders of one domain are built of: MUNIT's blocks.

Images are [B, H, W, C]. Paddings reflect, a norm follows the convolution, and
biases start at 0.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import convolutions, layers

Array = jax.Array
DType = jax.typing.DTypeLike

gaussian = nn.initializers.normal(0.02)


class Convolution(nn.Module):
  """A convolution of one of the kinds of `convolutions`, and its bias.

  `kind` is `same`; `image` of 7 x 7; `halve` of stride 2; `double`, transposed
  of stride 2; `up`, after nearest upsampling; or `slide`, of stride 1 with a
  border of one zero. Where an instance norm follows set `adds_bias=False`: it
  takes away what is constant, so that the bias only decays, and is not computed
  with. `use_bias=False` is a convolution that has none.
  """

  features: int
  kind: str
  kernel_size: int
  mode: str = 'reflect'  # of padding, or 'zero'
  adds_bias: bool = True
  use_bias: bool = True
  kernel_init: nn.initializers.Initializer = layers.he_normal
  bias_init: nn.initializers.Initializer = nn.initializers.zeros
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    param_dtype = layers.at_least_float32(self.dtype)
    shape = (self.kernel_size,) * 2 + (x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, param_dtype)
    if self.use_bias:
      bias = self.param('bias', self.bias_init, shape[3:], param_dtype)
    x = x.astype(self.dtype)
    match self.kind:
      case 'same':
        x = convolutions.convolve_same(x, kernel, self.form, self.mode)
      case 'image':
        x = convolutions.convolve_image(x, kernel, self.form, self.mode)
      case 'halve':
        x = convolutions.halve(x, kernel, self.form, self.mode)
      case 'double':
        x = convolutions.double(x, kernel, self.form)
      case 'up':
        x = convolutions.convolve_up(x, kernel, self.form)
      case 'slide':
        x = layers.convolve(x, kernel, [(1, 1), (1, 1)])
      case _:
        raise ValueError(f'no kind of convolution is {self.kind!r}')
    if self.use_bias and self.adds_bias:
      x = x + bias.astype(self.dtype)[None, None, None]
    return x


class ResBlock(nn.Module):
  """Two normalised convolutions beside the identity; nothing after the sum."""

  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, modulation: Array | None = None) -> Array:
    """Maps [B, H, W, C] to the same shape.

    Args:
      x: features.
      modulation: [B, 4 C], for each of the two instance norms C biases and then
        C scales; None for norms without them.
    """
    conv = functools.partial(
      Convolution,
      x.shape[-1],
      'same',
      3,
      adds_bias=False,
      form=self.form,
      dtype=self.dtype,
    )
    given = _divide(modulation, 2)
    h = nn.relu(_normalize(conv(name='conv1')(x), given[0]))
    return x + _normalize(conv(name='conv2')(h), given[1])


def _divide(modulation: Array | None, parts: int) -> list[Array | None]:
  """Equal parts of it; where there is none, as many of none."""
  if modulation is None or not parts:
    return [None] * parts
  return list(jnp.split(modulation, parts, axis=-1))


def _normalize(x: Array, modulation: Array | None) -> Array:
  if modulation is None:
    return layers.instance_norm(x)
  # Differs from StarGAN v2's AdaIN: the bias comes first, and no 1 is added.
  bias, scale = jnp.split(modulation, 2, axis=-1)
  return layers.modulate(x, scale, bias)


class ContentEncoder(nn.Module):
  """What an image shows, and where: instance norms take its style away."""

  dim: int  # first width, doubled at each halving
  n_downsample: int
  n_res: int
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, S, S, 3] to [B, S / 2^n, S / 2^n, dim 2^n]."""
    conv = functools.partial(
      Convolution, adds_bias=False, form=self.form, dtype=self.dtype
    )
    h = conv(self.dim, 'image', 7, name='stem')(x)
    h = nn.relu(layers.instance_norm(h))
    for i in range(self.n_downsample):
      h = conv(self.dim * 2 ** (i + 1), 'halve', 4, name=f'down_{i}')(h)
      h = nn.relu(layers.instance_norm(h))
    for i in range(self.n_res):
      h = ResBlock(self.form, self.dtype, name=f'block_{i}')(h)
    return h


class Decoder(nn.Module):
  """An image from a code."""

  n_upsample: int
  n_res: int
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, h: Array, modulation: Array | None = None) -> Array:
    """Maps a code to an image [B, S, S, 3] in [-1, 1], float32 or better.

    Args:
      h: [B, S / 2^n, S / 2^n, C].
      modulation: [B, 4 C n_res], of the norms of the residual blocks in turn;
        None for norms without.
    """
    for i, part in enumerate(_divide(modulation, self.n_res)):
      h = ResBlock(self.form, self.dtype, name=f'block_{i}')(h, part)
    for i in range(self.n_upsample):
      h = Convolution(
        h.shape[-1] // 2,
        'up',
        5,
        form=self.form,
        dtype=self.dtype,
        name=f'up_{i}',
      )(h)
      h = layers.LayerNorm(dtype=self.dtype, name=f'up_{i}_norm')(h)
      h = nn.relu(h)
    rgb = Convolution(
      3, 'image', 7, form=self.form, dtype=self.dtype, name='to_rgb'
    )(h)
    return jnp.tanh(rgb).astype(layers.at_least_float32(rgb.dtype))


class PatchDiscriminator(nn.Module):
  """Is each patch of an image real?"""

  dim: int
  n_layers: int  # halvings
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, 3] to [B, H / 2^n, W / 2^n], float32 or better."""
    for i in range(self.n_layers):
      x = Convolution(
        self.dim * 2**i,
        'halve',
        4,
        kernel_init=gaussian,
        form=self.form,
        dtype=self.dtype,
        name=f'conv_{i}',
      )(x)
      x = layers.leaky_relu(x)
    wide = layers.at_least_float32(self.dtype)
    scores = layers.Conv(
      1, (1, 1), kernel_init=gaussian, dtype=wide, name='to_score'
    )(x)
    return scores[..., 0]


class MultiScaleDiscriminator(nn.Module):
  """A discriminator of patches at each of several sizes of an image."""

  dim: int
  n_layers: int
  num_scales: int
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, ...]:
    """Maps [B, S, S, 3] to a map of scores for S, S / 2, ..."""
    scores = []
    for i in range(self.num_scales):
      if i:
        x = _halve_by_mean(x)
      scores.append(
        PatchDiscriminator(
          self.dim, self.n_layers, self.form, self.dtype, name=f'scale_{i}'
        )(x)
      )
    return tuple(scores)


def _halve_by_mean(x: Array) -> Array:
  """Means of 3 x 3 pixels, every second one; padding is not counted."""
  return nn.avg_pool(
    x, (3, 3), (2, 2), ((1, 1), (1, 1)), count_include_pad=False
  )


class PerDomainDiscriminator(nn.Module):
  """The discriminators of two domains, 0 and 1."""

  dim: int = 64
  n_layers: int = 4
  num_scales: int = 3
  form: str = 'plain'
  dtype: DType = jnp.float32

  def setup(self) -> None:
    """Creates the networks of both domains."""
    self.of_domain = [
      MultiScaleDiscriminator(
        self.dim, self.n_layers, self.num_scales, self.form, self.dtype
      )
      for _ in range(2)
    ]

  def __call__(self, x: Array, domain: int) -> tuple[Array, ...]:
    """Maps images to maps of scores, one of each scale; high is real."""
    return self.of_domain[domain](x)

  def both(self, x: Array) -> tuple[Array, ...]:
    """The scores of images as of both domains."""
    return tuple(score for i in range(2) for score in self(x, i))
