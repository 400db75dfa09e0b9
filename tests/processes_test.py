"""Two processes train, stop and evaluate as one does."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath

from jaxgan import loop
from jaxgan.runs import workdir
from jaxgan.runtime import errors, processes
from jaxgan.systems import contract
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
PROGRAM = """
import json, sys
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_disable_most_optimizations', True)
from jaxgan import loop
from jaxgan.runtime import processes
from tests import tiny
with processes.joined(sys.argv[1], 2, int(sys.argv[2])):
  loop.train(tiny.config(**json.loads(sys.argv[4])), sys.argv[3])
"""

# Follows a run whose scores are of few images, seen through mean colours.
EVALUATION = """
import sys
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_disable_most_optimizations', True)
import numpy as np
from jaxgan import evaluation
from jaxgan.runtime import processes
from jaxgan.data import pictures
from jaxgan.metrics import factors, features, translations

class Inception(features.Inception):
  name, label, uses_img_size = 'stargan_v2', 'made', True
  def __init__(self, protocol, weights_dir):
    pass
  def compute(self, pictures, img_size):
    means = [np.asarray(p, np.float32).mean((0, 1)) for p in pictures]
    print('looked at', len(means))
    return np.reshape(means, (-1, 3)).astype(np.float32)

pictures.NUM_EVAL_SHAPES = 7
factors.MIN_PAIRS = 30
features._WIDTH = 3
features.Inception = Inception
address, i, count, directory, cache = sys.argv[1:]
what = {
  'options': translations.Options(
    metrics=('fid',), weights_dir='w', cache_dir=cache, num_outputs=2,
    domains=('circle', 'square'), save_images=True,
  ),
  'keep_best': 'fid/latent/mean',
}
with processes.joined(address, int(count), int(i)):
  assert evaluation.follow_run(directory, timeout=60, **what)
  # Finds the features of real images.
  evaluation.evaluate_run(directory, **what)
"""

# Ends as the third argument says, in process 1 or as told.
ENDING = """
import os, sys, time
import jax
jax.config.update('jax_platforms', 'cpu')
from jaxgan.runtime import cli, errors, processes, sharding
processes._SILENCE = 6
address, i, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def keep(what):
  print('kept:', what, flush=True)

def main():
  with processes.joined(address, 3, i), processes.failures_told(keep):
    print('joined', flush=True)
    # Process 0 may be back from joining before the others are.
    processes._watch._client.wait_at_barrier('joined', 60_000)
    if end == 'well':
      time.sleep(4 * i)  # finished earlier than others
    elif end == '2 with other precision':
      jax.config.update('jax_enable_x64', i == 2)
      dtype = 'float64' if i == 2 else 'float32'
      sharding.check_same({'--config.model.dtype': dtype})
    elif end == '2 with other flags':
      sharding.check_same({'--seed': 4, '--workdir': 'run' + 's' * (i == 2)})
    elif end == 'all with a mistake':
      raise errors.UsageError('such a setting')
    elif end == '1 with a mistake' and i == 1:
      raise errors.UserError('no such file')
    elif end == '1 interrupted' and i == 1:
      raise KeyboardInterrupt
    elif end == '1 with a bug' and i == 1:
      raise KeyError('bug')
    elif end == f'{i} killed':
      os.kill(os.getpid(), 9)
    else:
      time.sleep(60)

cli.run(main, [sys.argv[0]])
"""


def _start(program, count, *arguments):
  """Starts processes that get an address and their number."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  return [
    subprocess.Popen(
      [sys.executable, '-c', program, address, str(i), *map(str, arguments)],
      cwd=ROOT,
      env={k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
      | {'http_proxy': 'http://127.0.0.1:9'},  # is not for them
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(count)
  ]


def _finish(children):
  """Waits for all: (status, output) of each."""
  try:
    outputs = [p.communicate(timeout=400)[0] for p in children]
  finally:
    for p in children:
      p.kill()
  return [(p.returncode, out) for p, out in zip(children, outputs, strict=True)]


def _run(program, count, *arguments):
  return _finish(_start(program, count, *arguments))


def _train_on_two_processes(path, **overrides):
  overrides |= {'sample_every_steps': 2}
  results = _run(PROGRAM, 2, path, json.dumps(overrides))
  assert [status for status, _ in results] == [0, 0], results
  return [output for _, output in results]


def _metrics(path):
  lines = (path / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_two_processes_start_as_one_and_survive_damage(tmp_path):
  one, two = tmp_path / 'one', tmp_path / 'two'
  loop.train(tiny.config(num_train_steps=1), str(one))
  first, second = _train_on_two_processes(two, num_train_steps=4)
  assert 'done: step 4 of 4' in first and 'step' not in second  # one speaks
  assert [line['step'] for line in _metrics(two)] == [1, 2, 3, 4]
  for key, value in _metrics(one)[0].items():
    # Later steps part company: Adam with beta1 0 acts on signs.
    np.testing.assert_allclose(_metrics(two)[0][key], value, 1e-3, err_msg=key)

  files = [p for p in (two / 'checkpoints/4').rglob('*') if p.is_file()]
  max(files, key=lambda p: p.stat().st_size).write_bytes(b'')
  first, _ = _train_on_two_processes(two, num_train_steps=4, shard_state=True)
  assert 'resuming after step 2' in first
  assert [line['step'] for line in _metrics(two)] == [1, 2, 3, 4]
  loop.train(tiny.config(num_train_steps=5), str(two))
  assert [line['step'] for line in _metrics(two)] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_the_history_keeps_what_ends_another_process(tmp_path):
  mistake = """
def fail(*args):
  raise errors.UserError('no such file')
if sys.argv[2] == '1':
  loop.Logger.write_metrics = fail
with processes"""
  program = PROGRAM.replace('import processes', 'import errors, processes')
  program = program.replace('\nwith processes', mistake)
  config = json.dumps({'num_train_steps': 10**6})
  results = _run(program, 2, tmp_path, config)
  assert [status for status, _ in results] == [1, 1], results
  *_, last = workdir.read_history(epath.Path(tmp_path))
  assert last['said'] == 'ended by an error: process 1: no such file'


@pytest.mark.slow
def test_all_processes_stop_after_the_same_step(tmp_path):
  directory = tmp_path / '[two] runs'
  endless = {'num_train_steps': 10**6, 'checkpoint_every_steps': 10**6}
  children = _start(PROGRAM, 2, directory, json.dumps(endless))
  metrics = directory / 'metrics.jsonl'
  while children[1].poll() is None and not (
    metrics.exists() and len(_metrics(directory)) > 2
  ):
    time.sleep(0.1)
  children[1].send_signal(signal.SIGUSR1)
  results = _finish(children)
  assert [status for status, _ in results] == [0, 0], results
  assert 'SIGUSR1: saving after this step' in results[1][1]
  step = int(
    re.search(r'stopped by SIGTERM: step (\d+) of 1000000', results[0][1])[1]
  )
  assert [p.name for p in (directory / 'checkpoints').iterdir()] == [str(step)]
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  run = contract.open_run(directory, placement)
  assert run.step == int(run.state.step) == step == len(_metrics(directory))


def _evaluate(directory, count):
  """Scores by name, and how many images each process looked at."""
  tiny.write_run(directory, steps=(4,))
  results = _run(EVALUATION, count, count, directory, directory / 'cache')
  outputs = [output for _, output in results]
  assert [status for status, _ in results] == [0] * count, outputs
  assert ['evaluating step 4' in output for output in outputs] == (
    [True, False][:count]
  )
  pictures = directory / 'eval/images/4_0/reference/circle2square'
  assert len(list(pictures.iterdir())) == 7 * 2
  assert json.loads((directory / 'best/best.json').read_text())['step'] == 4
  (path,) = (directory / 'eval').glob('*.json')
  scores = {s['name']: s for s in json.loads(path.read_text())['scores']}
  assert len(_read_csv(directory)) == 2 * len(scores)
  looked = [re.findall(r'looked at (\d+)', output) for output in outputs]
  return scores, [sum(map(int, numbers)) for numbers in looked]


def _read_csv(directory):
  return (directory / 'eval' / 'scores.csv').read_text().splitlines()[1:]


@pytest.mark.slow
def test_two_processes_find_the_scores_of_one(tmp_path):
  one, (all_images,) = _evaluate(tmp_path / 'one', 1)
  two, shares = _evaluate(tmp_path / 'two', 2)
  # Twice the outputs of both modes and pairs, and once the real images.
  assert all_images == 2 * (2 * 2 * 7 * 2) + 2 * 7
  # 3 of 7 and 4 of 7.
  assert shares == [all_images * 3 // 7, all_images * 4 // 7]
  assert one.keys() == two.keys() and 'fid/reference/mean' in one
  for name, expected in one.items():
    value, wanted = two[name].pop('value'), expected.pop('value')
    if wanted is not None:  # nothing detected
      wanted = pytest.approx(wanted, rel=1e-5)
    assert value == wanted, name
    assert two[name] == expected


@pytest.mark.parametrize(
  'end, statuses, last_lines',
  [
    ('well', (0, 0, 0), ('joined', 'joined', 'joined')),
    (
      'all with a mistake',
      (2, 2, 2),
      [f'error: process {i}: such a setting' for i in range(3)],
    ),
    (
      '2 with other precision',
      (1, 1, 1),
      3 * ['--config.model.dtype is float64 in process 2 and float32 in'],
    ),
    (
      '2 with other flags',
      (1, 1, 1),
      3 * ['--workdir is runs in process 2 and run in process 0: start all'],
    ),
    ('1 with a mistake', (1, 1, 1), 3 * ['error: process 1: no such file']),
    ('1 interrupted', (1, 130, 1), 3 * ['error: process 1: interrupted']),
    ('1 with a bug', (1, 1, 1), 3 * ["error: process 1: KeyError: 'bug'"]),
    (
      '1 killed',
      (1, -9, 1),
      [
        'error: process 1 was not heard of for 6 s: see what it said',
        'error: process 1 was ended from outside, as it is when process 0 is '
        'gone: see what that said',
        'error: process 1 was not heard of for 6 s: see what it said',
      ],
    ),
    (
      '0 killed',
      (-9, None, None),
      [
        'error: process 0 was ended from outside',
        'process 0 is gone|process 0 cannot be reached',
        'process 0 is gone|process 0 cannot be reached',
      ],
    ),
  ],
)
def test_an_error_of_one_ends_all_and_is_named(end, statuses, last_lines):
  for (status, output), expected, line in zip(
    _run(ENDING, 3, end), statuses, last_lines, strict=True
  ):
    assert expected is None or status == expected, output
    lines = output.splitlines()
    if lines[-1].startswith('kept: '):
      kept = lines.pop().removeprefix('kept: ')
      assert lines[-1] == f'error: {kept}'
    else:  # it was not this process that ended it
      assert status in (0, -9) or 'gone' in lines[-1], output
    assert re.search(line, lines[-1]), output


@pytest.mark.parametrize(
  'given, message',
  [
    (('host:1', 2, None), 'go together'),
    (('', None, 1), 'go together'),
    (('host', 2, 1), '--coordinator=host is not of the form host:port'),
    (('host:1', 2, 2), 'the last of 2 processes is 1'),
    (('host:99999', 2, 0), 'port 99999 cannot be had'),
  ],
)
def test_what_cannot_be_joined_is_said_at_once(given, message):
  with pytest.raises(errors.UserError, match=message):
    with processes.joined(*given):
      pass


def test_a_taken_port_is_said_at_once():
  with socket.socket() as s:
    s.bind(('', 0))
    s.listen()
    port = s.getsockname()[1]
    with pytest.raises(errors.UserError, match=f'port {port} cannot be had'):
      with processes.joined(f'localhost:{port}', 2, 0):
        pass
