"""The face network: heat maps of 98 landmarks, and the masks made of them.

One hourglass (Bulat & Tzimiropoulos 2017) with coordinate channels, as trained
with the adaptive wing loss (Wang et al. 2019) and used by StarGAN v2 on faces.
Never trained here: its parameters travel as `frozen['fan']`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan.nets import layers
from jaxgan.pytorch import convert, torch_params

Array = jax.Array
DType = jax.typing.DTypeLike
Tree = Any

NUM_LANDMARKS = 98
HEATMAP_SIZE = 64
MIN_HEAT = 0.1  # less is no sign of a landmark
_INPUT_SIZE = 256  # also the size of the masks
_FEATURES = 256
_DEPTH = 4  # halvings inside the hourglass

# (first channel, last channel + 1, rows to shift up, power), in the numbering
# of the WFLW data set. What is named nowhere is in no mask.
_OUTLINE = (
  (8, 25, 0, 3),  # chin
  (34, 46, -7, 2),  # one eyebrow
  (47, 51, -7, 2),  # the other
  (77, 82, -8, 4),  # upper lip
  (83, 88, 8, 4),  # lower lip
  (88, 96, -2, 3),  # inner lip
)
_DETAIL = (
  (51, 52, 0, 1),  # top of the nose
  (52, 55, 4, 1),  # its ridge
  (55, 60, 8, 4),  # nostrils
  (60, 76, -8, 3),  # eyes
  (60, 76, -24, 1),  # and the skin below them
  (96, 98, 0, 1),  # pupils
)


class _ConvBlock(nn.Module):
  """Pre-activation residual block whose three steps are concatenated."""

  features: int
  dtype: DType

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, features]."""
    conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
    norm = functools.partial(layers.FrozenBatchNorm, dtype=self.dtype)
    half, quarter = self.features // 2, self.features // 4
    h, steps = x, []
    for i, width in enumerate((half, quarter, quarter), start=1):
      h = nn.relu(norm(name=f'bn{i}')(h))
      h = conv(width, (3, 3), name=f'conv{i}')(h)
      steps.append(h)
    if x.shape[-1] != self.features:
      x = nn.relu(norm(name='downsample.0')(x))
      x = conv(self.features, (1, 1), name='downsample.2')(x)
    return jnp.concatenate(steps, axis=-1) + x


class FAN(nn.Module):
  """The face network; its modules bear the original's names, dots included."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps x [B, 256, 256, 3] in [0, 1] to [B, 64, 64, 99], float32 or better.

    The last map is of the face's boundary; nothing here uses it.
    """
    dtype = layers.at_least_float32(x.dtype)
    block = functools.partial(_ConvBlock, dtype=dtype)
    conv = functools.partial(nn.Conv, dtype=dtype)
    norm = functools.partial(layers.FrozenBatchNorm, dtype=dtype)

    def hourglass(x, depth):
      up = block(_FEATURES, name=f'm0.b1_{depth}')(x)
      low = block(_FEATURES, name=f'm0.b2_{depth}')(layers.avg_pool(x))
      if depth > 1:
        low = hourglass(low, depth - 1)
      else:
        low = block(_FEATURES, name='m0.b2_plus_1')(low)
      low = block(_FEATURES, name=f'm0.b3_{depth}')(low)
      return up + layers.upsample(low)

    x = _add_coordinates(x.astype(dtype))
    x = conv(64, (7, 7), strides=2, padding=3, name='conv1.conv')(x)
    x = nn.relu(norm(name='bn1')(x))
    x = layers.avg_pool(block(128, name='conv2')(x))
    x = block(128, name='conv3')(x)
    x = block(_FEATURES, name='conv4')(x)

    x = conv(_FEATURES, (1, 1), name='m0.coordconv.conv')(_add_coordinates(x))
    x = hourglass(x, _DEPTH)

    x = block(_FEATURES, name='top_m_0')(x)
    x = conv(_FEATURES, (1, 1), name='conv_last0')(x)
    x = nn.relu(norm(name='bn_end0')(x))
    return conv(NUM_LANDMARKS + 1, (1, 1), name='l0')(x)


def _add_coordinates(x: Array) -> Array:
  """Appends row and column, each from -1 to 1, and the radius up to 1."""
  b, h, w, _ = x.shape
  row, column = jnp.meshgrid(
    jnp.linspace(-1, 1, h), jnp.linspace(-1, 1, w), indexing='ij'
  )
  radius = jnp.hypot(row, column)
  coordinates = jnp.stack([row, column, radius / jnp.max(radius)], axis=-1)
  coordinates = jnp.broadcast_to(coordinates[None], (b, h, w, 3))
  return jnp.concatenate([x, coordinates.astype(x.dtype)], axis=-1)


def from_checkpoint(checkpoint: Tree) -> Tree:
  """Parameters out of what `torch_files.load` read.

  Args:
    checkpoint: a wing.ckpt ({'state_dict': ...}) or a StarGAN v2 checkpoint
      that has the network ({'fan': ...}).

  Raises:
    ValueError: it holds no such network, or not the whole of it.
  """
  several = convert.find(checkpoint, lambda tree: 'fan' in tree)
  try:
    tensors = convert.find_state_dict(several['fan'] if several else checkpoint)
  except ValueError as e:
    raise ValueError(
      'no face network is in it, neither `state_dict` nor `fan`'
    ) from e
  return from_state_dict(tensors)


def from_state_dict(state_dict: Mapping[str, np.ndarray]) -> Tree:
  """Parameters of the original's tensors; other keys are ignored.

  Raises:
    ValueError: a tensor is missing or has another shape.
  """
  return torch_params.from_state_dict(state_dict, param_shapes())


@functools.cache
def param_shapes() -> Tree:
  """The network's parameters as shapes."""
  x = jnp.zeros((1, _INPUT_SIZE, _INPUT_SIZE, 3))
  return jax.eval_shape(FAN().init, jax.random.key(0), x)['params']


def compute_heatmaps(params: Tree, x: Array) -> Array:
  """Heat maps [B, 64, 64, 98] of images x [B, S, S, 3] in [-1, 1]."""
  shape = (x.shape[0], _INPUT_SIZE, _INPUT_SIZE, 3)
  x = jax.image.resize(x, shape, 'bilinear', antialias=False)
  heatmaps: Any = FAN().apply({'params': params}, (x + 1) / 2)
  return heatmaps[..., :NUM_LANDMARKS]


@jax.jit  # a step asks for them six times: trace it twice
def masks(params: Tree, x: Array) -> tuple[Array, Array]:
  """The two masks [B, 256, 256, 1] in [0, 1] of the generator's high-pass path.

  Args:
    params: of the network.
    x: images [B, S, S, 3] in [-1, 1].

  Returns:
    Where encoder features are passed on at 32 px: all parts of the face; and
    at 64 and 128 px: nose, nostrils and eyes.
  """
  heatmaps = compute_heatmaps(params, x)
  return postprocess_heatmaps(upsample_heatmaps(heatmaps))


def upsample_heatmaps(heatmaps: Array) -> Array:
  """Maps [B, 64, 64, C] to [B, 256, 256, C], bilinearly, corner on corner."""
  b, h, w, c = heatmaps.shape
  scale = jnp.array([(_INPUT_SIZE - 1) / (h - 1), (_INPUT_SIZE - 1) / (w - 1)])
  return jax.image.scale_and_translate(
    heatmaps,
    (b, _INPUT_SIZE, _INPUT_SIZE, c),
    (1, 2),
    scale,
    # JAX counts from the corner of a pixel, this alignment from its centre.
    (1 - scale) / 2,
    'linear',
    antialias=False,
  )


def postprocess_heatmaps(heatmaps: Array) -> tuple[Array, Array]:
  """Maps [B, 256, 256, 98] to the two masks [B, 256, 256, 1] in [0, 1]."""
  heat = jnp.where(heatmaps < MIN_HEAT, 0, heatmaps)
  low = jnp.min(heat, axis=(1, 2), keepdims=True)
  high = jnp.max(heat, axis=(1, 2), keepdims=True)
  heat = (heat - low) / (high - low + 1e-6)

  def add_up(parts):
    total = 0
    for first, end, shift, power in parts:
      part = jnp.sum(heat[..., first:end] ** power, axis=-1, keepdims=True)
      total += jnp.roll(part, -shift, axis=1)
    return total

  detail = add_up(_DETAIL)
  sums = add_up(_OUTLINE) + detail, detail
  whole, detail = (jnp.nan_to_num(jnp.clip(total, 0, 1)) for total in sums)
  return whole, detail


def decode_landmarks(heatmaps: np.ndarray) -> np.ndarray:
  """Landmarks (x, y) [N, 98, 2] in pixels of heat maps [N, 64, 64, 98].

  The peak, and a quarter of a pixel towards its higher neighbours; the centre
  of the first pixel is at 0.5.
  """
  heatmaps = np.asarray(heatmaps).transpose(0, 3, 1, 2)
  n, c, h, w = heatmaps.shape
  row, column = np.divmod(heatmaps.reshape(n, c, h * w).argmax(-1), w)
  inside = (0 < column) & (column < w - 1) & (0 < row) & (row < h - 1)
  # A peak on the rim stays where it is, whatever stands beside pixel (1, 1).
  r, k = np.where(inside, row, 1), np.where(inside, column, 1)
  i, j = np.ogrid[:n, :c]
  right = heatmaps[i, j, r, k + 1] - heatmaps[i, j, r, k - 1]
  down = heatmaps[i, j, r + 1, k] - heatmaps[i, j, r - 1, k]
  x = column + 0.5 + 0.25 * inside * np.sign(right)
  y = row + 0.5 + 0.25 * inside * np.sign(down)
  return np.stack([x, y], axis=-1).astype(heatmaps.dtype)
