"""The programs as a user runs them: bad input is one line and a status."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = 'configs/stargan_v2/afhq.py'


def _run(*args):
  result = subprocess.run(
    [sys.executable, *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )
  assert 'Traceback' not in result.stderr
  return result.returncode, result.stderr


def _folder(root, splits=('train', 'val'), domains=('cat', 'dog')):
  rng = np.random.default_rng(0)
  for split in splits:
    (root / split).mkdir(parents=True)
    for domain in domains:
      directory = root / split / domain
      directory.mkdir(parents=True)
      for i in range(2):
        pixels = rng.integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f'{i}.png')
  return root


def _truncate(root):
  path = root / 'train' / 'dog' / '1.png'
  path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
  'prepare, override, message',
  [
    (None, 'config.data.root=nowhere', 'nowhere'),
    (lambda r: _folder(r, ('train',)), '', 'val'),
    (lambda r: _folder(r, domains=()), '', 'train'),
    (_folder, 'config.model.num_domains=5', 'num_domains is 5 but the data'),
    (_folder, 'config.data.img_size=100', 'power of two'),
    (_folder, 'config.data.name=foldr', 'folder'),
    (_folder, 'config.model.w_hpf=1.0', 'config.model.wing_file'),
    (_folder, 'config.model.style_dim=0', 'style_dim must be 1 or more'),
    (_folder, 'config.seed=-1', 'config.seed must be'),
    (_folder, 'workdir=/dev/null/run', 'cannot write to the work directory'),
    (_folder, 'profile=7', '--profile=7'),
    (lambda r: _truncate(_folder(r)), '', 'dog/1.png'),
  ],
)
def test_bad_input_is_one_line(tmp_path, prepare, override, message):
  if prepare:
    prepare(tmp_path / 'data')
  args = [f'--{override}'] if override else []
  if 'data.root' not in override:
    args.append(f'--config.data.root={tmp_path / "data"}')
  status, stderr = _run(
    'train.py',
    f'--config={CONFIG}',
    f'--workdir={tmp_path / "run"}',
    '--config.model.channel_base=512',
    '--config.model.max_conv_dim=4',
    *args,
  )
  assert status == 1
  *_, last = stderr.strip().splitlines()
  assert last.startswith('error: ') and message in last


@pytest.mark.parametrize(
  'override, message',
  [
    (
      'config.modle.style_dim=3',
      'there is no setting config.modle.style_dim: did you mean '
      'config.model.style_dim?',
    ),
    ('config.model.style_dim=x', '--config.model.style_dim=x: not a number'),
    ('workdri=y', 'workdri'),
  ],
)
def test_misuse_is_one_line(override, message):
  args = (f'--config={CONFIG}', '--workdir=x', f'--{override}')
  status, stderr = _run('train.py', *args)
  assert status == 2
  *_, last = stderr.strip().splitlines()
  assert last.startswith('error: ') and message in last


def test_eval_of_no_run_is_one_line(tmp_path):
  status, stderr = _run('eval.py', f'--workdir={tmp_path}')
  assert status == 1
  assert stderr.startswith(f'error: {tmp_path} is not the work directory')


@pytest.mark.parametrize('form', [['--config=no.py'], ['--config', 'no.py']])
def test_missing_config_is_one_line(form):
  status, stderr = _run('train.py', *form, '--workdir=x')
  assert status == 1 and stderr.strip().endswith('no config file no.py')


def test_missing_workdir_flag_is_one_line():
  status, stderr = _run('train.py', f'--config={CONFIG}')
  assert status == 2 and '--workdir' in stderr.splitlines()[-1]


LOGGING = """
import sys
from absl import logging
from jaxgan.runtime import cli, errors
def main():
  try:
    raise OSError('a disk')
  except OSError as e:
    logging.exception('a library tells')
    raise errors.UserError('the disk is full') from e
cli.run(main, sys.argv)
"""


@pytest.mark.parametrize('flags, traces', [([], 0), (['--verbosity=0'], 1)])
def test_what_libraries_log_is_without_traces(flags, traces):
  command = [sys.executable, '-c', LOGGING, *flags]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 1
  assert done.stderr.count('Traceback') == traces
  assert 'a library tells' in done.stderr
  assert done.stderr.splitlines()[-1] == 'error: the disk is full'
