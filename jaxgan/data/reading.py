"""Reading images: every one of a data set once, and each within its time."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, TypeVar

from absl import logging

from jaxgan.data.preprocess import UnreadableImage
from jaxgan.runtime.errors import UserError

T = TypeVar('T')

CURE = 'remove it or set config.data.skip_bad_images=True'
_CHUNK = 256  # results that wait to be taken, at most


class _Reader:
  """A thread that reads for others; a program can end although it is stuck."""

  def __init__(self):
    self._asked, self._results = queue.SimpleQueue(), queue.SimpleQueue()
    threading.Thread(target=self._run, daemon=True).start()

  def _run(self) -> None:
    while True:
      read = self._asked.get()
      try:
        self._results.put((read(), None))
      except Exception as error:
        self._results.put((None, error))

  def ask(
    self, read: Callable[[], Any], seconds: float
  ) -> tuple[Any, Exception | None]:
    """What `read` returns and what it raises; queue.Empty if that is late."""
    self._asked.put(read)
    return self._results.get(timeout=seconds)


_idle: list[_Reader] = []  # pop and append are atomic


def read_in_time(
  read: Callable[[], T], seconds: float, describe: Callable[[], str]
) -> T:
  """Returns read(); a read that does not end would keep a run from ending.

  Args:
    read: called in another thread.
    seconds: how long it may take.
    describe: what to call that which is read.

  Raises:
    UserError: it took longer. It is never skipped: where one file does not
      answer, the next one will not either.
  """
  try:
    reader = _idle.pop()
  except IndexError:
    reader = _Reader()
  try:
    result, error = reader.ask(read, seconds)
  except queue.Empty:  # and the reader, which is stuck, is left behind
    raise UserError(
      f'{describe()} could not be read in {seconds:g} s: is its file system '
      'alive? A slow one needs a larger config.data.timeout'
    ) from None
  _idle.append(reader)
  if error:
    raise error
  return result


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


def check_unreadable(bad: Sequence[object], total: int, skip_bad: bool) -> None:
  """Warns of unreadable images; UserError if they are not to be skipped."""
  if not bad:
    return
  message = f'{len(bad)} of {total} images are bad, the first: {bad[0]}'
  if not skip_bad:
    raise UserError(f'{message}: {CURE}')
  logging.warning('%s', message)
