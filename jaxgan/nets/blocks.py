"""What auto-encoders of one domain are built of: MUNIT's blocks.

Images are [B, H, W, C]. A norm follows the convolution, then an activation;
biases start at 0. `mode` is of `convolutions.PADDINGS`, `activ` of ACTIVATIONS.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan.nets import convolutions, layers

Array = jax.Array
DType = jax.typing.DTypeLike

gaussian = nn.initializers.normal(0.02)

# By the names of MUNIT's code, as NORMS, where it has a spectral one as well.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  'relu': nn.relu,
  'lrelu': layers.leaky_relu,
  'selu': nn.selu,
  'tanh': jnp.tanh,
  'none': lambda x: x,
}
NORMS = ('none', 'bn', 'in', 'ln')

# The shares of red, green and blue in a grey of ITU-R 601-2, as PIL has it.
_LUMA = np.array((0.299, 0.587, 0.114))


def of_channels(x: Array, channels: int) -> Array:
  """Images [B, H, W, 3] in so many channels, 3 or 1, which is their grey."""
  if channels == 3:
    return x
  return jnp.sum(x * _LUMA.astype(x.dtype)[None, None, None], -1, keepdims=True)


def as_rgb(x: Array) -> Array:
  """Images of one or three channels in three, [B, H, W, 3]."""
  return jnp.broadcast_to(x, (*x.shape[:3], 3))


class Activation(nn.Module):
  """One of ACTIVATIONS, or 'prelu', whose slope below 0 is trained."""

  kind: str

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps an array of any shape to the same."""
    if self.kind != 'prelu':
      return ACTIVATIONS[self.kind](x)
    slope = self.param(
      *('slope', nn.initializers.constant(0.25), (1,)),
      layers.at_least_float32(x.dtype),
    )
    return jnp.where(x > 0, x, slope[0].astype(x.dtype) * x)


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
  mode: str = 'reflect'
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
        x = convolutions.convolve_up(x, kernel, self.form, self.mode)
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
  mode: str = 'reflect'
  activ: str = 'relu'

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
      mode=self.mode,
      adds_bias=False,
      form=self.form,
      dtype=self.dtype,
    )
    given = _divide(modulation, 2)
    h = _normalize(conv(name='conv1')(x), given[0])
    h = Activation(self.activ, name='conv1_activ')(h)
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
  mode: str = 'reflect'
  activ: str = 'relu'

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, S, S, C] to [B, S / 2^n, S / 2^n, dim 2^n]."""

    def normalized(h: Array, features: int, kind: str, size: int, name: str):
      h = Convolution(
        *(features, kind, size, self.mode),
        adds_bias=False,
        form=self.form,
        dtype=self.dtype,
        name=name,
      )(h)
      h = layers.instance_norm(h)
      return Activation(self.activ, name=f'{name}_activ')(h)

    h = normalized(x, self.dim, 'image', 7, 'stem')
    for i in range(self.n_downsample):
      h = normalized(h, self.dim * 2 ** (i + 1), 'halve', 4, f'down_{i}')
    how = self.form, self.dtype, self.mode, self.activ
    for i in range(self.n_res):
      h = ResBlock(*how, name=f'block_{i}')(h)
    return h


class Decoder(nn.Module):
  """An image from a code."""

  n_upsample: int
  n_res: int
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'
  activ: str = 'relu'
  channels: int = 3  # of an image: 3, or 1

  @nn.compact
  def __call__(self, h: Array, modulation: Array | None = None) -> Array:
    """Maps a code to an image [B, S, S, 3] in [-1, 1], float32 or better.

    Args:
      h: [B, S / 2^n, S / 2^n, C].
      modulation: [B, 4 C n_res], of the norms of the residual blocks in turn;
        None for norms without.
    """
    how = self.form, self.dtype, self.mode, self.activ
    for i, part in enumerate(_divide(modulation, self.n_res)):
      h = ResBlock(*how, name=f'block_{i}')(h, part)
    conv = functools.partial(
      Convolution, mode=self.mode, form=self.form, dtype=self.dtype
    )
    for i in range(self.n_upsample):
      h = conv(h.shape[-1] // 2, 'up', 5, name=f'up_{i}')(h)
      h = layers.LayerNorm(dtype=self.dtype, name=f'up_{i}_norm')(h)
      h = Activation(self.activ, name=f'up_{i}_activ')(h)
    image = jnp.tanh(conv(self.channels, 'image', 7, name='to_rgb')(h))
    return as_rgb(image.astype(layers.at_least_float32(image.dtype)))


class PatchDiscriminator(nn.Module):
  """Is each patch of an image real?"""

  dim: int
  n_layers: int  # halvings
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'
  activ: str = 'lrelu'
  norm: str = 'none'  # of NORMS; the first convolution has none

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H / 2^n, W / 2^n], float32 or better."""
    for i in range(self.n_layers):
      norm, name = self.norm if i else 'none', f'conv_{i}'
      x = Convolution(
        *(self.dim * 2**i, 'halve', 4, self.mode),
        adds_bias=norm in ('none', 'ln'),
        kernel_init=gaussian,
        form=self.form,
        dtype=self.dtype,
        name=name,
      )(x)
      x = _normalize_by(norm, x, name)
      x = Activation(self.activ, name=f'{name}_activ')(x)
    wide = layers.at_least_float32(self.dtype)
    scores = layers.Conv(
      1, (1, 1), kernel_init=gaussian, dtype=wide, name='to_score'
    )(x)
    return scores[..., 0]


def _normalize_by(norm: str, x: Array, name: str) -> Array:
  """A norm of NORMS after the layer of that name, inside of its module."""
  match norm:
    case 'bn':
      # Discriminators are always in training: running ones would be of no use.
      return layers.BatchNorm(dtype=x.dtype, tracks=False, name=f'{name}_bn')(x)
    case 'in':
      return layers.instance_norm(x)
    case 'ln':
      return layers.LayerNorm(dtype=x.dtype, name=f'{name}_norm')(x)
    case _:
      return x


class MultiScaleDiscriminator(nn.Module):
  """A discriminator of patches at each of several sizes of an image."""

  dim: int
  n_layers: int
  num_scales: int
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'
  activ: str = 'lrelu'
  norm: str = 'none'

  @nn.compact
  def __call__(self, x: Array) -> tuple[Array, ...]:
    """Maps [B, S, S, C] to a map of scores for S, S / 2, ..."""
    how = self.form, self.dtype, self.mode, self.activ, self.norm
    scores = []
    for i in range(self.num_scales):
      if i:
        x = _halve_by_mean(x)
      net = PatchDiscriminator(self.dim, self.n_layers, *how, name=f'scale_{i}')
      scores.append(net(x))
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
  mode: str = 'reflect'
  activ: str = 'lrelu'
  norm: str = 'none'
  channels: tuple[int, int] = (3, 3)  # of the images of the domains

  def setup(self) -> None:
    """Creates the networks of both domains."""
    dims = self.dim, self.n_layers, self.num_scales
    how: dict[str, Any] = {
      'form': self.form,
      'dtype': self.dtype,
      'mode': self.mode,
      'activ': self.activ,
      'norm': self.norm,
    }
    self.of_domain = [MultiScaleDiscriminator(*dims, **how) for _ in range(2)]

  def __call__(self, x: Array, domain: int) -> tuple[Array, ...]:
    """Maps images to maps of scores, one of each scale; high is real."""
    return self.of_domain[domain](of_channels(x, self.channels[domain]))

  def both(self, x: Array) -> tuple[Array, ...]:
    """The scores of images as of both domains."""
    return tuple(score for i in range(2) for score in self(x, i))
