"""The programs as a user runs them: bad input is one line and a status."""

import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.runtime import cli, errors, host

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = 'configs/stargan_v2/afhq.py'


def _run(*args, **environment):
  result = subprocess.run(
    [sys.executable, *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin', **environment},
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
  assert status == 1 and stderr == (
    'error: there is no config no.py: python -m jaxgan.tools.settings lists '
    'those that have a name\n'
  )


def test_a_change_of_no_config_is_one_line():
  status, stderr = _run('eval.py', '--workdir=x', '--config.data.root=y')
  assert status == 2 and stderr == (
    "error: Unknown command line flag 'config.data.root': give the config "
    'before it, with --config\n'
  )


def test_a_setting_without_its_prefix_is_told_where_it_belongs():
  status, stderr = _run('train.py', f'--config={CONFIG}', '--data.root=y')
  assert status == 2 and stderr == (
    "error: Unknown command line flag 'data.root': did you mean "
    '--config.data.root?\n'
  )


def test_missing_workdir_flag_is_one_line():
  status, stderr = _run('train.py', f'--config={CONFIG}')
  assert status == 2 and '--workdir' in stderr.splitlines()[-1]


def test_a_device_that_is_not_there_is_one_line():
  status, stderr = _run('eval.py', '--workdir=x', JAX_PLATFORMS='tpu')
  assert status == 1 and stderr.count('\n') == 1
  assert stderr.startswith(
    'error: JAX_PLATFORMS=tpu asks for a device that cannot be used; there is '
    'cpu. Leave JAX_PLATFORMS out, or '
  )
  if not host._version('libtpu'):
    assert 'install its package: pip install "jax[tpu]==' in stderr


@pytest.mark.parametrize(
  'asked, cure',
  [
    (
      'cuda',
      'install its package: pip install "jax[cuda13]==1" or "jax[cuda12',
    ),
    ('gpu,cpu', 'install its package: pip install "jax[cuda13]==1" or "jax'),
    ('tpu', 'install its package: pip install "jax[tpu]==1"'),
    ('odd', 'see what JAX says: no odd'),
  ],
)
def test_the_package_of_a_device_is_named(monkeypatch, asked, cure):
  monkeypatch.setattr(jax, '__version__', '1')
  monkeypatch.setattr(host, '_version', lambda package: '')
  assert host._cure(asked, 'no odd').startswith(cure)


def test_a_device_without_driver_is_named(monkeypatch):
  monkeypatch.setattr(host, '_version', lambda package: '1')
  assert host._cure('cuda', 'no driver') == (
    'see to its driver, as jax-cuda13-plugin is installed (no driver)'
  )


@pytest.mark.parametrize(
  'text, number',
  [('1e5', 100_000), (' 7 ', 7), ('1,234,567', 1_234_567), ('-2', -2)],
)
def test_whole_numbers_are_understood(text, number):
  assert cli.parse_integer(text) == number


@pytest.mark.parametrize('text', ['', '1.5', 'nan', 'inf', '1,23', '0x10', '²'])
def test_what_is_no_whole_number_is_refused(text):
  with pytest.raises(ValueError, match='^not a '):
    cli.parse_integer(text)


@pytest.mark.parametrize(
  'text, step',
  [('latest', None), ('0', 0), ('1e5', 100_000), ('20_000', 20_000)],
)
def test_steps_are_understood(text, step):
  assert cli.parse_step(text) == step


@pytest.mark.parametrize('text', ['', '-1', 'nan', 'last', '1.5'])
def test_what_is_no_step_is_refused(text):
  with pytest.raises(errors.UsageError, match='neither a number nor "latest"'):
    cli.parse_step(text)


def test_paths_between_commas_may_have_commas(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  for name in ('a, b.png', 'c.png'):
    (tmp_path / name).touch()
  home = str(tmp_path)
  both, other = f'{home}/a, b.png', f'{home}/c.png'
  assert cli.split_paths('~/a, b.png') == [both]
  assert cli.split_paths('~/a, b.png,~/c.png') == [both, other]
  assert cli.split_paths(' ~/c.png , ~/a, b.png ') == [other, both]
  assert cli.split_paths('none, ~/c.png,') == ['none', other]
  assert cli.split_paths('') == []


FLAGS = """
import json, sys
from jaxgan.runtime import cli
flags = [
  cli.define_path('path', None, ''),
  cli.define_path('needed', None, '', required=True),
  cli.define_paths('paths', None, ''),
  cli.define_names('names', ['x'], ''),
  cli.define_integer('count', 1, '', 1),
  cli.define_float('share', 0.5, '', 0),
]
cli.run(
  lambda *given: print(json.dumps([*given, *(f.value for f in flags)])),
  sys.argv,
  positional=('IN',),
)
"""


def _flags(*arguments):
  command = [sys.executable, '-c', FLAGS, *arguments]
  return subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True, env={'HOME': '/me'}
  )


def test_flags_are_read_as_people_write_them():
  done = _flags(
    *(
      '~/in',
      '--needed=~',
      '--path=~/p',
      '--paths=~/a,b',
      '--paths=c',
      '--names=a, b',
    ),
    *('--names=c', '--count=1e3', '--share=1'),
  )
  assert done.stdout.strip() == (
    '["/me/in", "/me/p", "/me", ["/me/a", "b", "c"], ["a", "b", "c"], 1000, '
    '1.0]'
  )


@pytest.mark.parametrize(
  'argument, reason',
  [
    ('--share=nan', 'not a finite number'),
    ('--share=-1', '-1.0 is not a non-negative number'),
    ('--count=0', '0 is not a positive integer'),
    ('--needed=', 'no path is given'),
  ],
)
def test_a_flag_out_of_bounds_is_one_line(argument, reason):
  done = _flags('in', '--needed=~', argument)
  assert done.stderr == f'error: flag {argument}: {reason}\n'


def test_a_flag_that_is_missing_is_one_line():
  done = _flags('in')
  assert done.stderr == 'error: --needed is missing: see --help\n'


def test_programs_define_no_flags_that_take_nan_or_a_tilde():
  programs = [
    *ROOT.glob('jaxgan/tools/*.py'),
    *ROOT.glob('benchmarks/*.py'),
  ]
  plain = re.compile(
    r'DEFINE_(integer|float|list|multi\w*|config_\w+)\b'
    r"|DEFINE_string\(\s*'(\w+_)?(workdir|dir|path|file|out|from|src|ref|cache)'"
  )
  for path in programs:
    assert not plain.search(path.read_text()), path


HELP = '''
"""Does a thing.

python tool.py
"""

import sys
from jaxgan.runtime import cli

cli.define_path('out', None, 'Folder for results, 10 % of them.')
cli.define_integer('count', 7, 'How many.')
def main(): ...
def run(): cli.run(main, sys.argv, epilog=lambda: 'Told below.')
if __name__ == '__main__': run()
'''
HELP_TEXT = """\
Does a thing.

python tool.py

flags:
  --out    Folder for results, 10 % of them.
  --count  How many. (default '7')

Told below.

"""


@pytest.mark.parametrize(
  'how', [['tool.py'], ['-c', 'import tool; tool.run()']]
)
def test_help_is_of_the_program_and_of_the_command_alike(tmp_path, how):
  (tmp_path / 'tool.py').write_text(HELP)
  command = [sys.executable, *how, '--help']
  environment = {'PYTHONPATH': str(ROOT), 'COLUMNS': '80'}
  done = subprocess.run(
    command, cwd=tmp_path, capture_output=True, text=True, env=environment
  )
  assert (done.returncode, done.stdout) == (0, HELP_TEXT), done.stderr


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
