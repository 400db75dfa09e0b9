"""Standard output and error that may fail without ending the program.

The reader of a pipe is gone (`| head`; `| tee log`, which Ctrl-C ends first),
the disk of a log is full, the terminal is closed, an encoding lacks a letter of
a path: none of them is worth a run.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Tolerant:
  """A text stream that drops what it cannot write.

  Attributes:
    failure: the first error, but of a pipe that nobody reads.
  """

  def __init__(self, stream: TextIO):
    self._stream = stream
    self.failed = False
    self.failure: OSError | None = None

  def write(self, text: str) -> int:
    """Writes; letters that the encoding lacks become escapes."""
    with self._noticing():
      try:
        self._stream.write(text)
      except UnicodeEncodeError as e:
        known = text.encode(e.encoding, 'backslashreplace')
        self._stream.write(known.decode(e.encoding))
    return len(text)

  def flush(self) -> None:
    """Writes what is held back."""
    with self._noticing():
      self._stream.flush()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  @contextlib.contextmanager
  def _noticing(self) -> Iterator[None]:
    try:
      yield
    except OSError as e:
      self.failed = True
      if not isinstance(e, BrokenPipeError):
        self.failure = self.failure or e
    # Closed; a signal handler prints while the program does.
    except (ValueError, RuntimeError):
      pass


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
  """Inside, standard output and error drop what they cannot write.

  One that has failed stays so: Python flushes it once more at its end.
  """
  before = {name: getattr(sys, name) for name in ('stdout', 'stderr')}
  for name, stream in before.items():
    if stream is not None and not isinstance(stream, _Tolerant):
      setattr(sys, name, _Tolerant(stream))
  try:
    yield
  finally:
    for name, stream in before.items():
      if not getattr(getattr(sys, name), 'failed', False):
        setattr(sys, name, stream)


def failure() -> OSError | None:
  """Why standard output has lost something; None also where nobody reads it."""
  return getattr(sys.stdout, 'failure', None)
