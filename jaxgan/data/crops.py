"""The part of a picture that a training sees: on the host, and on the devices.

Each kind of crop draws its box once, in arithmetic that NumPy and `jax.numpy`
share. The host cuts the stored picture with Pillow. On the devices lies the
picture resized to the image size; there the box is enlarged by Pillow's
bilinear filter, rounded to 8 bits after each direction as Pillow does.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.data import preprocess, streams
from jaxgan.data.preprocess import Pixels

Array = jax.Array
Words = Any
Pair = Callable[[], tuple[Any, Any]]

SCALE = (0.8, 1.0)
RATIO = (0.9, 1.1)
_ATTEMPTS = 10  # to draw a box that fits
_SIGNS = np.array([[1, -1]], np.float32)


class Box(NamedTuple):
  """A part of a picture, in pixels of its stored size."""

  corner: Any  # [2]: left, top
  sides: Any  # [2]: width, height
  mirror: Any  # whether left and right change places


class Crop(Protocol):
  """A kind of crop; `num_words` words of random bits decide."""

  @property
  def num_words(self) -> int:
    """Words that an image takes."""

  def on_host(
    self, words: np.ndarray, picture: Image.Image, img_size: int
  ) -> Pixels:
    """The crop of a stored picture: uint8 [S, S, 3]."""

  def on_device(self, words: Array, pixels: Array, size: Array) -> Array:
    """The crop of a picture that is resized to S already.

    Args:
      words: uint32 [num_words].
      pixels: uint8 [S, S, 3].
      size: int32 [2], width and height that the picture was stored with.

    Returns:
      [S, S, 3], whole numbers from 0 to 255.
    """


@dataclasses.dataclass(frozen=True)
class Whole:
  """All of the picture, mirrored with probability 0.5 or never."""

  mirrors: bool = False

  @property
  def num_words(self) -> int:
    """Words that an image takes."""
    return int(self.mirrors)

  def on_host(
    self, words: np.ndarray, picture: Image.Image, img_size: int
  ) -> Pixels:
    """As `Crop`."""
    pixels = preprocess.resize(picture, img_size)
    return _mirror(pixels, self.mirrors and streams.heads(words[0]))

  def on_device(self, words: Array, pixels: Array, size: Array) -> Array:
    """As `Crop`."""
    del size
    if not self.mirrors:
      return pixels
    return jnp.where(streams.heads(words[0]), pixels[:, ::-1], pixels)


@dataclasses.dataclass(frozen=True)
class ResizedCrop:
  """With probability 0.5 a random box, with 0.5 mirrored.

  The box is drawn as torchvision's RandomResizedCrop does, as often as the
  original of StarGAN v2: SCALE of the area, and RATIO of width to height.
  """

  num_words = 4 + 2 * _ATTEMPTS

  def on_host(
    self, words: np.ndarray, picture: Image.Image, img_size: int
  ) -> Pixels:
    """As `Crop`."""
    box = self.draw(words, np.array(picture.size))
    # Cropped first: what lies outside does not show in the pixels.
    ends = (*box.corner.tolist(), *(box.corner + box.sides).tolist())
    return _mirror(preprocess.resize(picture.crop(ends), img_size), box.mirror)

  def on_device(self, words: Array, pixels: Array, size: Array) -> Array:
    """As `Crop`."""
    return resample(pixels, self.draw(words, size), size)

  def draw(self, words: Words, size: Any) -> Box:
    """A box in a picture of that width and height."""
    xp = streams.numpy_of(words)
    corner, sides = _either(
      streams.heads(words[0]),
      lambda: random_box(words[2:], size),
      lambda: (xp.zeros_like(size), size),
    )
    return Box(corner, sides, streams.heads(words[1]))


@dataclasses.dataclass(frozen=True)
class Square:
  """A square of a picture whose shortest side becomes `load_size`.

  Attributes:
    img_size: S; the square is S x S of the pixels of that size.
    load_size: at least img_size.
    random: whether its place and direction are; else it is the middle.
    squeeze: whether both sides become `load_size`, as in pix2pix.
  """

  img_size: int
  load_size: int
  random: bool = True
  squeeze: bool = False

  num_words = 3

  def on_host(
    self, words: np.ndarray, picture: Image.Image, img_size: int
  ) -> Pixels:
    """As `Crop`."""
    size = np.array(picture.size)
    box = self.draw(words, size)
    # At once, as the whole may be long. Pillow's filter looks beyond the box:
    # the pixels are those of the whole.
    ends = (*box.corner, *np.minimum(box.corner + box.sides, size))
    pixels = picture.resize(
      (img_size, img_size), Image.Resampling.BILINEAR, box=ends
    )
    return _mirror(np.asarray(pixels), box.mirror)

  def on_device(self, words: Array, pixels: Array, size: Array) -> Array:
    """As `Crop`."""
    return resample(pixels, self.draw(words, size), size)

  def draw(self, words: Words, size: Any) -> Box:
    """A square in a picture of that width and height."""
    xp = streams.numpy_of(words)
    # As torchvision's Resize: the other side is rounded down.
    side = size if self.squeeze else xp.min(size)
    scaled = size * self.load_size // side
    room = scaled - self.img_size
    corner = streams.below(words[:2], room + 1) if self.random else room // 2
    unit = size.astype(float) / scaled.astype(float)
    return Box(
      corner * unit,
      self.img_size * unit,
      streams.heads(words[2]) & self.random,
    )


def _mirror(pixels: np.ndarray, mirror: Any) -> Pixels:
  return Pixels(pixels[:, ::-1] if mirror else pixels)


def _either(condition: Any, then: Pair, otherwise: Pair) -> tuple[Any, Any]:
  """then() or otherwise(); the host calls the one that it takes alone."""
  if streams.numpy_of(condition) is np:
    return then() if condition else otherwise()
  a, b = (
    jnp.where(condition, *values)
    for values in zip(then(), otherwise(), strict=True)
  )
  return a, b


def random_box(words: Words, size: Any) -> tuple[Any, Any]:
  """Left and top, width and height, int [2] each.

  Args:
    words: uint32 [2 + 2 * _ATTEMPTS], random bits.
    size: int [2], width and height of the picture.
  """
  xp = streams.numpy_of(words)
  u = streams.uniform(words[2:]).reshape(_ATTEMPTS, 2)
  (low, high), (narrow, wide) = SCALE, RATIO
  width, height = size.astype('float32')
  area = width * height * (low + (high - low) * u[:, :1])
  log_ratio = math.log(narrow) + math.log(wide / narrow) * u[:, 1:]
  sides = xp.sqrt(area * xp.exp(log_ratio * _SIGNS))
  sides = xp.rint(sides).astype('int32')
  fits = ((sides > 0) & (sides <= size[None])).all(axis=1)
  drawn = sides[xp.argmax(fits)]
  # Not drawn above what there is, so that the draw is defined without a fit.
  corner = streams.below(words[:2], xp.maximum(size - drawn, 0) + 1)
  return _either(fits.any(), lambda: (corner, drawn), lambda: _middle_box(size))


def _middle_box(size: Any) -> tuple[Any, Any]:
  """The largest box in the middle whose ratio is in RATIO."""
  xp = streams.numpy_of(size)
  narrow, wide = RATIO
  limits = np.array([wide, 1 / narrow], np.float32)
  largest = xp.rint(size[::-1].astype('float32') * limits).astype('int32')
  sides = xp.minimum(size, xp.maximum(largest, 1))
  return (size - sides) // 2, sides


def resample(pixels: Array, box: Box, size: Array) -> Array:
  """Enlarges a box to the whole image, bilinearly, as Pillow does.

  Args:
    pixels: [S, S, 3], 0 to 255, an image resized from `size`.
    box: in pixels of `size`.
    size: int32 [2], width and height.

  Returns:
    float32 [S, S, 3], whole numbers. For a box of whole pixels of an S that is
    a power of two, bit for bit what Pillow gives for the crop.
  """
  side = len(pixels)
  columns = _weights(box.corner[0], box.sides[0], size[0], side)
  columns = jnp.where(box.mirror, columns[::-1], columns)
  rows = _weights(box.corner[1], box.sides[1], size[1], side)
  x = pixels.astype(jnp.float32)
  x = _round(jnp.einsum('vw,hwc->hvc', columns, x, precision='highest'))
  return _round(jnp.einsum('uh,hvc->uvc', rows, x, precision='highest'))


def _weights(start: Array, length: Array, extent: Array, side: int) -> Array:
  """Weights [side, side] of pixels (columns) in those of the result (rows).

  The result shows `length` of `extent` units from `start` on: never a
  reduction, so that the bilinear filter is one pixel wide.
  """
  start, length, extent = (
    value.astype(jnp.float32) for value in (start, length, extent)
  )
  middles = np.arange(0.5, side, dtype=np.float32)
  left, scale = start * side / extent, length / extent
  distance = (left + middles * scale)[:, None] - middles[None]
  weights = jnp.maximum(0, 1 - jnp.abs(distance))
  # What lies outside of the box is cut off before.
  inside = (middles > left) & (middles < left + scale * side)
  inside |= ~jnp.any(inside)  # a box thinner than a pixel
  weights = jnp.where(inside[None], weights, 0)
  return weights / weights.sum(axis=1, keepdims=True)


def _round(x: Array) -> Array:
  return jnp.floor(x + 0.5)  # Half up, as Pillow's fixed point.
