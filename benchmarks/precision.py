"""Trains with several precisions of computation, and compares what is learned.

  python -m benchmarks.precision --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--dtypes=float32,bfloat16] [--seeds=0,1,2] \\
    [--steps=2500] [--every=500] [--config.x=...]

trains a run of each seed and dtype in DIR/<dtype>_<seed>, the dtypes in turns,
and scores a checkpoint of every --every steps. All are scored on the images,
references and latents of one seed, that of the config, and each in the
precision it was trained in. The same command goes on where it was stopped.

After every run precision.csv and, where matplotlib is installed, precision.png
in DIR are written anew; at the end a Markdown table of the last step is
printed.
"""

import csv
import importlib.util
import io
import json
import math
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

from absl import flags
from etils import epath
from ml_collections import config_flags

from benchmarks import common
from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors, files

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A config of data.name=shapes.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the runs are kept.')
_DTYPES = flags.DEFINE_list(
  'dtypes', ['float32', 'bfloat16'], 'Each is compared with the first.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of the runs of a dtype.')
_STEPS = flags.DEFINE_integer('steps', 2500, 'Of a run; also ds_iter.', 1)
_EVERY = flags.DEFINE_integer('every', 500, 'Steps between two scores.', 1)
flags.mark_flags_as_required(['config', 'workdir'])

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PANEL = (3.0, 2.4)  # inches
_COLUMNS = 4


class Plan(NamedTuple):
  """What the runs have in common."""

  directory: epath.Path
  steps: int
  every: int

  @property
  def scored(self) -> list[int]:
    """Steps whose checkpoints are scored; the last is one of them."""
    return [*range(self.every, self.steps, self.every), self.steps]


class Result(NamedTuple):
  """What a finished run has learned."""

  dtype: str
  seed: int
  scores: Mapping[int, Mapping[str, float | None]]  # by step


def main() -> None:
  """Trains, scores, writes and prints."""
  if _CONFIG.value.data.name != 'shapes':
    raise errors.UserError('--config must be of data.name=shapes')
  dtypes, seeds = list(dict.fromkeys(_DTYPES.value)), _parse_seeds()
  if not dtypes or not seeds:
    raise errors.UsageError('--dtypes and --seeds must name one at least')
  draws = importlib.util.find_spec('matplotlib') is not None
  if not draws:
    print('there will be no precision.png: pip install matplotlib')
  directory = epath.Path(_WORKDIR.value)
  workdir.prepare(directory)
  plan = Plan(directory, _STEPS.value, _EVERY.value)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

  results = []
  for seed in seeds:
    for dtype in dtypes:
      results.append(_finish(plan, dtype, seed))
      files.write_whole(directory / 'precision.csv', format_csv(results))
      if draws:
        files.write_whole(
          directory / 'precision.png', draw_curves(results, dtypes)
        )
  table = compare(results, dtypes)
  print(f'\n{format_table(f"score at step {plan.steps}", table, dtypes)}')
  print(f'\nwritten to {directory}: precision.csv' + ', precision.png' * draws)


def _parse_seeds() -> list[int]:
  if not all(seed.isdigit() for seed in _SEEDS.value):
    raise errors.UsageError(f'--seeds={",".join(_SEEDS.value)} are no numbers')
  return list(dict.fromkeys(map(int, _SEEDS.value)))


def _finish(plan: Plan, dtype: str, seed: int) -> Result:
  """Does what is left of a run, and reads what it has learned."""
  path = plan.directory / f'{dtype}_{seed}'
  settings = {
    'seed': seed,
    'model.dtype': dtype,
    'num_train_steps': plan.steps,
    'hparams.ds_iter': plan.steps,
    'sample_every_steps': plan.steps,
    'checkpoint_every_steps': plan.every,
    'keep': 1,
    'keep_every_steps': plan.every,
  }
  # Also where it is finished: it refuses a run with other settings.
  _call('train.py', path, settings)
  if not (path / 'checkpoints' / str(plan.steps)).exists():
    raise errors.UserError(f'{path} was stopped: the same command goes on')
  scores = {s: path / 'eval' / f'{s}_stargan_v2.json' for s in plan.scored}
  if not all(file.exists() for file in scores.values()):
    follow = ('--follow', '--follow_timeout=1', '--metrics=')
    _call('eval.py', path, {'model.dtype': dtype}, *follow)
  return Result(dtype, seed, {s: _read_scores(f) for s, f in scores.items()})


def _call(
  script: str, path: epath.Path, settings: Mapping[str, Any], *options: str
) -> None:
  """Runs one of the programs on a work directory, its output in a log."""
  command = [
    sys.executable,
    str(_ROOT / script),
    *common.config_arguments(settings),
    f'--workdir={path}',
    *options,
  ]
  log = path.parent / f'{path.name}.log'
  print(f'{path.name}: {script} ... (log: {log})', flush=True)
  start = time.monotonic()
  with open(log, 'a') as output:
    status = _wait(command, output)
  if status:
    raise errors.UserError(
      f'{path.name}: {script} ended with status {status}: see {log}'
    )
  seconds = time.monotonic() - start
  print(f'{path.name}: {script} took {seconds:.0f} s', flush=True)


def _wait(command: Sequence[str], output: IO) -> int:
  """The status of a command, which ends in order when this program has to."""
  # In a session of its own: Ctrl-C reaches it once, from here.
  with subprocess.Popen(
    command, stdout=output, stderr=output, start_new_session=True
  ) as child:
    try:
      return child.wait()
    except BaseException:
      child.terminate()  # train.py saves a checkpoint
      child.wait()
      raise


def _read_scores(path: epath.Path) -> dict[str, float | None]:
  if not path.exists():
    raise errors.UserError(
      f'there is no {path}: give the --every that the run was trained with'
    )
  records = json.loads(path.read_text())['scores']
  return {r['name']: r['value'] for r in records if '/real/' not in r['name']}


def format_csv(results: Sequence[Result]) -> str:
  """A line for each score."""
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(('dtype', 'seed', 'step', 'score', 'value'))
  for r in results:
    for step, scores in r.scores.items():
      writer.writerows(
        (r.dtype, r.seed, step, *item) for item in scores.items()
      )
  return buffer.getvalue()


def compare(
  results: Sequence[Result], dtypes: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
  """{score: {dtype: [of each seed]}} at the last step, where all have it."""
  table = {}
  for name in results[0].scores[max(results[0].scores)]:
    row = {dtype: [] for dtype in dtypes}
    for r in results:
      row[r.dtype].append(r.scores[max(r.scores)][name])
    if not any(None in values for values in row.values()):
      table[name] = row
  return table


def format_table(
  title: str,
  table: Mapping[str, Mapping[str, Sequence[float]]],
  dtypes: Sequence[str],
) -> str:
  """What `compare` has returned, in Markdown.

  The last columns have the distance of a mean from that of the first dtype, in
  units of the pooled standard deviation.
  """
  distances = [f'{dtype} − {dtypes[0]}, pooled sd' for dtype in dtypes[1:]]
  rows = [(title, *(f'{dtype}, mean ± sd' for dtype in dtypes), *distances)]
  rows.append(('---',) * len(rows[0]))
  for name, row in table.items():
    first = row[dtypes[0]]
    rows.append(
      (
        name,
        *(_format_mean(row[dtype]) for dtype in dtypes),
        *(_format_distance(first, row[dtype]) for dtype in dtypes[1:]),
      )
    )
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _format_mean(values: Sequence[float]) -> str:
  mean = f'{statistics.fmean(values):.4g}'
  return f'{mean} ± {statistics.stdev(values):.2g}' if values[1:] else mean


def _format_distance(a: Sequence[float], b: Sequence[float]) -> str:
  means = statistics.fmean(a), statistics.fmean(b)
  squares = sum(
    (x - mean) ** 2 for xs, mean in zip((a, b), means, strict=True) for x in xs
  )
  if not squares:
    return '-'
  deviation = math.sqrt(squares / (len(a) + len(b) - 2))
  return f'{(means[1] - means[0]) / deviation:+.1f}'


def draw_curves(results: Sequence[Result], dtypes: Sequence[str]) -> bytes:
  """PNG: a panel for each score, in it a line for each run."""
  from matplotlib import figure  # here alone: all else does without it

  names = list(results[0].scores[max(results[0].scores)])
  columns = min(_COLUMNS, len(names))
  rows = -(-len(names) // columns)
  fig = figure.Figure(
    figsize=(columns * _PANEL[0], rows * _PANEL[1] + 0.4), layout='constrained'
  )
  panels = fig.subplots(rows, columns, squeeze=False).flat
  lines = {}
  for name, panel in zip(names, panels, strict=False):
    for r in results:
      values = [scores[name] for scores in r.scores.values()]
      (lines[r.dtype],) = panel.plot(
        list(r.scores),
        [math.nan if value is None else value for value in values],
        f'C{dtypes.index(r.dtype)}.-',
      )
    panel.set_title(name.removeprefix('shapes/'), fontsize='medium')
    panel.set_xlabel('step')
    panel.grid(alpha=0.3)
  for panel in panels:  # the rest
    panel.axis('off')
  fig.legend(
    lines.values(), lines.keys(), loc='outside upper center', ncols=len(lines)
  )
  buffer = io.BytesIO()
  fig.savefig(buffer, format='png', dpi=110)
  return buffer.getvalue()


if __name__ == '__main__':
  cli.run(main, sys.argv)
