"""Reading every image of a data set once, many at a time."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

from absl import logging

from jaxgan.data.preprocess import UnreadableImage
from jaxgan.errors import UserError

T = TypeVar('T')

CURE = 'remove it or set config.data.skip_bad_images=True'
_CHUNK = 256  # results that wait to be taken, at most


def read_each(
  read: Callable[[int, int], T], keys: Sequence[tuple[int, int]], done: str
) -> Iterator[T | UnreadableImage]:
  """Yields read(domain, index) for every key in order, or what it raised.

  Args:
    read: called from many threads; raises UnreadableImage.
    keys: (domain, index) of each image.
    done: what is done to an image, for the line of progress every 5 s.
  """

  def attempt(key):
    try:
      return read(*key)
    except UnreadableImage as error:
      # Not the error itself: it holds the frames that raised it, and so the
      # bytes of every bad image.
      return UnreadableImage(str(error))

  last_report = time.monotonic()
  with futures.ThreadPoolExecutor() as pool:
    for start in range(0, len(keys), _CHUNK):
      results = pool.map(attempt, keys[start : start + _CHUNK])
      for count, result in enumerate(results, start + 1):
        yield result
        if time.monotonic() > last_report + 5:
          last_report = time.monotonic()
          print(f'{done} {count} of {len(keys)} images', flush=True)


def judge(bad: Sequence[object], total: int, skip_bad: bool) -> None:
  """Warns of unreadable images; UserError if they are not to be skipped."""
  if not bad:
    return
  message = f'{len(bad)} of {total} images are bad, the first: {bad[0]}'
  if not skip_bad:
    raise UserError(f'{message}: {CURE}')
  logging.warning('%s', message)
