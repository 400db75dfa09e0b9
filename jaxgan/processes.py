"""The processes of a run: how they find one another, and how they end together.

JAX ends all processes when one of them is gone, after 100 s and with a stack
trace that names neither it nor its mistake. Here each tells the others, through
the key-value store of JAX's coordinator (a part of process 0), that it is alive
or what its error is.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import jax
from jax._src import distributed  # the key-value store has no public name

from jaxgan import errors

_BEAT = 2.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds after which a process is taken for dead
_DAY = 24 * 60 * 60 * 1000  # milliseconds
_ALIVE, _FAILED = 'jaxgan/alive/', 'jaxgan/failed/'

# Says what it was told last when the process that told it is gone.
_LAST_WORDS = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
  signal.signal(number, signal.SIG_IGN)
for line in sys.stdin:
  pass
sys.stderr.write(line.lstrip())
"""


@contextlib.contextmanager
def joined(
  coordinator: str = '',
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Iterator[None]:
  """Joins the other processes of a run; inside, an error of one ends all.

  Without arguments it asks the environment (TPU pods, Slurm, Open MPI,
  Kubernetes); where there is nothing to join, the process stays alone. To be
  called before anything else of JAX.

  Args:
    coordinator: address and port of process 0, the same on all processes.
    num_processes: how many there are.
    process_id: which of them this one is.

  Raises:
    UsageError: only some of the arguments are given, or they contradict.
  """
  if not _initialize(coordinator or None, num_processes, process_id):
    yield
    return
  _start_watch()
  with failures_told():
    yield
    if _watch:
      _watch.finish()


def _initialize(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> bool:
  """Whether there is anything to join."""
  given = (coordinator, num_processes, process_id)
  if None in given and any(x is not None for x in given):
    raise errors.UsageError(
      '--coordinator, --num_processes and --process_id go together'
    )
  try:
    jax.distributed.initialize(*given)
  except ValueError as e:
    if coordinator is None:
      return False
    raise errors.UsageError(
      f'--num_processes={num_processes} --process_id={process_id}: {e}'
    ) from e
  except jax.errors.JaxRuntimeError as e:
    raise errors.UserError(
      'not all processes came together; is --coordinator the address of '
      f'process 0, and were all started? ({_first_line(e)})'
    ) from e
  return True


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
  """Inside, an error ends this process at once, and the others.

  At once: tidying up would wait for processes that wait for this one. Without
  other processes it does nothing.
  """
  try:
    yield
  except BaseException as e:
    if _watch is None:
      raise
    _watch.fail(e)


_watch: '_Watch | None' = None


def _start_watch() -> None:
  global _watch
  state = distributed.global_state
  if state.num_processes > 1:
    _watch = _Watch(state.client, state.process_id, state.num_processes)


class _Watch:
  """A thread that tells of this process and listens to the others."""

  def __init__(self, client, process_id: int, num_processes: int):
    self._client = client
    self._id, self._count = process_id, num_processes
    self._last_words = subprocess.Popen(
      [sys.executable, '-S', '-c', _LAST_WORDS],
      stdin=subprocess.PIPE,
      text=True,
    )
    # The runtime aborts this process as soon as the coordinator is gone.
    self._leave_words(
      f'error: process {process_id} was ended from outside'
      + (', as it is when process 0 is gone: see what that said')
      * (process_id > 0)
    )
    self._finished = threading.Event()  # the thread is to end
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def _leave_words(self, text: str) -> None:
    self._last_words.stdin.write(f'{text}\n')
    self._last_words.stdin.flush()

  def _run(self) -> None:
    try:
      self._listen()
    except jax.errors.JaxRuntimeError as e:
      self._end(f'error: process 0 cannot be reached: {_first_line(e)}')

  def _listen(self) -> None:
    signs = {i: ('', time.monotonic()) for i in range(self._count)}
    count = 0
    while not self._finished.wait(_BEAT):
      count += 1
      self._tell(_ALIVE, str(count))
      now = time.monotonic()
      for key, text in self._client.key_value_dir_get(_FAILED):
        i = int(key.rpartition('/')[2])
        if i != self._id:
          self._end(f'error: process {i}: {text}')
      for key, sign in self._client.key_value_dir_get(_ALIVE):
        i = int(key.rpartition('/')[2])
        if sign != signs[i][0]:
          signs[i] = sign, now
      for i, (_, since) in signs.items():
        if now - since > _SILENCE and i != self._id:
          self._end(
            f'error: process {i} was not heard of for {_SILENCE:.0f} s: see '
            'what it said'
          )

  def _tell(self, kind: str, text: str) -> None:
    self._client.key_value_set(f'{kind}{self._id}', text, allow_overwrite=True)

  def fail(self, error: BaseException) -> None:
    """Tells the others of an error of this process, and ends it."""
    if isinstance(error, errors.UserError):
      status, text = error.exit_status, str(error)
    else:
      traceback.print_exception(error)
      # It may be that another process is gone: then the thread says so.
      time.sleep(_SILENCE + 2 * _BEAT)
      status, text = 1, f'{type(error).__name__}: {_first_line(error)}'
    self._finished.set()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      self._tell(_FAILED, text)
    self._end(f'error: process {self._id}: {text}', status)

  def _end(self, text: str, status: int = 1) -> None:
    self._leave_words('')
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
    if self._id == 0:
      time.sleep(3 * _BEAT)  # the others read here what has happened
    os._exit(status)

  def finish(self) -> None:
    """Waits for the others, still listening."""
    self._client.wait_at_barrier('jaxgan/finished', _DAY)
    self._finished.set()
    self._thread.join()
    self._leave_words('')


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or ['no message'])[0]
