"""Trains runs that differ in settings, and puts side by side what comes out.

  python -m benchmarks.sweep --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--what=scores|seeds|signs] [--seeds=0,1,2] [--every=500] \\
    [--change=hparams.lambda_ds=0+batch_size=4,optim.lr=1e-4] [--config.x=...]
  python -m benchmarks.sweep --runs=RUN1,RUN2 --out=grid.png

trains a run of the config, DIR/base, and one of each change, DIR/<change>; a
change of several settings joins them by +. The same command goes on where it
was stopped. It prints a Markdown table, and as the last line of stdout the same
as JSON. DIR/<what>.png shows it, curves where matplotlib is installed.

--what=scores: of each run at its last step, on the same images, without weights
  of metric networks. A run that ends by an error, as by NaN, has a row without
  scores. The picture has a row of translations for each run: the same sources
  in the styles of the same references, and of the same latents.
--what=seeds: each run once for each of --seeds, checkpoints scored every
  --every steps on the images, references and latents of the config's seed, in
  the precision they were trained in. The table has means at the last step, and
  their distance from that of `base` in pooled standard deviations. seeds.csv,
  of every score, and the curves are written anew after each run.
--what=signs: signs of collapse, from metrics.jsonl alone: the lowest and the
  last median of a window, and the steps at which the training warned and took
  it back.
--runs: nothing is trained. Runs of any systems on the same data, which eval.py
  has scored, and the same validation images translated to every domain: a row
  for a system that has one output, NUM_LATENTS random ones for one with styles.
  Where a system has two domains, sources of the target stay as they are.
"""

import csv
import io
import math
import statistics
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from etils import epath
from PIL import Image

from benchmarks import common
from jaxgan.apps import trained_model
from jaxgan.metrics.translations import Options
from jaxgan.runs import collapse, workdir
from jaxgan.runtime import cli, errors, files, images
from jaxgan.systems import config_flag, contract

Changes = Mapping[str, Mapping[str, Any]]  # settings by the name of a change
Scores = Mapping[str, float | None]
Records = Sequence[Mapping[str, float]]

BASE = 'base'
_CHANGES = {  # of `shapes`, those of the documents
  'scores': (
    'seed=1',
    'seed=2',
    'hparams.lambda_ds=0',
    'hparams.lambda_ds=4',
    'hparams.lambda_ds=20',
    'hparams.lambda_sty=0',
    'hparams.lambda_cyc=0',
    'hparams.lambda_cyc=10',
    'hparams.lambda_cyc=100',
    'hparams.lambda_reg=0',
    'hparams.lambda_reg=10',
    'optim.lr=1e-4',
    'batch_size=2',
    'batch_size=4',
    'batch_size=16',
    'num_train_steps=500+hparams.ds_iter=500',
    'num_train_steps=1000+hparams.ds_iter=1000',
    'num_train_steps=5000+hparams.ds_iter=5000',
    'data.img_size=64+model.channel_base=1024',
  ),
  'seeds': ('model.dtype=bfloat16',),
  'signs': (  # a generator that ignores styles; a discriminator that wins
    'hparams.lambda_ds=0+hparams.lambda_cyc=100',
    'hparams.lambda_ds=0+hparams.lambda_cyc=10000',
  ),
}
NUM_LATENTS = 3  # of each run of --runs
_NUM_SOURCES = 8

_CONFIG = config_flag.define('A config.')
_WORKDIR = cli.define_path('workdir', None, 'Where the runs are kept.')
_WHAT = flags.DEFINE_enum(
  'what', 'scores', list(_CHANGES), 'What of the runs is compared.'
)
_CHANGE = cli.define_names(
  'change', None, 'Settings, key=value, of a run each; default as documented.'
)
_SEEDS = cli.define_names('seeds', ['0', '1', '2'], 'Of --what=seeds.')
_EVERY = cli.define_integer(
  'every', 500, 'Steps between two scores of --what=seeds.', 1
)
_RUNS = cli.define_paths('runs', [], 'Work directories of scored runs.')
_OUT = cli.define_path('out', None, 'The PNG to write of --runs.')


def main() -> None:
  """Trains, prints and draws."""
  if _RUNS.value:
    out = epath.Path(cli.required(_OUT))
    common.print_records(_tell_scores(_RUNS.value))
    images.write_png(out, draw_systems(_RUNS.value))
    return
  directory = epath.Path(cli.required(_WORKDIR))
  known = workdir.flatten(cli.required(_CONFIG))
  names = _CHANGES[_WHAT.value] if _CHANGE.value is None else _CHANGE.value
  changes = {BASE: {}, **{name: parse(name, known) for name in names}}
  compare = {
    'scores': _compare_scores,
    'seeds': _compare_seeds,
    'signs': _compare_signs,
  }
  workdir.prepare(directory)
  common.exit_when_terminated()
  compare[_WHAT.value](directory, changes)


def parse(change: str, known: Container[str]) -> dict[str, str]:
  """The settings of a change.

  Raises:
    UsageError: it is not key=value, or several of them joined by +, or a key is
      not known.
  """
  pairs = [setting.partition('=') for setting in change.split('+')]
  if not all(key and sign and value for key, sign, value in pairs):
    raise errors.UsageError(f'--change={change} must be key=value[+key=value]')
  for key, _, _ in pairs:
    if key not in known:
      raise errors.UsageError(f'--change={change}: there is no setting {key}')
  return {key: value for key, _, value in pairs}


def _train(path: epath.Path, settings: Mapping[str, Any]) -> int:
  """Does what is left of a run; its last step."""
  # Also where it is finished: it refuses a run with other settings.
  common.run_script('train.py', path, settings)
  return common.require_finished(path)


def _score(
  path: epath.Path, settings: Mapping[str, Any], steps: Sequence[int]
) -> dict[int, Scores]:
  """The scores of a run at each of the steps, of which the last is its last."""
  found = {
    step: path / f'eval/{step}_{Options.protocol}.json' for step in steps
  }
  if not all(file.exists() for file in found.values()):
    same_images = {**settings, 'seed': _CONFIG.value.seed}
    follow = ('--follow', '--follow_timeout=1') if len(steps) > 1 else ()
    common.run_script('eval.py', path, same_images, '--metrics=', *follow)
  return {step: _read_scores(file) for step, file in found.items()}


def _read_scores(path: epath.Path) -> Scores:
  """The factors of `shapes`, without those of real images."""
  try:
    records = files.read_json(path)['scores']
    values = {record['name']: record['value'] for record in records}
  except FileNotFoundError as e:
    raise errors.UserError(
      f'there is no {path}: give the --every that the run was trained with'
    ) from e
  except (ValueError, LookupError, TypeError) as e:
    raise errors.UserError(f'{path} is damaged: run eval.py again') from e
  return {
    name.removeprefix('shapes/'): value
    for name, value in values.items()
    if name.startswith('shapes/') and '/real/' not in name
  }


def _rounded(scores: Scores) -> Scores:
  return {k: v if v is None else round(v, 4) for k, v in scores.items()}


def _compare_scores(directory: epath.Path, changes: Changes) -> None:
  done: list[str] = []
  common.print_records(_finish_all(directory, changes, done))
  if 'reference' in trained_model.style_kinds(directory / BASE):
    picture = draw_translations(directory, done)
    images.write_png(directory / 'scores.png', picture)


def _finish_all(
  directory: epath.Path, changes: Changes, done: list[str]
) -> Iterator[dict[str, Any]]:
  """A row for each run; the names of those that ended well go to `done`."""
  scores: Scores = {}
  for name, settings in changes.items():
    path = directory / name
    try:
      last = _train(path, settings)
      scores = _score(path, settings, [last])[last]
      done.append(name)
    except errors.UserError as e:
      if name == BASE:
        raise
      print(e, file=sys.stderr, flush=True)  # a change may well ruin a run
      scores = dict.fromkeys(scores)
    yield {'run': name, **_rounded(scores)}


def draw_translations(
  directory: epath.Path, names: Sequence[str]
) -> np.ndarray:
  """A row of pictures for each run below the sources and references, uint8."""
  num_latents, size = 5, 128
  config = workdir.require_config(directory / BASE)
  _, val = contract.get_system(config).create_data(config).evaluation()
  sources = [x for _, x in val.images(0, [0, val.counts[0] - 1])]
  count = len(val.domains)
  domains = range(min(1, count - 1), min(3, count))
  references = [(val.domains[y], val.readable(y, 0)) for y in domains]
  pairs = [(x, ref) for ref in references for x in sources]
  blank = [None] * (num_latents - 1)
  rows = [
    [*(x for x, _ in pairs), sources[0], *blank],
    [*(pixels for _, (_, pixels) in pairs), None, *blank],
  ]
  target = references[-1][0]
  for name in names:
    model = trained_model.load(directory / name)
    latents = model.latent_styles(target, num_latents, psi=1.0)
    row = []
    for domain, pixels in references:
      styles = model.reference_styles([pixels], domain)
      (outputs,) = model.translate(sources, domain, styles)
      row += outputs
    rows.append(
      row + [x for (x,) in model.translate(sources[:1], target, latents)]
    )
  top = [f'to {domain}' for _, (domain, _) in pairs]
  top += [f'latent {i + 1}' for i in range(num_latents)]
  return images.labelled_grid(
    [[None if x is None else _to_cell(x, size) for x in row] for row in rows],
    top,
    ['sources', 'references', *(_label(name) for name in names)],
  )


def _to_cell(picture: Any, size: int) -> np.ndarray:
  # Pixels are to be seen as they are.
  image = Image.fromarray(np.asarray(picture))
  return np.asarray(image.resize((size, size), Image.Resampling.NEAREST))


def _label(name: str) -> str:
  """Each setting in a line, without the part of the config it is in."""
  lines = (setting.partition('=') for setting in name.split('+'))
  return '\n'.join(
    f'{key.rpartition(".")[-1]}{sign}{value}' for key, sign, value in lines
  )


class Result(NamedTuple):
  """What a finished run has learned."""

  change: str
  seed: int
  scores: Mapping[int, Scores]  # by step


def _compare_seeds(directory: epath.Path, changes: Changes) -> None:
  if not _SEEDS.value or not all(map(str.isdigit, _SEEDS.value)):
    raise errors.UsageError(f'--seeds={",".join(_SEEDS.value)} are no numbers')
  every, results = _EVERY.value, []
  saving = {
    'checkpoint_every_steps': every,
    'keep': 1,
    'keep_every_steps': every,
  }
  for seed in dict.fromkeys(map(int, _SEEDS.value)):
    for change, settings in changes.items():
      path = directory / f'{change}_{seed}'
      settings = {**settings, 'seed': seed}
      last = _train(path, {**settings, **saving})
      scores = _score(path, settings, scored_steps(last, every))
      results.append(Result(change, seed, scores))
      files.write_whole(directory / 'seeds.csv', format_csv(results))
      draw_curves(directory / 'seeds.png', results)
  common.print_records(compare_means(results, list(changes)))


def scored_steps(last: int, every: int) -> list[int]:
  """The multiples, and the last one."""
  return [*range(every, last, every), last]


def format_csv(results: Sequence[Result]) -> str:
  """A line for each score."""
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(('change', 'seed', 'step', 'score', 'value'))
  for r in results:
    for step, scores in r.scores.items():
      writer.writerows(
        (r.change, r.seed, step, *item) for item in scores.items()
      )
  return buffer.getvalue()


def compare_means(
  results: Sequence[Result], changes: Sequence[str]
) -> list[dict[str, str]]:
  """A record for each score that all runs have at their last step."""
  records, (base, *others) = [], changes
  for score in results[0].scores[max(results[0].scores)]:
    values = {change: [] for change in changes}
    for r in results:
      values[r.change].append(r.scores[max(r.scores)][score])
    if any(None in row for row in values.values()):
      continue
    means = {f'{c}, mean ± sd': _format_mean(values[c]) for c in changes}
    distances = {
      f'{c} − {base}, pooled sd': _format_distance(values[base], values[c])
      for c in others
    }
    records.append({'score': score, **means, **distances})
  return records


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


def draw_curves(path: epath.Path, results: Sequence[Result]) -> None:
  """A panel for each score, in it a line for each run."""
  changes = list(dict.fromkeys(r.change for r in results))

  def draw(score: str, panel: Any) -> dict[str, Any]:
    lines = {}
    for r in results:
      values = [scores[score] for scores in r.scores.values()]
      values = [math.nan if value is None else value for value in values]
      style = f'C{changes.index(r.change)}.-'
      (lines[r.change],) = panel.plot(list(r.scores), values, style)
    return lines

  names = list(results[0].scores[max(results[0].scores)])
  common.write_panels(path, names, draw)


def _compare_signs(directory: epath.Path, changes: Changes) -> None:
  runs = {}
  for name, settings in changes.items():
    _train(directory / name, settings)
    runs[name] = list(workdir.read_metrics(directory / name))
  signs = contract.get_system(_CONFIG.value).COLLAPSE_SIGNS
  window = collapse.window_size(_CONFIG.value)
  common.print_records(
    describe_sign(name, records, sign, window)
    for name, records in runs.items()
    for sign in signs
  )
  draw_signs(directory / 'signs.png', runs, signs, window)


def describe_sign(
  name: str, records: Records, sign: collapse.Sign, window: int
) -> dict[str, object]:
  """A row of the table."""
  medians = list(_medians(records, sign.metric, window).values())
  return {
    'run': name,
    'sign': sign.metric,
    'limit': sign.limit,
    'lowest': round(min(medians), 4),
    'end': round(medians[-1], 4),
    'told at step': ', '.join(map(str, _told(records, sign, window))),
  }


def _told(records: Records, sign: collapse.Sign, window: int) -> list[int]:
  """Steps of the warning, of its end, of the next warning and so on."""
  watcher = collapse.Watcher([sign], window)
  values = [{key: r[key] for key in ('step', sign.metric)} for r in records]
  return [int(value['step']) for value in values if watcher.update(value)]


def _medians(records: Records, metric: str, window: int) -> dict[int, float]:
  """The median of a window by the step that it ends at."""
  values = [record[metric] for record in records]
  return {
    int(records[end - 1]['step']): statistics.median(values[end - window : end])
    for end in range(window, len(values) + 1)
  }


def draw_signs(
  path: epath.Path,
  runs: Mapping[str, Records],
  signs: Sequence[collapse.Sign],
  window: int,
) -> None:
  """A panel for each sign, in it a line for each run, a dot for a warning."""
  of_metric = {sign.metric: sign for sign in signs}

  def draw(metric: str, panel: Any) -> dict[str, Any]:
    lines, sign, least = {}, of_metric[metric], 1e-3  # on a logarithmic axis
    for i, (name, records) in enumerate(runs.items()):
      steps = [record['step'] for record in records]
      values = [max(record[metric], least) for record in records]
      panel.plot(steps, values, f'C{i}-', alpha=0.3, linewidth=0.7)
      medians = _medians(records, metric, window)
      points = {step: max(median, least) for step, median in medians.items()}
      (lines[name],) = panel.plot(list(points), list(points.values()), f'C{i}-')
      for step in _told(records, sign, window)[::2]:
        panel.plot(step, points[step], f'C{i}o')
    panel.axhline(sign.limit, color='k', linestyle=':', linewidth=1)
    panel.set_yscale('log')
    return lines

  common.write_panels(path, list(of_metric), draw)


def _tell_scores(directories: Sequence[str]) -> Iterator[dict[str, Any]]:
  """A record for each run and mode, all with the same keys."""
  rows = []
  for directory in map(epath.Path, directories):
    evaluated = directory.glob('eval/*.json')
    newest = max(evaluated, key=lambda path: path.stat().mtime, default=None)
    if newest is None:
      raise errors.UserError(f'{directory} has no scores: run eval.py first')
    system = workdir.require_config(directory).system
    modes: dict[str, dict[str, Any]] = {}
    for name, value in _rounded(_read_scores(newest)).items():
      mode, _, score = name.rpartition('/')
      row = {'run': directory.name, 'system': system, 'mode': mode}
      modes.setdefault(mode, row)[score] = value
    rows += modes.values()
  keys = list(dict.fromkeys(key for row in rows for key in row))
  yield from ({key: row.get(key) for key in keys} for row in rows)


def draw_systems(directories: Sequence[str]) -> np.ndarray:
  """The labelled grid, uint8 [H, W, 3]."""
  config = workdir.require_config(epath.Path(directories[0]))
  _, val = contract.get_system(config).create_data(config).evaluation()
  sources, of_domain = [], []
  for i in range(_NUM_SOURCES):
    number, domain = divmod(i, len(val.domains))  # the domains in turn
    for _, pixels in val.images(domain, [number]):
      sources.append(pixels)
      of_domain.append(val.domains[domain])
  size = max(64, config.data.img_size)
  rows, left = [[_to_cell(x, size) for x in sources]], ['source']
  models = [
    (workdir.require_config(epath.Path(path)).system, trained_model.load(path))
    for path in directories
  ]
  for domain in models[0][1].domains:
    for system, model in models:
      styles = None
      if 'label' not in model.kinds:
        styles = model.latent_styles(domain, NUM_LATENTS, psi=1.0)
      # Between two domains a source of the target has nothing to become.
      stays = [model.sources == 'other' and own == domain for own in of_domain]
      for outputs in model.translate(sources, domain, styles):
        shown = zip(outputs, sources, stays, strict=True)
        rows.append(
          [_to_cell(src if own else x, size) for x, src, own in shown]
        )
        left.append(f'{domain}\n{system}')
  return images.labelled_grid(rows, [''] * len(sources), left)


if __name__ == '__main__':
  cli.run(main, sys.argv)
