"""Rows of the leaderboard: the trainings they need, and the table of them.

A training leaves a record, a JSON file: `config`, all its settings; `data`,
sums of the images; `seconds`, of training so far; and once it is scored `step`,
`scores` by name, `scoring_seconds`, `versions`, and `shown`, the names of the
emoji in the grid.
"""

import json
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from benchmarks import common
from jaxgan.metrics import evaluate, paired
from jaxgan.runs import workdir
from jaxgan.runtime import errors, files, images
from jaxgan.systems import config_flag, contract

Record = dict[str, Any]

# Settings that change nothing that is learned. The steps do.
_NO_MATTER = (workdir.RESUMABLE - {'num_train_steps'}) | workdir.PLACES
_LEAST_MINUTES = 1  # to start, to compile and to score
_COLUMNS = {  # of the table: name of the score, digits
  'retrieval': ('retrieval', 3),
  'best of ten': ('retrieval_best', 3),
  'style': ('style', 3),
  'l1': ('l1', 1),
  'ssim': ('ssim', 3),
}
_FLOORS = {
  'source': 'the source itself',
  'nearest_pair': 'the pair of the nearest training source',
  'mean_picture': 'the mean picture',
  'chance': 'chance',
}


class Row(NamedTuple):
  """A system in the table, which configs/<system>/emoji.py trains.

  Attributes:
    minutes: of a training and its scores, on one CPU core.
    seeds: trainings on the first pair of styles; one on the others.
    original_minutes: the same as `minutes`, of the original code; None where
      --peer does not train it.
  """

  minutes: float
  seeds: int = 1
  original_minutes: float | None = None


# Rounded; those of originals are guesses. The seed decides which hues UNIT
# exchanges: three seeds of such systems tell more than one.
ROWS = {
  'stargan_v2': Row(minutes=12, seeds=3, original_minutes=30),
  'stargan': Row(minutes=8, seeds=3),
  'unit': Row(minutes=13, seeds=3),
  'munit': Row(minutes=16, original_minutes=30),
  'pix2pix': Row(minutes=18),
}


class Training(NamedTuple):
  """One training of a row.

  Attributes:
    system: the row.
    pair: names of the source's and of the target's style.
    is_original: whether the original code is trained, and not ours.
    arguments: flags that make its config.
    config: these read.
  """

  system: str
  pair: tuple[str, str]
  is_original: bool
  arguments: tuple[str, ...]
  config: ConfigDict

  @property
  def pair_name(self) -> str:
    """As in the names of scores."""
    return '2'.join(self.pair)

  @property
  def row(self) -> tuple[str, str, bool]:
    """What trainings that differ in the seed alone have in common."""
    return self.pair_name, self.system, self.is_original

  @property
  def name(self) -> str:
    """Path of its files, without their endings."""
    whose = '_original' if self.is_original else ''
    return f'{self.pair_name}/{self.system}{whose}_{self.config.seed}'

  @property
  def title(self) -> str:
    """What the table calls the row."""
    title = contract.load(self.system).ABOUT.title
    if self.is_original:
      title += ', original'
    return f'{title}, trained on pairs' if _has_pairs(self.system) else title


def modes_of(system: str) -> tuple[str, ...]:
  """The modes that a row has scores and outputs of."""
  return evaluate.paired_modes(contract.load(system))


def _in_words(mode: str) -> str:
  return mode.replace('_', ' ')


def _has_pairs(system: str) -> bool:
  return 'data.pair' in contract.load(system).SETTINGS


def parse_pair(text: str) -> tuple[str, str]:
  """Source and target of noto2twemoji; raises UsageError for others."""
  source, _, target = text.partition('2')
  if not source or not target or source == target:
    raise errors.UsageError(
      f'--pairs={text} must be SOURCE2TARGET, as noto2twemoji'
    )
  return source, target


def parse_peers(texts: Iterable[str], systems: Iterable[str]) -> dict[str, str]:
  """{system: checkout} of SYSTEM=DIR; raises UsageError for others."""
  known = [s for s in systems if ROWS[s].original_minutes is not None]
  peers = {}
  for text in texts:
    system, _, directory = text.partition('=')
    if system not in known or not directory:
      raise errors.UsageError(
        f'--peer={text} must be SYSTEM=DIR, a system of these rows: '
        f'{", ".join(known) or "none"}'
      )
    peers[system] = str(files.user_path(directory))
  return peers


def plan(
  systems: Sequence[str],
  pairs: Sequence[tuple[str, str]],
  root: str,
  *,
  seeds: int | None = None,
  changes: Sequence[str] = (),
) -> list[Training]:
  """All trainings of the rows, those first that each row needs.

  Args:
    systems: names of ROWS.
    pairs: of styles.
    root: of the pictures.
    seeds: how many trainings a row has on the first pair; None for the row's
      own number.
    changes: settings of all rows, key=value.

  Raises:
    UsageError: there is no such row, or no such setting of a row.
  """
  for system in systems:
    if system not in ROWS:
      raise errors.UsageError(
        f'--rows names {system!r}: there is {", ".join(ROWS)}'
      )
  found = []
  for pair in pairs:
    for system in systems:
      training = _create(system, pair, root, changes)
      found.append(training)
      if pair == pairs[0] and ROWS[system].original_minutes is not None:
        found.append(training._replace(is_original=True))
  for system in systems:
    first = next(t for t in found if t.system == system)
    for i in range(1, seeds or ROWS[system].seeds):
      again = (*changes, f'seed={first.config.seed + i}')
      found.append(_create(system, pairs[0], root, again))
  return found


def _create(
  system: str, pair: tuple[str, str], root: str, changes: Sequence[str]
) -> Training:
  settings: dict[str, Any] = {'data.root': root, 'data.paired_names': True}
  if _has_pairs(system):
    settings |= {'data.name': 'folder', 'data.pair': ','.join(pair)}
  else:
    settings['data.domains'] = ','.join(pair)
  name = f'--config={system}/emoji'
  known = workdir.flatten(config_flag.read([name]))
  for change in changes:
    key, sign, value = change.partition('=')
    if not (key and sign and value):
      raise errors.UsageError(f'--change={change} must be key=value')
    if key not in known:
      raise errors.UsageError(
        f'--change={change}: {system} has no setting {key}'
      )
    settings[key] = value
  changed = (f'--config.{key}={value}' for key, value in settings.items())
  arguments = (name, *changed)
  config = config_flag.read(arguments)
  contract.check_config(contract.find_system(config), config)
  return Training(system, pair, False, arguments, config)


def settings_of(config: ConfigDict) -> dict[str, Any]:
  """All settings, as JSON gives them back."""
  return json.loads(json.dumps(workdir.flatten(config)))


def sum_images(training: Training) -> dict[str, str]:
  """Sums of the images of the pair, by split and style.

  Raises:
    UserError: they cannot be opened, or have no names in common.
  """
  config, (source, target) = training.config, training.pair
  both = contract.find_system(config).create_data(config).evaluation()
  sums = {}
  for split, data in zip(('train', 'val'), both, strict=True):
    domains = data.domains.index(source), data.domains.index(target)
    if not paired.match(data, domains):
      raise errors.UserError(
        f'{config.data.root} has no emoji: no image of {source!r} has the name '
        f'of one of {target!r} in {config.data[f"{split}_split"]!r}; '
        'jaxgan.tools.make_emoji makes pictures that do'
      )
    for style, domain in zip(training.pair, domains, strict=True):
      sums[f'{split}/{style}'] = data.digest(domain)
  return sums


def read_record(path: epath.Path) -> Record | None:
  """A training's record; None where there is none.

  Raises:
    UserError: it is damaged.
  """
  if not path.exists():
    return None
  try:
    record = files.read_json(path)
    kinds = {'config': dict, 'data': dict, 'seconds': int | float}
    if is_finished(record):
      kinds |= {'scores': dict, 'scoring_seconds': float, 'shown': list}
    for key, kind in kinds.items():
      if not isinstance(record[key], kind):
        raise ValueError(f'{key} is {str(record[key])[:40]!r}')
  except (ValueError, KeyError) as e:
    raise errors.UserError(
      f'{path} is damaged ({e}): remove it, and its training is made anew'
    ) from e
  return record


def write_record(path: epath.Path, record: Record) -> None:
  """Writes what `read_record` reads."""
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_whole(path, json.dumps(record, indent=2) + '\n')


def is_finished(record: Record | None) -> bool:
  """Whether a training is over, and scored."""
  return record is not None and 'scores' in record


def find_changes(
  record: Record, config: ConfigDict, sums: Mapping[str, str]
) -> list[str]:
  """How a record's training is not the one that is asked for, in words."""
  old, new = record['config'], settings_of(config)
  changes = [
    f'{key}: {old.get(key, "not set")} -> {new.get(key, "not set")}'
    for key in sorted((old.keys() | new.keys()) - _NO_MATTER)
    if old.get(key) != new.get(key)
  ]
  others = [key for key in sums if sums[key] != record['data'].get(key)]
  if others:
    changes.append(f'other images: {", ".join(others)}')
  return changes


def estimate_seconds(
  training: Training,
  trainings: Iterable[Training],
  records: Mapping[str, Record],
) -> float:
  """What a training will still take, with its scores.

  As long as a finished one of its system took, or else the minutes of ROWS, by
  the number of steps; less what it has had. An original begins anew.

  Args:
    training: not finished.
    trainings: all, with the same changes of settings.
    records: by the names of those that have one.
  """
  like = training.system, training.is_original
  took = [
    record['seconds'] + record['scoring_seconds']
    for other in trainings
    if (other.system, other.is_original) == like
    and is_finished(record := records.get(other.name, {}))
  ]
  if took:
    total = max(took)
  else:
    row = ROWS[training.system]
    minutes = row.original_minutes if training.is_original else row.minutes
    usual = config_flag.read(training.arguments[:1]).num_train_steps
    share = training.config.num_train_steps / usual
    total = 60 * max(_LEAST_MINUTES, minutes * share)
  if training.is_original:
    return total
  return max(0.0, total - records.get(training.name, {}).get('seconds', 0))


def tabulate(
  trainings: Iterable[Training], records: Mapping[str, Record]
) -> list[dict[str, Any]]:
  """A record for each floor of a pair, and each row and mode.

  Where a row has several trainings, scores are their means, and <score>_sd the
  deviations.

  Args:
    trainings: finished, in the order of the table.
    records: of these, by name.
  """
  table = []
  for pair, of_pair in grouped(trainings, lambda t: t.pair_name).items():
    scores = records[of_pair[0].name]['scores']
    for mode, title in _FLOORS.items():
      table.append(_tabulate_mode(pair, f'floor: {title}', mode, [scores]))
    for alike in grouped(of_pair, lambda t: t.row).values():
      of_row = [records[training.name] for training in alike]
      minutes = statistics.fmean(r['seconds'] / 60 for r in of_row)
      table += [
        _tabulate_mode(
          pair, alike[0].title, mode, [r['scores'] for r in of_row], minutes
        )
        for mode in modes_of(alike[0].system)
      ]
  return table


def grouped(
  trainings: Iterable[Training], key: Callable[[Training], Hashable]
) -> dict[Any, list[Training]]:
  """{key: trainings}, all in the order that they come in."""
  groups: dict[Any, list[Training]] = {}
  for training in trainings:
    groups.setdefault(key(training), []).append(training)
  return groups


def _tabulate_mode(
  pair: str,
  title: str,
  mode: str,
  scores: Sequence[Mapping[str, float]],
  minutes: float | None = None,
) -> dict[str, Any]:
  row = {'pair': pair, 'row': title, 'mode': mode, 'trainings': len(scores)}
  for name, _ in _COLUMNS.values():
    values = [of_one.get(f'paired/{mode}/{name}/{pair}') for of_one in scores]
    known = None not in values
    row[name] = statistics.fmean(values) if known else None
    several = known and len(values) > 1
    row[f'{name}_sd'] = statistics.stdev(values) if several else None
  return row | {'minutes': minutes}


def format_table(table: Sequence[Mapping[str, Any]]) -> str:
  """The records of `tabulate` in Markdown."""
  return '\n'.join(
    common.markdown_lines(
      [
        {
          'pair': row['pair'],
          'row': row['row'] + _count(row['trainings']),
          'mode': '' if row['minutes'] is None else _in_words(row['mode']),
          **{
            column: _format(row[name], row[f'{name}_sd'], digits)
            for column, (name, digits) in _COLUMNS.items()
          },
          'minutes': _format(row['minutes'], None, 1),
        }
        for row in table
      ]
    )
  )


def _count(trainings: int) -> str:
  return f', {trainings} seeds' if trainings > 1 else ''


def _format(value: float | None, deviation: float | None, digits: int) -> str:
  if value is None:
    return ''
  spread = '' if deviation is None else f' ± {deviation:.{digits}f}'
  return f'{value:.{digits}f}{spread}'


def find_odd_floors(
  trainings: Iterable[Training], records: Mapping[str, Record]
) -> list[str]:
  """Names of trainings whose floors are not those of the first of their pair.

  Their networks see other images, and their scores compare with nothing.
  """
  odd = []
  for pair, of_pair in grouped(trainings, lambda t: t.pair_name).items():
    floors = [
      [
        records[training.name]['scores'].get(f'paired/{mode}/{score}/{pair}')
        for mode in _FLOORS
        for score, _ in _COLUMNS.values()
      ]
      for training in of_pair
    ]
    odd += [
      training.name
      for training, own in zip(of_pair, floors, strict=True)
      if not np.allclose(*np.array([own, floors[0]], float), equal_nan=True)
    ]
  return odd


def draw_grid(
  names: Sequence[str],
  shown: Sequence[tuple[Training, Mapping[str, np.ndarray]]],
) -> np.ndarray:
  """Sources, what each row makes of them, and the truth: uint8 [H, W, 3].

  Args:
    names: of the N emoji.
    shown: of each row its training, and uint8 [N, S, S, 3] of `source`,
      `reference`, `truth`, and of each mode `by <mode>`.
  """
  _, first = shown[0]
  rows, left = [first['source'], first['reference']], ['source', 'reference']
  for training, outputs in shown:
    for mode in modes_of(training.system):
      rows.append(outputs[f'by {mode}'])
      how = '' if mode == 'label' else f', {_in_words(mode)}'
      left.append(f'{training.title}{how}'.replace(', ', '\n'))
  rows, left = [*rows, first['truth']], [*left, 'truth']
  return images.labelled_grid([list(row) for row in rows], names, left)
