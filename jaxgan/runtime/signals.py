"""The signals that ask a run to save a checkpoint and to end."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils

# Of the keyboard; of `kill` and schedulers; of a terminal or SSH session that
# is closed; of schedulers before the time is up.
STOPPING = (
  signal.SIGINT,
  signal.SIGTERM,
  signal.SIGHUP,
  signal.SIGUSR1,
  signal.SIGUSR2,
)
# The others may come twice of one cause: a closed terminal sends SIGHUP, and so
# does its shell.
_KILLING = (signal.SIGINT, signal.SIGTERM)


class Stop:
  """A checkpoint and an end at a signal; a second SIGINT or SIGTERM kills.

  Attributes:
    name: of the first signal, '' if there was none.
  """

  def __init__(self):
    self.name = ''
    self._several = jax.process_count() > 1

  @contextlib.contextmanager
  def handled(self) -> Iterator[None]:
    """Inside, the first of STOPPING is noted instead of acted upon.

    A signal that is ignored already, as SIGHUP below nohup, stays ignored.
    """
    previous: dict[signal.Signals, Any] = {}

    def restore(numbers):
      for number in numbers:
        if number in previous:
          signal.signal(number, previous[number])

    def note(number, frame):
      del frame
      line = f'{signal.Signals(number).name}: saving after this step'
      if number in _KILLING:
        line += '; again to kill'
        restore(_KILLING)
      print(line, flush=True)
      if self._several and not self.name:
        os.kill(os.getpid(), signal.SIGTERM)
      self.name = self.name or signal.Signals(number).name

    for number in STOPPING:
      # With several processes JAX's own service listens to SIGTERM, and finds
      # a step that all can stop after.
      if not (self._several and number == signal.SIGTERM) and (
        signal.getsignal(number) != signal.SIG_IGN
      ):
        previous[number] = signal.signal(number, note)
    try:
      yield
    finally:
      restore(STOPPING)

  def requested(self, step: int) -> bool:
    """Whether to stop after `step`: the same answer on all processes."""
    if not self._several:
      return bool(self.name)
    reached = multihost_utils.reached_preemption_sync_point(step)
    if reached and not self.name:
      self.name = 'SIGTERM'
    return reached
