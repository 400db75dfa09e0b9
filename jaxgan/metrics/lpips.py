"""LPIPS (Zhang et al. 2018): distance of two pictures as AlexNet sees them."""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array
Params = Mapping[str, Any]

# Mean and deviation of ImageNet for images in [-1, 1], as LPIPS rounds them.
_MEAN = (-0.030, -0.088, -0.188)
_STD = (0.458, 0.448, 0.450)
WIDTHS = (64, 192, 384, 256, 256)


class AlexNet(nn.Module):
  """The five feature maps after a ReLU; modules named as in torchvision."""

  @nn.compact
  def __call__(self, x: Array) -> list[Array]:
    """Maps normalised images [B, H, W, 3] to five maps [B, H', W', C]."""
    maps = [
      nn.relu(
        nn.Conv(
          64, (11, 11), (4, 4), padding=((2, 2), (2, 2)), name='features.0'
        )(x)
      )
    ]
    x = nn.max_pool(maps[-1], (3, 3), (2, 2))
    maps.append(nn.relu(nn.Conv(192, (5, 5), name='features.3')(x)))
    x = nn.max_pool(maps[-1], (3, 3), (2, 2))
    for name, width in zip(('6', '8', '10'), WIDTHS[2:], strict=True):
      x = nn.relu(nn.Conv(width, (3, 3), name=f'features.{name}')(x))
      maps.append(x)
    return maps


def _unit_maps(alexnet: Params, x: Array) -> list[Array]:
  """Feature maps of x [B, S, S, 3], each pixel's vector of length one."""
  mean = jnp.array(_MEAN)[None, None, None]
  std = jnp.array(_STD)[None, None, None]
  maps: Any = AlexNet().apply({'params': alexnet}, (x - mean) / std)
  return [
    h * jax.lax.rsqrt(jnp.sum(h**2, -1, keepdims=True) + 1e-10) for h in maps
  ]


def distances(params: Params, x: Array) -> Array:
  """LPIPS of every two of the K pictures of a group.

  Args:
    params: `alexnet`, and `linear`: five weights [C].
    x: [N, K, S, S, 3] in [-1, 1], K at least 2.

  Returns:
    [N, K (K - 1) / 2], pairs in the order (0, 1), (0, 2), ..., (1, 2), ...
  """
  n, k, *shape = x.shape
  with jax.default_matmul_precision('highest'):  # on all hardware the same
    maps = _unit_maps(params['alexnet'], x.reshape(n * k, *shape))
  maps = [h.reshape(n, k, -1, h.shape[-1]) for h in maps]

  def distance(pair: Array) -> Array:
    total: Any = 0.0
    for h, weight in zip(maps, params['linear'], strict=True):
      difference = h[:, pair[0]] - h[:, pair[1]]
      squares = jnp.sum(jnp.square(difference) * weight[None, None], axis=-1)
      total += jnp.mean(squares, axis=1)
    return total

  pairs = jnp.array(list(itertools.combinations(range(k), 2)))
  return jax.lax.map(distance, pairs).T  # one pair at a time: memory
