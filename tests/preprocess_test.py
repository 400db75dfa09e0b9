import io
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from jaxgan.data import preprocess
from jaxgan.data.preprocess import UnreadableImage

MODES = {
  'JPEG': ('1', 'L', 'RGB', 'CMYK'),
  'PNG': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'),
  'WEBP': ('L', 'RGB', 'RGBA'),
  'BMP': ('1', 'L', 'P', 'RGB', 'RGBA'),
  'TIFF': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16'),
  'GIF': ('1', 'L', 'P', 'RGB', 'RGBA'),
  'AVIF': ('L', 'RGB', 'RGBA'),
}
KINDS = [(form, mode) for form, modes in MODES.items() for mode in modes]


def encode(image, form='PNG', **options):
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


def decoded(image, form='PNG', **options):
  return np.asarray(preprocess.decode(encode(image, form, **options)))


def half_red(width=16, height=8):
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[:, : width // 2] = 255, 0, 0
  return Image.fromarray(pixels)


def noise(side):
  rng = np.random.default_rng(0)
  return Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 20))
def test_every_kind_of_image_becomes_rgb_of_its_size(kind, width, height):
  form, mode = kind
  image = preprocess.decode(encode(Image.new(mode, (width, height)), form))
  assert (image.mode, image.size) == ('RGB', (width, height))


@settings(deadline=None, max_examples=100)
@given(
  st.binary(max_size=60), st.sampled_from([b'', b'\x89PNG\r\n\x1a\n', b'BM'])
)
def test_random_bytes_are_unreadable_and_nothing_worse(data, magic):
  with pytest.raises(UnreadableImage):
    preprocess.decode(magic + data)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 255))
def test_damage_is_unreadable_or_decoded(kind, where, byte):
  data = encode(noise(9).convert('L').convert(kind[1]), kind[0])
  cut = int(where * (len(data) - 1))
  for damaged in (data[:cut], data[:cut] + bytes([byte]) + data[cut + 1 :]):
    try:
      assert preprocess.decode(damaged).mode == 'RGB'
    except UnreadableImage as error:
      assert str(error) and '\n' not in str(error)


def test_a_truncated_photo_is_unreadable():
  data = encode(noise(64), 'JPEG')
  with pytest.raises(UnreadableImage, match='truncated'):
    preprocess.decode(data[: len(data) // 2])
  with pytest.raises(UnreadableImage, match='empty file'):
    preprocess.decode(b'')


def test_a_broken_png_is_unreadable_though_pillow_says_syntax_error():
  data = encode(noise(9))
  at = data.index(b'IDAT')
  length = int.from_bytes(data[at - 4 : at], 'big') - 20
  data = data[: at - 4] + length.to_bytes(4, 'big') + data[at:]
  with pytest.raises(SyntaxError):
    Image.open(io.BytesIO(data)).load()
  with pytest.raises(UnreadableImage, match='broken PNG'):
    preprocess.decode(data)


def test_the_limit_of_pixels(monkeypatch):
  monkeypatch.setattr(preprocess, 'MAX_PIXELS', 16 * 8)
  assert preprocess.decode(encode(half_red())).size == (16, 8)
  monkeypatch.setattr(preprocess, 'MAX_PIXELS', 16 * 8 - 1)
  monkeypatch.setattr(preprocess, 'MAX_SIDE', 99)
  message = '^16 x 8 pixels, and the limit is 127, 99 a side: make it smaller$'
  with pytest.raises(UnreadableImage, match=message):
    preprocess.decode(encode(half_red()))


@pytest.mark.parametrize('form', MODES)
def test_the_limit_of_a_side(monkeypatch, form):
  data = encode(half_red(), form)
  monkeypatch.setattr(preprocess, 'MAX_SIDE', 16)
  assert preprocess.decode(data).size == (16, 8)
  monkeypatch.setattr(preprocess, 'MAX_SIDE', 15)
  with pytest.raises(UnreadableImage, match='16 x 8 .* 15 a side'):
    preprocess.decode(data)


def test_a_picture_is_turned_though_its_exif_block_is_odd():
  turn = struct.pack('>HHIHH', 0x0112, 3, 1, 6, 0)
  odd = struct.pack('>HHI4s', 0x0103, 1, 4, b'abcd')  # text for a number
  block = struct.pack('>2sHIH', b'MM', 42, 8, 2) + turn + odd + bytes(4)
  data = encode(half_red(), exif=b'Exif\0\0' + block)
  with pytest.raises(struct.error):
    ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
  assert preprocess.decode(data).size == (8, 16)


@pytest.mark.parametrize(
  'form, options',
  [('PNG', {}), ('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'})],
)
def test_exif_rotation_is_applied(form, options):
  exif = Image.Exif()
  exif[0x0112] = 6  # The camera was turned: rotate by 90 degrees clockwise.
  upright = decoded(half_red(), form, exif=exif, **options)
  assert upright.shape == (16, 8, 3)
  np.testing.assert_array_equal(upright[:8], np.full((8, 8, 3), (255, 0, 0)))
  np.testing.assert_array_equal(upright[8:], 0)


def test_a_broken_exif_block_does_not_matter():
  broken = decoded(half_red(), exif=b'Exif\0\0nonsense')
  np.testing.assert_array_equal(broken, half_red())


@pytest.mark.parametrize('form', ['PNG', 'BMP', 'TIFF', 'GIF'])
def test_palette(form):
  palette = half_red().convert('P', palette=Image.Palette.ADAPTIVE)
  np.testing.assert_array_equal(decoded(palette, form), half_red())


@pytest.mark.parametrize('transparency', [0, b'\0\x80'])
def test_palette_with_transparency(transparency):
  palette = half_red().convert('P', palette=Image.Palette.ADAPTIVE)
  pixels = decoded(palette, transparency=transparency)
  np.testing.assert_array_equal(pixels, half_red())


def test_alpha_is_dropped():
  image = half_red()
  image.putalpha(100)
  np.testing.assert_array_equal(decoded(image), half_red())


def half_clear(mode, opacity=0):
  """Red, the left half opaque."""
  image = Image.new('RGBA', (16, 8), 'red')
  image.paste((255, 0, 0, opacity), (8, 0, 16, 8))
  return image.convert(mode)


@pytest.mark.parametrize(
  'form, mode', [('PNG', 'RGBA'), ('TIFF', 'RGBA'), ('WEBP', 'RGBA')]
)
def test_alpha_is_blended_with_a_background(form, mode):
  data = encode(half_clear(mode, opacity=51), form, lossless=True)
  white = np.asarray(preprocess.decode(data, 'white')).astype(int)
  np.testing.assert_array_equal(white[:, :8], np.full((8, 8, 3), (255, 0, 0)))
  rest = np.full((8, 8, 3), (255, 204, 204))
  np.testing.assert_array_equal(white[:, 8:], rest)
  np.testing.assert_array_equal(
    preprocess.decode(data, '#00f').getpixel((15, 0)), (51, 0, 204)
  )
  np.testing.assert_array_equal(
    preprocess.decode(data), Image.new('RGB', (16, 8), 'red')
  )


@pytest.mark.parametrize('mode', ['P', 'L', '1', 'RGB', 'I;16'])
def test_a_colour_that_is_see_through_is_blended(mode):
  image = Image.new('RGB', (16, 8)).convert('L').convert(mode.partition(';')[0])
  if mode == 'I;16':
    image = Image.fromarray(np.zeros((8, 16), np.uint16))
  clear = (0, 0, 0) if mode == 'RGB' else 0
  data = encode(image, transparency=clear)
  assert preprocess.decode(data).getpixel((0, 0)) == (0, 0, 0)
  assert preprocess.decode(data, 'lime').getpixel((9, 3)) == (0, 255, 0)


def test_what_is_see_through_in_a_gif_is_blended():
  data = encode(half_clear('RGBA'), 'GIF')
  image = preprocess.decode(data, 'white')
  assert image.getpixel((0, 0)) == (255, 0, 0)
  assert image.getpixel((15, 7)) == (255, 255, 255)


def test_colours():
  for text in ('white', 'White', '#808080', '#fff', 'rgb(9, 9, 9)'):
    assert preprocess.is_colour(text)
  for text in ('', 'whit', '#80808080', '#12', '255', 'rgba(1, 2, 3, 4)'):
    assert not preprocess.is_colour(text)


def test_the_first_picture_of_several():
  frames = [half_red().transpose(Image.Transpose.ROTATE_180)]
  for form in ('TIFF', 'GIF'):
    pixels = decoded(half_red(), form, save_all=True, append_images=frames)
    np.testing.assert_array_equal(pixels, half_red())


def test_avif_as_libavif_turns_it():
  exif = Image.Exif()
  exif[0x0112] = 6
  pixels = decoded(half_red(64, 32), 'AVIF', exif=exif, quality=95)
  assert pixels.shape == (64, 32, 3)
  assert pixels[:24, :, 0].min() > 200 and pixels[40:, :, 0].max() < 50


def test_heic_is_turned_once():
  pytest.importorskip('pillow_heif').register_heif_opener()
  image, exif = half_red(64, 32), Image.Exif()
  exif[0x0112] = 6
  for turned in (False, True):
    image.info = {'exif': exif.tobytes()} if turned else {}
    pixels = decoded(image, 'HEIF', quality=95)
    pixels = np.rot90(pixels) if turned else pixels
    assert pixels.shape == (32, 64, 3)
    assert pixels[..., :24, 0].min() > 200 and pixels[..., 40:, 0].max() < 50


HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'


def test_heic_without_its_package(monkeypatch):
  for name in ('pillow_heif', 'pillow_heif.as_plugin'):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(UnreadableImage) as caught:
    preprocess.decode(HEIC + bytes(99))
  line = 'HEIC needs pillow-heif: pip install pillow-heif'
  assert str(caught.value) == line


def test_avif_without_its_decoder(monkeypatch):
  data = encode(half_red(), 'AVIF')
  monkeypatch.setattr(preprocess.AvifImagePlugin, 'SUPPORTED', False)
  with pytest.raises(UnreadableImage, match='reads no AVIF: pip install --fo'):
    preprocess.decode(data)


def test_videos_are_no_pictures():
  with pytest.raises(UnreadableImage, match='^not a JPEG, .* or HEIC picture$'):
    preprocess.decode(HEIC.replace(b'heic', b'isom').replace(b'mif1', b'mp42'))


@pytest.mark.parametrize('form', ['PNG', 'TIFF'])
def test_16_bit_grey_is_scaled(form):
  grey = np.array([[0, 257, 1000, 32896, 65535]], np.uint16)
  pixels = decoded(Image.fromarray(grey), form)
  assert pixels[0, :, 0].tolist() == [0, 1, 4, 128, 255]


@pytest.mark.parametrize(
  'dtype, tags, message',
  [
    (np.float32, {}, 'a TIFF of grey values of 32 bits: save it with 8 bits'),
    (np.int32, {}, 'a TIFF of grey values of 32 bits'),
    (np.uint16, {262: 0}, 'a TIFF of inverted grey values of 16 bits'),
  ],
)
def test_grey_of_an_unknown_range(dtype, tags, message):
  image = Image.fromarray(np.ones((4, 4), dtype))
  with pytest.raises(UnreadableImage, match=f'^{message}'):
    preprocess.decode(encode(image, 'TIFF', tiffinfo=tags))


def test_cmyk_photo():
  pixels = decoded(half_red(32, 32).convert('CMYK'), 'JPEG', quality=95)
  assert abs(pixels.astype(int) - np.asarray(half_red(32, 32))).max() < 12


def test_resize_antialiases():
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  small = preprocess.resize(Image.fromarray(stripes), 8)
  assert small.shape == (8, 8, 3) and abs(small.astype(int) - 127).max() <= 12


def test_to_float():
  floats = preprocess.to_float(np.array([0, 51, 255], np.uint8))
  assert floats.dtype == np.float32
  np.testing.assert_allclose(floats, [-1, -0.6, 1], atol=1e-7)
