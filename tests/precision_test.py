import math
import sys
import threading
import time

import pytest

from benchmarks import precision
from benchmarks.precision import Result
from jaxgan import errors

DTYPES = ('float32', 'bfloat16')
NAMES = ('shapes/reference/domain_accuracy', 'shapes/latent/diversity')


def _result(dtype, seed, values=(0.5, 0.9)):
  scores = {
    step: dict.fromkeys(NAMES, value)
    for step, value in zip((250, 500), values, strict=True)
  }
  return Result(dtype, seed, scores, {'G/ref': 2.0})


def test_differences_are_in_pooled_deviations():
  values = {'x': {'float32': [1.0, 3.0], 'bfloat16': [4.0, 8.0]}}
  row = precision.compare(values, DTYPES)['x']
  assert row['float32'] == {'mean': 2, 'sd': math.sqrt(2), 'difference': None}
  assert row['bfloat16']['difference'] == pytest.approx(4 / math.sqrt(5))
  table = precision.format_table('score', {'x': row}, DTYPES)
  assert table.splitlines()[-1] == '| x | 2 ± 1.4 | 6 ± 2.8 | +1.8 |'


@pytest.mark.parametrize(
  'values',
  [{}, {'float32': [1.0], 'bfloat16': [2.0]}, {'float32': [1.0, None]}]
  + [{'float32': [1.0, 1.0], 'bfloat16': [1.0, 1.0]}],
)
def test_what_cannot_be_told_is_left_open(values):
  row = precision.compare({'x': values}, DTYPES)['x']
  assert row['bfloat16']['difference'] is None
  assert '| - |' in precision.format_table('score', {'x': row}, DTYPES)


@pytest.mark.parametrize(
  'low, high', [(0, 1), (0.3, 0.301), (5, 5), (0, 0), (-3, 7), (0.0071, 0.0073)]
)
def test_ticks_are_round_and_enclose_the_values(low, high):
  ticks, digits = precision.choose_ticks(low, high)
  assert 2 <= len(ticks) <= 6
  assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9
  assert all(math.isclose(t, round(t, digits), abs_tol=1e-12) for t in ticks)


def test_the_picture_has_a_line_of_each_colour():
  results = [_result('float32', 0), _result('bfloat16', 0, (0.6, None))]
  picture = precision.draw_chart(results, DTYPES).convert('RGB')
  blank = precision.draw_chart([_result('float32', 0)], DTYPES).convert('RGB')
  assert picture.size == blank.size
  counts = [
    {colour: n for n, colour in image.getcolors(1 << 20)}
    for image in (picture, blank)
  ]
  orange = (0xE0, 0x70, 0x1A)
  assert counts[0][orange] > counts[1][orange]  # a key is in both


def test_the_last_step_is_scored_and_so_are_the_multiples():
  assert precision.Plan(None, 10, 4).scored == [4, 8, 10]
  assert precision.Plan(None, 8, 4).scored == [4, 8]


def test_a_failing_command_ends_in_its_last_line(tmp_path):
  code = 'import sys; print("much"); sys.exit("error: no such thing")'
  with pytest.raises(errors.UserError, match=r'^a_0: no such thing \(status 1'):
    precision.Children().run(
      [sys.executable, '-c', code], tmp_path / 'a_0.log', {}
    )


def test_a_run_is_never_trained_twice_at_once(tmp_path):
  log, children = tmp_path / 'a_0.log', precision.Children()
  command = [sys.executable, '-c', 'import time; time.sleep(60)']

  def train():
    with pytest.raises(KeyboardInterrupt):
      children.run(command, log, {})
    stopped.append(True)

  stopped = []
  thread = threading.Thread(target=train)
  thread.start()
  while not children._running:
    time.sleep(0.01)
  with pytest.raises(errors.UserError, match='another process is at work on a'):
    precision.Children().run(command, log, {})
  children.stop(KeyboardInterrupt())
  thread.join(30)
  assert stopped
  with pytest.raises(KeyboardInterrupt):  # no more are started
    children.run(command, log, {})
