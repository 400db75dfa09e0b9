"""Times the training step on synthetic batches, alone or against the original.

  python -m benchmarks.train_step --config=configs/stargan_v2/shapes.py \\
    [--config.model.x=...] [--steps=N] [--warmup=N] [--precision=P] [--peer=DIR]

prints a table and, as the last line of stdout, one JSON object. With --peer, a
checkout of the original PyTorch code, both sides take turns within one run.
That evens out slow changes of the machine; other processes still hurt torch
more, so the table says whether there were any. --verbosity=0 logs progress.

images_per_s counts the source images of a step, of each data set: a slot has
one, or where a step is many iterations one for each of them.

mfu is the share of the device's matrix rate that the step achieves: the
operations of the algorithm (those of the plain layers of the paper, whatever
form ours take), over the time of a step, over the rate of one large product of
matrices in bfloat16 (float32 on a CPU), timed in the same run.
"""

import functools
import statistics
import sys

import jax
import ml_collections
import numpy as np
from absl import flags, logging
from ml_collections import config_flags

from benchmarks import common, peers
from jaxgan.runtime import cli, errors
from jaxgan.systems import contract

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


def run(
  config: ml_collections.ConfigDict,
  peer: str | None,
  steps: int,
  warmup: int,
  matmul_tflops: float | None,
) -> tuple[dict[str, str], dict[str, float | None]]:
  """Measures; returns the rows of the table and the results."""
  common.set_num_domains(config)
  batch = contract.get_system(config).example_batch(config)
  rows = common.describe_machine()
  rows['images'] = common.describe_images(config)
  rows['precision'] = _PRECISION.value
  # Both before anything is compiled: they find what is wrong with the flags.
  counts = common.count_params(config)
  rows |= {f'parameters {name}': f'{n:,}' for name, n in counts.items()}
  theirs = None
  if peer is not None:
    theirs = peers.create(peer, config, jax.default_backend())
    common.check_same_size(counts, theirs.num_params())
    for name, count in theirs.num_params().items():
      rows[f'parameters {name}'] += f', peer {count:,}'
    rows['peer'] = theirs.describe()

  logging.info('compiling')
  ours = common.Ours(config, batch)
  sides = {'ours': ours.step}
  if theirs is not None:
    sides['peer'] = functools.partial(theirs.step, theirs.load_batch(batch))

  others = common.OtherProcesses()
  times = common.time_in_turns(sides, steps, warmup)
  rows['other processes'] = others.describe()
  for name, value in ours.metrics.items():
    if not np.isfinite(value):
      raise errors.UserError(f'{name} is {value}: the times would mean nothing')

  peak_memory_gb, source = ours.peak_memory()
  rows['peak memory from'] = source
  rows |= common.describe_times(times)
  ms_per_step = statistics.median(times['ours'])
  results = {
    'ms_per_step': ms_per_step,
    'images_per_s': 1e3 * common.num_images(batch) / ms_per_step,
    'compile_s': ours.compile_s,
    'peak_memory_gb': peak_memory_gb,
    'gflop_per_step': ours.gflop(),
  }
  if matmul_tflops is None or matmul_tflops > 0:
    source, used = _matrix_rate(config, ms_per_step, matmul_tflops)
    rows['matrix rate from'] = source
    results |= used
  if theirs is not None:
    results['peer_ms_per_step'] = statistics.median(times['peer'])
    results['speedup'] = results['peer_ms_per_step'] / ms_per_step
  return rows, results


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


def main() -> None:
  """Prints the table and the JSON line."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  if _PRECISION.value != 'default':
    jax.config.update('jax_default_matmul_precision', _PRECISION.value)
  matmul_tflops = _parse_rate(_MATMUL_TFLOPS.value)
  if _PEER.value is not None:
    common.make_room_for_torch()
  common.print_result(
    *run(_CONFIG.value, _PEER.value, _STEPS.value, _WARMUP.value, matmul_tflops)
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
