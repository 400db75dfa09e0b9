"""Times the input of training, alone and beside the step that it feeds.

  python -m benchmarks.input_pipeline --config=configs/stargan_v2/afhq.py \\
    --config.data.root=DATA [--config.data.on_device=True] [--steps=N] \\
    [--batches=N]

prints a table and, as the last line of stdout, one JSON object. A slot of a
batch is three images.

  host_images_per_s: read, decoded, augmented and batched by tf.data (where
    TensorFlow is installed), with nothing else to do; also per CPU core
  device_images_per_s: drawn and augmented on the device, from the images that
    lie there (with config.data.on_device)
  waiting: the share of the time of a step that goes to its data: 1 - (time of
    steps on one batch that stays on the device) / (time of as many steps fed as
    in training). With config.data.on_device that is the time drawing takes.
    Both kinds of step take turns within one run; below 0 it is noise.

The first --config.data.on_device run decodes all images into a cache.
"""

import importlib.util
import itertools
import statistics
import sys
import time
from collections.abc import Callable

import jax
import ml_collections
from absl import flags

from benchmarks import common
from jaxgan.data import feeding
from jaxgan.data.contracts import base
from jaxgan.runtime import cli
from jaxgan.systems import config_flag

_CONFIG = config_flag.define('The config to time.')
_STEPS = cli.define_integer(
  'steps', 60, 'Timed steps of each kind; 0 to time the input alone.', 0
)
_BATCHES = cli.define_integer('batches', 100, 'Timed without a step.', 1)
flags.mark_flag_as_required('config')

_IMAGES_A_SLOT = 3
_TURNS = 6
# Untimed before each turn: more than the batches that wait ready, which would
# hide how slowly they come.
_UNTIMED = 2 * feeding.PREFETCHED_BATCHES + 2


def main() -> None:
  """Prints the table and the JSON line."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  common.print_result(*run(_CONFIG.value, _STEPS.value, _BATCHES.value))


def run(
  config: ml_collections.ConfigDict, steps: int, batches: int
) -> tuple[dict[str, str], dict[str, float | None]]:
  """Measures; returns the rows of the table and the results."""
  config.data.check_images = False  # what is timed reads them anyway
  start = time.perf_counter()
  train = common.open_data(config)
  results = {'open_s': time.perf_counter() - start}
  config.update_from_flattened_dict(train.resolved)
  rows = common.describe_machine()
  rows['images'] = common.describe_images(config)
  rows['input'] = (
    f'{config.data.name}, '
    f'{"on the device" if config.data.on_device else "tf.data"}'
  )
  others = common.OtherProcesses()
  results |= _time_host(config, batches)
  if config.data.on_device:
    results |= _time_device(config, train, batches)
  if steps:
    results |= _time_steps(config, train, steps)
  rows['other processes'] = others.describe()
  return rows, results


def _time_host(
  config: ml_collections.ConfigDict, count: int
) -> dict[str, float | None]:
  """tf.data alone."""
  if importlib.util.find_spec('tensorflow') is None:
    return {'host_images_per_s': None, 'host_images_per_s_core': None}
  config = config.copy_and_resolve_references()
  config.data.on_device = False
  train = common.open_data(config)
  batches = train.source.batches()
  next(itertools.islice(batches, _UNTIMED, None))
  start = time.perf_counter()
  next(itertools.islice(batches, count - 1, None))
  seconds = time.perf_counter() - start
  batches.close()
  speed = count * _IMAGES_A_SLOT * config.batch_size / seconds
  return {
    'host_images_per_s': speed,
    'host_images_per_s_core': speed / common.num_cores(),
  }


def _time_device(
  config: ml_collections.ConfigDict,
  train: base.Training,
  count: int,
) -> dict[str, float]:
  """Drawing alone."""
  fed, to_batch = train.source.feed(common.create_mesh(), 0, 1)
  (resident,) = fed
  draw = jax.jit(to_batch)
  steps = [jax.numpy.int32(i) for i in range(count)]
  jax.block_until_ready(draw(resident, steps[0]))
  start = time.perf_counter()
  for step in steps:
    batch = draw(resident, step)
  jax.block_until_ready(batch)
  seconds = time.perf_counter() - start
  speed = count * _IMAGES_A_SLOT * config.batch_size / seconds
  return {'device_images_per_s': speed}


def _time_steps(
  config: ml_collections.ConfigDict,
  train: base.Training,
  steps: int,
) -> dict[str, float]:
  """Steps fed as in training, and steps on one batch, in turns."""
  turn = -(-steps // _TURNS)
  turns = -(-steps // turn)
  count = 1 + turns * (turn + _UNTIMED)
  fed, to_batch = train.source.feed(common.create_mesh(), 0, count)
  first = next(fed)
  batch = jax.jit(to_batch)(first, jax.numpy.int32(0))
  fixed = common.Step(config, batch)
  training = fixed
  if config.data.on_device:
    training = common.Step(config, first, to_batch)
  sides = {
    'fixed': lambda: fixed.dispatch(batch),
    'fed': lambda: training.dispatch(next(fed)),
  }
  waits = {'fixed': fixed.wait, 'fed': training.wait}
  ms = {name: [] for name in sides}
  for _ in range(turns):
    for name, dispatch in sides.items():
      ms[name].append(_time_turn(dispatch, waits[name], turn))
  fixed_ms, fed_ms = (statistics.median(ms[name]) for name in sides)
  return {
    'ms_per_step_fixed': fixed_ms,
    'ms_per_step_fed': fed_ms,
    'waiting': 1 - fixed_ms / fed_ms,
  }


def _time_turn(
  dispatch: Callable[[], None], wait: Callable[[], None], count: int
) -> float:
  """Milliseconds a step; as in training nobody waits for each one."""
  for _ in range(_UNTIMED):
    dispatch()
  wait()
  start = time.perf_counter()
  for _ in range(count):
    dispatch()
  wait()
  return 1e3 * (time.perf_counter() - start) / count


if __name__ == '__main__':
  cli.run(main, sys.argv)
