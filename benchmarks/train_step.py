"""Times the training step on synthetic batches, alone or against the original.

  python -m benchmarks.train_step --config=configs/stargan_v2/shapes.py \\
    [--what=step|translate|start] [--config.model.x=...] [--steps=N] \\
    [--warmup=N] [--precision=P] [--peer=DIR] [--peer_dtype=bfloat16] \\
    [--domains=2,10,100,1000]

prints a table and, as the last line of stdout, the results as JSON. With
--peer, a checkout of the original PyTorch code, both sides take turns within
one run. That evens out slow changes of the machine; other processes still hurt
torch more, so the table says whether there were any. --verbosity=0 logs
progress.

--what=step: where networks are updated by turns, as the generator of StarGAN is
  in every n_critic-th iteration, a step is a whole round of iterations on one
  batch. images_per_s counts the source images of all of them. mfu is the share
  of the device's matrix rate that the step achieves: the operations of the
  algorithm (those of the plain layers of the paper, whatever form ours take),
  over the time of a step, over the rate of one large product of matrices in
  bfloat16 (float32 on a CPU), timed in the same run.
--domains: the step once more for each number of domains, with the heads of all
  domains and with those of the batch alone (config.model.select_heads), in
  turns: a Markdown table of medians.
--what=translate: every source image of a batch is translated once. With a
  reference, each has one of its own: a batch of 32 is 32 style codes and 32
  translations. The original computes in float32 unless --peer_dtype says
  otherwise.
--what=start: seconds since train.py was started, for one step in a process of
  its own, twice, with one compilation cache that is empty at first:
    data: images are found and checked, the first batch and the state are drawn,
      the step is about to be compiled
    compiled: the step is compiled, or read from the cache
    first_step: it has run once
    end: samples are drawn and a checkpoint is written as well
  The second start also finds files in the system's memory that the first had to
  read, and images that config.data.on_device has decoded.
"""

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import flags, logging

from benchmarks import common
from benchmarks import peer as peer_lib
from jaxgan.runtime import cli, errors
from jaxgan.systems import config_flag

Measured = tuple[dict[str, Any], dict[str, float | None]]  # rows, results

_CONFIG = config_flag.define('The config to time.')
_WHAT = flags.DEFINE_enum(
  'what',
  'step',
  ['step', 'translate', 'start'],
  'The training step, translation, or the start of a training.',
)
_DOMAINS = cli.define_names(
  'domains', [], 'Numbers of domains, to time the step with each.'
)
_PEER = cli.define_path(
  'peer', None, 'Checkout of the original PyTorch code to time as well.'
)
_PEER_DTYPE = flags.DEFINE_enum(
  'peer_dtype',
  'float32',
  ['float32', 'bfloat16'],
  "Of the original's side, in translation.",
)
_STEPS = cli.define_integer(
  'steps', 30, 'Timed steps of each side.', lower_bound=1
)
_WARMUP = cli.define_integer(
  'warmup', 3, 'Steps of each side before the timed ones.', lower_bound=0
)
_PRECISION = flags.DEFINE_enum(
  'precision',
  'default',
  ['default', 'tensorfloat32', 'float32'],
  'Of float32 products: `default` is what JAX takes on the device, `float32` '
  'is exact. The original has TF32 in its convolutions on a GPU.',
)
_MATMUL_TFLOPS = flags.DEFINE_string(
  'matmul_tflops',
  'auto',
  "The device's matrix rate in TFLOP/s, for mfu; `auto` times it, 0 leaves mfu "
  'out and saves a compilation.',
)
flags.mark_flag_as_required('config')

_HEADS = {'all heads': False, 'selected': True}  # config.model.select_heads
# What train.py prints when it gets there.
_MARKS = {
  'data': 'compiling the step',
  'compiled': 'compiled in',
  'first_step': 'step 1/1 ',
}


def main() -> None:
  """Prints the table and the JSON line."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  if _PRECISION.value != 'default':
    jax.config.update('jax_default_matmul_precision', _PRECISION.value)
  if _PEER.value is not None:
    common.make_room_for_torch()
  config, peer = _CONFIG.value, _PEER.value
  if peer is not None and (_DOMAINS.value or _WHAT.value == 'start'):
    raise errors.UsageError('--peer has a step and a translation alone')
  if _WHAT.value == 'start':
    common.print_result(*time_start(config))
  elif _WHAT.value == 'translate':
    common.print_result(*time_translation(config, peer))
  elif _DOMAINS.value:
    common.print_records(time_domains(config, _parse_counts()))
  else:
    rate = _parse_rate(_MATMUL_TFLOPS.value)
    common.print_result(*time_step(config, peer, rate))


def time_step(
  config: ml_collections.ConfigDict, peer: str | None, rate: float | None
) -> Measured:
  """The training step; `rate` is that of matrices, None to time it."""
  rows, theirs = _prepare(config, peer, 'float32')
  batch = common.example_batch(config)
  logging.info('compiling')
  ours = common.Step(config, batch)
  sides = {'ours': ours.step}
  if theirs is not None:
    sides['peer'] = functools.partial(theirs.step, theirs.load_batch(batch))
  ms = _time_sides(sides, rows)
  _check_finite(ours.metrics)
  num_images = ours.iterations * common.num_images(batch)
  peak_memory_gb, rows['peak memory from'] = ours.peak_memory()
  results = {
    'ms_per_step': ms['ours'],
    'images_per_s': 1e3 * num_images / ms['ours'],
    'compile_s': ours.compile_s,
    'peak_memory_gb': peak_memory_gb,
    'gflop_per_step': ours.gflop(),
  }
  if rate is None or rate > 0:
    rows['matrix rate from'], used = _matrix_rate(config, ms['ours'], rate)
    results |= used
  if theirs is not None:
    results['peer_ms_per_step'] = ms['peer']
    results['speedup'] = ms['peer'] / ms['ours']
  return rows, results


def time_translation(
  config: ml_collections.ConfigDict, peer: str | None
) -> Measured:
  """All networks that a translation takes, on a batch."""
  rows, theirs = _prepare(config, peer, _PEER_DTYPE.value)
  batch = common.example_batch(config)
  ours = common.Translation(config, batch)
  sides = {'ours': ours.step}
  if theirs is not None:
    sides['peer'] = theirs.translator(batch, _PEER_DTYPE.value)
  ms = _time_sides(sides, rows)
  _check_finite({'images': ours.images})
  results = {
    'ms_per_batch': ms['ours'],
    'images_per_s': 1e3 * len(ours.images) / ms['ours'],
    'compile_s': ours.compile_s,
  }
  if theirs is not None:
    results['peer_ms_per_batch'] = ms['peer']
    results['peer_images_per_s'] = 1e3 * len(ours.images) / ms['peer']
    results['speedup'] = ms['peer'] / ms['ours']
  return rows, results


def _prepare(
  config: ml_collections.ConfigDict, peer: str | None, peer_dtype: str
) -> tuple[dict[str, Any], peer_lib.Peer | None]:
  """Rows that tell what is timed, and the original to be timed beside it.

  Before anything is compiled: this finds what is wrong with the flags.
  """
  common.set_num_domains(config)
  counts = common.count_params(config)
  rows = common.describe_machine()
  rows['images'] = common.describe_images(config)
  rows['precision'] = _PRECISION.value
  rows |= {f'parameters {name}': f'{n:,}' for name, n in counts.items()}
  if peer is None:
    return rows, None
  theirs = peer_lib.create(peer, config, jax.default_backend())
  common.check_same_size(counts, theirs.num_params())
  for name, count in theirs.num_params().items():
    rows[f'parameters {name}'] += f', peer {count:,}'
  rows['peer'] = theirs.describe(peer_dtype)
  return rows, theirs


def _time_sides(
  sides: Mapping[str, Callable[[], None]], rows: dict[str, Any]
) -> dict[str, float]:
  """The median ms of each side; `rows` gets what else there is to tell."""
  others = common.OtherProcesses()
  times = common.time_in_turns(sides, _STEPS.value, _WARMUP.value)
  rows['other processes'] = others.describe()
  rows |= common.describe_times(times)
  return {name: statistics.median(values) for name, values in times.items()}


def _check_finite(values: Mapping[str, jax.Array]) -> None:
  for name, value in values.items():
    if not np.isfinite(value).all():
      raise errors.UserError(f'NaN or infinite {name}: the times mean nothing')


def _matrix_rate(
  config: ml_collections.ConfigDict, ms_per_step: float, given: float | None
) -> tuple[str, dict[str, float | None]]:
  """Where the rate is from; the rate, and what share of it the step had."""
  rate, source = (given, 'given') if given else common.matmul_tflops()
  flops = common.plain_flops(config)
  mfu = flops and flops / (1e9 * ms_per_step * rate)
  return source, {
    'gflop_of_algorithm': flops and flops / 1e9,
    'matmul_tflops': rate,
    'mfu': mfu,
  }


def _parse_rate(text: str) -> float | None:
  if text == 'auto':
    return None
  try:
    rate = float(text)
  except ValueError:
    rate = -1
  if not 0 <= rate < float('inf'):
    raise errors.UsageError(
      f'--matmul_tflops={text} is neither a rate in TFLOP/s nor "auto"'
    )
  return rate


def time_domains(
  config: ml_collections.ConfigDict, counts: list[int]
) -> Iterator[dict[str, Any]]:
  """A record of the step for each number of domains."""
  if 'select_heads' not in config.model:
    raise errors.UserError('--domains is for a system with heads, stargan_v2')
  rows = common.describe_machine()
  print(*(f'{name}: {value}' for name, value in rows.items()), sep='\n')
  for count in counts:
    config.model.num_domains = count
    sizes = common.count_params(config)
    sides = {}
    for name, select in _HEADS.items():
      config.model.select_heads = select
      sides[name] = common.Step(config, common.example_batch(config)).step
    ms = _time_sides(sides, rows)
    yield {
      'domains': count,
      'parameters': sum(sizes.values()),
      **{f'{name} ms': round(value, 3) for name, value in ms.items()},
      'other processes': rows['other processes'],
    }


def _parse_counts() -> list[int]:
  counts = [int(text) if text.isdigit() else 0 for text in _DOMAINS.value]
  if not all(counts):
    raise errors.UsageError(
      f'--domains={",".join(_DOMAINS.value)} are not numbers of domains'
    )
  return counts


def time_start(config: ml_collections.ConfigDict) -> Measured:
  """The start of train.py, with a cold and a warm compilation cache."""
  others, results = common.OtherProcesses(), {}
  with tempfile.TemporaryDirectory() as directory:
    for name in ('cold', 'warm'):
      seconds = _start(directory, name)
      results |= {f'{key}_{name}_s': value for key, value in seconds.items()}
  rows = {
    'config': f'{config.data.name}, batch {config.batch_size}, '
    f'{config.data.img_size} px, {config.model.dtype}',
    'other processes': others.describe(),
  }
  return rows, results


def _start(directory: str, name: str) -> dict[str, float]:
  """Seconds from the start of the process to what it prints, and to its end."""
  command = common.script_command(
    'train.py',
    f'{directory}/{name}',
    {'num_train_steps': 1, 'log_every_steps': 1},
    f'--compilation_cache={directory}/compilation_cache',
  )
  seconds, line = {}, 'no output'
  start = time.perf_counter()
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  ) as process:
    for line in process.stdout:
      for mark, text in _MARKS.items():
        if line.startswith(text):
          seconds[mark] = time.perf_counter() - start
  seconds['end'] = time.perf_counter() - start
  if process.returncode:
    last = line.strip().removeprefix('error: ')
    raise errors.UserError(f'train.py, status {process.returncode}: {last}')
  if missing := _MARKS.keys() - seconds:
    raise errors.UserError(
      f'train.py has not printed {_MARKS[min(missing)]!r}: this program does '
      'not fit to it'
    )
  return seconds


if __name__ == '__main__':
  cli.run(main, sys.argv)
