"""From the bytes of a picture to the square of pixels a network sees.

Pillow decodes (HEIC: pillow-heif, if it is installed), and its bilinear filter
antialiases when it shrinks.
"""

import io
from typing import Any, NewType

import numpy as np
from PIL import (
  AvifImagePlugin,
  BmpImagePlugin,
  ExifTags,
  GifImagePlugin,
  Image,
  ImageColor,
  ImageFile,
  JpegImagePlugin,
  PngImagePlugin,
  TiffImagePlugin,
  WebPImagePlugin,
)

# Limits of a picture, found out before it is decoded: 8192 x 8192 pixels, or
# as many in another shape. A file of a few bytes may claim any size.
MAX_PIXELS = 2**26
MAX_SIDE = 2**16
MAX_SCANNED = 2**33  # pixels that are decoded, some many times: some 5 s

# Of files that begin with their size and 'ftyp': the names of their kinds.
_AVIF = {b'avif', b'avis'}
_HEIC = {
  *(b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs'),
  *(b'mif1', b'msf1'),  # of AVIF too
}

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


def decode(data: bytes, background: str = '') -> Image.Image:
  """Decodes JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC into mode RGB.

  Upright, as EXIF says; the first picture of several. 16-bit greyscale is
  scaled to 8 bits.

  Args:
    data: of a file.
    background: a colour to blend see-through pixels with, as `is_colour` takes
      it; '' drops alpha and shows the colour under it, as the originals do.

  Raises:
    UnreadableImage: it is none of these, damaged, or over the limits.
  """
  return to_rgb(open_image(data), background)


def open_image(data: bytes) -> Image.Image:
  """Reads the header of a picture; `decode` says the rest."""
  plugin = _find_plugin(data)
  # Not Image.open: its own limit warns at 89 and refuses at 179 million pixels,
  # and says so before the size of the picture is known.
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
  _check_work(image, data)
  if isinstance(image, TiffImagePlugin.TiffImageFile):
    _check_depth(image)
  return image


def _find_plugin(data: bytes) -> type[ImageFile.ImageFile]:
  """The decoder; UnreadableImage for a canvas that it would take at once."""
  if data.startswith(b'\xff\xd8\xff'):
    return JpegImagePlugin.JpegImageFile
  if data.startswith(b'\x89PNG\r\n\x1a\n'):
    return PngImagePlugin.PngImageFile
  if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
    _check_size(*_webp_size(data))
    return WebPImagePlugin.WebPImageFile
  if data.startswith(b'BM'):
    return BmpImagePlugin.BmpImageFile
  if data.startswith(tuple(TiffImagePlugin.PREFIXES)):
    return TiffImagePlugin.TiffImageFile
  if data.startswith((b'GIF87a', b'GIF89a')):
    numbers = int.from_bytes(data[6:10], 'little')
    _check_size(numbers & 0xFFFF, numbers >> 16)
    return GifImagePlugin.GifImageFile
  if data[4:8] == b'ftyp':
    end = min(int.from_bytes(data[:4], 'big'), 1024)
    kinds = {data[at : at + 4] for at in range(8, end, 4)}
    if kinds & _AVIF:
      return _avif_plugin()
    if kinds & _HEIC:
      return _heic_plugin()
  raise UnreadableImage(
    'not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture'
    if data
    else 'empty file'
  )


def _avif_plugin() -> type[ImageFile.ImageFile]:
  if not AvifImagePlugin.SUPPORTED:
    raise UnreadableImage(
      'this Pillow reads no AVIF: pip install --force-reinstall pillow'
    )
  return AvifImagePlugin.AvifImageFile


def _heic_plugin() -> type[ImageFile.ImageFile]:
  try:
    from pillow_heif.as_plugin import HeifImageFile
  except ImportError as e:
    raise UnreadableImage(
      'HEIC needs pillow-heif: pip install pillow-heif'
    ) from e
  return HeifImageFile


def to_rgb(image: Image.Image, background: str = '') -> Image.Image:
  """An upright picture of mode RGB, by the rules of `decode`."""
  return flatten(upright(image), background)


def upright(image: Image.Image) -> Image.Image:
  """A picture as EXIF turns it, of mode RGB, or RGBA where it has alpha."""
  _check_size(*image.size)
  try:
    image.load()
    image = _turned(image)
    if image.mode.startswith('I'):  # 16 bits: Pillow would clip, not scale.
      image = _to_8_bits(image)
    elif image.mode == 'La':  # which Pillow makes nothing else of
      image = image.convert('LA')
    return image.convert('RGBA' if image.has_transparency_data else 'RGB')
  except Exception as error:
    raise UnreadableImage(_reason(error)) from error


def flatten(image: Image.Image, background: str) -> Image.Image:
  """The RGB of what `upright` gives; `decode` says what the background is."""
  if background and image.mode == 'RGBA':
    canvas = Image.new('RGBA', image.size, background)
    image = Image.alpha_composite(canvas, image)
  return image.convert('RGB')


def is_colour(text: str) -> bool:
  """Whether Pillow takes a text for a colour: 'white', '#808080', 'rgb(...)'.

  One that is see-through itself, as '#80808080', is none.
  """
  try:
    return len(ImageColor.getrgb(text)) == 3
  except ValueError:
    return False


def _to_8_bits(image: Image.Image) -> Image.Image:
  grey = np.asarray(image).clip(0, 65535).astype(np.uint32)
  scaled = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
  clear = image.info.get('transparency')
  if clear is not None:
    scaled.putalpha(Image.fromarray(grey != clear).convert('L'))
  return scaled


def _check_size(width: int, height: int) -> None:
  """Raises UnreadableImage for a picture over the limits."""
  if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
    raise UnreadableImage(
      f'{width} x {height} pixels, and the limit is {MAX_PIXELS:,}, '
      f'{MAX_SIDE:,} a side: make it smaller'
    )


def _check_work(image: ImageFile.ImageFile, data: bytes) -> None:
  """Raises UnreadableImage for one whose pixels are decoded again and again."""
  width, height = image.size
  times, parts = 1.0, 'scans'
  # A progressive JPEG may go over its pixels at the cost of 50 bytes each time.
  if image.format == 'JPEG':
    times = data.count(b'\xff\xda')
  elif image.format == 'TIFF':  # its parts may all lie on each other
    boxes = [tile.extents or (0, 0, *image.size) for tile in image.tile]
    area = sum((right - x) * (end - y) for x, y, right, end in boxes)
    times, parts = area / (width * height or 1), 'layers'
  if width * height * times > MAX_SCANNED:
    raise UnreadableImage(
      f'{width} x {height} pixels in {times:.0f} {parts} would take minutes to '
      'decode: save it anew'
    )


def _check_depth(image: TiffImagePlugin.TiffImageFile) -> None:
  """Raises UnreadableImage for grey values whose range Pillow does not tell."""
  tags = image.tag_v2
  bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
  inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0) == 0
  if image.mode in ('I', 'F') or (
    image.mode.startswith('I;16') and (bits != (16,) or inverted)
  ):
    raise UnreadableImage(
      f'a TIFF of {"inverted " if inverted else ""}grey values of {bits[0]} '
      'bits: save it with 8 bits, or as plain 16-bit grey'
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
