import json

import numpy as np
import pytest
from PIL import Image

from jaxgan.runs import collapse
from jaxgan.runtime import errors
from tests import programs

sweep = programs.load('benchmarks.sweep')

CHANGES = ('base', 'model.dtype=bfloat16')
NAMES = ('shapes/reference/domain_accuracy', 'shapes/latent/diversity')


def _result(change, seed, values=(0.5, 0.9)):
  scores = {
    step: dict.fromkeys(NAMES, value)
    for step, value in zip((250, 500), values, strict=True)
  }
  return sweep.Result(change, seed, scores)


def _compare(*values):
  """The rows of runs with these values at the end, of each change."""
  results = [
    _result(change, seed, (0, value))
    for change, row in zip(CHANGES, values, strict=True)
    for seed, value in enumerate(row)
  ]
  records = sweep.compare_means(results, CHANGES)
  return [list(record.values()) for record in records]


def test_differences_are_in_pooled_deviations():
  *_, last = _compare((1.0, 3.0), (4.0, 8.0))
  assert last == [NAMES[1], '2 ± 1.4', '6 ± 2.8', '+1.8']  # 4 / sqrt(5)


def test_what_cannot_be_told_is_left_open():
  *_, last = _compare((1.0,), (2.0,))
  assert last == [NAMES[1], '1', '2', '-']
  assert _compare((1.0,), (None,)) == []


def test_every_score_is_in_the_csv():
  text = sweep.format_csv([_result('base', 0), _result(CHANGES[1], 7)])
  lines = text.splitlines()
  assert len(lines) == 1 + 2 * 2 * 2
  assert lines[-1] == f'{CHANGES[1]},7,500,{NAMES[1]},0.9'


def test_the_picture_has_a_line_of_each_colour(tmp_path):
  pytest.importorskip('matplotlib')

  def count(colour, *results):
    sweep.draw_curves(tmp_path / 'seeds.png', results)
    picture = Image.open(tmp_path / 'seeds.png').convert('RGB')
    return (np.asarray(picture) == colour).all(-1).sum()

  first, second = _result('base', 0), _result(CHANGES[1], 0, (0.6, None))
  orange = (0xFF, 0x7F, 0x0E)  # C1
  assert count(orange, first) == 0
  assert count(orange, first, second) > 10


def test_the_last_step_is_scored_and_so_are_the_multiples():
  assert sweep.scored_steps(10, 4) == [4, 8, 10]
  assert sweep.scored_steps(8, 4) == [4, 8]


def test_the_signs_of_runs_are_read_from_their_records(tmp_path):
  sign = collapse.Sign('G/spread', 0.1, 'one picture', 'raise lambda')
  values = [0.5] * 20 + [0.04] * 20 + [0.3] * 20
  noise = {collapse.NOISE: 9.0, collapse.SPREAD: 0.0}  # told elsewhere
  records = [
    {'step': 25 * i, 'G/spread': x, **noise} for i, x in enumerate(values)
  ]
  assert sweep.describe_sign('x', records, sign, 10) == {
    'run': 'x',
    'sign': 'G/spread',
    'limit': 0.1,
    'lowest': 0.04,
    'end': 0.3,
    'told at step': '675, 1175',
  }
  pytest.importorskip('matplotlib')
  sweep.draw_signs(tmp_path / 'signs.png', {'x': records}, [sign], 10)
  with Image.open(tmp_path / 'signs.png') as picture:
    assert picture.width > 100


def test_a_change_is_settings_and_their_values():
  known = {'seed', 'hparams.lambda_ds'}
  parsed = sweep.parse('seed=1+hparams.lambda_ds=0', known)
  assert parsed == {'seed': '1', 'hparams.lambda_ds': '0'}
  for change in ('seed', 'seed=', '=1', 'seed=1+', ''):
    with pytest.raises(errors.UsageError, match=r'--change=.* must be key='):
      sweep.parse(change, known)
  with pytest.raises(errors.UsageError, match='no setting hparams.lambda_dss'):
    sweep.parse('seed=1+hparams.lambda_dss=0', known)


def test_scores_stand_in_a_row_for_each_mode(tmp_path):
  scores = {
    'shapes/real/accuracy': 1.0,
    'shapes/latent/accuracy': 0.51239,
    'shapes/latent/diversity': None,
    'shapes/reference/accuracy': 0.5,
    'fid/latent/mean': 9.0,
  }
  (tmp_path / 'eval').mkdir()
  records = [{'name': k, 'value': v} for k, v in scores.items()]
  path = tmp_path / 'eval/2_stargan_v2.json'
  path.write_text(json.dumps({'scores': records}))
  (tmp_path / 'config.json').write_text(json.dumps({'system': 'unit'}))
  run = {'run': tmp_path.name, 'system': 'unit'}
  assert list(sweep._tell_scores([str(tmp_path)])) == [
    {**run, 'mode': 'latent', 'accuracy': 0.5124, 'diversity': None},
    {**run, 'mode': 'reference', 'accuracy': 0.5, 'diversity': None},
  ]
  path.write_text('{}')
  with pytest.raises(errors.UserError, match='is damaged: run eval.py again'):
    list(sweep._tell_scores([str(tmp_path)]))
