"""The processes of a run: how they find one another, and how they end together.

JAX ends all processes when one of them is gone, after 100 s and with a stack
trace that names neither it nor its mistake. Here each tells the others, through
the key-value store of JAX's coordinator (a part of process 0), that it is alive
or what its error is.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import jax
from jax._src import distributed  # the key-value store has no public name

from jaxgan.runtime import errors, host, signals

_BEAT = 2.0  # seconds between two signs of life
_SILENCE = 30.0  # seconds after which a process is taken for dead
_DAY = 24 * 60 * 60 * 1000  # milliseconds
_ALIVE, _FAILED = 'jaxgan/alive/', 'jaxgan/failed/'

# Number of processes, where the environment tells: one has none to join. JAX
# would hide all devices but one from it.
_COUNTS = ('SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')


def is_first() -> bool:
  """Whether this is process 0; unlike JAX's own it opens no devices."""
  return distributed.global_state.process_id == 0


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
    UserError: what is given cannot be, the others cannot be joined, or there is
      no device of the kind that JAX was asked for.
  """
  given = (coordinator or None, num_processes, process_id)
  _check(*given)
  words = None
  if coordinator:
    # Where it does not meet the others, the runtime aborts this process.
    words = _LastWords(
      f'error: process {process_id} of {num_processes} could not join the '
      f'others: were all started, and is process 0 at {coordinator}?'
    )
  if not _initialize(*given):
    host.check_devices()
    yield
    return
  _start_watch(words or _LastWords())
  with failures_told():
    host.check_devices()
    yield
    if _watch:
      _watch.finish()


def _check(
  coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
  given = (coordinator, num_processes, process_id)
  if all(x is None for x in given):
    return
  if coordinator is None or num_processes is None or process_id is None:
    raise errors.UsageError(
      '--coordinator, --num_processes and --process_id go together'
    )
  if process_id >= num_processes:
    raise errors.UsageError(
      f'--process_id={process_id}: the last of {num_processes} processes is '
      f'{num_processes - 1}'
    )
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdigit():
    raise errors.UsageError(
      f'--coordinator={coordinator} is not of the form host:port'
    )
  if process_id == 0:
    with socket.socket() as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      try:
        probe.bind(('', int(port)))
      except (OSError, OverflowError) as e:
        raise errors.UserError(
          f'--coordinator={coordinator}: port {port} cannot be had ({e})'
        ) from e


def _initialize(*given) -> bool:
  """Whether there is anything to join."""
  alone = given[0] is None and '1' in map(os.environ.get, _COUNTS)
  if alone:
    return False
  jax.config.update('jax_check_proxy_envs', False)  # there is none inside
  try:
    with host.without_proxies():
      jax.distributed.initialize(*given)
  except (RuntimeError, ValueError) as e:
    if str(e).startswith('coordinator_address should be defined'):
      return False
    raise errors.UserError(
      f'cannot join the other processes: {_first_line(e)}'
    ) from e
  return True


@contextlib.contextmanager
def failures_told(
  keep: Callable[[str], None] | None = None,
) -> Iterator[None]:
  """Inside, an error ends this process at once, and the others.

  At once: tidying up would wait for processes that wait for this one. Without
  other processes it does nothing.

  Args:
    keep: called, maybe by another thread, with what the process ends by.
  """
  if _watch:
    _watch.keep = keep
  try:
    yield
  except BaseException as e:
    if _watch is None:
      raise
    _watch.fail(e)
  if _watch:
    _watch.keep = None


class _LastWords:
  """A child that says what it was told last, when this process is gone."""

  _PROGRAM = f"""if True:
    import signal, sys
    for number in {[int(number) for number in signals.STOPPING]}:
      signal.signal(number, signal.SIG_IGN)
    words = ''
    for words in sys.stdin:
      pass
    sys.stderr.write(words.lstrip())
  """

  def __init__(self, words: str = ''):
    self._child = subprocess.Popen(
      [sys.executable, '-S', '-c', self._PROGRAM],
      stdin=subprocess.PIPE,
      text=True,
    )
    self.leave(words)

  def leave(self, words: str) -> None:
    """What is to be said from now on; '' for nothing."""
    assert self._child.stdin  # a pipe, as `Popen` was told
    with contextlib.suppress(OSError):  # the child was killed
      self._child.stdin.write(f'{words}\n')
      self._child.stdin.flush()


_watch: '_Watch | None' = None


def _start_watch(words: _LastWords) -> None:
  global _watch
  state = distributed.global_state
  words.leave('')
  if state.num_processes > 1:
    _watch = _Watch(state.client, state.process_id, state.num_processes, words)


class _Watch:
  """A thread that tells of this process and listens to the others."""

  def __init__(
    self, client, process_id: int, num_processes: int, words: _LastWords
  ):
    self._client = client
    self._id, self._count = process_id, num_processes
    self._words = words
    self.keep: Callable[[str], None] | None = None
    # The runtime aborts this process as soon as the coordinator is gone.
    self._words.leave(
      f'error: process {process_id} was ended from outside'
      + (', as it is when process 0 is gone: see what that said')
      * (process_id > 0)
    )
    self._finished = threading.Event()  # the thread is to end
    self._ending = threading.Lock()  # of whoever ends the process
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._thread.start()

  def _run(self) -> None:
    try:
      self._listen()
    except jax.errors.JaxRuntimeError as e:
      self._end(f'process 0 cannot be reached: {_first_line(e)}')

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
          self._end(f'process {i}: {text}')
      for key, sign in self._client.key_value_dir_get(_ALIVE):
        i = int(key.rpartition('/')[2])
        if sign != signs[i][0]:
          signs[i] = sign, now
      for i, (_, since) in signs.items():
        if now - since > _SILENCE and i != self._id:
          self._end(
            f'process {i} was not heard of for {_SILENCE:.0f} s: see what it '
            'said'
          )

  def _tell(self, kind: str, text: str) -> None:
    self._client.key_value_set(f'{kind}{self._id}', text, allow_overwrite=True)

  def fail(self, error: BaseException) -> None:
    """Tells the others of an error of this process, and ends it."""
    status, text, trace = 1, str(error), ''
    if isinstance(error, errors.UserError):
      status = error.exit_status
    elif isinstance(error, KeyboardInterrupt):
      status, text = 130, 'interrupted'
    elif not isinstance(error, OSError):
      text = f'{type(error).__name__}: {_first_line(error)}'
      trace = ''.join(traceback.format_exception(error))
      # It may be that another process is gone: then the thread says so.
      time.sleep(_SILENCE + 2 * _BEAT)
    self._finished.set()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      self._tell(_FAILED, text)
    self._end(f'process {self._id}: {text}', status, trace)

  def _end(self, what: str, status: int = 1, trace: str = '') -> None:
    self._ending.acquire()  # and never given back
    try:
      self._words.leave('')
      with contextlib.suppress(OSError):  # a full disk
        sys.stdout.flush()
      print(f'{trace}error: {what}', file=sys.stderr, flush=True)
      if self.keep:  # in a thread: the disk may be what does not answer
        keep = threading.Thread(target=self.keep, args=(what,), daemon=True)
        keep.start()
        keep.join(_BEAT)
      if self._id == 0:
        time.sleep(3 * _BEAT)  # the others read here what has happened
    finally:
      os._exit(status)

  def finish(self) -> None:
    """Waits for the others, still listening."""
    self._client.wait_at_barrier('jaxgan/finished', _DAY)
    self._finished.set()
    self._thread.join()
    self._words.leave('')


def _first_line(error: BaseException) -> str:
  return (str(error).splitlines() or ['no message'])[0]
