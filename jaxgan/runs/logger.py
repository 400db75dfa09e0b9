"""What a run tells: lines, records, TensorBoard events, its report."""

import concurrent.futures
import contextlib
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from etils import epath

from jaxgan.runs import collapse, workdir
from jaxgan.runtime import errors, files, host, images

_REPORT_SECONDS = 300  # between two reports where no samples are drawn
_OF_THE_CLOCK = ('images_per_s', 'peak_memory_gb')


class Logger:
  """Writes on process 0 and is silent on the others.

  Args:
    directory: work directory.
    resumed_step: records after it are dropped.
    num_train_steps: where the run ends.
    batch_size: images per step, of all processes.
    create_watcher: makes what is shown all records, the kept ones first.
    write_report: writes the report of what is recorded so far.
    create_writer: makes a writer beside that of TensorBoard events, whose
      failures end no run, of what says a line; None for no other.
  """

  def __init__(
    self,
    directory: epath.Path,
    resumed_step: int,
    num_train_steps: int,
    batch_size: int,
    create_watcher: Callable[[], collapse.Watcher],
    write_report: Callable[[], None],
    create_writer: Callable[[Callable[[str], None]], Any] | None = None,
  ):
    self._directory = directory
    self._num_train_steps = num_train_steps
    self._batch_size = batch_size
    self._create_watcher, self._write_report = create_watcher, write_report
    self._speaks = jax.process_index() == 0
    self._writers: list[Any] = []
    self._executor = concurrent.futures.ThreadPoolExecutor(1)
    self._writing: concurrent.futures.Future | None = None
    self.start_clock(resumed_step)  # the step of what is said from here on
    self._reported = -math.inf  # time of the last report
    if self._speaks:
      self._history = workdir.History(directory)
      self._history.append(resumed_step, start=host.describe())
      self._writers += self._tensorboard_writers()
      if create_writer:
        self._writers.append(create_writer(self.say))
    self.go_back(resumed_step)

  def _tensorboard_writers(self) -> list[Any]:
    """One, or none where TensorFlow, which writes the events, is missing."""
    try:
      import tensorflow as tf
      from clu import metric_writers
    except ImportError as e:
      self.say(f'no TensorBoard events: TensorFlow cannot be imported ({e})')
      return []
    tf.config.set_visible_devices([], 'GPU')  # they are JAX's
    shown = errors.printable(shlex.quote(str(self._directory)))
    print(
      f'curves: tensorboard --logdir={shown}, or {shown}/report/index.html',
      flush=True,
    )
    return [metric_writers.create_default_writer(self._directory)]

  def go_back(self, step: int) -> None:
    """Drops the records after a step, from which the run goes on."""
    if self._speaks:
      self._metrics_file = workdir.MetricsFile(self._directory, step)
      self._watcher = self._create_watcher()
      for record in workdir.read_metrics(self._directory):
        self._watcher.update(record)
    self.start_clock(step)

  def say(self, message: str) -> None:
    """Prints a line at once, and keeps it in history.jsonl."""
    if self._speaks:
      print(errors.printable(message), flush=True)
      self._history.append(self._clock_step, said=errors.printable(message))

  def write_parameters(self, params: Mapping) -> None:
    """Prints the size of each network; parameters.txt has every array."""
    if not self._speaks:
      return
    overview = parameter_overview.get_parameter_overview(params)
    files.write_whole(self._directory / 'parameters.txt', overview + '\n')
    for name, tree in params.items():
      count = sum(x.size for x in jax.tree.leaves(tree))
      print(f'{name}: {count:,} parameters', flush=True)

  def start_clock(self, step: int) -> None:
    """Throughput is counted from here on."""
    self._clock_step, self._clock_time = step, time.monotonic()

  @contextlib.contextmanager
  def clock_stopped(self) -> Iterator[None]:
    """Time spent inside does not count against throughput."""
    start = time.monotonic()
    yield
    self._clock_time += time.monotonic() - start

  def write_metrics(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
    """Records the metrics of a finished step, and the speed up to it."""
    values = {key: float(x) for key, x in jax.device_get(metrics).items()}
    if not self._speaks:
      return
    self._metrics_file.append(step, values)
    warnings = self._watcher.update({'step': step, **values})
    seconds = time.monotonic() - self._clock_time
    steps = step - self._clock_step
    self.start_clock(step)

    totals = '  '.join(
      f'{key.removesuffix("_total")} {value:.3f}'
      for key, value in values.items()
      if key.endswith('_total')
    )
    line = f'step {step}/{self._num_train_steps}'
    if steps and seconds:
      values['images_per_s'] = steps / seconds * self._batch_size
      left = (self._num_train_steps - step) * seconds / steps
      line += f'  {values["images_per_s"]:.1f} images/s  {_clock(left)} left'
    values['peak_memory_gb'] = _peak_memory_gb()
    speed = {k: values[k] for k in _OF_THE_CLOCK if k in values}
    self._history.append(step, **speed)
    for writer in self._writers:
      with _failures_in_a_line():
        writer.write_scalars(step, values)
    print(f'{line}  {totals}', flush=True)
    for warning in warnings:
      self.say(warning)
    due = self._reported + _REPORT_SECONDS < time.monotonic()
    if due and (self._writing is None or self._writing.done()):
      self.wait()
      self._writing = self._executor.submit(self._report)

  def write_images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
    """Starts writing `samples/<step>/<name>.png`, and to the other writers.

    Raises:
      OSError: the images before could not be written.
    """
    if not self._speaks:
      return
    self.wait()
    self._writing = self._executor.submit(self._write_pngs, step, grids)
    made = {f'samples/{name}': grid[None] for name, grid in grids.items()}
    for writer in self._writers:  # they have threads of their own
      with _failures_in_a_line():
        writer.write_images(step, made)

  def _report(self) -> None:
    self._write_report()
    self._reported = time.monotonic()

  def _write_pngs(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
    directory = self._directory / 'samples' / str(step)
    directory.mkdir(parents=True, exist_ok=True)
    for name, grid in grids.items():
      images.write_png(directory / f'{name}.png', grid)
    self.say(f'step {step}: samples in {directory}')
    self._report()

  def wait(self) -> None:
    """Waits until images are written; raises OSError as `write_images`."""
    writing, self._writing = self._writing, None
    if writing:
      writing.result()

  def __enter__(self) -> 'Logger':
    """Itself."""
    return self

  def __exit__(self, kind, error, trace) -> None:
    """Closes; history.jsonl tells of an error."""
    if error:
      known = isinstance(error, errors.UserError)
      self.keep_error(str(error) if known else f'{kind.__name__}: {error}')
    self.close()

  def keep_error(self, what: str) -> None:
    """Keeps in history.jsonl what the run ends by."""
    if self._speaks:
      text = errors.printable(f'ended by an error: {what}')
      with contextlib.suppress(OSError):  # the error may be a full disk
        self._history.append(self._clock_step, said=text)

  def close(self) -> None:
    """Waits until everything is written; raises OSError as `write_images`."""
    try:
      self.wait()
      if self._speaks:
        self._report()
    finally:
      for writer in self._writers:
        with _failures_in_a_line():
          writer.close()


@contextlib.contextmanager
def _failures_in_a_line() -> Iterator[None]:
  """Inside, what TensorFlow cannot write is a UserError."""
  try:
    yield
  except Exception as e:
    cause: BaseException = e
    while cause.__cause__:  # clu wraps it, twice
      cause = cause.__cause__
    if not type(cause).__module__.startswith('tensorflow.'):
      raise
    reason = str(cause).partition('\n')[0].rpartition('}} ')[2]
    raise errors.UserError(f'cannot write TensorBoard events: {reason}') from e


def _clock(seconds: float) -> str:
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return (
    f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
  )


def _peak_memory_gb() -> float:
  """Of the first device; of the process where devices do not tell (CPU)."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use'] / 1e9
  return host.peak_memory() / 1e9
