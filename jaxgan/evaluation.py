"""Evaluation of a run: scores on the screen, as JSON, CSV and TensorBoard."""

import csv
import dataclasses
import datetime
import io
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.metrics.translations import BATCH, METRICS, Options, Score, Scorer
from jaxgan.runs import checkpoint, report, workdir
from jaxgan.runtime import errors, files, host, output, sharding
from jaxgan.systems import contract

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
_THROUGH_INCEPTION = (
  'fid',
  'fid_equal',
  'fid_floor',
  'kid',
  'precision',
  'recall',
)
_POLL_SECONDS = 5
_DEFAULT_OPTIONS = Options()


@output.tolerant()
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

  Several processes share the work; process 0 alone prints and writes.

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
  scorer = _create_scorer(options, keep_best)
  _check_same(directory, config, scorer, seeds, keep_best, step)
  run, best = _open(directory, step, config, keep_best)
  _say_devices(run)
  return _evaluate(directory, run, scorer, seeds, best)


@output.tolerant()
def follow_run(
  directory: str,
  *,
  timeout: float,
  config: ml_collections.ConfigDict | None = None,
  options: Options = _DEFAULT_OPTIONS,
  seeds: int = 1,
  keep_best: str = '',
) -> bool:
  """Scores each checkpoint of a run as it comes, until the last.

  A checkpoint that cannot be read, or that the run has removed meanwhile, is
  named and left out.

  Args:
    directory: work directory of the run, which another process trains.
    timeout: give up when nothing has come for so many seconds.
    config: as in `evaluate_run`, like the others.
    options: what to measure.
    seeds: how many evaluations.
    keep_best: score by which to keep the best checkpoint.

  Returns:
    Whether the last checkpoint was reached.

  Raises:
    UserError: there is no such directory, or an evaluation fails.
  """
  path = files.user_path(directory)
  if not path.is_dir():
    raise errors.UserError(f'there is no work directory {path}')
  if not timeout >= 0:  # nor NaN, which never comes
    raise errors.UserError(f'timeout must be 0 or more seconds: {timeout}')
  scorer = _create_scorer(options, keep_best)
  _check_same(directory, config, scorer, seeds, keep_best, 'each')
  unreadable, last_news, said = set(), time.monotonic(), False
  while True:
    steps = files.numbers_in(path / 'checkpoints')
    unscored = [
      step
      for step in steps
      if step not in unreadable and not _is_scored(path, step, scorer, seeds)
    ]
    # Files may come between the looks of two processes: one decides.
    if unscored := sharding.of_first(unscored):
      step, problem = unscored[0], None
      try:
        run, best = _open(directory, step, config, keep_best)
      except errors.ConfigMismatchError:
        raise  # it would be so of every step
      except (errors.UserError, OSError) as e:
        problem = e
      if sharding.gather(np.array([problem is not None])).any():
        unreadable.add(step)
        _say(f'step {step} is left out: {problem or "see another process"}')
      else:
        if not said:
          _say_devices(run)
        said = True
        _evaluate(directory, run, scorer, seeds, best)
        last_news = time.monotonic()
      continue  # see what there is now
    run_config = workdir.load_config(path)
    last = run_config.get('num_train_steps') if run_config else None
    is_late = time.monotonic() - last_news > timeout
    done, late = sharding.of_first([last in steps, is_late])
    if done:
      _say(f'done: step {last} is reached')
      return True
    if late:
      _say(f'no new checkpoint for {timeout:g} s: giving up')
      return False
    time.sleep(min(_POLL_SECONDS, timeout))


def _check_same(
  directory: str,
  config: ml_collections.ConfigDict | None,
  scorer: Scorer,
  seeds: int,
  keep_best: str,
  step: int | str | None,
) -> None:
  """Raises UserError where processes were asked for different scores."""
  of_what = _of_what(scorer, seeds)
  settings = workdir.shared_settings(config) if config else {}
  sharding.check_same(
    {
      '--workdir': directory,
      '--step': step,
      '--keep_best': keep_best,
      '--seeds': seeds,
      '--save_images': scorer.options.save_images,
      **{f'--{key}': value for key, value in of_what['options'].items()},
      **{f'weights of {k}': v for k, v in of_what['weights'].items()},
      **settings,
    }
  )


def _say(message: str) -> None:
  if jax.process_index() == 0:
    print(message, flush=True)


def _say_devices(run: contract.Run) -> None:
  for line in host.device_lines(run.config.model.dtype):
    _say(line)


def _open(
  directory: str,
  step: int | None,
  config: ml_collections.ConfigDict | None,
  keep_best: str,
) -> tuple[contract.Run, '_Best | None']:
  placement = sharding.replicated(sharding.create_local_mesh())
  run = contract.open_run(directory, placement, step)
  if config is not None:
    contract.check_config(contract.find_system(config), config)
    _adopt(run.config, config)
  if not keep_best or jax.process_index() > 0:
    return run, None
  return run, _Best(files.user_path(directory), run.step, keep_best)


def _evaluate(
  directory: str,
  run: contract.Run,
  scorer: Scorer,
  seeds: int,
  best: '_Best | None',
) -> dict[str, float | None]:
  scorer.options.check_domains(contract.domain_names(run.config))
  path = files.user_path(directory) / 'eval'
  if jax.process_index() == 0:
    workdir.prepare(path)
  _say(f'evaluating step {run.step} of {directory} ...')
  first = run.config.seed
  translator = run.translator(chunk=BATCH)
  data = run.system.create_data(run.config)
  by_seed = {
    seed: run.system.scores(
      translator,
      run.config,
      scorer,
      data,
      seed=seed,
      save_dir=path / 'images' / f'{run.step}_{seed}',
    )
    for seed in range(first, first + seeds)
  }
  records = _summarize(by_seed)
  if jax.process_index() == 0:
    _record(path, run.step, scorer, by_seed, records)
    report.update(directory, run.system.COLLAPSE_SIGNS)
  if best:
    best.keep_if_better(records)
  return {record['name']: record['value'] for record in records}


def _record(
  path: epath.Path,
  step: int,
  scorer: Scorer,
  by_seed: Mapping[int, Sequence[Score]],
  records: Sequence[Mapping],
) -> None:
  """Prints and writes the scores."""
  _print_table(step, list(by_seed), records)
  for reason in scorer.unavailable:
    print(f'left out: {reason}')
  _append_csv(path / 'scores.csv', step, by_seed)
  _write_tensorboard(path / scorer.options.label, step, records)
  json_path = _json_path(path, step, scorer.options)
  of_what = _of_what(scorer, len(by_seed))
  content = {'step': step, **of_what, 'scores': records}
  files.write_whole(
    json_path, json.dumps(content, indent=2, allow_nan=False) + '\n'
  )
  print(f'scores: {json_path}, {path / "scores.csv"}', flush=True)


def _of_what(scorer: Scorer, seeds: int) -> dict[str, Any]:
  """What the scores of a step depend on, as JSON gives it back."""
  options = dataclasses.asdict(scorer.options)
  for key in ('weights_dir', 'cache_dir', 'save_images'):
    del options[key]  # scores do not depend on these
  content = {'options': options, 'weights': scorer.labels, 'seeds': seeds}
  return json.loads(json.dumps(content))


def _is_scored(
  directory: epath.Path, step: int, scorer: Scorer, seeds: int
) -> bool:
  path = _json_path(directory / 'eval', step, scorer.options)
  if not path.exists():
    return False
  try:
    content = files.read_json(path)
  except ValueError:
    return False
  of_what = _of_what(scorer, seeds)
  return all(content.get(key) == value for key, value in of_what.items())


def _adopt(
  run_config: ml_collections.ConfigDict, config: ml_collections.ConfigDict
) -> None:
  """Takes data and seed from `config`, whose networks must be the run's."""
  if run_config.system != config.system:
    raise errors.ConfigMismatchError(
      f'config.system is {config.system}, that of the run is '
      f'{run_config.system}'
    )
  for key, value in config.model.items():
    if f'model.{key}' in workdir.RESUMABLE:
      continue
    if key == 'num_domains' and value == 0:
      continue
    if run_config.model.get(key) != value:
      raise errors.ConfigMismatchError(
        f'config.model.{key} is {value}, that of the run is '
        f'{run_config.model.get(key)}'
      )
  for key in ('img_size', 'background'):
    if run_config.data[key] != config.data[key]:
      raise errors.ConfigMismatchError(
        f'config.data.{key} is {config.data[key]!r}, that of the run is '
        f'{run_config.data[key]!r}'
      )
  for key, value in config.data.items():
    if not key.endswith('domains'):  # those are the run's
      run_config.data[key] = value
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
  name = f'{step}_{options.protocol}'
  if options.shortened:
    how = (options.domains, options.num_sources, options.num_outputs)
    name += f'_shortened_{zlib.crc32(repr(how).encode()):08x}'
  return directory / f'{name}.json'


def _append_csv(
  path: epath.Path, step: int, by_seed: Mapping[int, Sequence[Score]]
) -> None:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  header = ','.join(_COLUMNS)
  # Of another version, or a link that would lead elsewhere.
  if os.path.islink(path) or (
    path.exists() and not path.read_bytes().startswith(f'{header}\n'.encode())
  ):
    path.rename(path.with_suffix('.csv.old'))
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
  try:
    from clu import metric_writers  # imports TensorFlow
  except ImportError as e:
    print(f'no TensorBoard events: TensorFlow cannot be imported ({e})')
    return
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
  paired = report.paired_tables(records, title)
  for r in records:
    if paired and r['name'].startswith('paired/'):
      continue
    value = 'not measured' if r['value'] is None else f'{r["value"]:.5g}'
    if r['std'] is not None:
      value += f' +- {r["std"]:.2g}'
    counts = ('-' if r[n] is None else str(r[n]) for n in ('n_real', 'n_fake'))
    rows.append((r['name'], value, r['protocol'], r['weights'] or '-', *counts))
  if len(rows) > 1:
    _print_columns(rows)
  for table in paired:
    _print_columns([[table.title, *table.columns], *table.rows])


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
    print('  '.join(cells).rstrip())


def _create_scorer(options: Options, keep_best: str) -> Scorer:
  """Raises UserError before hours of work if there will be no such score."""
  scorer = Scorer(options)
  metric = keep_best.split('/')[0]
  network = 'fid' if metric in _THROUGH_INCEPTION else metric
  if metric.startswith('classification_'):
    network = 'classification'
  if metric == 'conditional_inception_score':
    network = 'inception_score'
  if network in METRICS and network not in scorer.labels:
    raise errors.UserError(
      f'--keep_best={keep_best}: {network} will not be measured'
      + ''.join(f' ({reason})' for reason in scorer.unavailable)
    )
  return scorer


class _Best:
  """A copy of a checkpoint, taken before its run may remove it."""

  def __init__(self, directory: epath.Path, step: int, name: str):
    self._best, self._step, self._name = directory / 'best', step, name
    self._held = directory / 'best.partial'
    if self._held.exists():
      self._held.rmtree()
    workdir.copy_records(directory, self._held)
    checkpoint.copy_step(
      directory / 'checkpoints', self._held / 'checkpoints', step
    )

  def keep_if_better(self, records: Sequence[Mapping]) -> None:
    """Makes it `best/`, itself a work directory, or removes it."""
    name = self._name
    by_name = {record['name']: record for record in records}
    if name not in by_name:
      self._held.rmtree()
      raise errors.UserError(
        f'--keep_best={name}: there is no such score, but: {", ".join(by_name)}'
      )
    keys = ('name', 'value', 'protocol', 'weights')
    record = {key: by_name[name][key] for key in keys} | {'step': self._step}
    reason = self._reason_against(record)
    if reason:
      self._held.rmtree()
      print(f'{self._best} stays: {reason}')
      return
    text = json.dumps(record, indent=2) + '\n'
    files.write_whole(self._held / 'best.json', text)
    old = self._best.parent / 'best.old'
    if self._best.exists():
      self._best.rename(old)
    self._held.rename(self._best)
    if old.exists():
      old.rmtree()
    print(f'{self._best}: {name} {record["value"]:.5g} of step {self._step}')

  def _reason_against(self, record: Mapping) -> str:
    if record['value'] is None:
      return f'{record["name"]} was not measured'
    path = self._best / 'best.json'
    if not path.exists():
      return ''
    try:
      old = files.read_json(path)
      best = float(old['value'])
    except (ValueError, TypeError, KeyError, OverflowError):
      return f'{path} is damaged: move it away to keep a new one'
    for key in ('name', 'protocol', 'weights'):
      if old.get(key) != record[key]:
        return (
          f'it is of {key} {old.get(key)!r}, not {record[key]!r}: move it away '
          'to keep by that'
        )
    if (record['value'] >= best) == _less_is_better(record['name']):
      return f'{old["name"]} {best:.5g} of step {old.get("step")} is best'
    return ''


def _less_is_better(name: str) -> bool:
  metric, *how, last = name.split('/')
  return (
    metric.startswith(('fid', 'kid', 'classification'))
    or (metric == 'shapes' and 'error' in last)
    or (metric == 'paired' and how[-1].startswith('l1'))
  )
