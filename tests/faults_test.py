import json
import os
import pathlib
import random
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxgan.runs import checkpoint
from tests import programs
from tests.endurance import trainings
from tests.endurance.trainings import Lost

faults = programs.load('tests.endurance.faults')

ROOT = pathlib.Path(__file__).parents[1]
RUN = """
import signal, sys, time
print('resuming after step 7', flush=True)
for step in (8, 9, 10):
  print(f'step {step}/99  1 images/s', flush=True)
exec(sys.argv[1])
"""


def _training(tmp_path, end):
  command = [sys.executable, '-c', RUN, end]
  return trainings.Training(command, tmp_path / 'log')


def test_a_training_is_followed_to_its_end(tmp_path):
  training = _training(tmp_path, 'time.sleep(60)')
  training.reach_step(3)
  assert training.steps() == 3 and training.resumed() == 7
  assert training.lives() and training.says('^step 9/')
  training.send(signal.SIGTERM)
  with pytest.raises(Lost, match='status -15 instead of 0'):
    training.finish()
  with pytest.raises(Lost, match='ends too early'):
    training.reach_step(4)


@pytest.mark.parametrize(
  'end, problem',
  [
    ('sys.exit("error: no x.png, mend it")', None),
    ('sys.exit("error: no y.png")', "does not end with 'no x'"),
    ('print("error: no x.png")', 'status 0 instead of 1'),
    ('raise KeyError', 'shows a traceback'),
    ('time.sleep(60)', 'hangs for 2 s'),
  ],
)
def test_a_training_must_fail_in_one_line(tmp_path, monkeypatch, end, problem):
  if 'sleep' in end:
    monkeypatch.setattr(trainings, '_PATIENCE', 2)
  training = _training(tmp_path, end)
  if problem is None:
    training.fail('no x')
  else:
    with pytest.raises(Lost, match=problem):
      training.fail('no x')


def _run(path, value=1.0, lines=2, step=2):
  checkpointer = checkpoint.Checkpointer(path / 'checkpoints')
  checkpointer.save(step, {'a': np.full(9, value), 'b': np.arange(3)}, {})
  checkpointer.close()
  text = ''.join(f'{json.dumps({"step": i + 1})}\n' for i in range(lines))
  (path / 'metrics.jsonl').write_text(text)
  return path


def test_runs_are_compared_bit_for_bit(tmp_path):
  one = _run(tmp_path / 'one', lines=3)
  trainings.compare(_run(tmp_path / 'same'), one, 2)
  other = _run(tmp_path / 'other', np.nextafter(1.0, 2.0))
  with pytest.raises(Lost, match=r"1 of 2 arrays differ, first \['a'\]"):
    trainings.compare(other, one, 2)
  with pytest.raises(Lost, match='metrics.jsonl is not that'):
    trainings.compare(_run(tmp_path / 'short', lines=1), one, 2)
  with pytest.raises(Lost, match=r'not of step 3, there are \[2\]'):
    trainings.compare(one, one, 3)
  (one / 'checkpoints/2/facts/metadata').write_text('{}')
  with pytest.raises(Lost, match='checkpoint 2 does not match its sums'):
    trainings.compare(one, one, 2)


@pytest.mark.parametrize('hurt', [faults.flip, faults.truncate, faults.empty])
def test_damage_is_what_it_is_called(tmp_path, hurt):
  whole = bytes(range(256))
  (tmp_path / 'file').write_bytes(whole)
  hurt(tmp_path / 'file', random.Random(0))
  left = (tmp_path / 'file').read_bytes()
  if hurt is faults.flip:
    flipped = np.frombuffer(left, np.uint8) ^ np.frombuffer(whole, np.uint8)
    assert np.unpackbits(flipped).sum() == 1
  else:
    assert whole.startswith(left) and len(left) < len(whole)
    assert bool(left) == (hurt is faults.truncate)


def test_a_fault_that_loses_something_fails(monkeypatch):
  def one_of_three(bench, row):
    for what in (None, 'x is lost', None):
      with row.trying('a try'):
        if what:
          raise Lost(f'{what}\nand much output')

  def impossible(bench, row):
    raise faults.Unavailable('no disk')

  def late(bench, row):
    raise trainings.OutOfTime

  functions = {'three': one_of_three, 'none': impossible, 'late': late}
  monkeypatch.setattr(
    faults, 'FAULTS', {k: (fn, f'as {k}') for k, fn in functions.items()}
  )
  failed = []
  records = [
    tuple(record.values())
    for record in faults._records(None, functions, failed)
  ]
  assert records == [
    ('as three', 3, 2, 'a try: x is lost'),
    ('as none', 0, 0, 'not tried: no disk'),
    ('as late', 0, 0, 'not all was tried: --minutes are over'),
  ]
  assert failed == ['three', 'late']


@pytest.mark.slow
def test_a_killed_and_a_damaged_run_lose_nothing():
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'tests.endurance.faults', '--only=kill,flips'),
      *('--kills=2', '--steps=50'),
    ],
    cwd=ROOT,
    env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  kill, flips = json.loads(done.stdout.splitlines()[-1])
  assert kill['tries'] == kill['survived'] == 2
  assert flips['tries'] == flips['survived'] > 40
  refused = int(flips['lost'].split()[0])
  assert refused >= flips['tries'] - 2  # a line end may become another one
