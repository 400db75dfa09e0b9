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


class Stop:
  """Asks for a checkpoint and an end at the first signal; the second kills.

  Attributes:
    name: of the signal, '' if there was none.
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

    def restore():
      for number, handler in previous.items():
        signal.signal(number, handler)

    def note(number, frame):
      del frame
      self.name = signal.Signals(number).name
      print(f'{self.name}: saving after this step; again to kill', flush=True)
      restore()
      if self._several:
        os.kill(os.getpid(), signal.SIGTERM)

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
      restore()

  def requested(self, step: int) -> bool:
    """Whether to stop after `step`: the same answer on all processes."""
    if not self._several:
      return bool(self.name)
    reached = multihost_utils.reached_preemption_sync_point(step)
    if reached and not self.name:
      self.name = 'SIGTERM'
    return reached
