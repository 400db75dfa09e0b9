import io

import numpy as np
import pytest
from PIL import Image

from tests import programs

precision = programs.load('benchmarks.precision')

DTYPES = ('float32', 'bfloat16')
NAMES = ('shapes/reference/domain_accuracy', 'shapes/latent/diversity')


def _result(dtype, seed, values=(0.5, 0.9)):
  scores = {
    step: dict.fromkeys(NAMES, value)
    for step, value in zip((250, 500), values, strict=True)
  }
  return precision.Result(dtype, seed, scores)


def _last_line(f32, bf16):
  results = [
    _result(dtype, seed, (0, value))
    for dtype, values in zip(DTYPES, (f32, bf16), strict=True)
    for seed, value in enumerate(values)
  ]
  table = precision.compare(results, DTYPES)
  return precision.format_table('score', table, DTYPES).splitlines()[-1]


def test_differences_are_in_pooled_deviations():
  assert _last_line((1.0, 3.0), (4.0, 8.0)) == (
    f'| {NAMES[1]} | 2 ± 1.4 | 6 ± 2.8 | +1.8 |'  # 4 / sqrt(5)
  )


def test_what_cannot_be_told_is_left_open():
  assert _last_line((1.0,), (2.0,)) == f'| {NAMES[1]} | 1 | 2 | - |'
  assert _last_line((1.0,), (None,)).startswith('| ---')


def test_every_score_is_in_the_csv():
  text = precision.format_csv([_result('float32', 0), _result('bfloat16', 7)])
  lines = text.splitlines()
  assert len(lines) == 1 + 2 * 2 * 2
  assert lines[-1] == f'bfloat16,7,500,{NAMES[1]},0.9'


def test_the_picture_has_a_line_of_each_colour():
  pytest.importorskip('matplotlib')

  def count(colour, *results):
    picture = Image.open(io.BytesIO(precision.draw_curves(results, DTYPES)))
    return (np.asarray(picture.convert('RGB')) == colour).all(-1).sum()

  first, second = _result('float32', 0), _result('bfloat16', 0, (0.6, None))
  orange = (0xFF, 0x7F, 0x0E)  # C1
  assert count(orange, first) == 0
  assert count(orange, first, second) > 10


def test_the_last_step_is_scored_and_so_are_the_multiples():
  assert precision.Plan(None, 10, 4).scored == [4, 8, 10]
  assert precision.Plan(None, 8, 4).scored == [4, 8]
