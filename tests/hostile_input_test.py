"""Images that nobody would send on purpose, through all that reads images.

Each reader gives the right picture or one line that names the file, in time and
without much memory.
"""

import faulthandler
import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import time
import types
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxgan.apps import import_export, trained_model
from jaxgan.data import cache, pictures, preprocess, sources
from jaxgan.data.contracts import domains_ref
from jaxgan.data.crops import ResizedCrop, Whole
from jaxgan.data.eval_data import EvalData
from jaxgan.data.feeding import HostFeed
from jaxgan.data.streams import Stream
from jaxgan.metrics import features
from jaxgan.runtime.errors import UserError
from jaxgan.systems import contract
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
SIZE = 16
FORMATS = 'JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF', 'AVIF'
SECONDS = 5  # for an image in a reader; one takes milliseconds

# Pillow warns of odd EXIF blocks; users see that once, and it is no error.
pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')


def encode(image, form, **options):
  buffer = io.BytesIO()
  image.save(buffer, form, **options)
  return buffer.getvalue()


def picture(width=24, height=20, seed=0):
  """Smooth colours and some noise: what compresses as photographs do."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[0:height, 0:width]
  pixels = np.stack([x * 9, y * 11, (x + y) * 5], -1) % 256
  pixels = pixels + rng.integers(0, 20, pixels.shape)
  return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def turned(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  return exif


def png(width, height, depth, kind, rows, *chunks):
  """A PNG of raw rows, for what Pillow does not write."""

  def chunk(name, data):
    body = name + data
    return struct.pack('>I', len(data)) + body + struct.pack('>I', crc(body))

  crc = zlib.crc32
  header = struct.pack('>IIBBBBB', width, height, depth, kind, 0, 0, 0)
  return b''.join(
    [
      b'\x89PNG\r\n\x1a\n',
      chunk(b'IHDR', header),
      *(chunk(*pair) for pair in chunks),
      chunk(b'IDAT', zlib.compress(rows, 9)),
      chunk(b'IEND', b''),
    ]
  )


def bmp(width, height, bits, compression, data, colours=b''):
  """A BMP by hand."""
  offset = 54 + len(colours)
  header = struct.pack('<2sIHHI', b'BM', offset + len(data), 0, 0, offset)
  info = struct.pack(
    '<IiiHHIIiiII',
    40,
    width,
    height,
    1,
    bits,
    compression,
    len(data),
    0,
    0,
    len(colours) // 4,
    0,
  )
  return header + info + colours + data


def tiff(width, height, offsets=(8,), rows=1):
  """A grey TIFF of no data but that, in strips of so many rows."""
  sizes, end = {3: 'H', 4: 'I'}, 8
  entries, after = b'', b''
  tags = (
    *((256, 4, [width]), (257, 4, [height]), (258, 3, [8]), (259, 3, [1])),
    *((262, 3, [1]), (273, 4, offsets), (278, 4, [rows])),
  )
  end += 6 + 12 * len(tags)
  for number, kind, values in tags:
    data = struct.pack(f'<{len(values)}{sizes[kind]}', *values)
    if len(data) > 4:
      data, after = struct.pack('<I', end + len(after)), after + data
    entries += struct.pack('<HHI', number, kind, len(values))
    entries += data.ljust(4, b'\0')
  header = struct.pack('<2sHIH', b'II', 42, 8, len(tags))
  return header + entries + bytes(4) + after


def legal():
  """{name: (bytes, pixels or None for those that Pillow gives)}."""
  image, files = picture(), {}
  for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA'):
    files[f'{mode}.png'] = encode(image.convert(mode), 'PNG')
  for mode in ('1', 'L', 'P', 'RGB', 'RGBA'):
    files[f'{mode}.bmp'] = encode(image.convert(mode), 'BMP')
  for mode in ('L', 'RGB', 'CMYK'):
    files[f'{mode}.jpg'] = encode(image.convert(mode), 'JPEG')
  for mode in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK'):
    files[f'{mode}.tiff'] = encode(image.convert(mode), 'TIFF')
    for kind in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
      files[f'{mode}_{kind}.tiff'] = encode(
        image.convert(mode), 'TIFF', compression=kind
      )
  files['jpeg.tiff'] = encode(image, 'TIFF', compression='jpeg')
  for mode in ('L', 'P', 'RGB', 'RGBA'):
    files[f'{mode}.gif'] = encode(image.convert(mode), 'GIF')
  for mode in ('L', 'RGB', 'RGBA'):
    files[f'{mode}.avif'] = encode(image.convert(mode), 'AVIF', speed=10)
  for mode in ('L', 'RGB', 'RGBA'):
    files[f'{mode}.webp'] = encode(image.convert(mode), 'WEBP')
  for orientation in range(1, 9):
    exif = turned(orientation)
    files[f'turned{orientation}.jpg'] = encode(image, 'JPEG', exif=exif)
  files['turned_lzw.tiff'] = encode(
    image, 'TIFF', exif=turned(6), compression='tiff_lzw'
  )
  for form in ('PNG', 'WEBP', 'TIFF', 'AVIF', 'GIF'):
    files[f'turned.{form.lower()}'] = encode(image, form, exif=turned(6))
    frames = [picture(seed=seed) for seed in (1, 2)]
    files[f'animated.{form.lower()}'] = encode(
      image, form, save_all=True, append_images=frames
    )
  for form in FORMATS:
    suffix = form.lower()
    files[f'one.{suffix}'] = encode(picture(1, 1), form)
    files[f'wide.{suffix}'] = encode(picture(9000, 2), form)
    files[f'high.{suffix}'] = encode(picture(1, 3000), form)
    files[f'trailing.{suffix}'] = encode(image, form) + bytes(999)
  files['progressive.jpg'] = encode(image, 'JPEG', progressive=True)
  files['lossless.webp'] = encode(image, 'WEBP', lossless=True)
  files['two_frames.jpg'] = encode(
    image, 'MPO', save_all=True, append_images=[picture(seed=1)]
  )
  files['named.jpg'] = encode(image, 'PNG')  # PNG by its content
  palette = image.convert('P')
  files['clear.png'] = encode(palette, 'PNG', transparency=b'\0\x80')
  files['key.png'] = encode(image, 'PNG', transparency=(1, 2, 3))
  files['rle.bmp'] = bmp(
    4, 2, 8, 1, b'\4\1\0\0\0\4\2\1\2\1\0\1', bytes(4) + b'\xff' * 8
  )
  files['down.bmp'] = bmp(2, -2, 24, 0, bytes(range(16)))
  found = {name: (data, None) for name, data in files.items()}

  grey = np.arange(0, 65536, 1237, np.uint16)[:50].reshape(5, 10)
  half = (grey / 257).round().astype(np.uint8)
  rgb = np.broadcast_to(half[..., None], (5, 10, 3))
  found['grey16.png'] = encode(Image.fromarray(grey), 'PNG'), rgb
  found['grey16.tiff'] = encode(Image.fromarray(grey), 'TIFF'), rgb
  wide = np.concatenate([grey[..., None]] * 3, -1).astype('>u2')
  rows = b''.join(b'\0' + row.tobytes() for row in wide)
  found['rgb16.png'] = png(10, 5, 16, 2, rows), wide >> 8
  return found


MUTATIONS = ('cut', 'flip', 'zero', 'header', 'insert', 'repeat', 'delete')


def mutated(count_each=2):
  """{name: bytes} of damaged files, the same ones at every call."""
  rng = np.random.default_rng(0)
  files = {}
  names = 'RGB.jpg CMYK.jpg progressive.jpg turned6.jpg P.png LA.png RGB.png'
  names += ' animated.png grey16.png RGB.webp RGBA.webp lossless.webp'
  names += ' animated.webp P.bmp RGB.bmp rle.bmp RGB.tiff P_packbits.tiff'
  names += ' RGB_tiff_lzw.tiff turned_lzw.tiff P.gif animated.gif RGB.avif'
  originals = legal()
  for name in names.split():
    for kind in MUTATIONS:
      for number in range(count_each):
        data = bytearray(originals[name][0])
        at = int(rng.integers(len(data)))
        end = at + int(rng.integers(1, 40))
        some = rng.integers(0, 256, 40, np.uint8).tobytes()
        match kind:
          case 'cut':
            del data[at:]
          case 'flip':
            for where in rng.integers(0, len(data), 1 + 3 * number):
              data[where] ^= 1 << int(rng.integers(8))
          case 'zero':
            data[at:end] = bytes(len(data[at:end]))
          case 'header':
            for where in rng.integers(8, min(64, len(data)), 1 + number):
              data[where] = int(rng.integers(256))
          case 'insert':
            data[at:at] = some[: end - at]
          case 'repeat':
            data[at:at] = data[at:end]
          case 'delete':
            del data[at:end]
        stem, _, suffix = name.partition('.')
        files[f'{stem}_{kind}{number}.{suffix}'] = bytes(data)
  return files


def foreign():
  """{name: bytes} of what is no picture, or not one that is read."""
  image, files = picture(), {}
  for form in ('ICO', 'PPM', 'TGA', 'PDF', 'EPS'):
    files[f'{form}.jpg'] = encode(image, form)
  return files | {
    'empty.png': b'',
    'text.jpg': b'a picture of a cat',
    'page.jpg': b'<!DOCTYPE html><html><body>404 Not Found</body></html>',
    'svg.png': b'<svg xmlns="http://www.w3.org/2000/svg" width="99"></svg>',
    'weights.jpg': b'PK\3\4' + bytes(500),
    'zeros.jpg': bytes(5000),
    **{f'magic{i}.jpg': magic for i, magic in enumerate(MAGICS)},
    **{f'magic{i}z.jpg': magic + bytes(99) for i, magic in enumerate(MAGICS)},
  }


MAGICS = (
  b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'RIFF\0\0\0\0WEBP', b'BM',
  b'RIFF\0\0\0\0WEBPVP8X', b'RIFF\0\0\0\0WEBPVP8L', b'RIFF\0\0\0\0WEBPVP8 ',
)  # fmt: skip


def resized_jpeg(width, height):
  """A small JPEG whose header claims another size."""
  data = encode(picture(), 'JPEG')
  at = data.index(b'\xff\xc0') + 5
  return data[:at] + struct.pack('>HH', height, width) + data[at + 4 :]


def scans(count):
  """A progressive JPEG of 4 megapixels, its last scan `count` times more."""
  data = encode(Image.new('RGB', (2048, 2048)), 'JPEG', progressive=True)
  last = data[data.rindex(b'\xff\xc4') : -2]
  return data[:-2] + last * count + data[-2:]


def bombs():
  """{name: (bytes, size that the line must name)}: small files, much work."""
  files, most = {}, 2**31 - 1
  for size in ((50_000, 50_000), (most, most), (1, most), (70_000, 9)):
    files[f'{size[0]}x{size[1]}.png'] = png(*size, 8, 2, bytes(99)), size
  # 100 megapixels that are really there, in 12 kB.
  whole = png(10_000, 10_000, 1, 0, bytes(10_000 * 1251))
  files['whole.png'] = whole, (10_000, 10_000)
  for size in ((65_500, 65_500), (10_000, 10_000), (9000, 7500)):
    files[f'{size[0]}x{size[1]}.jpg'] = resized_jpeg(*size), size
  for size in ((30_000, 30_000), (60_000_000, 1), (-9, 9)):
    files[f'{size[0]}x{size[1]}.bmp'] = bmp(*size, 24, 0, bytes(99)), size
  # Deltas of RLE: rows that cost 4 bytes each.
  rows = b'\0\2\xff\xff' * 999
  files['rle.bmp'] = bmp(60_000_000, 1, 8, 1, rows), (60_000_000, 1)
  animated = bytearray(encode(picture(), 'WEBP', save_all=True,
                              append_images=[picture(seed=1)]))  # fmt: skip
  animated[24:30] = b'\xff\xff\xff\xff\0\0'
  files['canvas.webp'] = bytes(animated), (2**24, 256)
  lossless = bytearray(encode(picture(), 'WEBP', lossless=True))
  lossless[21:25] = b'\xff\xff\xff\x0f'
  files['lossless.webp'] = bytes(lossless), (16384, 16384)
  lossy = bytearray(encode(picture(), 'WEBP'))
  lossy[26:30] = b'\xff\x3f\xff\x3f'
  files['lossy.webp'] = bytes(lossy), (16383, 16383)
  for size in ((50_000, 50_000), (70_000, 9)):
    files[f'{size[0]}x{size[1]}.tiff'] = tiff(*size), size
  layered = tiff(3000, 3000, [1000] * 2000, rows=2999)
  files['layers.tiff'] = layered, (3000, 3000)
  canvas, frame = (bytearray(encode(picture(), 'GIF')) for _ in range(2))
  canvas[6:10] = b'\xff\xff\xff\xff'
  files['canvas.gif'] = bytes(canvas), (65535, 65535)
  at = frame.rindex(b',' + bytes(4) + struct.pack('<HH', 24, 20))
  frame[at + 5 : at + 9] = struct.pack('<HH', 8192, 8193)
  files['frame.gif'] = bytes(frame), (8192, 8193)
  avif = encode(picture(), 'AVIF', speed=10)
  at = avif.index(b'ispe') + 8
  claimed = struct.pack('>II', 16_000, 16_000)
  files['ispe.avif'] = avif[:at] + claimed + avif[at + 8 :], (16_000, 16_000)
  files['scans.jpg'] = scans(20_000), (2048, 2048)
  return files


def put(folder, name, data):
  """A data set of that one image, and its path."""
  path = folder / 'train' / 'cat' / name
  path.parent.mkdir(parents=True)
  path.write_bytes(data)
  return path


def files_of(folder):
  source = sources.FolderSource(str(folder), 'train')
  return pictures.FileImages(source, SIZE)


def read_at_start(folder):
  """Training, before the first step."""
  pictures.check_images(files_of(folder), skip_bad=False)


def slot_of(folder, crop):
  part = domains_ref.Picks(
    files_of(folder), crop, Stream.BATCH, domains_ref.KEYS, num_words=5
  )
  feed = HostFeed(
    [part], seed=0, batch_size=1, img_size=SIZE, skip_bad_images=False
  )
  return feed.slot(0, 0)


def read_in_step(folder):
  """Training, a slot of a batch: without augmentation, to compare it."""
  slot = slot_of(folder, Whole())
  np.testing.assert_array_equal(slot['x_src'], slot['x_ref'])
  x = slot_of(folder, ResizedCrop())['x_src']
  assert x.shape == (SIZE, SIZE, 3) and x.min() >= -1 and x.max() <= 1
  return np.uint8((slot['x_src'] + 1) * 127.5 + 0.5)


def read_on_device(folder):
  """Training with all images on the device."""
  decoded = cache.load(files_of(folder), SIZE, str(folder / 'cache'))
  assert decoded.counts == (1,)
  return np.array(decoded.images[0])


def read_to_score(folder):
  """Evaluation: sources, and real images as both protocols prepare them."""
  data = EvalData(files_of(folder), skip_bad_images=False)
  for real in data.pictures(0, [0]):
    for protocol in features.PROTOCOLS.values():
      x = protocol.prepare(real, SIZE)
      assert x.shape == (299, 299, 3) and x.min() >= 0 and x.max() <= 255
  ((_, image),) = data.images(0, [0])
  return image


def read_to_translate(folder):
  """Translation; the networks are not asked."""
  (path,) = sources.find_images(folder)
  return model().read(path)


def model(**settings):
  config = tiny.config(data__domains=('cat',), data__img_size=SIZE, **settings)
  translator = types.SimpleNamespace(system=contract.load('stargan_v2'))
  return trained_model.Model(translator, config, step=0, crop=False)


READERS = (
  read_at_start,
  read_in_step,
  read_on_device,
  read_to_score,
  read_to_translate,
)


def outcomes(tmp_path, files):
  """Yields name, {reader: pixels, None or UserError} of every file."""
  for number, (name, data) in enumerate(files.items()):
    folder = tmp_path / str(number)
    path, found = put(folder, name, data), {}
    for reader in READERS:
      start = time.monotonic()
      faulthandler.dump_traceback_later(20 * SECONDS, exit=True)
      try:
        found[reader.__name__] = reader(folder)
      except UserError as error:
        line = str(error)
        assert str(path) in line and line.isprintable(), (name, line)
        found[reader.__name__] = error
      finally:
        faulthandler.cancel_dump_traceback_later()
      assert time.monotonic() - start < SECONDS, (name, reader)
    yield name, found


def pillow_pixels(data):
  """What Pillow itself makes of an image, squeezed; None if nothing."""
  try:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    turn = preprocess._TURNS.get(image.getexif().get(0x0112))
    image = image if turn is None else image.transpose(turn)
    if image.mode.startswith('I'):
      image = Image.fromarray((np.asarray(image) / 257).round().astype('uint8'))
    if 'transparency' in image.info:
      image = image.convert('RGBA')
    return squeezed(image.convert('RGB'))
  except Exception:
    return None


def squeezed(image):
  return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def test_there_are_enough():
  assert len(mutated()) + len(foreign()) + len(bombs()) > 260
  assert len(legal()) > 50


def test_legal_images_are_read_as_pillow_reads_them(tmp_path):
  files = legal()
  data = {name: data for name, (data, _) in files.items()}
  for name, found in outcomes(tmp_path, data):
    content, pixels = files[name]
    expected = pillow_pixels(content)
    if pixels is not None:
      pixels = Image.fromarray(np.ascontiguousarray(pixels, np.uint8))
      np.testing.assert_array_equal(squeezed(pixels), expected)
    assert found.pop('read_at_start') is None
    for reader, read in found.items():
      np.testing.assert_array_equal(read, expected, f'{name} {reader}')


def test_damaged_images_are_named_or_read(tmp_path):
  files, read = mutated(), 0
  for name, found in outcomes(tmp_path, files):
    expected = pillow_pixels(files[name])
    if expected is None:
      assert all(isinstance(e, UserError) for e in found.values()), name
      continue
    read += 1
    assert found.pop('read_at_start') is None
    for reader, pixels in found.items():
      np.testing.assert_array_equal(pixels, expected, f'{name} {reader}')
  assert 0.2 < read / len(files) < 0.8  # or the mutations test nothing


def test_what_is_no_picture_is_named(tmp_path):
  for name, found in outcomes(tmp_path, foreign()):
    assert all(isinstance(e, UserError) for e in found.values()), name


def test_bombs_are_refused_by_their_header(tmp_path):
  files = bombs()
  start = time.monotonic()
  data = {name: data for name, (data, _) in files.items()}
  for name, found in outcomes(tmp_path, data):
    width, height = files[name][1]
    for error in found.values():
      if name == 'layers.tiff':
        assert '3000 x 3000 pixels in 1000 layers would take' in str(error)
      elif width > 0 and name != 'scans.jpg':
        limit = (
          f'{width} x {height} pixels, and the limit is 67,108,864, 65,536'
        )
        assert limit in str(error), name
      elif name == 'scans.jpg':
        assert '2048 x 2048 pixels in 20010 scans would take' in str(error)
      else:
        assert isinstance(error, UserError)
  assert time.monotonic() - start < SECONDS


_PEAK = """
import pathlib, resource, sys
from jaxgan.data import preprocess
files = [path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()]
def peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
for data in files:
  try:
    preprocess.decode(data)
    print('read')
  except preprocess.UnreadableImage:
    pass
print(peak() - before)
"""


def test_bombs_take_no_memory(tmp_path):
  for name, (data, _) in bombs().items():
    (tmp_path / name).write_bytes(data)
  done = subprocess.run(
    [sys.executable, '-c', _PEAK, tmp_path],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) < 16  # MB; the least of them asks for 200


@pytest.mark.parametrize(
  'make, message',
  [
    (os.mkfifo, 'not a file'),
    (lambda path: os.symlink('/dev/zero', path), 'not a file'),
    (os.mkdir, 'not a file'),
    (lambda path: os.symlink(path, path), 'symbolic links'),
    (lambda path: os.symlink('nowhere', path), 'No such file'),
    (
      lambda path: os.truncate(
        os.open(path, os.O_CREAT | os.O_RDWR), 2**29 + 1
      ),
      '536,870,913 bytes, and the limit is 536,870,912',
    ),
  ],
)
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path, make, message):
  folder = tmp_path / 'train' / 'cat'
  folder.mkdir(parents=True)
  make(folder / 'a.jpg')
  with pytest.raises(UserError, match=f'{folder}/a.jpg cannot .*{message}'):
    read_at_start(tmp_path)
  with pytest.raises(UserError, match=f'^{folder}/a.jpg: .*{message}'):
    model().read(folder / 'a.jpg')


def test_links_in_circles_are_walked_once(tmp_path):
  (tmp_path / 'b').mkdir()
  put(tmp_path, 'a.png', b'')
  for name in ('one', 'two', 'b/three', 'b/four'):
    os.symlink(tmp_path, tmp_path / name)
  found = sources.find_images(tmp_path)
  assert [path.name for path in found] == ['a.png']


@pytest.mark.parametrize('name', [b'a\nb.jpg', b'a\x1b[31m.jpg', b'\xff.jpg'])
def test_odd_names_of_files_stay_in_one_line(tmp_path, name):
  folder = tmp_path / 'train' / 'cat'
  folder.mkdir(parents=True)
  (folder / os.fsdecode(name)).write_bytes(b'')
  (shown,) = (
    {b'\n': r'a\nb', b'\x1b': r'a\x1b[31m', b'\xff': r'\udcff'}[
      re.search(rb'[\n\x1b\xff]', name)[0]
    ],
  )
  for reader in READERS:
    with pytest.raises(UserError) as caught:
      reader(tmp_path)
    assert f'{folder}/{shown}.jpg' in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_bad_image_is_not_kept_in_memory(tmp_path):
  put(tmp_path, 'a.jpg', bytes(1000))
  images = files_of(tmp_path)
  read = pictures.reading.read_each(images.picture, [(0, 0)], 'read')
  (error,) = read
  assert error.__traceback__ is None and error.__context__ is None


@pytest.mark.parametrize(
  'array, message',
  [
    (np.zeros((4, 4, 3)), 'not uint8'),
    (np.zeros((4, 4, 7), np.uint8), 'data type'),
    (np.zeros((0, 4, 3), np.uint8), 'not uint8'),
    (np.zeros((2,), np.uint8), 'not uint8'),
  ],
)
def test_an_array_that_is_no_picture(array, message):
  with pytest.raises(UserError, match=f'^an array .*: .*{message}'):
    model().read(array)


def test_a_run_blends_alpha_as_its_training_did(tmp_path):
  image = Image.new('RGBA', (8, 8), (9, 9, 9, 0))
  image.save(tmp_path / 'a.png')
  for background, colour in (('', 9), ('white', 255)):
    reader = model(data__background=background)
    for given in (image, tmp_path / 'a.png'):
      assert (reader.read(given) == colour).all()


def test_a_damaged_image_that_pillow_opened(tmp_path):
  data = encode(picture(), 'PNG')
  with pytest.raises(UserError, match='^an image: .*truncated'):
    model().read(Image.open(io.BytesIO(data[:200])))
  data = png(9000, 9000, 1, 0, b'')
  with pytest.raises(UserError, match='^an image: 9000 x 9000 pixels, and'):
    model().read(Image.open(io.BytesIO(data)))


@pytest.mark.slow
def test_the_checker_counts_what_training_refuses(tmp_path):
  """All of them in one data set, read by the program."""
  contents = {name: data for name, (data, _) in legal().items()}
  contents |= {f'd_{name}': data for name, data in mutated().items()}
  contents |= {f'f_{name}': data for name, data in foreign().items()}
  contents |= {f'b_{name}': data for name, (data, _) in bombs().items()}
  for split in ('train', 'val'):
    (tmp_path / split / 'cat').mkdir(parents=True)
  for name, data in contents.items():
    (tmp_path / 'train' / 'cat' / name).write_bytes(data)
  (tmp_path / 'val' / 'cat' / 'a.png').write_bytes(contents['RGB.png'])
  start = time.monotonic()
  flags = '--img_size=32', '--skip_bad_images'
  done = subprocess.run(
    [sys.executable, '-m', 'jaxgan.tools.check_dataset', tmp_path, *flags],
    cwd=ROOT, capture_output=True, text=True, timeout=300,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )  # fmt: skip
  assert done.returncode == 0 and 'Training would start.' in done.stdout
  assert 'Traceback' not in done.stderr
  bad = 0
  for data in contents.values():
    try:
      preprocess.decode(data)
    except preprocess.UnreadableImage:
      bad += 1
  assert f'  unreadable images: {bad:,}\n' in done.stdout
  assert time.monotonic() - start < 120


def used():
  """Resident memory in MB, and open file handles, of this process."""
  status = pathlib.Path('/proc/self/status').read_text()
  resident = int(re.search(r'VmRSS:\s+(\d+)', status)[1]) / 1024
  return resident, len(os.listdir('/proc/self/fd'))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_ten_thousand_images_leave_nothing_behind(tmp_path):
  contents = {name: data for name, (data, _) in legal().items()}
  contents |= mutated() | foreign()
  folder = tmp_path / 'train' / 'cat'
  folder.mkdir(parents=True)
  for name, data in contents.items():
    (folder / name).write_bytes(data)
  images, reader = files_of(tmp_path), model()
  rng, crop = np.random.default_rng(0), ResizedCrop()
  (count,), good, measured = images.counts, 0, []
  keys = [(0, index) for index in range(count)]
  for number in range(10_000):
    if number % 2000 == 0:
      # As training and the checker do it, in threads.
      read = pictures.reading.read_each(images.picture, keys, 'read')
      assert any(isinstance(x, ValueError) for x in read)
      measured.append(used())
    index = number % count
    try:
      if number % 3:
        if number % 2:
          words = rng.integers(0, 2**32, crop.num_words, np.uint32)
          crop.on_host(words, images.picture(0, index), SIZE)
        else:
          images.get(0, index)
      else:
        reader.read(images._source._files[0][index])
      good += 1
    except (preprocess.UnreadableImage, UserError):
      pass
  measured.append(used())
  assert 4000 < good < 9000
  (before, handles), (after, handles_after) = measured[1], measured[-1]
  assert after - before < 8, measured  # MB, in 8,000 images
  assert handles_after - handles <= 3, measured


@pytest.mark.parametrize(
  'name, message',
  [
    ('a/b', "names 'a/b', which cannot be part of the name of a file"),
    ('x' * 101, '101 bytes: files are named by two, so rename it to 100'),
  ],
)
def test_an_import_takes_no_domains_that_files_cannot_be_named_by(
  tmp_path, name, message
):
  config = tiny.config(data__domains=('cat', name))
  with pytest.raises(UserError, match=message):
    import_export.import_run('none.ckpt', config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()
