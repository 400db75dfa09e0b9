"""The networks of MUNIT (Huang et al. 2018, section 4 and appendix B).

Images are [B, S, S, 3] in [-1, 1]; a content is [B, S / 2^n, S / 2^n, C]; a
style is [B, style_dim]. Each of the two domains, 0 and 1, has networks of its
own; the parameters of both are in one tree.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import blocks, layers

Array = jax.Array
DType = jax.typing.DTypeLike

_STYLE_DOWNSAMPLE = 4


class StyleEncoder(nn.Module):
  """How an image looks: no norm, which would take that away."""

  dim: int
  style_dim: int
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'
  activ: str = 'relu'

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps images to styles [B, style_dim], float32 or better."""
    conv = functools.partial(
      blocks.Convolution, mode=self.mode, form=self.form, dtype=self.dtype
    )
    activation = functools.partial(blocks.Activation, self.activ)
    h = conv(self.dim, 'image', 7, name='stem')(x)
    h = activation(name='stem_activ')(h)
    for i in range(_STYLE_DOWNSAMPLE):
      features = self.dim * 2 ** min(i + 1, 2)
      h = conv(features, 'halve', 4, name=f'down_{i}')(h)
      h = activation(name=f'down_{i}_activ')(h)
    # Of one pixel, as wide as all: the mean.
    h = jnp.mean(h, axis=(1, 2), keepdims=True)
    to_style = layers.Conv(
      self.style_dim, (1, 1), dtype=self.dtype, name='to_style'
    )
    s = to_style(h)[:, 0, 0]
    return s.astype(layers.at_least_float32(s.dtype))


class Mlp(nn.Module):
  """From a style to the biases and scales of all adaptive norms."""

  features: int
  hidden_dim: int
  dtype: DType = jnp.float32
  activ: str = 'relu'

  @nn.compact
  def __call__(self, s: Array) -> Array:
    """Maps [B, style_dim] to [B, features]."""
    for i in range(2):
      s = layers.Dense(self.hidden_dim, dtype=self.dtype, name=f'fc_{i}')(s)
      s = blocks.Activation(self.activ, name=f'fc_{i}_activ')(s)
    return layers.Dense(self.features, dtype=self.dtype, name='fc_2')(s)


class Generator(nn.Module):
  """The auto-encoders of both domains; `domain` is 0 or 1 throughout."""

  dim: int = 64
  n_downsample: int = 2
  n_res: int = 4
  style_dim: int = 8
  mlp_dim: int = 256
  form: str = 'plain'
  dtype: DType = jnp.float32
  mode: str = 'reflect'  # of `convolutions.PADDINGS`
  activ: str = 'relu'  # of `blocks.Activation`
  channels: tuple[int, int] = (3, 3)  # of the images of the domains

  def setup(self) -> None:
    """Creates the networks of both domains."""
    dims = self.dim, self.n_downsample, self.n_res
    width = self.dim * 2**self.n_downsample
    how: dict[str, Any] = {
      'form': self.form,
      'dtype': self.dtype,
      'mode': self.mode,
      'activ': self.activ,
    }
    self.content_encoder = [
      blocks.ContentEncoder(*dims, **how) for _ in range(2)
    ]
    self.style_encoder = [
      StyleEncoder(self.dim, self.style_dim, **how) for _ in range(2)
    ]
    self.mlp = [
      Mlp(4 * width * self.n_res, self.mlp_dim, self.dtype, self.activ)
      for _ in range(2)
    ]
    self.decoder = [
      blocks.Decoder(self.n_downsample, self.n_res, **how, channels=n)
      for n in self.channels
    ]

  def content(self, x: Array, domain: int) -> Array:
    """The content of images of a domain."""
    x = blocks.of_channels(x, self.channels[domain])
    return self.content_encoder[domain](x)

  def style(self, x: Array, domain: int) -> Array:
    """The style of images of a domain."""
    x = blocks.of_channels(x, self.channels[domain])
    return self.style_encoder[domain](x)

  def decode(self, c: Array, s: Array, domain: int) -> Array:
    """An image of a domain, of a content of any and a style of this one."""
    return self.decoder[domain](c, self.mlp[domain](s))

  def __call__(self, x: Array) -> tuple[Array, ...]:
    """Images as of both domains, reconstructed."""
    return tuple(
      self.decode(self.content(x, i), self.style(x, i), i) for i in range(2)
    )
