"""The four networks of StarGAN v2 (Choi et al. 2020, appendix).

Images are [B, S, S, 3] in [-1, 1], S = img_size; y is a domain [B]; z a latent
code [B, latent_dim]; s a style code [B, style_dim].
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import layers

Array = jax.Array
DType = jax.typing.DTypeLike
Masks = tuple[Array, Array]

# Spatial sizes at which the high-pass path adds masked encoder features.
_HIGH_PASS_SIZES = (32, 64, 128)


class ResBlk(nn.Module):
  """Pre-activation residual block, optionally normalised and halving."""

  features: int
  normalize: bool = False
  downsample: bool = False
  form: str = 'plain'  # of the resampling convolution
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    resample: dict[str, Any] = {
      'resample': 'down' if self.downsample else None,
      'form': self.form,
    }
    h = x
    if self.normalize:
      h = layers.InstanceNorm(dtype=self.dtype, name='norm1')(h)
    h = layers.leaky_relu(h)
    # The first convolution keeps the width of the input.
    h = layers.Conv(x.shape[-1], dtype=self.dtype, **resample, name='conv1')(h)
    if self.normalize:
      h = layers.InstanceNorm(dtype=self.dtype, name='norm2')(h)
    h = layers.leaky_relu(h)
    h = layers.Conv(self.features, dtype=self.dtype, name='conv2')(h)

    if x.shape[-1] != self.features:
      x = layers.Conv(
        self.features,
        (1, 1),
        use_bias=False,
        dtype=self.dtype,
        **resample,
        name='conv1x1',
      )(x)
    elif self.downsample:
      x = layers.avg_pool(x)
    return (h + x) / math.sqrt(2)  # keeps unit variance


class AdainResBlk(nn.Module):
  """Residual block whose norms are modulated by a style code."""

  features: int
  upsample: bool = False
  shortcut: bool = True  # False with the high-pass path (w_hpf > 0)
  form: str = 'plain'  # of the resampling convolution
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, s: Array) -> Array:
    """Maps x [B, H, W, C] and s [B, style_dim] to [B, H', W', features]."""
    resample: dict[str, Any] = {
      'resample': 'up' if self.upsample else None,
      'form': self.form,
    }
    h = layers.AdaIN(dtype=self.dtype, name='norm1')(x, s)
    h = layers.Conv(self.features, dtype=self.dtype, **resample, name='conv1')(
      layers.leaky_relu(h)
    )
    h = layers.AdaIN(dtype=self.dtype, name='norm2')(h, s)
    h = layers.Conv(self.features, dtype=self.dtype, name='conv2')(
      layers.leaky_relu(h)
    )
    if not self.shortcut:
      return h

    if x.shape[-1] != self.features:
      x = layers.Conv(
        self.features,
        (1, 1),
        use_bias=False,
        dtype=self.dtype,
        **resample,
        name='conv1x1',
      )(x)
    elif self.upsample:
      x = layers.upsample(x)
    return (h + x) / math.sqrt(2)


def block(
  module: type[nn.Module], remat: bool, **settings: Any
) -> Callable[..., nn.Module]:
  """A constructor of blocks; with `remat` the backward pass reruns them."""
  return functools.partial(nn.remat(module) if remat else module, **settings)


def high_pass(x: Array, w_hpf: float) -> Array:
  """Filters [B, H, W, C] by [-1 -1 -1; -1 8 -1; -1 -1 -1] / w_hpf, zero pad.

  As in the original, a larger w_hpf makes the path weaker.
  """
  # Padding is counted. By names, as in `layers.avg_pool`.
  mean = nn.avg_pool(x, window_shape=(3, 3), padding='SAME')
  return 9 * (x - mean) / w_hpf


def _resize_mask(mask: Array, size: int, dtype: DType) -> Array:
  """Resizes a mask [B, H, W, 1] bilinearly, as PyTorch: no antialiasing."""
  shape = (mask.shape[0], size, size, 1)
  return jax.image.resize(mask, shape, 'bilinear', antialias=False).astype(
    dtype
  )


def _widths(
  img_size: int, channel_base: int, max_conv_dim: int, num_downs: int
) -> list[int]:
  """Channels at each resolution: doubled per halving; the first uncapped."""
  widths = [channel_base // img_size]
  for _ in range(num_downs):
    widths.append(min(2 * widths[-1], max_conv_dim))
  return widths


class Generator(nn.Module):
  """G(x, s): translates an image into the style s."""

  img_size: int
  channel_base: int = 2**14
  max_conv_dim: int = 512
  w_hpf: float = 0.0
  form: str = 'plain'
  remat: bool = False
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, s: Array, masks: Masks | None = None) -> Array:
    """Maps x and s to images of the shape of x, unbounded, float32 or better.

    With w_hpf > 0, `masks` are two maps [B, H, W, 1] in [0, 1]: where encoder
    features are passed on at 32 px, and at 64 and 128 px.
    """
    high_pass_path = self.w_hpf > 0
    if high_pass_path and masks is None:
      raise ValueError('a generator with w_hpf > 0 needs masks')
    num_downs = int(math.log2(self.img_size)) - 4 + high_pass_path
    widths = _widths(
      self.img_size, self.channel_base, self.max_conv_dim, num_downs
    )
    down = block(
      ResBlk, self.remat, normalize=True, form=self.form, dtype=self.dtype
    )
    up = block(
      AdainResBlk,
      self.remat,
      shortcut=not high_pass_path,
      form=self.form,
      dtype=self.dtype,
    )

    x = layers.Conv(widths[0], dtype=self.dtype, name='from_rgb')(x)
    encoded = {}
    for i, width in enumerate(widths[1:]):
      encoded[x.shape[1]] = x
      x = down(width, downsample=True, name=f'encode_{i}')(x)
    for i in range(num_downs, num_downs + 2):
      x = down(widths[-1], name=f'encode_{i}')(x)

    for i in range(2):
      x = up(widths[-1], name=f'decode_{i}')(x, s)
    for i, width in enumerate(reversed(widths[:-1]), start=2):
      x = up(width, upsample=True, name=f'decode_{i}')(x, s)
      size = x.shape[1]
      if high_pass_path and size in _HIGH_PASS_SIZES:
        assert masks is not None  # checked above
        mask = _resize_mask(masks[0 if size == 32 else 1], size, self.dtype)
        x = x + high_pass(mask * encoded[size], self.w_hpf)

    x = layers.InstanceNorm(dtype=self.dtype, name='to_rgb_norm')(x)
    x = layers.leaky_relu(x)
    x = layers.Conv(3, (1, 1), dtype=self.dtype, name='to_rgb_conv')(x)
    return x.astype(layers.at_least_float32(x.dtype))


class MappingNetwork(nn.Module):
  """F(z, y): a style code of domain y from a latent code."""

  style_dim: int
  num_domains: int
  hidden_dim: int = 512
  select_heads: bool = True
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, z: Array, y: Array) -> Array:
    """Maps z [B, latent_dim] and y [B] to style codes [B, style_dim]."""
    h = z.astype(self.dtype)
    for i in range(4):
      h = layers.Dense(self.hidden_dim, dtype=self.dtype, name=f'shared_{i}')(h)
      h = nn.relu(h)  # not leaky
    for i in range(4):
      features = self.hidden_dim if i < 3 else self.style_dim
      h = layers.StackedDense(
        self.num_domains,
        features,
        select=self.select_heads,
        dtype=self.dtype,
        name=f'heads_{i}',
      )(h, y)
      h = nn.relu(h) if i < 3 else h
    return h


class _Trunk(nn.Module):
  """Halving ResBlks down to one pixel: of style encoder and discriminator."""

  img_size: int
  channel_base: int
  max_conv_dim: int
  form: str
  remat: bool
  dtype: DType

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps images to features [B, C]."""
    num_downs = int(math.log2(self.img_size)) - 2
    widths = _widths(
      self.img_size, self.channel_base, self.max_conv_dim, num_downs
    )
    down = block(ResBlk, self.remat, form=self.form, dtype=self.dtype)
    x = layers.Conv(widths[0], dtype=self.dtype, name='from_rgb')(x)
    for i, width in enumerate(widths[1:]):
      x = down(width, downsample=True, name=f'block_{i}')(x)
    x = layers.Conv(
      widths[-1], (4, 4), padding='VALID', dtype=self.dtype, name='conv4'
    )(layers.leaky_relu(x))
    return layers.leaky_relu(x).reshape(x.shape[0], -1)


class StyleEncoder(nn.Module):
  """E(x, y): the style code of an image of domain y."""

  img_size: int
  style_dim: int
  num_domains: int
  channel_base: int = 2**14
  max_conv_dim: int = 512
  form: str = 'plain'
  remat: bool = False
  select_heads: bool = True
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    """Maps x [B, S, S, 3] and y [B] to style codes [B, style_dim]."""
    trunk = _Trunk(
      self.img_size,
      self.channel_base,
      self.max_conv_dim,
      self.form,
      self.remat,
      self.dtype,
    )
    nn.share_scope(self, trunk)
    return layers.StackedDense(
      self.num_domains,
      self.style_dim,
      select=self.select_heads,
      dtype=self.dtype,
      name='heads',
    )(trunk(x), y)


class Discriminator(nn.Module):
  """D(x, y): is x a real image of domain y?"""

  img_size: int
  num_domains: int
  channel_base: int = 2**14
  max_conv_dim: int = 512
  form: str = 'plain'
  remat: bool = False
  select_heads: bool = True
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, y: Array) -> Array:
    """Maps x [B, S, S, 3] and y [B] to logits [B], float32 or better."""
    trunk = _Trunk(
      self.img_size,
      self.channel_base,
      self.max_conv_dim,
      self.form,
      self.remat,
      self.dtype,
    )
    nn.share_scope(self, trunk)
    wide = layers.at_least_float32(self.dtype)
    h = layers.StackedDense(
      self.num_domains,
      1,
      select=self.select_heads,
      dtype=wide,
      name='heads',
    )(trunk(x), y)
    return h[:, 0]


# The four modules, under the names their parameters have everywhere.
Networks = dict[str, nn.Module]


def create_networks(
  *,
  img_size: int,
  num_domains: int,
  channel_base: int = 2**14,
  max_conv_dim: int = 512,
  hidden_dim: int = 512,
  style_dim: int = 64,
  w_hpf: float = 0.0,
  form: str = 'plain',
  remat: bool = False,
  select_heads: bool = True,
  dtype: DType = jnp.float32,
) -> Networks:
  """Builds the four networks; the defaults are the original's.

  `form` of the resampling convolutions (`layers.Conv`), `remat` of the residual
  blocks, and `select_heads` (of many domains only those of the batch are run)
  change speed and memory, and nothing else but the rounding.
  """
  conv: dict[str, Any] = {
    'img_size': img_size,
    'channel_base': channel_base,
    'max_conv_dim': max_conv_dim,
    'form': form,
    'remat': remat,
    'dtype': dtype,
  }
  domains: dict[str, Any] = {
    'num_domains': num_domains,
    'select_heads': select_heads,
  }
  return {
    'generator': Generator(w_hpf=w_hpf, **conv),
    'mapping_network': MappingNetwork(
      hidden_dim=hidden_dim, style_dim=style_dim, dtype=dtype, **domains
    ),
    'style_encoder': StyleEncoder(style_dim=style_dim, **domains, **conv),
    'discriminator': Discriminator(**domains, **conv),
  }


def init_params(
  nets: Networks, rng: Array, *, img_size: int, latent_dim: int, style_dim: int
) -> dict[str, dict]:
  """Draws the parameters of all four: {network: tree}, He normal, bias 0."""
  x = jnp.zeros((1, img_size, img_size, 3))
  y = jnp.zeros((1,), jnp.int32)
  mask = jnp.zeros((1, img_size, img_size, 1))
  inputs = {
    'generator': (x, jnp.zeros((1, style_dim)), (mask, mask)),
    'mapping_network': (jnp.zeros((1, latent_dim)), y),
    'style_encoder': (x, y),
    'discriminator': (x, y),
  }
  rngs = jax.random.split(rng, len(inputs))
  return {
    name: nets[name].init(rng, *args)['params']
    for rng, (name, args) in zip(rngs, inputs.items(), strict=True)
  }
