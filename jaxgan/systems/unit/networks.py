"""The networks of UNIT (Liu et al. 2017, section 3 and appendix).

Images are [B, S, S, 3] in [-1, 1]; a code is [B, S / 2^n, S / 2^n, C]. Each of
the two domains, 0 and 1, has layers of its own; those next to the code belong
to both. The later code, without such layers, is made of MUNIT's blocks.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import blocks, layers
from jaxgan.nets.blocks import gaussian

Array = jax.Array
DType = jax.typing.DTypeLike

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.01)


def _conv(
  x: Array, features: int, kind: str, kernel_size: int, **settings: Any
) -> blocks.Convolution:
  """A convolution as PyTorch begins it, but for the weights of N(0, 0.02)."""
  # Of a transposed convolution PyTorch takes the outputs for the inputs.
  width = features if kind == 'double' else x.shape[-1]
  limit = 1 / math.sqrt(width * kernel_size**2)
  return blocks.Convolution(
    features,
    kind,
    kernel_size,
    mode='zero',
    kernel_init=gaussian,
    bias_init=layers.uniform_within(limit),
    **settings,
  )


class ResBlock(nn.Module):
  """Two normalised convolutions beside the identity; nothing after the sum."""

  dropout: float = 0.0
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, H, W, C] to the same shape."""
    conv = functools.partial(
      _conv,
      x,
      x.shape[-1],
      'same',
      3,
      adds_bias=False,
      form=self.form,
      dtype=self.dtype,
    )
    h = nn.relu(layers.instance_norm(conv(name='conv1')(x)))
    h = layers.instance_norm(conv(name='conv2')(h))
    return x + nn.Dropout(self.dropout, deterministic=not train)(h)


class _Resampling(nn.Module):
  """3 x 3 convolution of stride 2, or transposed; normalised or leaky."""

  features: int
  kind: str
  normalize: bool
  form: str
  dtype: DType

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    conv = _conv(
      x,
      self.features,
      self.kind,
      3,
      adds_bias=not self.normalize,
      form=self.form,
      dtype=self.dtype,
    )
    nn.share_scope(self, conv)
    h = conv(x)
    return (
      nn.relu(layers.instance_norm(h)) if self.normalize else _leaky_relu(h)
    )


class _Encoder(nn.Module):
  """The layers of a domain, from its images towards the code."""

  dim: int
  n_downsample: int
  n_res: int
  normalize: bool
  dropout: float
  form: str
  dtype: DType

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    how: dict[str, Any] = {'form': self.form, 'dtype': self.dtype}
    h = _leaky_relu(_conv(x, self.dim, 'image', 7, **how, name='stem')(x))
    for i in range(self.n_downsample):
      h = _Resampling(
        self.dim * 2 ** (i + 1),
        'halve',
        self.normalize,
        **how,
        name=f'down_{i}',
      )(h)
    for i in range(self.n_res):
      h = ResBlock(self.dropout, **how, name=f'block_{i}')(h, train)
    return h


class _Decoder(nn.Module):
  """The layers of a domain, from the code to its images."""

  n_upsample: int
  n_res: int
  normalize: bool
  dropout: float
  form: str
  dtype: DType
  channels: int

  @nn.compact
  def __call__(self, h: Array, train: bool) -> Array:
    how: dict[str, Any] = {'form': self.form, 'dtype': self.dtype}
    for i in range(self.n_res):
      h = ResBlock(self.dropout, **how, name=f'block_{i}')(h, train)
    for i in range(self.n_upsample):
      h = _Resampling(
        h.shape[-1] // 2, 'double', self.normalize, **how, name=f'up_{i}'
      )(h)
    # Transposed in the original: of 1 x 1 that is a convolution.
    image = blocks.Convolution(
      self.channels,
      'same',
      1,
      mode='zero',
      kernel_init=gaussian,
      bias_init=layers.uniform_within(1 / math.sqrt(self.channels)),
      **how,
      name='to_rgb',
    )(h)
    image = jnp.tanh(image)
    return blocks.as_rgb(image.astype(layers.at_least_float32(image.dtype)))


class _Shared(nn.Module):
  """Residual blocks of both domains."""

  n_res: int
  dropout: float
  form: str
  dtype: DType

  @nn.compact
  def __call__(self, h: Array, train: bool) -> Array:
    for i in range(self.n_res):
      h = ResBlock(self.dropout, self.form, self.dtype, name=f'block_{i}')(
        h, train
      )
    return h


class Generator(nn.Module):
  """Encoders and decoders of both domains; `domain` is 0 or 1 throughout.

  Codes and images are float32 or better. `train` turns dropout on, which draws
  from the stream 'dropout'.
  """

  dim: int = 64
  n_downsample: int = 2
  n_res: int = 3
  n_shared: int = 1
  normalize: bool = True
  dropout: float = 0.0
  form: str = 'plain'
  dtype: DType = jnp.float32
  channels: tuple[int, int] = (3, 3)  # of the images of the domains

  def setup(self) -> None:
    """Creates the layers of each domain, and those of both."""
    dims = self.n_downsample, self.n_res, self.normalize, self.dropout
    how = self.form, self.dtype
    self.encoder = [_Encoder(self.dim, *dims, *how) for _ in range(2)]
    self.encoder_shared = _Shared(self.n_shared, self.dropout, *how)
    self.decoder_shared = _Shared(self.n_shared, self.dropout, *how)
    self.decoder = [_Decoder(*dims, *how, n) for n in self.channels]

  def encode(self, x: Array, domain: int, train: bool = False) -> Array:
    """The code of images of a domain: the mean, before noise."""
    x = blocks.of_channels(x, self.channels[domain])
    h = self.encoder_shared(self.encoder[domain](x, train), train)
    return h.astype(layers.at_least_float32(h.dtype))

  def decode(
    self, z: Array, domains: tuple[int, ...], train: bool = False
  ) -> tuple[Array, ...]:
    """A code as images of each of these domains."""
    h = self.decoder_shared(z.astype(self.dtype), train)
    return tuple(self.decoder[domain](h, train) for domain in domains)

  def __call__(self, x: Array) -> tuple[Array, ...]:
    """Images as of either domain, as of both."""
    codes = (self.encode(x, domain) for domain in range(2))
    return tuple(y for z in codes for y in self.decode(z, (0, 1)))


class UnsharedGenerator(nn.Module):
  """The same of the later code, where the domains have nothing in common."""

  dim: int = 64
  n_downsample: int = 2
  n_res: int = 4
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'  # of `convolutions.PADDINGS`
  activ: str = 'relu'  # of `blocks.Activation`
  channels: tuple[int, int] = (3, 3)  # of the images of the domains

  def setup(self) -> None:
    """Creates the networks of both domains."""
    dims = self.n_downsample, self.n_res
    how: dict[str, Any] = {
      'form': self.form,
      'dtype': self.dtype,
      'mode': self.mode,
      'activ': self.activ,
    }
    self.encoder = [
      blocks.ContentEncoder(self.dim, *dims, **how) for _ in range(2)
    ]
    self.decoder = [
      blocks.Decoder(*dims, **how, channels=n) for n in self.channels
    ]

  def encode(self, x: Array, domain: int) -> Array:
    """The code of images of a domain: the mean, before noise."""
    h = self.encoder[domain](blocks.of_channels(x, self.channels[domain]))
    return h.astype(layers.at_least_float32(h.dtype))

  def decode(self, z: Array, domains: tuple[int, ...]) -> tuple[Array, ...]:
    """A code as images of each of these domains."""
    z = z.astype(self.dtype)
    return tuple(self.decoder[domain](z) for domain in domains)

  def __call__(self, x: Array) -> tuple[Array, ...]:
    """Images as of either domain, reconstructed."""
    return tuple(
      y for i in range(2) for y in self.decode(self.encode(x, i), (i,))
    )


class _HalvedImage(nn.Module):
  """7 x 7 convolution of stride 2 of an image."""

  features: int
  form: str
  dtype: DType

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, 3] to [B, H / 2, W / 2, features]."""
    param_dtype = layers.at_least_float32(self.dtype)
    channels = x.shape[-1]
    shape = (7, 7, channels, self.features)
    kernel = self.param('kernel', gaussian, shape, param_dtype)
    limit = layers.uniform_within(1 / math.sqrt(math.prod(shape[:3])))
    bias = self.param('bias', limit, shape[3:], param_dtype)
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
    if self.form == 'plain':
      h = layers.convolve(x, kernel, [(3, 3)] * 2, stride=2)
    else:
      # The same on 2 x 2 pixels as one, without a stride: gradients of strided
      # convolutions are slow on CPUs.
      kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
      kernel = kernel.reshape(4, 2, 4, 2, channels, -1)
      kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
      x = jnp.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
      b, height, width, _ = x.shape
      x = x.reshape(b, height // 2, 2, width // 2, 2, channels)
      x = x.transpose(0, 1, 3, 2, 4, 5)
      x = x.reshape(b, height // 2, width // 2, 4 * channels)
      kernel = kernel.reshape(4, 4, 4 * channels, -1)
      h = layers.convolve(x, kernel, 'VALID')
    return h + bias[None, None, None]


class _Halvings(nn.Module):
  """Leaky convolutions of stride 2, perhaps to a score at the end."""

  dim: int
  n_layers: int
  of_image: bool  # the first of 7 x 7
  scores: bool
  form: str
  dtype: DType

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to features, or to scores [B, H / 2^n, W / 2^n]."""
    how: dict[str, Any] = {'form': self.form, 'dtype': self.dtype}
    for i in range(self.n_layers):
      features, name = self.dim * 2**i, f'conv_{i}'
      if self.of_image and not i:
        conv: nn.Module = _HalvedImage(features, **how, name=name)
      else:
        conv = _conv(x, features, 'halve', 3, **how, name=name)
      x = _leaky_relu(conv(x))
    if not self.scores:
      return x
    wide = layers.at_least_float32(self.dtype)
    to_score = _conv(x, 1, 'same', 1, dtype=wide, name='to_score')
    return to_score(x)[..., 0]


class Discriminator(nn.Module):
  """Is each patch of an image a real one of its domain?

  `kind` is of `config.D_KINDS`.
  """

  kind: str = 'separate'
  dim: int = 64
  n_layers: int = 6
  n_front: int = 2
  num_scales: int = 3
  form: str = 'plain'
  dtype: DType = jnp.float32
  channels: tuple[int, int] = (3, 3)  # of the images of the domains

  def setup(self) -> None:
    """Creates the layers of each domain, of each scale, or of both domains."""
    how = self.form, self.dtype
    if self.kind == 'shared':
      self.front = [
        _Halvings(self.dim, self.n_front, True, False, *how) for _ in range(2)
      ]
      self.back = _Halvings(
        self.dim * 2**self.n_front,
        self.n_layers - self.n_front,
        False,
        True,
        *how,
      )
      return
    scales = self.num_scales if self.kind == 'multiscale' else 1
    self.scale = [
      [
        _Halvings(self.dim, self.n_layers, False, True, *how)
        for _ in range(scales)
      ]
      for _ in range(2)
    ]

  def __call__(self, x: Array, domain: int) -> tuple[Array, ...]:
    """Maps images to maps of scores, one of each scale; high is real."""
    x = blocks.of_channels(x, self.channels[domain])
    if self.kind == 'shared':
      return (self.back(self.front[domain](x)),)
    scores = []
    for i, net in enumerate(self.scale[domain]):
      x = _blur_and_halve(x) if i else x
      scores.append(net(x))
    return tuple(scores)

  def both(self, x: Array) -> tuple[Array, ...]:
    """The scores of images as of both domains."""
    return tuple(score for i in range(2) for score in self(x, i))


def _blur_and_halve(x: Array) -> Array:
  """Every second pixel of x, weighted with its neighbours 1 : 2 : 1."""
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='edge')
  x = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:])[:, ::2] / 4
  return (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:])[:, :, ::2] / 4
