"""Times the training step on synthetic batches, alone or against the original.

  python -m benchmarks.train_step --config=configs/stargan_v2/shapes.py \\
    [--config.model.x=...] [--steps=N] [--warmup=N] [--peer=DIR]

prints a table and, as the last line of stdout, one JSON object. With --peer, a
checkout of the original PyTorch code, both sides take turns within one run.
That evens out slow changes of the machine; other processes still hurt torch
more, so the table says whether there were any. --verbosity=0 logs progress.
"""

import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from benchmarks import peer as peer_lib
from jaxgan import cli, errors, systems

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The config to time.')
_PEER = flags.DEFINE_string(
  'peer', None, 'Checkout of the original PyTorch code to time as well.'
)
_STEPS = flags.DEFINE_integer(
  'steps', 30, 'Timed steps of each side.', lower_bound=1
)
_WARMUP = flags.DEFINE_integer(
  'warmup', 3, 'Steps of each side before the timed ones.', lower_bound=0
)
flags.mark_flag_as_required('config')

_TURNS = 6  # how often the sides alternate, if there are that many steps
_SHAPES_DOMAINS = 3


class Ours:
  """Our training step, compiled for one device."""

  def __init__(
    self, config: ml_collections.ConfigDict, batch: Mapping[str, np.ndarray]
  ):
    """Builds the state and compiles the step for batches like this one."""
    system = systems.get_system(config)
    init_fn, static = system.create_training(config)
    frozen = system.create_frozen(config)
    self._state = jax.jit(init_fn)(jax.random.key(config.seed))
    self._constants = jax.device_put(
      (frozen, dict(batch), jax.random.key(config.seed + 1))
    )
    train_step = functools.partial(system.train_step, **static)
    start = time.perf_counter()
    self._compiled = (
      jax.jit(train_step, donate_argnames=('state',))
      .lower(self._state, *self._constants)
      .compile()
    )
    self.compile_s = time.perf_counter() - start

  def step(self) -> None:
    """Runs one step and waits for its end."""
    self._state, self.metrics = jax.block_until_ready(
      self._compiled(self._state, *self._constants)
    )

  def gflop(self) -> float | None:
    """Billions of operations in a step, as XLA counts them."""
    cost = self._compiled.cost_analysis()
    flops = cost.get('flops') if cost else None
    return flops / 1e9 if flops and flops > 0 else None

  def peak_memory(self) -> tuple[float | None, str]:
    """Gigabytes, and where the number comes from."""
    # The CPU keeps no such record, and the size of the process counts torch.
    stats = jax.devices()[0].memory_stats() or {}
    if 'peak_bytes_in_use' in stats:
      return stats['peak_bytes_in_use'] / 1e9, 'measured on the device'
    plan = self._compiled.memory_analysis()
    if plan is None:
      return None, 'not known here'
    size = (
      plan.argument_size_in_bytes
      + plan.temp_size_in_bytes
      + plan.output_size_in_bytes
      - plan.alias_size_in_bytes
    )
    return size / 1e9, "XLA's plan: arguments, temporaries, new outputs"


class _BusyOthers:
  """How much CPU the rest of the machine used since this was made.

  Threads that wait for one another by spinning, as torch's do, lose far more
  than the share that is taken from them: such times compare nothing.
  """

  _STAT = pathlib.Path('/proc/stat')
  _MOST = 0.1  # cores

  def __init__(self):
    self._start = self._clocks()

  def _clocks(self) -> np.ndarray:
    """Seconds: on the wall, used by this process, used by all."""
    used = np.nan  # where there is no /proc
    if self._STAT.exists():
      # user, nice, system, idle, iowait, irq, softirq, steal
      fields = [int(x) for x in self._STAT.read_text().split()[1:9]]
      used = (sum(fields) - fields[3] - fields[4]) / os.sysconf('SC_CLK_TCK')
    return np.array([time.monotonic(), time.process_time(), used])

  def describe(self) -> str:
    """The mean number of cores the others kept busy, with a warning."""
    wall, own, used = self._clocks() - self._start
    if np.isnan(used):
      return 'not known here'
    cores = max(0.0, (used - own) / wall)
    if cores <= self._MOST:
      return f'quiet, {cores:.2f} cores'
    logging.warning('other processes kept %.2f cores busy', cores)
    return f'NOT QUIET, {cores:.2f} cores: measure again'


def set_num_domains(config: ml_collections.ConfigDict) -> None:
  """Fills in a number of domains that a training run takes from the data."""
  if config.model.num_domains:
    return
  if config.data.name != 'shapes':
    raise errors.UserError(
      'the number of domains comes from the data, and a benchmark reads none: '
      'add --config.model.num_domains=K'
    )
  config.model.num_domains = _SHAPES_DOMAINS


def count_params(config: ml_collections.ConfigDict) -> dict[str, int]:
  """The number of parameters of each network, without building one."""
  init_fn, _ = systems.get_system(config).create_training(config)
  state = jax.eval_shape(init_fn, jax.random.key(0))
  return {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in state.params.items()
  }


def create_batch(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
  """A batch of noise that meets the batch contract."""
  rng = np.random.default_rng(config.seed)
  size = config.data.img_size
  shape = (config.batch_size, size, size, 3)
  batch = {}
  for name in ('x_src', 'x_ref', 'x_ref2'):
    batch[name] = rng.uniform(-1, 1, shape).astype(np.float32)
  for name in ('y_src', 'y_ref'):
    batch[name] = rng.integers(
      config.model.num_domains, size=config.batch_size, dtype=np.int32
    )
  return batch


def time_in_turns(
  sides: Mapping[str, Callable[[], None]], steps: int, warmup: int
) -> dict[str, list[float]]:
  """Milliseconds of each timed step of each side; the sides alternate."""
  for name, step in sides.items():
    logging.info('warming up: %s', name)
    for _ in range(warmup):
      step()
  times = {name: [] for name in sides}
  turn = max(1, steps // _TURNS)
  for done in range(0, steps, turn):
    for name, step in sides.items():
      for _ in range(min(turn, steps - done)):
        start = time.perf_counter()
        step()
        times[name].append(1e3 * (time.perf_counter() - start))
    logging.info('%d of %d steps a side', min(done + turn, steps), steps)
  return times


def run(
  config: ml_collections.ConfigDict, peer: str | None, steps: int, warmup: int
) -> tuple[dict[str, str], dict[str, float | None]]:
  """Measures; returns the rows of the table and the results."""
  set_num_domains(config)
  batch = create_batch(config)
  device, threads = jax.devices()[0], len(os.sched_getaffinity(0))
  rows = {
    'device': f'{device.device_kind}, {threads} CPU cores',
    'jax': jax.__version__,
    'images': f'{config.batch_size} of {config.data.img_size} px, '
    f'{config.model.num_domains} domains, {config.model.dtype}',
  }
  # Both before anything is compiled: they find what is wrong with the flags.
  counts = count_params(config)
  rows |= {f'parameters {name}': f'{n:,}' for name, n in counts.items()}
  theirs = None
  if peer is not None:
    theirs = peer_lib.Peer(peer, config, jax.default_backend())
    _check_same_size(counts, theirs.num_params())
    for name, count in theirs.num_params().items():
      rows[f'parameters {name}'] += f', peer {count:,}'
    rows['peer'] = (
      f'torch {theirs.version} on {theirs.device}, '
      f'{theirs.num_threads} threads, float32'
    )

  logging.info('compiling')
  ours = Ours(config, batch)
  sides = {'ours': ours.step}
  if theirs is not None:
    sides['peer'] = functools.partial(theirs.step, theirs.load_batch(batch))

  others = _BusyOthers()
  times = time_in_turns(sides, steps, warmup)
  rows['other processes'] = others.describe()
  for name, value in ours.metrics.items():
    if not np.isfinite(value):
      raise errors.UserError(f'{name} is {value}: the times would mean nothing')

  peak_memory_gb, source = ours.peak_memory()
  rows['peak memory from'] = source
  for name, values in times.items():
    rows[f'ms {name}, {steps} steps'] = (
      f'fastest {min(values):.1f}, median {statistics.median(values):.1f}, '
      f'slowest {max(values):.1f}'
    )
  ms_per_step = statistics.median(times['ours'])
  results = {
    'ms_per_step': ms_per_step,
    'images_per_s': 1e3 * config.batch_size / ms_per_step,
    'compile_s': ours.compile_s,
    'peak_memory_gb': peak_memory_gb,
    'gflop_per_step': ours.gflop(),
  }
  if theirs is not None:
    results['peer_ms_per_step'] = statistics.median(times['peer'])
    results['speedup'] = results['peer_ms_per_step'] / ms_per_step
  return rows, results


def _check_same_size(ours: Mapping[str, int], theirs: Mapping[str, int]):
  for name, count in ours.items():
    if count != theirs[name]:
      raise errors.UserError(
        f'--peer: not the same {name}: {count:,} parameters here, '
        f'{theirs[name]:,} there'
      )


def _print_table(rows: Mapping[str, Any]):
  width = max(map(len, rows))
  for name, value in rows.items():
    print(f'{name:<{width}}  {value}')


def main() -> None:
  """Prints the table and the JSON line."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  if _PEER.value is not None:
    # Else JAX takes most of a GPU's memory and leaves torch too little.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  rows, results = run(_CONFIG.value, _PEER.value, _STEPS.value, _WARMUP.value)
  rounded = {k: v if v is None else round(v, 4) for k, v in results.items()}
  _print_table({**rows, **rounded})
  print(json.dumps(rounded))


if __name__ == '__main__':
  cli.run(main, sys.argv)
