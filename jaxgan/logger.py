"""What a run tells: progress lines, metrics.jsonl, TensorBoard."""

import concurrent.futures
import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from etils import epath

from jaxgan import collapse, errors, images, workdir


class Logger:
  """Writes on process 0 and is silent on the others.

  Args:
    directory: work directory.
    resumed_step: records after it are dropped.
    num_train_steps: where the run ends.
    batch_size: images per step, of all processes.
    create_watcher: makes what is shown all records, the kept ones first.
  """

  def __init__(
    self,
    directory: epath.Path,
    resumed_step: int,
    num_train_steps: int,
    batch_size: int,
    create_watcher: Callable[[], collapse.Watcher],
  ):
    self._directory = directory
    self._num_train_steps = num_train_steps
    self._batch_size = batch_size
    self._create_watcher = create_watcher
    self._speaks = jax.process_index() == 0
    self._writer = None  # of TensorBoard events
    self._executor = concurrent.futures.ThreadPoolExecutor(1)
    self._writing: concurrent.futures.Future | None = None
    if self._speaks:
      self._writer = self._create_writer()
    self.go_back(resumed_step)

  def _create_writer(self) -> Any:
    """None where TensorFlow, which writes the events, is not installed."""
    try:
      import tensorflow as tf
      from clu import metric_writers
    except ImportError as e:
      self.say(f'no TensorBoard events: TensorFlow cannot be imported ({e})')
      return None
    tf.config.set_visible_devices([], 'GPU')  # they are JAX's
    return metric_writers.create_default_writer(self._directory)

  def go_back(self, step: int) -> None:
    """Drops the records after a step, from which the run goes on."""
    if self._speaks:
      self._metrics_file = workdir.MetricsFile(self._directory, step)
      self._watcher = self._create_watcher()
      for record in workdir.read_metrics(self._directory):
        self._watcher.see(record)
    self.start_clock(step)

  def say(self, message: str) -> None:
    """Prints a line at once."""
    if self._speaks:
      print(message, flush=True)

  def write_parameters(self, params: Mapping) -> None:
    """Prints the size of each network; parameters.txt has every array."""
    if not self._speaks:
      return
    overview = parameter_overview.get_parameter_overview(params)
    (self._directory / 'parameters.txt').write_text(overview + '\n')
    for name, tree in params.items():
      count = sum(x.size for x in jax.tree.leaves(tree))
      self.say(f'{name}: {count:,} parameters')

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
    metrics = {key: float(x) for key, x in jax.device_get(metrics).items()}
    if not self._speaks:
      return
    self._metrics_file.append(step, metrics)
    warnings = self._watcher.see({'step': step, **metrics})
    seconds = time.monotonic() - self._clock_time
    steps = step - self._clock_step
    self.start_clock(step)

    totals = '  '.join(
      f'{key.removesuffix("_total")} {value:.3f}'
      for key, value in metrics.items()
      if key.endswith('_total')
    )
    line = f'step {step}/{self._num_train_steps}'
    if steps and seconds:
      speed = steps / seconds
      metrics['images_per_s'] = speed * self._batch_size
      left = (self._num_train_steps - step) / speed
      line += f'  {metrics["images_per_s"]:.1f} images/s  {_clock(left)} left'
    metrics['peak_memory_gb'] = _peak_memory_gb()
    if self._writer:
      with _failures_in_a_line():
        self._writer.write_scalars(step, metrics)
    self.say(f'{line}  {totals}')
    for warning in warnings:
      self.say(warning)

  def write_images(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
    """Starts writing `samples/<step>/<name>.png`, also to TensorBoard.

    Raises:
      OSError: the images before could not be written.
    """
    if not self._speaks:
      return
    self._wait()
    self._writing = self._executor.submit(self._write_pngs, step, grids)
    if self._writer:  # has a thread of its own
      with _failures_in_a_line():
        self._writer.write_images(
          step, {f'samples/{name}': grid[None] for name, grid in grids.items()}
        )

  def _write_pngs(self, step: int, grids: Mapping[str, np.ndarray]) -> None:
    directory = self._directory / 'samples' / str(step)
    directory.mkdir(parents=True, exist_ok=True)
    for name, grid in grids.items():
      images.write_png(directory / f'{name}.png', grid)
    self.say(f'step {step}: samples in {directory}')

  def _wait(self) -> None:
    writing, self._writing = self._writing, None
    if writing:
      writing.result()

  def close(self) -> None:
    """Waits until everything is written; raises OSError as `write_images`."""
    try:
      self._wait()
    finally:
      if self._writer:
        with _failures_in_a_line():
          self._writer.close()


@contextlib.contextmanager
def _failures_in_a_line() -> Iterator[None]:
  """Inside, what TensorFlow cannot write is a UserError."""
  try:
    yield
  except Exception as e:
    cause = e
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
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
