"""Times the start of training, with a cold and a warm compilation cache.

  python -m benchmarks.start --config=configs/stargan_v2/shapes.py \\
    [--config.x=...]

runs train.py for one step in a process of its own, twice, each time in a fresh
work directory and both times with the same --compilation_cache, which is empty
at first. It prints a table of seconds since the process was started, cold and
warm, and, as the last line of stdout, one JSON object:

  data: images are found and checked (config.data.check_images), the first batch
    is drawn, the state is drawn, the step is about to be compiled
  compiled: the step is compiled, or read from the cache
  first_step: it has run once
  end: samples are drawn and a checkpoint is written as well

The second start also finds files in the system's memory that the first had to
read, and images that config.data.on_device has decoded.
"""

import os
import pathlib
import pprint
import subprocess
import sys
import tempfile
import time

import ml_collections
from absl import flags
from ml_collections import config_flags

from benchmarks import common
from jaxgan.runtime import cli, errors

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The config to time.')
flags.mark_flag_as_required('config')

_ROOT = pathlib.Path(__file__).parents[1]
# What train.py prints when it gets there.
_MARKS = {
  'data': 'compiling the step',
  'compiled': 'compiled in',
  'first_step': 'step 1/1 ',
}


def main() -> None:
  """Prints the table and the JSON line."""
  config = _CONFIG.value
  config.num_train_steps = 1
  config.log_every_steps = 1
  others = common.OtherProcesses()
  results = {}
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory)
    _write_config(config, root / 'config.py')
    for name in ('cold', 'warm'):
      seconds = _train(root, root / name)
      results |= {f'{key}_{name}_s': value for key, value in seconds.items()}
  rows = {
    'config': f'{config.data.name}, batch {config.batch_size}, '
    f'{config.data.img_size} px, {config.model.dtype}',
    'other processes': others.describe(),
  }
  common.print_result(rows, results)


def _write_config(
  config: ml_collections.ConfigDict, path: pathlib.Path
) -> None:
  """A config file of these very settings."""
  settings = pprint.pformat(config.to_dict())
  path.write_text(
    'import ml_collections\n\n\ndef get_config():\n'
    f'  return ml_collections.ConfigDict({settings})\n'
  )


def _train(root: pathlib.Path, workdir: pathlib.Path) -> dict[str, float]:
  """Seconds from the start of the process to what it prints, and to its end."""
  command = (
    *(sys.executable, str(_ROOT / 'train.py')),
    f'--config={root / "config.py"}',
    f'--workdir={workdir}',
    f'--compilation_cache={root / "compilation_cache"}',
  )
  seconds, lines = {}, []
  start = time.perf_counter()
  with subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(_ROOT)},
  ) as process:
    for line in process.stdout:
      lines.append(line.strip())
      for name, mark in _MARKS.items():
        if line.startswith(mark):
          seconds[name] = time.perf_counter() - start
  seconds['end'] = time.perf_counter() - start
  if process.returncode:
    last = lines[-1].removeprefix('error: ') if lines else 'no output'
    raise errors.UserError(f'train.py, status {process.returncode}: {last}')
  missing = _MARKS.keys() - seconds
  if missing:
    raise errors.UserError(
      f'train.py has not printed {_MARKS[min(missing)]!r}: this program does '
      'not fit to it'
    )
  return seconds


if __name__ == '__main__':
  cli.run(main, sys.argv)
