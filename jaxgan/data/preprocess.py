"""From the bytes of a picture to the square of pixels a network sees.

Pillow decodes: it applies EXIF rotation, reads every palette, and its bilinear
filter antialiases when it shrinks.
"""

import io
from typing import Any, NewType

import numpy as np
from PIL import (
  BmpImagePlugin,
  ExifTags,
  Image,
  ImageFile,
  JpegImagePlugin,
  PngImagePlugin,
  WebPImagePlugin,
)

# Limits of a picture, found out before it is decoded: 8192 x 8192 pixels, or
# as many in another shape. A file of a few bytes may claim any size.
MAX_PIXELS = 2**26
MAX_SIDE = 2**16
MAX_SCANNED = 2**33  # pixels times scans of a JPEG: some 5 s

# A picture as networks see it: uint8 [H, W, C], viewed and resized.
Pixels = NewType('Pixels', np.ndarray)

_TURNS: dict[Any, Image.Transpose] = {  # by EXIF orientation; 1 is upright
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(ValueError):
  """The bytes are no picture, a damaged or a too large one; the text says."""


def decode(data: bytes) -> Image.Image:
  """Decodes JPEG, PNG, WebP or BMP into an upright picture of mode RGB.

  Alpha is dropped, not blended: what lies under it is shown, as the original
  does. 16-bit greyscale is scaled to 8 bits.

  Raises:
    UnreadableImage: it is none of these, damaged, or over the limits.
  """
  return to_rgb(open_image(data))


def open_image(data: bytes) -> Image.Image:
  """Reads the header of a JPEG, PNG, WebP or BMP; `decode` says the rest."""
  # Not Image.open: its own limit warns at 89 and refuses at 179 million pixels,
  # and says so before the size of the picture is known.
  plugin: type[ImageFile.ImageFile]
  if data.startswith(b'\xff\xd8\xff'):
    plugin = JpegImagePlugin.JpegImageFile
  elif data.startswith(b'\x89PNG\r\n\x1a\n'):
    plugin = PngImagePlugin.PngImageFile
  elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
    plugin = WebPImagePlugin.WebPImageFile
    # Its decoder takes memory for the canvas as it is opened.
    _check_size(*_webp_size(data))
  elif data.startswith(b'BM'):
    plugin = BmpImagePlugin.BmpImageFile
  elif data:
    raise UnreadableImage('not a JPEG, PNG, WebP or BMP picture')
  else:
    raise UnreadableImage('empty file')
  try:
    image = plugin(io.BytesIO(data))
  # Damaged data makes Pillow raise almost anything: OSError, SyntaxError,
  # struct.error, ValueError, ...
  except Exception as error:
    raise UnreadableImage(
      f'damaged header of a {plugin.format}: {_reason(error)}'
    ) from error
  width, height = image.size
  _check_size(width, height)
  # A progressive JPEG may go over its pixels at the cost of 50 bytes each time.
  scans = data.count(b'\xff\xda') if image.format == 'JPEG' else 1
  if width * height * scans > MAX_SCANNED:
    raise UnreadableImage(
      f'{width} x {height} pixels in {scans} scans would take minutes to '
      'decode: save it anew'
    )
  return image


def to_rgb(image: Image.Image) -> Image.Image:
  """An upright picture of mode RGB, by the rules of `decode`."""
  return flatten(upright(image), '')


def upright(image: Image.Image) -> Image.Image:
  """A picture as EXIF turns it, of mode RGB, or RGBA where it has alpha."""
  _check_size(*image.size)
  try:
    image.load()
    image = _turned(image)
    if image.mode.startswith('I'):  # 16 bits: Pillow would clip, not scale.
      grey = np.asarray(image).clip(0, 65535).astype(np.uint32)
      image = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
    return image.convert('RGBA' if image.has_transparency_data else 'RGB')
  except Exception as error:
    raise UnreadableImage(_reason(error)) from error


def flatten(image: Image.Image, background: str) -> Image.Image:
  """The RGB of what `upright` gives; `decode` says what the background is."""
  if background and image.mode == 'RGBA':
    canvas = Image.new('RGBA', image.size, background)
    image = Image.alpha_composite(canvas, image)
  return image.convert('RGB')


def _check_size(width: int, height: int) -> None:
  """Raises UnreadableImage for a picture over the limits."""
  if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
    raise UnreadableImage(
      f'{width} x {height} pixels, and the limit is {MAX_PIXELS:,}, '
      f'{MAX_SIDE:,} a side: make it smaller'
    )


def _webp_size(data: bytes) -> tuple[int, int]:
  """Width and height by the header; what is damaged is left to Pillow."""
  kind, numbers = data[12:16], int.from_bytes(data[24:30], 'little')
  if kind == b'VP8X':
    return (numbers & 0xFFFFFF) + 1, (numbers >> 24) + 1
  if kind == b'VP8L':
    numbers = int.from_bytes(data[21:25], 'little')
    return (numbers & 0x3FFF) + 1, (numbers >> 14 & 0x3FFF) + 1
  return numbers >> 16 & 0x3FFF, numbers >> 32 & 0x3FFF


def _reason(error: Exception) -> str:
  return ' '.join(str(error).split()) or type(error).__name__


def resize(image: Image.Image, img_size: int) -> Pixels:
  """Squeezes a picture into a square: uint8 [S, S, 3]."""
  size = (img_size, img_size)
  return Pixels(np.asarray(image.resize(size, Image.Resampling.BILINEAR)))


def to_float(pixels: np.ndarray) -> np.ndarray:
  """Maps uint8 0..255 to float32 -1..1."""
  return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _turned(image: Image.Image) -> Image.Image:
  # Not ImageOps.exif_transpose: it also rewrites the EXIF block, and fails if
  # anything else in there is damaged.
  try:
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
  except Exception:  # A damaged EXIF block is no reason to lose the picture.
    turn = None
  return image if turn is None else image.transpose(turn)
