"""Videos in, videos out: every frame translated, a few at a time."""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model
from jaxgan.data import videos
from jaxgan.runtime import images

_FRAMES = 8  # translated at a time: memory does not grow with their number
_SECONDS = 5  # from one line of progress to the next


class Target(NamedTuple):
  """What the frames become."""

  domain: str
  code: np.ndarray | None  # [style_dim]; None where a domain has one output
  source_label: Sequence[str] | None  # as `Model.translate` takes it


def translate(
  model: trained_model.Model,
  path: epath.Path,
  facts: videos.Facts,
  target: Target,
  out: epath.Path,
  *,
  keep_size: bool,
) -> None:
  """Writes a video whose frames are translated, with the source's sound.

  Args:
    model: of the run.
    path: of the source.
    facts: of it, by `videos.check`.
    target: of all frames.
    out: path of the result, an MP4 file.
    keep_size: as `Model.open` takes it.

  Raises:
    UserError: the source cannot be read.
    OSError: the result cannot be written; nothing of it is left.
  """
  frames = _translated(model, path, facts, target, keep_size)
  images.write_video(out, _told(frames, out, facts.frames), facts.fps, path)


def _translated(
  model: trained_model.Model,
  path: epath.Path,
  facts: videos.Facts,
  target: Target,
  keep_size: bool,
) -> Iterator[np.ndarray]:
  frames = videos.read(path, facts)
  codes = None if target.code is None else target.code[None]
  while chunk := list(itertools.islice(frames, _FRAMES)):
    opened = [
      model.open(Image.fromarray(x), keep_size=keep_size) for x in chunk
    ]
    labels = target.source_label
    (row,) = model.translate(
      [x.pixels for x in opened],
      target.domain,
      codes,
      source_labels=None if labels is None else [labels] * len(opened),
    )
    for x, image in zip(opened, row, strict=True):
      yield np.asarray(x.finish(image))


def _told(
  frames: Iterator[np.ndarray], out: epath.Path, total: int
) -> Iterator[np.ndarray]:
  """The frames, with a line of progress now and then."""
  last = time.monotonic()
  for count, frame in enumerate(frames, 1):
    yield frame
    if time.monotonic() > last + _SECONDS:
      last = time.monotonic()
      print(f'{out.name}: {count} of {total} frames', flush=True)
