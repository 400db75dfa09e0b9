"""Trains a healthy run and runs made to collapse, and reads their signs.

  python -m benchmarks.collapse --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--runs=healthy,collapsed] [--steps=2500] [--config.x=...]

trains the runs of RUNS in DIR/<name>; the same command goes on where it was
stopped. Then, from their metrics.jsonl alone, it prints a Markdown table: the
lowest and the last median of a window of each sign, and the steps at which the
training warned and took it back. The last line of stdout is the same as JSON.
Where matplotlib is installed it draws DIR/collapse.png.
"""

import importlib.util
import io
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence

from absl import flags
from etils import epath
from ml_collections import config_flags

from benchmarks import common
from jaxgan.runs import collapse, workdir
from jaxgan.runtime import cli, errors, files
from jaxgan.systems import contract

_RUNS = {
  'healthy': {},
  'collapsed': {'hparams.lambda_ds': 0, 'hparams.lambda_cyc': 100},
  'D_wins': {'hparams.lambda_ds': 0, 'hparams.lambda_cyc': 10_000},
}

_CONFIG = config_flags.DEFINE_config_file('config', None, 'A config.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the runs are kept.')
_STEPS = flags.DEFINE_integer('steps', 2500, 'Of a run; also ds_iter.', 1)
_NAMES = flags.DEFINE_list('runs', list(_RUNS), 'Those to train and compare.')
flags.mark_flags_as_required(['config', 'workdir'])

Records = list[dict[str, float]]


def main() -> None:
  """Trains, prints and draws."""
  if unknown := [name for name in _NAMES.value if name not in _RUNS]:
    raise errors.UsageError(
      f'--runs={unknown[0]} is none of {", ".join(_RUNS)}'
    )
  directory = epath.Path(_WORKDIR.value)
  workdir.prepare(directory)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  signs = contract.get_system(_CONFIG.value).SIGNS
  runs = {}
  for name in _NAMES.value:
    _train(directory / name, _RUNS[name])
    runs[name] = list(workdir.read_metrics(directory / name))
  config = workdir.load_config(directory / _NAMES.value[0])
  window = collapse.window_size(config)
  common.print_records(
    describe(name, records, sign, window)
    for name, records in runs.items()
    for sign in signs
  )
  if importlib.util.find_spec('matplotlib') is not None:
    files.write_whole(directory / 'collapse.png', draw(runs, signs, window))


def _train(path: epath.Path, settings: Mapping[str, float]) -> None:
  """Does what is left of a run."""
  steps = {'num_train_steps': _STEPS.value, 'hparams.ds_iter': _STEPS.value}
  common.run_script('train.py', path, {**steps, **settings})


def describe(
  name: str, records: Records, sign: collapse.Sign, window: int
) -> dict[str, object]:
  """A row of the table."""
  medians = [value for _, value in _medians(records, sign.metric, window)]
  return {
    'run': name,
    'sign': sign.metric,
    'limit': sign.limit,
    'lowest': round(min(medians), 4),
    'end': round(medians[-1], 4),
    'told at step': ', '.join(map(str, told(records, sign, window))),
  }


def told(records: Records, sign: collapse.Sign, window: int) -> list[int]:
  """Steps of the warning, of its end, of the next warning and so on."""
  watcher = collapse.Watcher([sign], window)
  return [int(record['step']) for record in records if watcher.see(record)]


def _medians(
  records: Records, metric: str, window: int
) -> list[tuple[int, float]]:
  """(step, median of the window that ends there)."""
  values = [record[metric] for record in records]
  return [
    (
      int(records[end - 1]['step']),
      statistics.median(values[end - window : end]),
    )
    for end in range(window, len(values) + 1)
  ]


def draw(
  runs: Mapping[str, Records], signs: Sequence[collapse.Sign], window: int
) -> bytes:
  """PNG: a panel for each sign, in it a line for each run."""
  from matplotlib import figure  # here alone: all else does without it

  columns = -(-len(signs) // 2)
  fig = figure.Figure(figsize=(3.2 * columns, 5.2), layout='constrained')
  panels = fig.subplots(2, columns, squeeze=False).T.flat
  lines = {}
  for sign, panel in zip(signs, panels, strict=False):
    for i, (name, records) in enumerate(runs.items()):
      steps = [record['step'] for record in records]
      values = [max(record[sign.metric], 1e-3) for record in records]
      panel.plot(steps, values, f'C{i}-', alpha=0.3, linewidth=0.7)
      points = _medians(records, sign.metric, window)
      (lines[name],) = panel.plot(
        *zip(*((step, max(x, 1e-3)) for step, x in points), strict=True),
        f'C{i}-',
      )
      for step in told(records, sign, window)[::2]:
        panel.plot(step, max(dict(points)[step], 1e-3), f'C{i}o')
    panel.axhline(sign.limit, color='k', linestyle=':', linewidth=1)
    panel.set_yscale('log')
    panel.set_title(sign.metric, fontsize='medium')
    panel.set_xlabel('step')
    panel.grid(alpha=0.3)
  fig.legend(
    lines.values(), lines.keys(), loc='outside upper center', ncols=len(lines)
  )
  buffer = io.BytesIO()
  fig.savefig(buffer, format='png', dpi=110)
  return buffer.getvalue()


if __name__ == '__main__':
  cli.run(main, sys.argv)
