"""Pictures of arrays: uint8, grids, PNG files, videos."""

import collections
import fractions
import io
import itertools
import math
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from jaxgan.runtime import errors, files

Array = jax.Array | np.ndarray

MIN_CELL = 64  # pixels; smaller images are enlarged in a labelled grid
_FONT_SIZE = 12  # at least
_MAX_LEFT = 12  # width of the labels to the left, in sizes of the font


def to_uint8(x: Array) -> np.ndarray:
  """Maps [-1, 1] to 0..255, rounded; values outside are clipped."""
  # In the original's order of operations, so that halves round as there.
  x = np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)
  return (x * 255 + 0.5).astype(np.uint8)


def grid(rows: Sequence[Sequence[Array | None]], pad: int = 2) -> np.ndarray:
  """Lays out images [S, S, 3] in rows; None leaves a white cell.

  The images are uint8, or floats in [-1, 1].

  Returns:
    uint8 [H, W, 3] with `pad` white pixels around every image.
  """
  size = next(x.shape[0] for row in rows for x in row if x is not None)
  pitch = size + pad
  height = pad + pitch * len(rows)
  width = pad + pitch * max(len(row) for row in rows)
  canvas = np.full((height, width, 3), 255, np.uint8)
  for i, row in enumerate(rows):
    for j, x in enumerate(row):
      if x is not None:
        top, left = pad + pitch * i, pad + pitch * j
        pixels = x if x.dtype == np.uint8 else to_uint8(x)
        canvas[top : top + size, left : left + size] = pixels
  return canvas


def labelled_grid(
  rows: Sequence[Sequence[Array | None]],
  top: Sequence[str],
  left: Sequence[str],
) -> np.ndarray:
  """The `grid` with a label above each column and to the left of each row.

  Images are enlarged by the least whole factor that makes them MIN_CELL wide.
  A label may have several lines; a line that is too long loses its middle.
  Letters that are not in ASCII lose their accents, or become `?`: see
  `name_all`. Where all labels of a side are empty, they take no room.
  """
  pad = 2
  cells = Image.fromarray(grid(_enlarge(rows), pad))
  pitch_x = (cells.width - pad) // len(top)
  pitch_y = (cells.height - pad) // len(left)
  # So that it can be read where a page shows all of a large grid.
  font_size = max(_FONT_SIZE, (pitch_y - pad) // 10)
  font = ImageFont.load_default(font_size)
  line_height = font_size * 4 // 3
  above = [_fit(label, font, pitch_x - 4) for label in top]
  beside = [_fit(label, font, _MAX_LEFT * font_size) for label in left]
  margin_y = line_height * max(map(len, above))
  width = max((font.getlength(line) for x in beside for line in x), default=0)
  margin_x = math.ceil(width) + 4 if width else 0
  canvas = Image.new(
    'RGB', (margin_x + cells.width, margin_y + cells.height), 'white'
  )
  canvas.paste(cells, (margin_x, margin_y))
  draw = ImageDraw.Draw(canvas)
  corners = [
    *((margin_x + pitch_x * j, 0, lines) for j, lines in enumerate(above)),
    *((0, margin_y + pitch_y * i, lines) for i, lines in enumerate(beside)),
  ]
  for x, y, lines in corners:
    for i, line in enumerate(lines):
      draw.text((x + 2, y + line_height * i), line, 'black', font)
  return np.asarray(canvas)


def name_all(names: Sequence[str], noun: str) -> list[str]:
  """Names as labels show them; `<noun> <number>`, from 1, where they cannot.

  That is a name with letters that have no likeness in ASCII, which alone the
  font has, and one that would look like another.
  """
  plain = {name: _without_accents(errors.printable(name)) for name in names}
  alike = collections.Counter(plain.values())
  return [
    plain[name]
    if plain[name].isascii() and alike[plain[name]] == 1
    else f'{noun} {i + 1}'
    for i, name in enumerate(names)
  ]


def _without_accents(text: str) -> str:
  letters = unicodedata.normalize('NFKD', text)
  return ''.join(c for c in letters if not unicodedata.combining(c))


def _enlarge(
  rows: Sequence[Sequence[Array | None]],
) -> list[list[Array | None]]:
  size = next(x.shape[0] for row in rows for x in row if x is not None)
  factor = -(-MIN_CELL // size)
  return [
    [x if x is None else x.repeat(factor, 0).repeat(factor, 1) for x in row]
    for row in rows
  ]


def _fit(
  label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
  """The lines of a label, each in no more than `width` pixels."""
  drawn = _without_accents(label).encode('ascii', 'replace').decode()
  return [_shorten(line, font, width) for line in drawn.split('\n') if line]


def _shorten(
  text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
  """The text, or its beginning and end, in no more than `width` pixels."""
  short, keep = text, len(text)
  while font.getlength(short) > width and keep > 1:
    keep -= 1
    short = f'{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}'
  return short


def write_png(path: epath.Path, image: np.ndarray) -> None:
  """Writes uint8 [H, W, 3 or 4], whole or not at all; the folder must exist."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG')
  files.write_whole(path, buffer.getvalue())


def write_video(
  path: epath.Path,
  frames: Iterable[np.ndarray],
  fps: float | fractions.Fraction,
  sound: epath.Path | None = None,
) -> None:
  """Writes uint8 frames [H, W, 3] as H.264 in MP4, whole or not at all.

  A frame is asked for when the encoder has taken the one before it, so that
  memory does not grow with the length. yuv420p, which every player shows, wants
  even sides: an odd one gets its last line twice.

  Args:
    path: of the video; its folder must exist.
    frames: all of one size.
    fps: frames a second.
    sound: a video whose sound, if it has one, is encoded as AAC.

  Raises:
    OSError: the encoder failed; the message is its own.
  """
  import imageio_ffmpeg  # here alone: training and scores do without it

  frames = map(_with_even_sides, frames)
  first = next(frames)
  height, width, _ = first.shape
  partial = files.partial_path(path)
  heard = ['-i', f'file:{sound}', '-map', '0:v', '-map', '1:a:0?']
  command = [
    *(imageio_ffmpeg.get_ffmpeg_exe(), '-y', '-v', 'error'),
    *('-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}'),
    *('-r', str(fps), '-i', '-', *(heard if sound else [])),
    *('-c:a', 'aac', '-c:v', 'libx264', '-crf', '18'),
    *('-pix_fmt', 'yuv420p', '-f', 'mp4'),
    f'file:{partial}',
  ]
  # Not imageio_ffmpeg.write_frames: it does not tell that the encoder failed.
  try:
    with tempfile.TemporaryFile() as log:
      try:
        with subprocess.Popen(
          command,
          stdin=subprocess.PIPE,
          stderr=log,
          start_new_session=True,  # Ctrl-C is for this program to handle
        ) as encoder:
          assert encoder.stdin  # a pipe, as `Popen` was told
          try:
            for frame in itertools.chain([first], frames):
              encoder.stdin.write(frame.data)
          except BaseException:
            encoder.kill()  # it would go on with the sound
            raise
        complete = encoder.returncode == 0
      except BrokenPipeError:
        complete = False
      if not complete:
        log.seek(0)
        reason = ' '.join(log.read().decode(errors='replace').split())
        raise OSError(f'the video encoder failed: {reason}')
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def _with_even_sides(frame: np.ndarray) -> np.ndarray:
  height, width, _ = frame.shape
  odd = (0, height % 2), (0, width % 2), (0, 0)
  return np.ascontiguousarray(np.pad(frame, odd, 'edge'))
