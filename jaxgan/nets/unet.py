"""The U-Net and the patch discriminator of pix2pix, with batch norms.

Images are [B, H, W, C]. Kernels are drawn from N(0, 0.02), the scales of norms
from N(1, 0.02); a convolution has a bias where no norm follows it.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import blocks, layers

Array = jax.Array
DType = jax.typing.DTypeLike

MAX_WIDTHS = 8  # the widest features are as many times the first ones
DROPOUT = 0.5
FIRST_DROPPED = 4  # level with dropout, counted from the outermost, which is 0


def _scales_around_one(*args) -> Array:
  return 1 + nn.initializers.normal(0.02)(*args)


def _convolution(module: nn.Module) -> Callable[..., nn.Module]:
  return functools.partial(
    blocks.Convolution,
    kernel_size=4,
    mode='zero',
    use_bias=False,
    kernel_init=blocks.gaussian,
    form=module.form,
    dtype=module.dtype,
  )


def _norm(module: nn.Module) -> Callable[..., nn.Module]:
  return functools.partial(
    layers.BatchNorm, scale_init=_scales_around_one, dtype=module.dtype
  )


class UNet(nn.Module):
  """Halvings down to a few pixels and back, with skips at every size.

  What an image draws is its dropout alone (Isola et al. 2017, section 3.2.1).
  """

  dim: int  # first width
  depth: int  # halvings, 2 or more
  running: bool = False  # use: by running statistics and without dropout
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Maps [B, S, S, 3] to the same shape in [-1, 1], float32 or better.

    Args:
      x: images; S is a multiple of 2 ** depth.
      train: whether norms are by the statistics of x and dropout is drawn, as
        it is in use, too, but where `running` is set.
    """
    conv, norm = _convolution(self), _norm(self)
    running = self.running and not train
    widths = [self.dim * min(2**i, MAX_WIDTHS) for i in range(self.depth)]
    skips: list[Array] = []
    h = x
    for i, features in enumerate(widths):
      h = layers.leaky_relu(h) if i else h
      h = conv(features, 'halve', name=f'down_{i}')(h)
      if 0 < i < self.depth - 1:  # nothing would be left of single pixels
        h = norm(name=f'down_{i}_norm')(h, running=running)
      skips.append(h)
    for i in reversed(range(1, self.depth)):
      h = nn.relu(skips[i] if i == self.depth - 1 else h)
      h = conv(widths[i - 1], 'double', name=f'up_{i}')(h)
      h = norm(name=f'up_{i}_norm')(h, running=running)
      if FIRST_DROPPED <= i < self.depth - 1:
        h = nn.Dropout(DROPOUT, deterministic=running)(h)
      h = jnp.concatenate([skips[i - 1], h], axis=-1)
    h = conv(3, 'double', use_bias=True, name='up_0')(nn.relu(h))
    rgb: Array = jnp.tanh(h)
    return rgb.astype(layers.at_least_float32(rgb.dtype))


class PatchDiscriminator(nn.Module):
  """Tells of every patch whether it is real; with 3 halvings of 70 x 70."""

  dim: int  # first width
  n_layers: int  # halvings
  form: str = 'plain'
  dtype: DType = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, S, S, C] to logits [B, S', S'], float32 or better.

    S' = S / 2 ** n_layers - 2; of 256 pixels and 3 halvings it is 30.
    """
    conv, norm = _convolution(self), _norm(self)
    h = conv(self.dim, 'halve', use_bias=True, name='conv_0')(x)
    h = layers.leaky_relu(h)
    for i in range(1, self.n_layers + 1):
      kind = 'halve' if i < self.n_layers else 'slide'
      features = self.dim * min(2**i, MAX_WIDTHS)
      h = norm(name=f'norm_{i}')(conv(features, kind, name=f'conv_{i}')(h))
      h = layers.leaky_relu(h)
    wide = layers.at_least_float32(self.dtype)
    last = conv(1, 'slide', use_bias=True, dtype=wide, name='to_logit')
    return last(h)[..., 0]
