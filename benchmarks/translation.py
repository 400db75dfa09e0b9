"""Times translation: all networks that it takes, on a batch.

  python -m benchmarks.translation --config=configs/stargan_v2/shapes.py \\
    [--config.batch_size=32] [--config.model.dtype=bfloat16] [--steps=N] \\
    [--warmup=N] [--peer=DIR] [--peer_dtype=bfloat16]

prints a table and, as the last line of stdout, one JSON object. Every source
image of a training batch is translated once, as `translate_batch` of the system
does it. With a reference, each has one of its own: a batch of 32 is 32 style
codes and 32 translations. Where a step has many iterations, each has images in
the batch (--config.hparams.n_critic=1: one). Images are on the device before
the clock starts and stay there.
With --peer, a checkout of the original PyTorch code, its networks do the same,
both sides in turns within one run, in float32 unless --peer_dtype says
otherwise.
"""

import functools
import statistics
import sys
import time
from collections.abc import Mapping

import jax
import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks import common, peers
from jaxgan.runtime import cli, errors
from jaxgan.systems import contract

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The config to time.')
_PEER = flags.DEFINE_string(
  'peer', None, 'Checkout of the original PyTorch code to time as well.'
)
_PEER_DTYPE = flags.DEFINE_enum(
  'peer_dtype', 'float32', ['float32', 'bfloat16'], "Of the original's side."
)
_STEPS = flags.DEFINE_integer(
  'steps', 30, 'Timed batches of each side.', lower_bound=1
)
_WARMUP = flags.DEFINE_integer(
  'warmup', 3, 'Batches of each side before the timed ones.', lower_bound=0
)
flags.mark_flag_as_required('config')


class Ours:
  """Our networks on one batch, compiled."""

  def __init__(
    self, config: ml_collections.ConfigDict, batch: Mapping[str, np.ndarray]
  ):
    """Compiles for batches like this one."""
    system = contract.get_system(config)
    init_fn, static = system.create_training(config)
    draw = jax.jit(lambda key: system.inference_params(init_fn(key)))
    self._arguments = jax.device_put(
      (
        draw(jax.random.key(config.seed)),
        system.create_frozen(config),
        batch,
      )
    )
    start = time.perf_counter()
    translate = jax.jit(functools.partial(system.translate_batch, **static))
    self._compiled = translate.lower(*self._arguments).compile()
    self.compile_s = time.perf_counter() - start

  def step(self) -> None:
    """Translates the batch and waits for it."""
    self.images = jax.block_until_ready(self._compiled(*self._arguments))


def run(
  config: ml_collections.ConfigDict, peer: str | None, steps: int, warmup: int
) -> tuple[dict[str, str], dict[str, float]]:
  """Measures; returns the rows of the table and the results."""
  common.set_num_domains(config)
  batch = contract.get_system(config).example_batch(config)
  rows = common.describe_machine()
  rows['images'] = common.describe_images(config)
  theirs = None
  if peer is not None:
    theirs = peers.create(peer, config, jax.default_backend())
    common.check_same_size(common.count_params(config), theirs.num_params())
    rows['peer'] = theirs.describe(_PEER_DTYPE.value)
  ours = Ours(config, batch)
  sides = {'ours': ours.step}
  if theirs is not None:
    sides['peer'] = theirs.translator(batch, _PEER_DTYPE.value)
  others = common.OtherProcesses()
  times = common.time_in_turns(sides, steps, warmup)
  rows['other processes'] = others.describe()
  if not np.isfinite(ours.images).all():
    raise errors.UserError('NaN in the images: the times would mean nothing')
  rows |= common.describe_times(times)
  ms = {name: statistics.median(values) for name, values in times.items()}
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


def main() -> None:
  """Prints the table and the JSON line."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  if _PEER.value is not None:
    common.make_room_for_torch()
  common.print_result(
    *run(_CONFIG.value, _PEER.value, _STEPS.value, _WARMUP.value)
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
