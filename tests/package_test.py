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
  for path in _run('git', 'ls-files', '-z', cwd=ROOT).split('\0'):
    if (ROOT / path).is_file():
      (source / path).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / path, source / path)
  _run(sys.executable, '-m', 'build', '--outdir', dist, source)
  version = f'jaxgan-{jaxgan.__version__}'
  with tarfile.open(dist / f'{version}.tar.gz') as archive:
    names = archive.getnames()
  for name in (
    'LICENSE',
    'requirements.txt',
    'jaxgan/runs/templates/report.html',
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
  assert not (site / 'tests').exists()

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
