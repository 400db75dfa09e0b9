import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import leaderboard_rows as rows
from jaxgan.runtime import errors
from jaxgan.systems import contract
from tests import programs

leaderboard = programs.load('benchmarks.leaderboard')

PAIR = ('noto', 'twemoji')
SUMS = {'train/noto': 'a', 'val/noto': 'b'}
# Of the table and of what no row is ranked by.
SCORES = ('retrieval', 'retrieval_best', 'style', 'l1', 'ssim')


def _plan(*systems, pairs=(PAIR,), **options):
  return rows.plan(systems, pairs, 'data/emoji', **options)


def _record(training, values, **others):
  """A finished record, whose scores are `values` in all modes."""
  modes = ('source', 'nearest_pair', 'mean_picture', 'latent', 'reference')
  scores = {
    f'paired/{mode}/{name}/{training.pair_name}': value
    for mode in (*modes, 'own_style', 'label')
    for name, value in zip(SCORES, values, strict=True)
    if not (name == 'retrieval_best' and mode not in ('latent', 'reference'))
  }
  return {
    'config': rows.settings_of(training.config),
    'data': SUMS,
    'seconds': 60.0,
    'scoring_seconds': 30.0,
    'scores': scores | {f'paired/chance/retrieval/{training.pair_name}': 0.01},
    'shown': ['abacus'],
    **others,
  }


def test_every_system_has_a_row_and_a_config():
  assert set(rows.ROWS) == set(contract.SYSTEMS)
  for row in rows.ROWS.values():
    assert row.minutes > 0 and row.seeds > 0
  trainings = _plan(*rows.ROWS, pairs=(PAIR, ('noto', 'openmoji')))
  names = [training.name for training in trainings]
  assert names == [
    'noto2twemoji/stargan_v2_0',
    'noto2twemoji/stargan_v2_original_0',
    'noto2twemoji/stargan_0',
    'noto2twemoji/unit_0',
    'noto2twemoji/munit_0',
    'noto2twemoji/munit_original_0',
    'noto2twemoji/pix2pix_0',
    'noto2openmoji/stargan_v2_0',
    'noto2openmoji/stargan_0',
    'noto2openmoji/unit_0',
    'noto2openmoji/munit_0',
    'noto2openmoji/pix2pix_0',
    *(
      f'noto2twemoji/{system}_{seed}'
      for system in ('stargan_v2', 'stargan', 'unit')
      for seed in (1, 2)
    ),
  ]
  for training in trainings:
    data = training.config.data
    assert (data.root, data.paired_names) == ('data/emoji', True)
    pair = data.pair if training.system == 'pix2pix' else data.domains
    assert pair == training.pair
  sizes = {training.config.data.img_size for training in trainings}
  assert sizes == {32}  # or rows would not compare
  assert trainings[-1].config.seed == 2
  by_row = rows.grouped(trainings, lambda training: training.row)
  assert len(by_row['noto2twemoji', 'stargan_v2', False]) == 3


def test_changes_are_of_all_rows():
  trainings = _plan(
    'unit', 'pix2pix', seeds=1, changes=('num_train_steps=1e3',)
  )
  assert [t.config.num_train_steps for t in trainings] == [1000, 1000]
  assert '--config.num_train_steps=1e3' in trainings[0].arguments


@pytest.mark.parametrize(
  'system, options, line',
  [
    ('uunit', {}, "--rows names 'uunit': there is stargan_v2, stargan, unit, "),
    ('unit', {'changes': ['seed']}, '--change=seed must be key=value'),
    (
      'unit',
      {'changes': ['hparams.lambda_ds=1']},
      '--change=hparams.lambda_ds=1: unit has no setting hparams.lambda_ds',
    ),
    ('unit', {'changes': ['seed=x']}, 'flag --config.seed=x: not a number'),
    ('unit', {'changes': ['batch_size=0']}, 'config.batch_size'),
  ],
)
def test_bad_rows_and_changes_are_one_line(system, options, line):
  with pytest.raises(errors.UserError) as e:
    _plan(system, **options)
  assert line in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('text', ['noto', 'noto2', '2noto', 'noto2noto'])
def test_a_pair_is_two_styles(text):
  assert rows.parse_pair('noto-v12fluent') == ('noto-v1', 'fluent')
  with pytest.raises(errors.UsageError) as e:
    rows.parse_pair(text)
  line = f'--pairs={text} must be SOURCE2TARGET, as noto2twemoji'
  assert str(e.value) == line


@pytest.mark.parametrize('text', ['unit=x', 'munit', 'munit=', 'stargan_v2=x'])
def test_a_peer_is_of_a_row_that_has_one(text):
  assert rows.parse_peers(['munit=/x=y'], ['munit']) == {'munit': '/x=y'}
  with pytest.raises(errors.UsageError) as e:
    rows.parse_peers([text], ['unit', 'munit'])
  line = f'--peer={text} must be SYSTEM=DIR, a system of these rows: munit'
  assert str(e.value) == line


def _draw(folder, names):
  folder.mkdir(parents=True)
  for i, name in enumerate(names):
    pixels = np.full((8, 8, 3), i, np.uint8)
    Image.fromarray(pixels).save(folder / f'{name}.png')


@pytest.mark.parametrize('system', ['stargan_v2', 'stargan', 'munit'])
def test_images_without_equal_names_are_no_emoji(tmp_path, system):
  for split in ('train', 'val'):
    _draw(tmp_path / split / 'noto', ['abacus', 'zebra'])
  _draw(tmp_path / 'train/twemoji', ['abacus', 'ant'])
  _draw(tmp_path / 'val/twemoji', ['ant'])
  training, *_ = rows.plan([system], [PAIR], str(tmp_path))
  with pytest.raises(errors.UserError) as e:
    rows.sum_images(training)
  assert str(e.value) == (
    f"{tmp_path} has no emoji: no image of 'noto' has the name of one of "
    "'twemoji' in 'val'; jaxgan.tools.make_emoji makes pictures that do"
  )
  path = tmp_path / 'val/twemoji/zebra.png'
  found = []
  for shade in (100, 200):
    Image.new('RGB', (8, 8), (shade,) * 3).save(path)
    found.append(rows.sum_images(training))
  splits = [f'{split}/{style}' for split in ('train', 'val') for style in PAIR]
  assert list(found[0]) == splits
  changed = [name for name in splits if found[0][name] != found[1][name]]
  assert changed == ['val/twemoji']


def test_what_has_changed_is_told():
  (training,) = _plan('unit', seeds=1)
  record = json.loads(json.dumps(_record(training, range(5))))
  assert rows.find_changes(record, training.config, SUMS) == []
  (other,) = _plan(
    'unit', seeds=1, changes=['optim.lr=1', 'keep=9', 'data.root=/x']
  )
  old = training.config.optim.lr
  found = rows.find_changes(record, other.config, SUMS | {'val/noto': 'c'})
  assert found == [f'optim.lr: {old} -> 1.0', 'other images: val/noto']
  (longer,) = _plan('unit', seeds=1, changes=['num_train_steps=3'])
  assert len(rows.find_changes(record, longer.config, SUMS)) == 1


def test_records_are_read_whole_or_refused(tmp_path):
  path = tmp_path / 'noto2twemoji/unit_0.json'
  assert rows.read_record(path) is None
  (training,) = _plan('unit', seeds=1)
  record = _record(training, range(5))
  rows.write_record(path, record)
  found = rows.read_record(path)
  assert found == record and rows.is_finished(found)
  begun = {key: record[key] for key in ('config', 'data', 'seconds')}
  rows.write_record(path, begun)
  assert not rows.is_finished(rows.read_record(path))
  for text in ('{', '{}', '{"config": {}, "data": {}, "seconds": "1"}'):
    path.write_text(text)
    with pytest.raises(errors.UserError, match=r'damaged \(.*\): remove it'):
      rows.read_record(path)


def test_time_is_that_of_a_row_or_of_one_like_it():
  trainings = [*_plan('stargan_v2'), *_plan('unit', seeds=1)]
  first, original, second, third, unit = trainings
  row = rows.ROWS['stargan_v2']
  assert rows.estimate_seconds(first, trainings, {}) == 60 * row.minutes
  theirs = rows.estimate_seconds(original, trainings, {})
  assert theirs == 60 * row.original_minutes
  records = {
    first.name: _record(first, range(5)),
    third.name: {'seconds': 70},
    original.name: {'seconds': 70},
  }
  found = [rows.estimate_seconds(t, trainings, records) for t in trainings[1:]]
  # A stopped run goes on, an original begins anew.
  assert found == [theirs, 90, 20, 60 * rows.ROWS['unit'].minutes]
  steps = unit.config.num_train_steps // 4
  (short,) = _plan('unit', seeds=1, changes=[f'num_train_steps={steps}'])
  quarter = rows.estimate_seconds(short, [short], {})
  assert quarter == 15 * rows.ROWS['unit'].minutes
  (shortest,) = _plan('unit', seeds=1, changes=['num_train_steps=1'])
  assert rows.estimate_seconds(shortest, [shortest], {}) == 60


def test_the_table_has_floors_first_and_means_of_seeds():
  trainings = _plan('stargan_v2', 'pix2pix', seeds=2)
  first, original, pairs, second, _ = trainings
  records = {
    first.name: _record(first, (0.1, 0.5, 1.0, 40.0, 0.25)),
    second.name: _record(second, (0.3, 0.5, 1.0, 44.0, None)),
    original.name: _record(original, (0.1, 0.5, 1.0, 40.0, 0.25), seconds=90),
    pairs.name: _record(pairs, (0.1, 0.5, 1.0, 40.0, 0.25)),
  }
  table = rows.tabulate(trainings[:4], records)
  assert rows.format_table(table).splitlines() == [
    '| pair | row | mode | retrieval | best of ten | style | l1 | ssim '
    '| minutes |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    '| noto2twemoji | floor: the source itself |  | 0.100 |  | 1.000 | 40.0 '
    '| 0.250 |  |',
    '| noto2twemoji | floor: the pair of the nearest training source |  '
    '| 0.100 |  | 1.000 | 40.0 | 0.250 |  |',
    '| noto2twemoji | floor: the mean picture |  | 0.100 |  | 1.000 | 40.0 '
    '| 0.250 |  |',
    '| noto2twemoji | floor: chance |  | 0.010 |  |  |  |  |  |',
    *(
      f'| noto2twemoji | StarGAN v2, 2 seeds | {mode} | 0.200 ± 0.141 '
      '| 0.500 ± 0.000 | 1.000 ± 0.000 | 42.0 ± 2.8 |  | 1.0 |'
      for mode in ('latent', 'reference')
    ),
    '| noto2twemoji | StarGAN v2, 2 seeds | own style | 0.200 ± 0.141 '
    '|  | 1.000 ± 0.000 | 42.0 ± 2.8 |  | 1.0 |',
    *(
      f'| noto2twemoji | StarGAN v2, original | {mode} | 0.100 | 0.500 '
      '| 1.000 | 40.0 | 0.250 | 1.5 |'
      for mode in ('latent', 'reference')
    ),
    '| noto2twemoji | StarGAN v2, original | own style | 0.100 |  '
    '| 1.000 | 40.0 | 0.250 | 1.5 |',
    '| noto2twemoji | pix2pix, trained on pairs | label | 0.100 |  | 1.000 '
    '| 40.0 | 0.250 | 1.0 |',
  ]
  keys = {tuple(row) for row in table}
  assert len(keys) == 1  # as JSON they are one table
  assert rows.find_odd_floors([first, pairs], records) == []
  assert rows.find_odd_floors([first, second], records) == [second.name]


def test_the_grid_has_a_row_for_each_mode():
  munit, original, pairs = _plan('munit', 'pix2pix')
  shades = {'source': 10, 'reference': 20, 'truth': 30}

  def shown(**outputs):
    named = shades | {f'by {mode}': shade for mode, shade in outputs.items()}
    return {
      name: np.full((2, 32, 32, 3), shade, np.uint8)
      for name, shade in named.items()
    }

  picture = rows.draw_grid(
    ['abacus', 'zebra'],
    [
      (munit, shown(latent=40, reference=50, own_style=55)),
      (original, shown(latent=60, reference=70, own_style=75)),
      (pairs, shown(label=80)),
    ],
  )
  cells = picture[-10 * (64 + 2) :, -64:][32::66, 32, 0]
  assert cells.tolist() == [10, 20, 40, 50, 55, 60, 70, 75, 80, 30]


def _finish_all(monkeypatch, minutes, failing=()):
  """The systems that are begun, whether one failed, and what is finished."""
  begun, clock = [], [0.0]
  trainings = _plan('stargan', 'unit', 'pix2pix', seeds=1)

  def finish(training, *_):
    begun.append(training.system)
    clock[0] += 60 * rows.ROWS[training.system].minutes
    if training.system in failing:
      raise errors.UserError('it is broken')
    return _record(training, range(5))

  monkeypatch.setattr(leaderboard, '_finish', finish)
  monkeypatch.setattr(leaderboard.time, 'monotonic', lambda: clock[0])
  sums = {training.name: SUMS for training in trainings}
  records = {}
  failed = leaderboard.finish_all(
    trainings, {}, sums, records, None, minutes, 0.0
  )
  return begun, failed, sorted(records)


def test_nothing_is_begun_that_would_not_be_over(monkeypatch, capsys):
  for system, minutes in (('stargan', 10), ('unit', 12), ('pix2pix', 4)):
    monkeypatch.setitem(rows.ROWS, system, rows.Row(minutes=minutes))
  begun, failed, _ = _finish_all(monkeypatch, minutes=15)
  assert (begun, failed) == (['stargan', 'pix2pix'], False)
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == 'missing trainings: 3, about 26.0 minutes'
  assert lines[2] == '  noto2twemoji/unit_0: 12.0'
  assert (
    'noto2twemoji/unit_0 is left out: about 12.0 minutes, and 5.0 of '
    '--minutes=15 are left'
  ) in lines


def test_what_fails_is_named_and_others_go_on(monkeypatch, capsys):
  begun, failed, made = _finish_all(monkeypatch, None, failing=['stargan'])
  assert begun == ['stargan', 'unit', 'pix2pix'] and failed
  assert made == ['noto2twemoji/pix2pix_0', 'noto2twemoji/unit_0']
  error = 'error: noto2twemoji/stargan_0: it is broken'
  assert error in capsys.readouterr().err.splitlines()
