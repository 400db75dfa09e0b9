"""The memory of the compiled step, found without running it.

  python -m benchmarks.memory --config=configs/stargan_v2/afhq.py \\
    --config.model.num_domains=3 [--sizes=256] [--batch_sizes=8,32] \\
    [--dtypes=bfloat16] [--remat=False,True] [--what=step|translate] \\
    [--target=tpu:v5e:2x2]

prints a Markdown table, a row for each combination, and, as the last line of
stdout, the rows as one line of JSON. A row is XLA's plan for one device:
arguments (the state and the batch), outputs that do not take the place of an
argument, temporaries, and their sum, the peak. Nothing is allocated. What does
not fit, or does not compile, says so in its row.

--target compiles for a device that need not be there:
  tpu:<topology>  needs the package libtpu, e.g. tpu:v5e:2x2
  cuda:<file>     needs jax[cuda12] or jax[cuda13]; the file describes the GPU,
                  the text of XLA's GpuTargetConfigProto. What cuDNN and
                  autotuning would add is not in the plan.
Where config.model.resample is `auto`, both compile what that is on a GPU.
"""

import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import jax
import ml_collections
from absl import flags, logging
from jax.experimental import topologies

from benchmarks import common
from jaxgan.runtime import cli, errors
from jaxgan.systems import config_flag

_CONFIG = config_flag.define('Path of a config.')
_TARGET = flags.DEFINE_string(
  'target', 'local', 'local, tpu:<topology>, or cuda:<file>; see above.'
)
_WHAT = flags.DEFINE_enum(
  'what', 'step', ['step', 'translate'], 'The training step, or translation.'
)
_SIZES = cli.define_names('sizes', None, 'Image sizes; default the config.')
_BATCH_SIZES = cli.define_names('batch_sizes', None, 'Likewise.')
_DTYPES = cli.define_names('dtypes', None, 'Of computation, likewise.')
_REMAT = cli.define_names('remat', None, 'True, False, or both; likewise.')
flags.mark_flag_as_required('config')

_BOOLS = {'true': True, 'false': False}


def main() -> None:
  """Compiles, and prints a row each time."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  config = _CONFIG.value
  common.set_num_domains(config)
  common.print_records(measure(config, _TARGET.value, _WHAT.value))


def measure(
  config: ml_collections.ConfigDict, target: str, what: str
) -> Iterator[dict[str, Any]]:
  """A record of each combination of the flags."""
  sharding = create_sharding(target)
  # `auto` looks at the backend that traces, here the CPU.
  backend = jax.default_backend() if target == 'local' else 'gpu'
  for overrides in _combinations(config):
    with mock.patch.object(jax, 'default_backend', lambda: backend):
      record = measure_one(config, overrides, sharding, what)
    yield record


def measure_one(
  config: ml_collections.ConfigDict,
  overrides: Mapping[str, Any],
  sharding: jax.sharding.Sharding,
  what: str,
) -> dict[str, Any]:
  """The record of one combination; sizes in GB, 10^9 bytes."""
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(overrides)
  record = {
    'px': config.data.img_size,
    'batch': config.batch_size,
    'dtype': config.model.dtype,
    'remat': config.model.get('remat'),
    'arguments GB': None,
    'outputs GB': None,
    'temporaries GB': None,
    'peak GB': None,
    'TFLOP': None,
    'compile s': None,
    'note': '',
  }
  logging.info('compiling %s', dict(overrides))
  lower = {
    'step': common.lower_step,
    'translate': common.lower_translation,
  }[what]
  start = time.perf_counter()
  try:
    compiled = lower(config, sharding).compile()
  except jax.errors.JaxRuntimeError as e:
    return {**record, 'note': _reason(e)}
  record['compile s'] = round(time.perf_counter() - start, 1)
  flops = common.count_flops(compiled)
  record['TFLOP'] = flops and _shortened(flops / 1e12)
  plan = common.planned_memory(compiled)
  if plan is None:
    return {**record, 'note': 'the backend gives no plan'}
  for name, size in {**plan._asdict(), 'peak': plan.peak}.items():
    record[f'{name} GB'] = _shortened(size / 1e9)
  return record


def create_sharding(target: str) -> jax.sharding.Sharding:
  """The placement on one device of the target.

  Raises:
    UserError: there is no such target here.
  """
  kind, _, rest = target.partition(':')
  try:
    if target == 'local':
      device = jax.devices()[0]
    elif kind == 'tpu' and rest:
      device = _tpu_topology(rest).devices[0]
    elif kind == 'cuda' and rest:
      device = _cuda_topology(rest).devices[0]
    else:
      raise errors.UserError(
        f'--target={target} is none of local, tpu:<topology>, cuda:<file>'
      )
  except (RuntimeError, ValueError, TypeError) as e:  # JAX has all of them
    raise errors.UserError(
      f'--target={target} cannot be compiled for here: {_reason(e)}'
    ) from e
  return jax.sharding.SingleDeviceSharding(device)


def _tpu_topology(name: str) -> Any:
  return topologies.get_topology_desc(platform='tpu', topology_name=name)


def _cuda_topology(path: str) -> Any:
  # Read by the plugin and by XLA, which look for a GPU otherwise.
  os.environ.setdefault('JAX_SKIP_CUDA_CONSTRAINTS_CHECK', '1')
  level = '--xla_gpu_autotune_level=0'
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {level}'
  jax.devices()  # loads the plugins
  return topologies.get_topology_desc(
    'gpu',
    platform='cuda',
    target_config=pathlib.Path(path).read_text(),
    topology='1x1x1',
  )


def _combinations(
  config: ml_collections.ConfigDict,
) -> Iterator[dict[str, Any]]:
  sizes = _parse(_SIZES, int, config.data.img_size)
  batch_sizes = _parse(_BATCH_SIZES, int, config.batch_size)
  remats = _parse(
    _REMAT, lambda x: _BOOLS[x.lower()], config.model.get('remat')
  )
  for size in sizes:
    for dtype in _parse(_DTYPES, str, config.model.dtype):
      for batch_size in batch_sizes:
        for remat in remats:
          overrides = {
            'data.img_size': size,
            'model.dtype': dtype,
            'batch_size': batch_size,
          }
          # Not every system can.
          yield overrides | ({} if remat is None else {'model.remat': remat})


def _parse(flag: flags.FlagHolder, convert: Any, default: Any) -> list[Any]:
  if flag.value is None:
    return [default]
  try:
    return [convert(x) for x in flag.value]
  except (KeyError, ValueError) as e:
    raise errors.UsageError(
      f'--{flag.name}={",".join(flag.value)}: {e.args[0]!r} cannot be one'
    ) from e


def _reason(error: Exception) -> str:
  """What XLA says, which may be pages, in a few words."""
  text = ' '.join(str(error).split())
  used = re.search(r'Used ([\d.]+\w?) of ([\d.]+\w?) (\w+)', text)
  return f'needs {used[1]} of {used[2]} {used[3]}' if used else text[:100]


def _shortened(x: float) -> float:
  return float(f'{x:.4g}')


if __name__ == '__main__':
  cli.run(main, sys.argv)
