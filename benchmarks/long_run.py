"""Trains for long, and looks for what grows.

  python -m benchmarks.long_run [--steps=20000] [--workdir=DIR]

runs train.py in a process of its own, as a user would, on `shapes` with a net
so small that most of the work is the loop's; it logs every 10 steps, and
samples and saves 40 times. Whenever the run logs, /proc tells memory, open
files, threads and processor time of the process, and the work directory its
sizes. (/proc: Linux only.)

The first tenth of the run is left out. It prints a Markdown table of the first
quarter of the rest beside the last, and as the last line of stdout the same as
JSON. Exit status 1 if a ratio is over its limit: something is not flat.

  level, a median: memory (the process's own, which has freed memory in it that
    the allocator keeps), files, threads, checkpoints
  growth a 1,000 steps: processor time; TensorBoard events; metrics.jsonl;
    samples. Each may grow, but no faster in the end than in the beginning.
  fastest tenth: time of a step, which other programs can only make longer
"""

import contextlib
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import common
from jaxgan.runtime import cli, errors

_STEPS = cli.define_integer('steps', 20_000, 'Of the run.', 100)
_WORKDIR = cli.define_path(
  'workdir', None, 'Of the run, a new one; default a temporary directory.'
)

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LOG_EVERY = 10
_SAVES = 40
_SETTINGS = {
  'batch_size': 2,
  'log_every_steps': _LOG_EVERY,
  'model.channel_base': 128,
  'model.max_conv_dim': 8,
  'model.hidden_dim': 8,
}


class Quantity(NamedTuple):
  """How a column of the samples is compared."""

  name: str
  kind: str  # 'level', 'growth' or 'fastest'
  limit: float  # of the last quarter over the first


QUANTITIES = (
  Quantity('memory_mb', 'level', 1.1),
  Quantity('open_files', 'level', 1.0),
  Quantity('threads', 'level', 1.1),  # a pool may start one late
  Quantity('checkpoints_mb', 'level', 1.01),
  Quantity('ms_a_step', 'fastest', 1.1),
  Quantity('processor_s', 'growth', 1.2),
  Quantity('events_mb', 'growth', 1.1),
  Quantity('metrics_mb', 'growth', 1.1),
  Quantity('samples_mb', 'growth', 1.1),
)


def main() -> None:
  """Trains and prints."""
  if not os.path.exists('/proc/self/fd'):
    raise errors.UserError('this program reads /proc, which is not here')
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  others = common.OtherProcesses()
  with tempfile.TemporaryDirectory() as directory:
    workdir = pathlib.Path(_WORKDIR.value or f'{directory}/run')
    if workdir.exists():
      raise errors.UserError(f'--workdir={workdir} is there already')
    samples = list(_train(workdir, _STEPS.value))
  rows = compare(samples)
  print(f'other processes: {others.describe()}')
  common.print_records(rows)
  if grown := [row['quantity'] for row in rows if not row['flat']]:
    raise errors.UserError(f'not flat: {", ".join(grown)}')


def compare(samples: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
  """A row for each quantity: its first quarter, its last, and their ratio."""
  samples = samples[len(samples) // 10 :]
  quarter = len(samples) // 4
  parts = samples[:quarter], samples[-quarter:]
  rows = []
  for name, kind, limit in QUANTITIES:
    first, last = (_measure(part, name, kind) for part in parts)
    ratio = last / first
    rows.append(
      {
        'quantity': f'{name} a 1,000 steps' if kind == 'growth' else name,
        'first quarter': round(first, 4),
        'last quarter': round(last, 4),
        'ratio': round(ratio, 4),
        'limit': limit,
        'flat': ratio <= limit,
        'end': round(samples[-1][name], 4),
      }
    )
  return rows


def _measure(
  samples: Sequence[Mapping[str, float]], name: str, kind: str
) -> float:
  values = [sample[name] for sample in samples]
  if kind == 'level':
    return statistics.median(values)
  if kind == 'fastest':
    return statistics.quantiles(values, n=10)[0]
  steps = samples[-1]['step'] - samples[0]['step']
  return 1000 * (values[-1] - values[0]) / steps


def _train(workdir: pathlib.Path, steps: int) -> Iterator[dict[str, float]]:
  """A sample for each logged line of a run."""
  every = max(_LOG_EVERY, steps // _SAVES)
  settings = {
    **_SETTINGS,
    'num_train_steps': steps,
    'sample_every_steps': every,
    'checkpoint_every_steps': every,
  }
  command = [
    *(sys.executable, str(_ROOT / 'train.py')),
    f'--config={_ROOT / "configs/stargan_v2/shapes.py"}',
    f'--workdir={workdir}',
    *(f'--config.{key}={value}' for key, value in settings.items()),
  ]
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  ) as process:
    try:
      line = yield from _follow(process, workdir, steps)
    except BaseException:
      process.terminate()
      raise
  if process.returncode:
    last = line.strip().removeprefix('error: ')
    raise errors.UserError(f'train.py, status {process.returncode}: {last}')


def _follow(
  process: subprocess.Popen, workdir: pathlib.Path, steps: int
) -> Generator[dict[str, float], None, str]:
  """Yields samples; returns the last line."""
  line, logged = 'no output', time.monotonic()
  for line in process.stdout:
    if not (match := re.match(r'step (\d+)/.* images/s', line)):
      continue
    now, step = time.monotonic(), int(match[1])
    sample = {
      'step': step,
      'ms_a_step': 1e3 * (now - logged) / _LOG_EVERY,
      **_process(process.pid),
      **_sizes(workdir),
    }
    yield sample
    logged = now
    if step % (steps // 10) == 0:
      print(_format(sample), file=sys.stderr, flush=True)
  return line


def _format(sample: Mapping[str, float]) -> str:
  return '  '.join(f'{name} {value:.6g}' for name, value in sample.items())


def _process(pid: int) -> dict[str, float]:
  """What /proc tells of a process."""
  stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
  # From the third on; the second, the name, may hold anything.
  fields = stat.rpartition(')')[2].split()
  user, system, threads = (int(fields[i - 3]) for i in (14, 15, 20))
  # Its own pages, also those swapped out; not those of files, of libraries,
  # which the kernel drops and reads again as it likes.
  status = pathlib.Path(f'/proc/{pid}/status').read_text()
  own = re.findall(r'(?:RssAnon|VmSwap):\s+(\d+) kB', status)
  return {
    'memory_mb': sum(map(int, own)) * 1024 / 1e6,
    'threads': threads,
    'open_files': len(os.listdir(f'/proc/{pid}/fd')),
    'processor_s': (user + system) / os.sysconf('SC_CLK_TCK'),
  }


def _sizes(workdir: pathlib.Path) -> dict[str, float]:
  """MB of what lies in the work directory."""
  names = ('metrics.jsonl', 'checkpoints', 'samples')
  sizes = {name: _size(workdir / name) for name in names}
  events = sum(map(_size, workdir.glob('events.out.tfevents.*')))
  return {
    'events_mb': events / 1e6,
    'metrics_mb': sizes['metrics.jsonl'] / 1e6,
    'checkpoints_mb': sizes['checkpoints'] / 1e6,
    'samples_mb': sizes['samples'] / 1e6,
  }


def _size(path: pathlib.Path) -> int:
  """Bytes of a file, or of all in a folder, which may change meanwhile."""
  if path.is_file():
    return path.stat().st_size
  total = 0
  for folder, _, names in os.walk(path):
    for name in names:
      with contextlib.suppress(FileNotFoundError):
        total += os.path.getsize(os.path.join(folder, name))
  return total


if __name__ == '__main__':
  cli.run(main, sys.argv)
