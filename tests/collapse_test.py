import ml_collections
import pytest

from jaxgan.runs import collapse

SIGN = collapse.Sign('G/spread', 0.1, 'one picture for all', 'raise lambda')


def _told(values, window=10, sign=SIGN):
  """{step: line} of what is said of logged values."""
  watcher = collapse.Watcher([sign], window)
  seen = {
    step: watcher.update({'step': step, sign.metric: value})
    for step, value in enumerate(values, start=1)
  }
  assert all(len(lines) <= 1 for lines in seen.values())
  return {step: lines[0] for step, lines in seen.items() if lines}


def test_a_sign_is_told_once_when_the_window_is_low_and_once_when_over():
  told = _told([0.5] * 10 + [0.04] * 30 + [0.4] * 30 + [0.04] * 9)
  assert told == {
    # Eight of the last ten values are low, or high, for the first time.
    18: (
      'warning: step 18: G/spread 0.04, below 0.1 in 8 of the last 10 values: '
      'one picture for all; raise lambda'
    ),
    48: 'step 48: G/spread 0.4, no longer below 0.1',
    78: (
      'warning: step 78: G/spread 0.04, below 0.1 in 8 of the last 10 values: '
      'one picture for all; raise lambda'
    ),
  }


@pytest.mark.parametrize(
  'values',
  [
    [0.0] * 9,  # less than a window
    [0.0] * 7 + [0.5] * 50,  # low at the start only
    [0.05, 0.5] * 50,  # low half of the time
    ([0.05] * 7 + [0.5] * 3) * 20,
    [0.1] * 50,  # not below
    [float('nan')] * 50,
  ],
)
def test_what_is_not_for_long_is_not_told(values):
  assert not _told(values)


def test_one_value_in_four_may_be_chance():
  assert list(_told(([0.05] * 8 + [50.0] * 2) * 20)) == [10]
  started = [0.05] * 10
  assert list(_told(started + ([0.3] * 8 + [0.0] * 2) * 20)) == [10, 18]
  # Between the two nothing changes: no warning comes and goes.
  assert list(_told(started + [0.05, 0.3] * 100)) == [10]


def test_a_resumed_run_tells_what_one_that_never_stopped_tells():
  values = [0.05] * 15 + [0.5] * 20 + [0.05] * 20
  records = [{'step': i, 'G/spread': x} for i, x in enumerate(values)]
  whole = collapse.Watcher([SIGN], 10)
  lines = [whole.update(record) for record in records]
  assert sum(map(len, lines)) == 3
  for stop in range(len(records)):
    resumed = collapse.Watcher([SIGN], 10)
    for record in records[:stop]:
      resumed.update(record)
    assert [resumed.update(record) for record in records[stop:]] == lines[stop:]


def test_every_sign_has_its_own_values():
  signs = [SIGN, collapse.Sign('D/doubt', 0.02, 'certain', 'more images')]
  watcher = collapse.Watcher(signs, 2)
  assert not watcher.update({'step': 1, 'G/spread': 0.0, 'D/doubt': 0.5})
  first, *rest = watcher.update({'step': 2, 'G/spread': 0.0, 'D/doubt': 0.01})
  assert first.startswith('warning: step 2: G/spread 0,') and not rest
  # Lines of a version that had no such metric are no values.
  assert not watcher.update({'step': 3})
  (second,) = watcher.update({'step': 4, 'G/spread': 0.0, 'D/doubt': 0.0})
  assert second.startswith('warning: step 4: D/doubt 0.005, below 0.02 in 2')


@pytest.mark.parametrize(
  'steps, log_every, expected',
  [(100_000, 10, 1000), (2500, 25, 10), (500, 25, 10), (2500, 5, 50)],
)
def test_for_long_is_a_tenth_of_the_run(steps, log_every, expected):
  config = ml_collections.ConfigDict(
    {'num_train_steps': steps, 'log_every_steps': log_every}
  )
  assert collapse.window_size(config) == expected


# (noise, spread)
GOOD, ROUGH, ALIKE = (1.0, 0.8), (6.5, 0.9), (1.5, 0.04)


def _follow(looks, signs=(), window=2):
  """The state after each look, and {step: line} of what is told."""
  watcher, states, told = collapse.Watcher(signs, window), [], {}
  for step, (noise, spread) in enumerate(looks, start=1):
    record = {'step': step, collapse.NOISE: noise, collapse.SPREAD: spread}
    if lines := watcher.update(record):
      (told[step],) = lines
    states.append(watcher.state().name)
  return states, told


def test_a_run_is_well_when_it_has_begun_to_work_and_not_before():
  looks = [ROUGH] * 3 + [ALIKE] * 2 + [GOOD] * 4 + [ALIKE] * 3 + [GOOD] * 3
  states, told = _follow(looks)
  assert states == (
    ['UNKNOWN'] * 2
    + ['NOT_BEGUN'] * 5
    + ['WELL'] * 4
    + ['COLLAPSED'] * 3
    + ['WELL']
  )
  assert told == {
    3: (
      'step 3: the run has not begun to work: outputs are 6.50 times as rough '
      'as real images (above 4.5: noise) and, of different sources, 0.90 times '
      'as far apart; train on, and if it stays so look at samples and data, '
      'and try a lower config.optim.lr'
    ),
    8: (
      'step 8: the run has begun to work: outputs are 1.00 times as rough as '
      'real images and, of different sources, 0.80 times as far apart'
    ),
    12: (
      'warning: step 12: the run no longer works: outputs are 1.50 times as '
      'rough as real images and, of different sources, 0.04 times as far apart '
      '(below 0.3: one picture for all); go on from an earlier checkpoint with '
      'a lower config.optim.lr'
    ),
    15: told[8].replace('step 8', 'step 15'),
  }


@pytest.mark.parametrize(
  'looks, state',
  [
    ([GOOD] * 2, 'UNKNOWN'),  # too few
    ([GOOD] * 3, 'WELL'),
    ([GOOD, ROUGH, GOOD], 'UNKNOWN'),  # it may be about to begin
    ([ROUGH, GOOD, GOOD, ROUGH], 'NOT_BEGUN'),
    ([ROUGH, GOOD] * 20, 'NOT_BEGUN'),  # half of them
    ([GOOD] * 3 + [ROUGH, ALIKE, GOOD] * 9, 'WELL'),  # never three
    ([(float('nan'), 0.5)] * 9, 'UNKNOWN'),
    ([(4.5, 0.3)] * 3, 'WELL'),  # the limits themselves
    ([(4.51, 0.5)] * 3, 'NOT_BEGUN'),
    ([(1.0, 0.29)] * 3, 'NOT_BEGUN'),
  ],
)
def test_a_run_is_what_all_of_the_last_looks_say(looks, state):
  assert _follow(looks)[0][-1] == state


def test_a_run_is_well_only_if_its_signs_are_known():
  never_logged = collapse.Sign('G/joint_change', 0.1, 'same', 'lower it')
  watcher = collapse.Watcher([SIGN, never_logged], 4)
  good = {collapse.NOISE: 1.0, collapse.SPREAD: 0.9}
  states = []
  for step in range(1, 11):
    spread = 0.5 if step < 7 else 0.0
    watcher.update({'step': step, 'G/spread': spread, **good})
    states.append(watcher.state().name)
  assert states == ['UNKNOWN'] * 3 + ['WELL'] * 5 + ['COLLAPSED'] * 2
  # Of an earlier version there are signs alone.
  watcher = collapse.Watcher([SIGN], 2)
  for step in range(1, 11):
    watcher.update({'step': step, 'G/spread': 0.5})
  assert watcher.state() is collapse.State.UNKNOWN
  nothing = 'Outputs of different sources were not looked at yet.'
  assert watcher.last_look() == nothing


# (noise, spread) of trainings that were looked at: benchmarks/README.md.
BROKEN = {
  'UNIT, shapes, steps 100 to 500': [
    *((3.91, 0.07), (3.86, 0.04), (2.66, 0.05), (3.64, 0.06), (3.74, 0.09)),
  ],
  'UNIT, shapes, lr 2e-2, steps 100 to 200': [
    *((2.15, 0.28), (1.37, 0.07), (2.40, 0.29)),
  ],
  'StarGAN v2, emoji, lr 1e-4, steps 100 to 300': [
    *((6.01, 0.95), (6.12, 0.94), (6.19, 0.92)),
  ],
  'StarGAN, shapes, lr 2e-2, steps 100 to 400': [
    *((2.74, 1.46), (16.67, 0.48), (15.52, 0.33), (15.12, 0.16)),
  ],
}
HEALTHY = {
  'UNIT, emoji': [(1.59, 0.42), (1.30, 0.48), (1.28, 0.59), (1.43, 0.67)],
  'UNIT, shapes, steps 2000 to 3000': [
    (3.97, 1.04),
    (3.88, 1.05),
    (3.19, 0.93),
  ],
  'MUNIT, shapes': [(0.73, 0.83), (0.88, 0.78), (0.92, 0.72)],
  'MUNIT, emoji': [(0.50, 0.50), (0.48, 0.41), (0.50, 0.53), (0.71, 0.42)],
  'StarGAN v2, shapes': [(1.53, 0.58), (1.56, 0.63), (1.73, 0.67)],
  'StarGAN v2, clothing': [(2.10, 0.85), (1.62, 0.83), (1.68, 0.81)],
  'StarGAN, shapes': [(1.88, 1.04), (1.61, 0.96), (1.58, 0.97)],
  'StarGAN, emoji': [(2.20, 0.69), (1.97, 0.69), (1.74, 0.96)],
  'pix2pix, shapes': [(1.33, 1.76), (1.41, 1.83), (1.49, 1.87)],
  'pix2pix, emoji': [(1.29, 0.54), (0.96, 0.70), (0.87, 0.87)],
}


@pytest.mark.parametrize(
  'looks, state',
  [
    *((looks, 'NOT_BEGUN') for looks in BROKEN.values()),
    *((looks, 'WELL') for looks in HEALTHY.values()),
  ],
  ids=[*BROKEN, *HEALTHY],
)
def test_limits_lie_between_broken_and_healthy_runs(looks, state):
  states, _ = _follow(looks)
  assert set(states[collapse.NUM_LOOKS - 1 :]) == {state}
