"""The package as it is given to others, in an environment of its own."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest
from PIL import Image

import jaxgan
from tests import tiny

ROOT = pathlib.Path(__file__).parents[1]


def _run(*command, **options):
  done = subprocess.run(command, capture_output=True, text=True, **options)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.mark.slow
def test_the_package_builds_installs_and_works_away_from_its_source(tmp_path):
  source, dist = tmp_path / 'source', tmp_path / 'dist'
  source.mkdir()
  for path in _run('git', 'ls-files', '-z', cwd=ROOT).rstrip('\0').split('\0'):
    (source / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / path, source / path, follow_symlinks=False)
  _run(sys.executable, '-m', 'build', '--outdir', dist, source)
  version = f'jaxgan-{jaxgan.__version__}'
  with tarfile.open(dist / f'{version}.tar.gz') as archive:
    names = archive.getnames()
  for name in (
    'LICENSE',
    'requirements.txt',
    'jaxgan/configs/stargan_v2/shapes.py',
    'jaxgan/runs/templates/report.html',
    'jaxgan/tools/emoji.json',
  ):
    assert f'{version}/{name}' in names

  clean = tmp_path / 'clean'
  _run(sys.executable, '-m', 'venv', clean)
  python = clean / 'bin/python'
  # As `pip install .`, which builds the wheel as above.
  wheel = dist / f'{version}-py3-none-any.whl'
  _run(python, '-m', 'pip', 'install', '--quiet', wheel)
  environment = {'PATH': os.environ['PATH'], 'JAX_PLATFORMS': 'cpu'}
  away = {'cwd': tmp_path, 'env': environment}
  where = _run(
    python,
    '-c',
    'import jaxgan; print(jaxgan.__file__, jaxgan.__version__)',
    **away,
  )
  site = pathlib.Path(where.split()[0]).parents[1]
  assert site.is_relative_to(clean) and where.split()[1] == jaxgan.__version__
  assert not (site / 'tests').exists() and not (site / 'configs').exists()

  _train_and_use(clean / 'bin', away)
  tiny.write_run(tmp_path / 'run')
  Image.new('RGB', (40, 30), 'red').save(tmp_path / 'a.png')
  options = (
    '--workdir=run',
    '--src=a.png',
    '--domain=circle',
    '--num_latents=1',
  )
  _run(python, '-m', 'jaxgan.tools.translate', *options, '--out=out', **away)
  assert (tmp_path / 'out/a_to_circle_seed0_0.png').exists()
  _run(python, '-m', 'jaxgan.tools.report', '--workdir=run', **away)
  assert 'plotly' in (tmp_path / 'run/report/index.html').read_text()


def _train_and_use(commands, away):
  """A training of two steps by a config's name, and what follows it."""
  small = (
    *('--config.num_train_steps=2', '--config.batch_size=2'),
    *('--config.sample_every_steps=2', '--config.checkpoint_every_steps=2'),
    *('--config.model.channel_base=128', '--config.model.max_conv_dim=8'),
  )
  name = '--config=stargan_v2/shapes'
  away['env']['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
  told = _run(commands / 'jaxgan-train', '--help', **away)
  assert '\n  --workdir ' in told and '\n  stargan_v2/shapes ' in told
  run = '--workdir=trained'
  _run(commands / 'jaxgan-train', name, run, *small, **away)
  shorter = ('--num_sources=2', '--num_outputs=2')
  _run(commands / 'jaxgan-eval', run, *shorter, **away)
  Image.new('RGB', (32, 32), 'red').save(away['cwd'] / 'b.png')
  to = ('--domain=circle', '--num_latents=1', '--src=b.png', '--out=made')
  _run(commands / 'jaxgan-translate', run, *to, **away)
  for path in ('trained/eval/scores.csv', 'made/b_to_circle_seed0_0.png'):
    assert (away['cwd'] / path).exists()
  joint = '--config=stargan/shapes_joint'  # of another config
  told = _run(commands / 'jaxgan-settings', joint, '--find=joint_name', **away)
  assert told.split()[:2] == ['data.joint_name', 'shapes_attributes']
  assert 'ROOT holds' in _run(commands / 'jaxgan-check', '--help', **away)
  assert '--port' in _run(commands / 'jaxgan-studio', '--help', **away)
