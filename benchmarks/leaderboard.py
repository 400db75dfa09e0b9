"""Trains every system on the same emoji, and scores it beside the right answer.

  python -m benchmarks.leaderboard --root=data/emoji --workdir=DIR \\
    [--rows=stargan_v2,munit] [--pairs=noto2twemoji] [--seeds=1] \\
    [--minutes=N] [--change=data.img_size=64] \\
    [--peer=stargan_v2=CHECKOUT,munit=CHECKOUT]

trains each row by configs/<system>/emoji.py, from one style to another, and
keeps its scores in DIR/<pair>/<row>_<seed>.json. The same command makes what is
missing, goes on where it was stopped, and makes a row anew whose settings or
images have changed. First it says how long that will take; --minutes starts no
training that would not be over by then.

It prints a Markdown table, also DIR/leaderboard.md, and as the last line of
stdout the same as JSON; DIR/<pair>.png shows sources, outputs and the truth.
Floors are scores of no translation at all. --peer also trains the original
PyTorch code on the first pair: its checkouts are those of benchmarks/README.md.
Exit status: 1 where a training failed, too.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import logging
from etils import epath

from benchmarks import common, leaderboard_rows
from benchmarks import peer as peer_lib
from benchmarks.leaderboard_rows import Record, Training
from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors, files, images

_ROOT = cli.define_path('root', None, 'The emoji, as make_emoji leaves them.')
_WORKDIR = cli.define_path('workdir', None, 'Where all of it is kept.')
_ROWS = cli.define_names(
  'rows', list(leaderboard_rows.ROWS), 'The systems that are trained.'
)
_PAIRS = cli.define_names(
  'pairs',
  ['noto2twemoji', 'noto2openmoji'],
  'From which style to which; several seeds and originals on the first.',
)
_SEEDS = cli.define_integer(
  'seeds', None, "Trainings on the first pair; default: each row's own.", 1
)
_MINUTES = cli.define_integer(
  'minutes', None, 'After them no training is to be at work.', 0
)
_CHANGE = cli.define_names('change', [], 'Settings of all rows, key=value.')
_PEER = cli.define_names(
  'peer', [], 'Checkouts of originals to train as well, SYSTEM=DIR.'
)


def main() -> int:
  """Trains, prints and draws; returns the exit status."""
  start = time.monotonic()
  jax.config.update('jax_platforms', 'cpu')  # a GPU is for the trainings
  root, directory = cli.required(_ROOT), epath.Path(cli.required(_WORKDIR))
  pairs = [*dict.fromkeys(map(leaderboard_rows.parse_pair, _PAIRS.value))]
  systems = [*dict.fromkeys(_ROWS.value)]
  if not pairs or not systems:
    raise errors.UsageError('--pairs and --rows must name one or more')
  trainings = leaderboard_rows.plan(
    systems, pairs, root, seeds=_SEEDS.value, changes=_CHANGE.value
  )
  peers = leaderboard_rows.parse_peers(_PEER.value, systems)
  sums = _sum_images(trainings)
  _check_peers(trainings, peers)
  workdir.prepare(directory)
  common.exit_when_terminated()
  with workdir.locked(directory):
    records = _read_records(trainings, peers, sums, directory)
    failed = finish_all(
      trainings, peers, sums, records, directory, _MINUTES.value, start
    )
    _publish(trainings, records, directory)
  return int(failed)


def _sum_images(trainings: Sequence[Training]) -> dict[str, dict[str, str]]:
  """Sums by the names of trainings; UserError where images are no emoji."""
  sums, by_data = {}, {}
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)  # of styles that a pair does not use
  try:
    for training in trainings:
      key = training.pair, training.system
      if key not in by_data:
        by_data[key] = leaderboard_rows.sum_images(training)
      sums[training.name] = by_data[key]
  finally:
    logging.set_verbosity(verbosity)
  return sums


def _check_peers(
  trainings: Sequence[Training], peers: Mapping[str, str]
) -> None:
  """Raises UserError where a checkout is none, before anything is trained."""
  for training in trainings:
    if training.is_original and training.system in peers:
      peer_lib.check(peers[training.system], training.config)


def _read_records(
  trainings: Sequence[Training],
  peers: Mapping[str, str],
  sums: Mapping[str, Mapping[str, str]],
  directory: epath.Path,
) -> dict[str, Record]:
  """Records by name, of trainings that are the ones asked for."""
  records = {}
  for training in trainings:
    name = training.name
    record = leaderboard_rows.read_record(directory / f'{name}.json')
    if record is None:
      continue
    changes = leaderboard_rows.find_changes(record, training.config, sums[name])
    if not changes:
      records[name] = record
      continue
    what = 'is made anew, the old one is kept as *.old'
    if training.is_original and training.system not in peers:
      what = 'is left out; --peer makes it anew'
    _tell(f'{name} {what}: {"; ".join(changes)}')
  return records


def _tell(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def finish_all(
  trainings: Sequence[Training],
  peers: Mapping[str, str],
  sums: Mapping[str, Mapping[str, str]],
  records: dict[str, Record],
  directory: epath.Path,
  minutes: int | None,
  start: float,
) -> bool:
  """Makes what is missing; whether some of it failed.

  Args:
    trainings: all.
    peers: checkouts of originals, by system; others are not trained.
    sums: of images, by the names of trainings.
    records: by name, of those that are begun; gets the finished ones.
    directory: where they are kept.
    minutes: after which all is to be over; None for no limit.
    start: from which they count, as `time.monotonic` has it.
  """
  missing = [
    training
    for training in trainings
    if not leaderboard_rows.is_finished(records.get(training.name))
    and (not training.is_original or training.system in peers)
  ]
  _tell_missing(missing, trainings, records)
  failed = False
  for training in missing:
    needed = leaderboard_rows.estimate_seconds(training, trainings, records)
    if minutes is not None:
      left = 60 * minutes - (time.monotonic() - start)
      if needed > left:
        _tell(
          f'{training.name} is left out: about {_minutes(needed)} minutes, and '
          f'{_minutes(max(left, 0))} of --minutes={minutes} are left'
        )
        continue
    _tell(f'{training.name} ...')
    try:
      records[training.name] = _finish(
        training,
        peers,
        records.get(training.name),
        sums[training.name],
        directory,
      )
    except errors.UserError as e:
      _tell(f'error: {training.name}: {e}')
      failed = True
  return failed


def _tell_missing(
  missing: Sequence[Training],
  trainings: Sequence[Training],
  records: Mapping[str, Record],
) -> None:
  needed = {
    t.name: leaderboard_rows.estimate_seconds(t, trainings, records)
    for t in missing
  }
  _tell(
    f'missing trainings: {len(missing)}, about '
    f'{_minutes(sum(needed.values()))} minutes'
  )
  for name, seconds in needed.items():
    _tell(f'  {name}: {_minutes(seconds)}')


def _minutes(seconds: float) -> str:
  return f'{seconds / 60:.1f}'


def _finish(
  training: Training,
  peers: Mapping[str, str],
  record: Record | None,
  sums: Mapping[str, str],
  directory: epath.Path,
) -> Record:
  """Trains and scores; the finished record."""
  run = directory / training.name
  path = directory / f'{training.name}.json'
  if record is None:
    _set_aside(run, path, path.with_suffix('.npz'))
    settings = leaderboard_rows.settings_of(training.config)
    record = {'config': settings, 'data': sums, 'seconds': 0}
    leaderboard_rows.write_record(path, record)
  how = f'--peer={peers.get(training.system)}'
  if not training.is_original:
    _train(training, run, path, record)
    how = f'--workdir={run}'
  entry = (sys.executable, '-m', 'benchmarks.leaderboard_entry')
  options = f'--record={path}', f'--pair={training.pair_name}', how
  common.run_child((*entry, *training.arguments, *options), entry[-1])
  finished = leaderboard_rows.read_record(path)
  assert finished
  return finished


def _set_aside(*paths: epath.Path) -> None:
  for path in paths:
    old = path.parent / f'{path.name}.old'
    if path.exists():
      if old.exists():
        (old.rmtree if old.is_dir() else old.unlink)()
      path.rename(old)


def _train(
  training: Training, run: epath.Path, path: epath.Path, record: Record
) -> None:
  """Does what is left of a run, and adds its time to the record."""
  train = (sys.executable, str(common.ROOT / 'train.py'), f'--workdir={run}')
  start = time.monotonic()
  try:
    common.run_child((*train, *training.arguments), 'train.py')
  finally:
    record['seconds'] += time.monotonic() - start
    leaderboard_rows.write_record(path, record)
  common.require_finished(run)


def _publish(
  trainings: Sequence[Training],
  records: Mapping[str, Record],
  directory: epath.Path,
) -> None:
  """Prints and writes the table, and draws the grids, of what is finished."""
  done = [
    training
    for training in trainings
    if leaderboard_rows.is_finished(records.get(training.name))
  ]
  for name in leaderboard_rows.find_odd_floors(done, records):
    _tell(
      f'warning: {name} has other floors than the first of its pair: it sees '
      'other pictures (data.img_size, a crop), and compares with no other row'
    )
  table = leaderboard_rows.tabulate(done, records)
  if table:
    text = leaderboard_rows.format_table(table)
    files.write_whole(directory / 'leaderboard.md', f'{text}\n')
    print(text)
  by_pair = leaderboard_rows.grouped(done, lambda training: training.pair_name)
  for pair, of_pair in by_pair.items():
    picture = _draw(of_pair, records, directory)
    images.write_png(directory / f'{pair}.png', picture)
  rounded = [
    {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
    for row in table
  ]
  print(json.dumps(rounded), flush=True)


def _draw(
  of_pair: Sequence[Training],
  records: Mapping[str, Record],
  directory: epath.Path,
) -> np.ndarray:
  """The grid of the first training of each row of a pair."""
  by_row = leaderboard_rows.grouped(of_pair, lambda training: training.row)
  shown = []
  for training, *_ in by_row.values():
    path = directory / f'{training.name}.npz'
    try:
      shown.append((training, files.read_npz(path)))
    except (OSError, ValueError) as e:
      raise errors.UserError(
        f'{path} is damaged ({e}): remove {training.name}.json as well, and it '
        'is made anew'
      ) from e
  return leaderboard_rows.draw_grid(records[of_pair[0].name]['shown'], shown)


if __name__ == '__main__':
  cli.run(main, sys.argv)
