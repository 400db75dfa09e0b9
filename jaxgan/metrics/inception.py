"""Inception v3 (Szegedy et al. 2016): features, or logits of classes.

Modules bear the names of torchvision's state dict. Two forms are in use:
torchvision's, and that of the weights of 2015, which FID was defined on.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.nets import layers

Array = jax.Array

WIDTH = 2048  # of the features


class BasicConv2d(nn.Module):
  """Convolution without bias, batch norm, ReLU."""

  features: int
  kernel_size: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: str = 'SAME'

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', features]."""
    x = nn.Conv(
      self.features,
      self.kernel_size,
      (self.stride, self.stride),
      padding=self.padding,
      use_bias=False,
      name='conv',
    )(x)
    return nn.relu(layers.FrozenBatchNorm(epsilon=1e-3, name='bn')(x))


_Conv3x3 = functools.partial(BasicConv2d, kernel_size=(3, 3))
_Halving3x3 = functools.partial(_Conv3x3, stride=2, padding='VALID')


def _halve(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2))


def _mean3x3(x: Array, count_padding: bool) -> Array:
  return nn.avg_pool(x, (3, 3), (1, 1), 'SAME', count_include_pad=count_padding)


def _max3x3(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (1, 1), 'SAME')


class InceptionA(nn.Module):
  """Branches of 1 x 1, 5 x 5, two 3 x 3, and pooling."""

  pool_features: int
  count_padding: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, 224 + pool_features]."""
    one = BasicConv2d(64, name='branch1x1')(x)
    five = BasicConv2d(48, name='branch5x5_1')(x)
    five = BasicConv2d(64, (5, 5), name='branch5x5_2')(five)
    three = BasicConv2d(64, name='branch3x3dbl_1')(x)
    three = _Conv3x3(96, name='branch3x3dbl_2')(three)
    three = _Conv3x3(96, name='branch3x3dbl_3')(three)
    pool = _mean3x3(x, self.count_padding)
    pool = BasicConv2d(self.pool_features, name='branch_pool')(pool)
    return jnp.concatenate([one, five, three, pool], -1)


class InceptionB(nn.Module):
  """Halves the image."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', 480 + C]."""
    three = _Halving3x3(384, name='branch3x3')(x)
    double = BasicConv2d(64, name='branch3x3dbl_1')(x)
    double = _Conv3x3(96, name='branch3x3dbl_2')(double)
    double = _Halving3x3(96, name='branch3x3dbl_3')(double)
    return jnp.concatenate([three, double, _halve(x)], -1)


class InceptionC(nn.Module):
  """7 x 7 convolutions as pairs of 1 x 7 and 7 x 1."""

  features: int
  count_padding: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, 768]."""
    wide, high = (1, 7), (7, 1)
    one = BasicConv2d(192, name='branch1x1')(x)
    seven = BasicConv2d(self.features, name='branch7x7_1')(x)
    seven = BasicConv2d(self.features, wide, name='branch7x7_2')(seven)
    seven = BasicConv2d(192, high, name='branch7x7_3')(seven)
    double = BasicConv2d(self.features, name='branch7x7dbl_1')(x)
    double = BasicConv2d(self.features, high, name='branch7x7dbl_2')(double)
    double = BasicConv2d(self.features, wide, name='branch7x7dbl_3')(double)
    double = BasicConv2d(self.features, high, name='branch7x7dbl_4')(double)
    double = BasicConv2d(192, wide, name='branch7x7dbl_5')(double)
    pool = _mean3x3(x, self.count_padding)
    pool = BasicConv2d(192, name='branch_pool')(pool)
    return jnp.concatenate([one, seven, double, pool], -1)


class InceptionD(nn.Module):
  """Halves the image."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H', W', 512 + C]."""
    three = BasicConv2d(192, name='branch3x3_1')(x)
    three = _Halving3x3(320, name='branch3x3_2')(three)
    seven = BasicConv2d(192, name='branch7x7x3_1')(x)
    seven = BasicConv2d(192, (1, 7), name='branch7x7x3_2')(seven)
    seven = BasicConv2d(192, (7, 1), name='branch7x7x3_3')(seven)
    seven = _Halving3x3(192, name='branch7x7x3_4')(seven)
    return jnp.concatenate([three, seven, _halve(x)], -1)


class InceptionE(nn.Module):
  """3 x 3 convolutions as 1 x 3 beside 3 x 1."""

  count_padding: bool
  max_pooling: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, 2048]."""
    one = BasicConv2d(320, name='branch1x1')(x)
    three = BasicConv2d(384, name='branch3x3_1')(x)
    threes = [
      BasicConv2d(384, (1, 3), name='branch3x3_2a')(three),
      BasicConv2d(384, (3, 1), name='branch3x3_2b')(three),
    ]
    double = BasicConv2d(448, name='branch3x3dbl_1')(x)
    double = _Conv3x3(384, name='branch3x3dbl_2')(double)
    doubles = [
      BasicConv2d(384, (1, 3), name='branch3x3dbl_3a')(double),
      BasicConv2d(384, (3, 1), name='branch3x3dbl_3b')(double),
    ]
    pool = _max3x3(x) if self.max_pooling else _mean3x3(x, self.count_padding)
    pool = BasicConv2d(192, name='branch_pool')(pool)
    return jnp.concatenate([one, *threes, *doubles, pool], -1)


class InceptionV3(nn.Module):
  """Features before the classifier, or its logits.

  `fid_2015`: the graph of the weights of 2015, whose average pooling leaves the
  padding out and whose last block takes the maximum. `num_classes`: of the
  classifier, if it is wanted.
  """

  fid_2015: bool = False
  num_classes: int | None = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps normalised images [B, 299, 299, 3] to [B, WIDTH or num_classes]."""
    count_padding = not self.fid_2015
    x = _Halving3x3(32, name='Conv2d_1a_3x3')(x)
    x = _Conv3x3(32, padding='VALID', name='Conv2d_2a_3x3')(x)
    x = _halve(_Conv3x3(64, name='Conv2d_2b_3x3')(x))
    x = BasicConv2d(80, name='Conv2d_3b_1x1')(x)
    x = _halve(_Conv3x3(192, padding='VALID', name='Conv2d_4a_3x3')(x))
    for name, features in (
      ('Mixed_5b', 32),
      ('Mixed_5c', 64),
      ('Mixed_5d', 64),
    ):
      x = InceptionA(features, count_padding, name=name)(x)
    x = InceptionB(name='Mixed_6a')(x)
    for name, features in (
      ('Mixed_6b', 128),
      ('Mixed_6c', 160),
      ('Mixed_6d', 160),
      ('Mixed_6e', 192),
    ):
      x = InceptionC(features, count_padding, name=name)(x)
    x = InceptionD(name='Mixed_7a')(x)
    x = InceptionE(count_padding, name='Mixed_7b')(x)
    x = InceptionE(count_padding, self.fid_2015, name='Mixed_7c')(x)
    x = jnp.mean(x, axis=(1, 2))
    if self.num_classes is None:
      return x
    return nn.Dense(self.num_classes, name='fc')(x)
