"""Videos: checked whole before work begins, then read a frame at a time.

ffmpeg decodes, the program that `imageio_ffmpeg` brings. It turns a frame
upright, makes pixels square, and repeats or leaves out frames where their rate
varies.
"""

import contextlib
import fractions
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
from etils import epath

from jaxgan.data import preprocess
from jaxgan.runtime import files
from jaxgan.runtime.errors import UserError

ENDINGS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')
# No others: a list of what to play would be another file, or a place in a net.
DEMUXERS = 'avi,matroska,mov'
_BLOCK = 2**20  # bytes read at a time
_HEADER = 1024  # bytes; that of a frame is a word in a line
_FRAME_HEADER = len(b'FRAME\n')


class Facts(NamedTuple):
  """What `check` finds out of a video."""

  width: int
  height: int
  fps: fractions.Fraction
  frames: int

  def __str__(self) -> str:
    """In words."""
    return (
      f'{self.frames} frames of {self.width} x {self.height} pixels, '
      f'{float(self.fps):g} a second'
    )


def is_video(path: epath.Path) -> bool:
  """Whether it is a video of a kind that is read, by its name."""
  return path.suffix.lower() in ENDINGS


def check(path: epath.Path) -> Facts:
  """Decodes all of a video once.

  Raises:
    UserError: it is none, damaged, or its frames are too large.
  """
  if '://' in os.fspath(path) or not files.is_regular(path):
    raise UserError(f'{path}: a video has to be a file of this machine')
  with _decoder(path, '-pix_fmt', 'gray', '-f', 'yuv4mpegpipe') as stream:
    # The only form that tells size and rate to programs.
    words = stream.readline(_HEADER).decode('ascii', 'replace').split()[1:]
    header = {word[0]: word[1:] for word in words}
    width, height = (int(header.get(key, 0)) for key in 'WH')
    if width * height > preprocess.MAX_PIXELS:
      raise UserError(
        f'{path}: frames of {width} x {height} pixels, and the limit is '
        f'{preprocess.MAX_PIXELS:,}: make it smaller'
      )
    length = 0
    while block := stream.read(_BLOCK):
      length += len(block)
  frames = length // (_FRAME_HEADER + width * height)
  if not frames:
    raise UserError(f'{path}: there is no frame in it')
  fps = fractions.Fraction(header['F'].replace(':', '/'))
  return Facts(width, height, fps, frames)


def read(path: epath.Path, facts: Facts) -> Iterator[np.ndarray]:
  """Yields the frames, uint8 [H, W, 3]; facts are of `check`.

  Raises:
    UserError: it is not what it was then.
  """
  shape = facts.height, facts.width, 3
  size = math.prod(shape)
  form = ('-r', str(facts.fps), '-pix_fmt', 'rgb24', '-f', 'rawvideo')
  with _decoder(path, *form) as stream:
    while len(data := stream.read(size)) == size:
      yield np.frombuffer(data, np.uint8).reshape(shape)


@contextlib.contextmanager
def _decoder(path: epath.Path, *form: str) -> Iterator[IO[bytes]]:
  """What ffmpeg makes of a video; UserError at the end if that is not all."""
  import imageio_ffmpeg  # here alone: training and scores do without it

  command = [
    *(imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', '-nostdin'),
    *('-format_whitelist', DEMUXERS, '-i', f'file:{path}'),
    *('-map', '0:V:0', '-vf', 'scale=iw*sar:ih', *form, '-'),
  ]
  with tempfile.TemporaryFile() as log:
    with subprocess.Popen(
      command,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=log,
      start_new_session=True,  # Ctrl-C is for this program to handle
    ) as decoder:
      assert decoder.stdout  # a pipe, as `Popen` was told
      try:
        yield decoder.stdout
      except BaseException:
        decoder.kill()
        raise
    log.seek(0)
    # Of a file that is cut off the status tells nothing.
    said = log.read(_HEADER).decode(errors='replace')
  if said or decoder.returncode:
    raise UserError(f'{path}: {_reason(said)}')


def _reason(said: str) -> str:
  if 'matches no streams' in said:
    return 'there is no video in it'
  # Without the part of ffmpeg that speaks, and its address.
  line = re.sub(r'^\[[^]]*\] ', '', said.partition('\n')[0])
  return (
    f'a damaged video, or one of another kind than its name says ({line}): '
    'make it anew'
  )
