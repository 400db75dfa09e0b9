"""From the bytes of a picture to the square of pixels a network sees.

Pillow decodes: it applies EXIF rotation, reads every palette, and its bilinear
filter antialiases when it shrinks.
"""

import io
import math

import numpy as np
from PIL import Image, ImageOps

FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP')
SCALE = (0.8, 1.0)
RATIO = (0.9, 1.1)


class UnreadableImage(ValueError):
  """The bytes are no picture, or a damaged one; the text says why."""


def decode(data: bytes) -> Image.Image:
  """Decodes JPEG, PNG, WebP or BMP into an upright picture of mode RGB.

  Alpha is dropped, not blended: what lies under it is shown, as the original
  does. 16-bit greyscale is scaled to 8 bits.
  """
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    return to_rgb(image)
  except Image.UnidentifiedImageError:
    reason = 'not a JPEG, PNG, WebP or BMP picture' if data else 'empty file'
    raise UnreadableImage(reason) from None
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise UnreadableImage('more pixels than Pillow will decode') from None
  # Damaged data makes Pillow raise almost anything: OSError, SyntaxError,
  # struct.error, ValueError, ...
  except Exception as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise UnreadableImage(reason) from error


def to_rgb(image: Image.Image) -> Image.Image:
  """An upright picture of mode RGB, by the rules of `decode`."""
  image = _upright(image)
  if image.mode.startswith('I'):  # 16 bits: Pillow would clip, not scale.
    grey = (np.asarray(image, np.float64) / 257).round().astype(np.uint8)
    image = Image.fromarray(grey)
  elif 'transparency' in image.info:  # Pillow warns if this step is skipped.
    image = image.convert('RGBA')
  return image.convert('RGB')


def resize(image: Image.Image, img_size: int) -> np.ndarray:
  """Squeezes a picture into a square: uint8 [S, S, 3]."""
  size = (img_size, img_size)
  return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def augment(
  image: Image.Image, rng: np.random.Generator, img_size: int
) -> np.ndarray:
  """Crops with probability 0.5, resizes, mirrors with 0.5: uint8 [S, S, 3]."""
  # Only `rng.random()` is called: the one stream NumPy promises not to change
  # lightly, so that a run can be repeated years later.
  if rng.random() < 0.5:
    image = image.crop(_random_box(rng, *image.size))
  pixels = resize(image, img_size)
  return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def to_float(pixels: np.ndarray) -> np.ndarray:
  """Maps uint8 0..255 to float32 -1..1."""
  return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _upright(image: Image.Image) -> Image.Image:
  try:
    return ImageOps.exif_transpose(image)
  except Exception:  # A damaged EXIF block is no reason to lose the picture.
    return image


def _random_box(
  rng: np.random.Generator, width: int, height: int
) -> tuple[int, int, int, int]:
  """Left, top, right, bottom, drawn as torchvision's RandomResizedCrop does."""
  for _ in range(10):
    area = width * height * _uniform(rng, *SCALE)
    ratio = math.exp(_uniform(rng, *map(math.log, RATIO)))
    w = round(math.sqrt(area * ratio))
    h = round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      left = int(rng.random() * (width - w + 1))
      top = int(rng.random() * (height - h + 1))
      return left, top, left + w, top + h
  return _central_box(width, height)


def _central_box(width: int, height: int) -> tuple[int, int, int, int]:
  """The largest box in the middle whose ratio is in RATIO."""
  w = min(width, max(1, round(height * RATIO[1])))
  h = min(height, max(1, round(width / RATIO[0])))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
  return low + (high - low) * rng.random()
