"""Evaluation of a run: scores on the screen, as JSON, CSV and TensorBoard."""

import csv
import datetime
import io
import json
import time
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
from etils import epath

from jaxgan import checkpoint, errors, sharding, systems, workdir
from jaxgan.metrics.translations import Options, Score, Scorer

_COLUMNS = (
  'time',
  'step',
  'seed',
  'protocol',
  'metric',
  'value',
  'weights',
  'n_real',
  'n_fake',
)
# Of other scores more is better.
_LESS_IS_BETTER = ('fid', 'kid', 'error')
_POLL_SECONDS = 5
_DEFAULT_OPTIONS = Options()


def evaluate_run(
  directory: str,
  *,
  step: int | None = None,
  config: ml_collections.ConfigDict | None = None,
  options: Options = _DEFAULT_OPTIONS,
  seeds: int = 1,
  keep_best: str = '',
) -> dict[str, float | None]:
  """Scores a checkpoint and records the scores under `directory/eval`.

  Args:
    directory: work directory of the run.
    step: of the checkpoint; None for the newest good one.
    config: where the data is, and the seed; None for those of the run.
    options: what to measure.
    seeds: how many evaluations, with the seed and those after it.
    keep_best: score by which to keep the best checkpoint in `directory/best`.

  Returns:
    Each score, the mean over the seeds.

  Raises:
    UserError: there is no such checkpoint, the config is of other networks, or
      something that the options need is missing.
  """
  return _evaluate(directory, step, config, Scorer(options), seeds, keep_best)


def follow_run(
  directory: str,
  *,
  timeout: float,
  config: ml_collections.ConfigDict | None = None,
  options: Options = _DEFAULT_OPTIONS,
  seeds: int = 1,
  keep_best: str = '',
) -> None:
  """Scores each checkpoint of a run as it comes, until the last.

  Args:
    directory: work directory of the run, which another process trains.
    timeout: give up when nothing has come for so many seconds.
    config: as in `evaluate_run`, like the others.
    options: what to measure.
    seeds: how many evaluations.
    keep_best: score by which to keep the best checkpoint.
  """
  path, scorer = epath.Path(directory), Scorer(options)
  last_news = time.monotonic()
  while True:
    new = [
      step
      for step in _steps(path)
      if not _json_path(path / 'eval', step, options).exists()
    ]
    if new:
      try:
        _evaluate(directory, new[0], config, scorer, seeds, keep_best)
      except errors.UserError:
        if new[0] in _steps(path):  # else the run has removed it: too late
          raise
      last_news = time.monotonic()
      continue
    run_config = workdir.load_config(path)
    end = run_config.num_train_steps if run_config else None
    if end is not None and end in _steps(path):
      print(f'done: step {end} is scored', flush=True)
      return
    if time.monotonic() - last_news > timeout:
      print(f'no new checkpoint for {timeout:g} s: giving up', flush=True)
      return
    time.sleep(min(_POLL_SECONDS, timeout))


def _steps(directory: epath.Path) -> list[int]:
  """Steps whose checkpoints are complete."""
  checkpoints = directory / 'checkpoints'
  if not checkpoints.exists():
    return []
  names = [path.name for path in checkpoints.iterdir()]
  return sorted(int(name) for name in names if name.isdigit())


def _evaluate(
  directory: str,
  step: int | None,
  config: ml_collections.ConfigDict | None,
  scorer: Scorer,
  seeds: int,
  keep_best: str,
) -> dict[str, float | None]:
  placement = sharding.replicated(sharding.create_local_mesh())
  run = systems.restore_run(directory, placement, step)
  if config is not None:
    _adopt(run.config, config)
  print(f'evaluating step {run.step} of {directory} ...', flush=True)
  system = systems.get_system(run.config)
  path = epath.Path(directory) / 'eval'
  first = run.config.seed
  by_seed = {
    seed: system.evaluate(
      system.inference_params(run.state),
      run.frozen,
      run.config,
      scorer,
      seed=seed,
      save_dir=path / 'images' / f'{run.step}_{seed}',
      **run.static,
    )
    for seed in range(first, first + seeds)
  }
  path.mkdir(parents=True, exist_ok=True)
  _append_csv(path / 'scores.csv', run.step, by_seed)
  records = _summarize(by_seed)
  _write_tensorboard(path, run.step, records)
  _print_table(run.step, list(by_seed), records)
  for reason in scorer.left_out:
    print(f'left out: {reason}')
  scores = {record['name']: record['value'] for record in records}
  if keep_best:
    _keep_best(epath.Path(directory), run.step, keep_best, scores)
  json_path = _json_path(path, run.step, scorer.options)
  _write_json(
    json_path,
    {'step': run.step, 'seeds': list(by_seed), 'scores': records},
  )
  print(f'scores: {json_path}, {path / "scores.csv"}', flush=True)
  return scores


def _adopt(
  run_config: ml_collections.ConfigDict, config: ml_collections.ConfigDict
) -> None:
  """Takes data and seed from `config`, whose networks must be the run's."""
  for key, value in config.model.items():
    if (key == 'num_domains' and value == 0) or key == 'wing_file':
      continue
    if run_config.model.get(key) != value:
      raise errors.ConfigMismatchError(
        f'config.model.{key} is {value}, that of the run is '
        f'{run_config.model.get(key)}'
      )
  if run_config.data.img_size != config.data.img_size:
    raise errors.ConfigMismatchError(
      f'config.data.img_size is {config.data.img_size}, that of the run is '
      f'{run_config.data.img_size}'
    )
  for key in ('name', 'root', 'val_split', 'train_split', 'skip_bad_images'):
    run_config.data[key] = config.data[key]
  run_config.seed = config.seed


def _summarize(by_seed: Mapping[int, Sequence[Score]]) -> list[dict]:
  """A record per score: mean and deviation over the seeds, and its facts."""
  records = []
  for rows in zip(*by_seed.values(), strict=True):
    values = [row.value for row in rows]
    known = None not in values
    records.append(
      {
        'name': rows[0].name,
        'value': float(np.mean(values)) if known else None,
        'std': float(np.std(values, ddof=1))
        if known and len(values) > 1
        else None,
        'protocol': rows[0].protocol,
        'weights': rows[0].weights,
        'n_real': rows[0].n_real,
        'n_fake': rows[0].n_fake,
      }
    )
  return records


def _json_path(
  directory: epath.Path, step: int, options: Options
) -> epath.Path:
  label = options.label.replace(' ', '_').strip('()').replace('(', '')
  return directory / f'{step}_{label}.json'


def _write_json(path: epath.Path, content: Mapping) -> None:
  partial = path.parent / f'{path.name}.partial'
  partial.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
  partial.replace(path)


def _append_csv(
  path: epath.Path, step: int, by_seed: Mapping[int, Sequence[Score]]
) -> None:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  if not path.exists():
    writer.writerow(_COLUMNS)
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  for seed, scores in by_seed.items():
    for s in scores:  # the csv module writes None as nothing
      row = (s.protocol, s.name, s.value, s.weights, s.n_real, s.n_fake)
      writer.writerow((now, step, seed, *row))
  with path.open('a') as f:
    f.write(buffer.getvalue())


def _write_tensorboard(
  directory: epath.Path, step: int, records: Sequence[Mapping]
) -> None:
  from clu import metric_writers  # imports TensorFlow

  writer = metric_writers.SummaryWriter(str(directory))
  known = {r['name']: r['value'] for r in records if r['value'] is not None}
  writer.write_scalars(step, known)
  writer.close()


def _print_table(
  step: int, seeds: Sequence[int], records: Sequence[Mapping]
) -> None:
  title = f'step {step}, seed {seeds[0]}'
  if len(seeds) > 1:
    title = f'step {step}, seeds {seeds[0]} to {seeds[-1]}'
  rows = [(title, 'value', 'protocol', 'weights', 'real', 'fake')]
  for r in records:
    value = 'not measured' if r['value'] is None else f'{r["value"]:.5g}'
    if r['std'] is not None:
      value += f' +- {r["std"]:.2g}'
    counts = ('-' if r[n] is None else str(r[n]) for n in ('n_real', 'n_fake'))
    rows.append((r['name'], value, r['protocol'], r['weights'] or '-', *counts))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
    print('  '.join(cells).rstrip())


def _keep_best(
  directory: epath.Path,
  step: int,
  name: str,
  scores: Mapping[str, float | None],
) -> None:
  """Copies the checkpoint to `best/`, itself a work directory, if it is."""
  if name not in scores:
    raise errors.UserError(
      f'--keep_best={name}: there is no such score, but: {", ".join(scores)}'
    )
  value, best = scores[name], directory / 'best'
  if value is None:
    return
  record = best / 'best.json'
  if record.exists():
    old = json.loads(record.read_text())
    less = any(word in name for word in _LESS_IS_BETTER)
    if old['name'] == name and (value >= old['value']) == less:
      print(f'best {name}: {old["value"]:.4f} of step {old["step"]}, as before')
      return
  partial = directory / 'best.partial'
  for old_directory in (partial, best):
    if old_directory.exists():
      old_directory.rmtree()
  workdir.copy_records(directory, partial)
  checkpoint.copy_step(directory / 'checkpoints', partial / 'checkpoints', step)
  content = {'name': name, 'value': value, 'step': step}
  (partial / 'best.json').write_text(json.dumps(content) + '\n')
  partial.rename(best)
  print(f'best {name}: {value:.4f} of step {step}, kept in {best}')
