"""What one more device costs: traffic, time and checkpoints.

  python -m benchmarks.growth --config=configs/stargan_v2/shapes.py \\
    [--devices=1,2,4,8] [--measure=traffic,time,checkpoint] [--steps=20] \\
    [--config.x=...]

prints a Markdown table, a row for each number of virtual CPU devices with the
state replicated and divided (config.shard_state), each measured in a process of
its own, and the rows as a last line of JSON.

  traffic: bytes that the collective operations of the compiled step give to one
    device, and how many operations there are; read in the program XLA makes for
    that many devices, which is not run
  time: ms of a step, the median, of the config's batch divided among the
    devices (strong) and of so much for each device as the most of --devices
    would have of it (weak). Virtual devices share the CPU cores: with the work
    the same, what grows is what dividing it costs, and nothing gets faster
  checkpoint: its size, and the seconds to write it (with its sums) and to read
    it back

Traffic at sizes too large to run here: --measure=traffic compiles alone.
"""

import functools
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
from absl import flags
from ml_collections import config_flags

from benchmarks import common
from jaxgan.runs import checkpoint
from jaxgan.runtime import cli, errors, host, sharding
from jaxgan.systems import contract

Tree = Any

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train.')
_DEVICES = flags.DEFINE_list(
  'devices', ['1', '2', '4', '8'], 'Numbers of them.'
)
_MEASURE = flags.DEFINE_list(
  'measure', ['traffic', 'time', 'checkpoint'], 'What to measure.'
)
_STEPS = flags.DEFINE_integer('steps', 20, 'Timed steps.', 1)
_ONE = flags.DEFINE_string(
  'one', '', 'devices,most,divided that this process measures; set by itself.'
)
flags.mark_flag_as_required('config')

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_WARMUP = 2
_COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)


def main() -> None:
  """Prints the table; or measures one row of it."""
  config = _CONFIG.value
  common.set_num_domains(config)
  unknown = set(_MEASURE.value) - {'traffic', 'time', 'checkpoint'}
  if unknown or not _MEASURE.value:
    raise errors.UsageError(
      f'--measure={",".join(_MEASURE.value)}: traffic, time and checkpoint'
    )
  if _ONE.value:
    most, divided = map(int, _ONE.value.split(','))
    config.shard_state = bool(divided)
    print(json.dumps(measure(config, most, _MEASURE.value)))
  else:
    common.print_records(_measure_all(config))


def _measure_all(
  config: ml_collections.ConfigDict,
) -> Iterator[dict[str, Any]]:
  """A record for each number of devices and way to keep the state."""
  if not all(count.isdigit() and int(count) for count in _DEVICES.value):
    raise errors.UsageError(f'--devices={",".join(_DEVICES.value)}')
  counts = list(map(int, _DEVICES.value))
  for count in counts:
    if config.batch_size % count or max(counts) % count:
      raise errors.UsageError(
        f'--devices names {count}, which does not divide batch_size '
        f'{config.batch_size} and the most of them'
      )
  for count in counts:
    for divided in range(1 + (count > 1)):
      yield _measure_elsewhere(count, f'{max(counts)},{divided}')


def _measure_elsewhere(count: int, what: str) -> dict[str, Any]:
  """`measure` in a process with so many devices."""
  command = (
    *(sys.executable, '-m', 'benchmarks.growth', *sys.argv[1:]),
    f'--one={what}',
  )
  done = subprocess.run(
    command,
    cwd=_ROOT,
    env={
      **os.environ,
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(count),
    },
    stdout=subprocess.PIPE,
    text=True,
  )
  if done.returncode:
    raise errors.UserError(f'{count} devices: see above')
  return json.loads(done.stdout.splitlines()[-1])


def measure(
  config: ml_collections.ConfigDict, most: int, what: list[str]
) -> dict[str, Any]:
  """The record of all devices of this process; sizes in MB, 10^6 bytes."""
  count = jax.device_count()
  host.keep_freed_memory()  # as the training loop does
  record = {
    'devices': count,
    'state': 'divided' if config.shard_state else 'replicated',
    'batch': config.batch_size,
    'px': config.data.img_size,
    'state MB a device': round(_state_bytes(config) / 1e6, 4),
  }
  if 'traffic' in what:
    options = None if 'time' in what else common.NOT_TO_BE_RUN
    record |= describe_traffic(_Step(config).compile(options).as_text())
  if 'time' in what:
    record['ms strong'] = round(_Step(config).time(_STEPS.value), 1)
    weak = config.copy_and_resolve_references()
    weak.batch_size = config.batch_size // most * count
    record['ms weak'] = round(_Step(weak).time(_STEPS.value), 1)
  if 'checkpoint' in what:
    record |= _time_checkpoint(config)
  return record


class _Step:
  """The training step on all devices, as the loop compiles it."""

  def __init__(self, config: ml_collections.ConfigDict):
    self._config = config
    system = contract.get_system(config)
    self._init_fn, static = system.create_training(config)
    self._mesh = sharding.create_mesh(config.batch_size)
    self._key = jax.random.key(config.seed)
    shapes = jax.eval_shape(self._init_fn, self._key)
    self.shardings = sharding.state_shardings(
      shapes, self._mesh, divided=config.shard_state
    )
    everywhere = sharding.replicated(self._mesh)
    self._fn = jax.jit(
      functools.partial(system.train_step, **static),
      donate_argnames=('state',),
      out_shardings=(self.shardings, everywhere),
    )
    self.shapes = sharding.abstract(shapes, self.shardings)
    self._frozen = system.create_frozen(config)
    self._arguments = (
      self.shapes,
      common.abstract(self._frozen, everywhere),
      common.abstract(
        common.batch_shapes(config), sharding.batch_sharding(self._mesh)
      ),
      common.abstract(jax.eval_shape(lambda: self._key), everywhere),
    )

  def compile(self, options: dict[str, Any] | None) -> jax.stages.Compiled:
    """Allocates nothing."""
    return self._fn.lower(*self._arguments).compile(options)

  def create_state(self) -> Tree:
    """A fresh one, on the devices."""
    return jax.jit(self._init_fn, out_shardings=self.shardings)(self._key)

  def time(self, steps: int) -> float:
    """Milliseconds of a step, the median."""
    compiled, state = self.compile(None), self.create_state()
    frozen, rng = sharding.replicate((self._frozen, self._key), self._mesh)
    batch = contract.get_system(self._config).example_batch(self._config)
    batch = jax.device_put(batch, sharding.batch_sharding(self._mesh))
    ms = []
    for _ in range(_WARMUP + steps):
      start = time.perf_counter()
      state, _ = compiled(state, frozen, batch, rng)
      jax.block_until_ready(state)
      ms.append(1e3 * (time.perf_counter() - start))
    return statistics.median(ms[_WARMUP:])


def _state_bytes(config: ml_collections.ConfigDict) -> int:
  """Of one device."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(_Step(config).shapes)
  )


def describe_traffic(program: str) -> dict[str, Any]:
  """Columns for the collective operations of a compiled program.

  Bytes are of what an operation gives to one device. It is each counted once:
  a loop (config.micro_batches) would repeat it.
  """
  counts, sizes = dict.fromkeys(_COLLECTIVES, 0), dict.fromkeys(_COLLECTIVES, 0)
  pattern = rf' = (.*?) ({"|".join(_COLLECTIVES)})\('
  for shapes, name in re.findall(pattern, program):
    counts[name] += 1
    sizes[name] += sum(
      _ITEM_SIZES[dtype] * math.prod(map(int, filter(None, dims.split(','))))
      for dtype, dims in re.findall(r'(\w+)\[([\d,]*)\]', shapes)
    )
  columns = {}
  for name in _COLLECTIVES:
    columns[f'{name} MB'] = round(sizes[name] / 1e6, 4)
    columns[f'{name}s'] = counts[name]
  return columns


_ITEM_SIZES = {
  **dict.fromkeys(('pred', 's8', 'u8'), 1),
  **dict.fromkeys(('bf16', 'f16', 's16', 'u16'), 2),
  **dict.fromkeys(('f32', 's32', 'u32'), 4),
  **dict.fromkeys(('f64', 's64', 'u64'), 8),
}


def _time_checkpoint(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Writes and reads a fresh state."""
  step = _Step(config)
  state = jax.block_until_ready(step.create_state())
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory) / 'checkpoints'
    start = time.perf_counter()
    checkpointer = checkpoint.Checkpointer(root)
    checkpointer.save(1, state, {})
    checkpointer.close()
    saved = time.perf_counter()
    size = sum(p.stat().st_size for p in root.rglob('*') if p.is_file())
    del state
    reading = time.perf_counter()
    checkpointer = checkpoint.Checkpointer(root, read_only=True)
    jax.block_until_ready(checkpointer.restore(step.shapes))
    checkpointer.close()
    return {
      'checkpoint MB': round(size / 1e6, 2),
      'write s': round(saved - start, 2),
      'read s': round(time.perf_counter() - reading, 2),
    }


if __name__ == '__main__':
  cli.run(main, sys.argv)
