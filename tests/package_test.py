"""The package as it is given to others."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

import jaxgan

ROOT = pathlib.Path(__file__).parents[1]


def _run(*command, **options):
  done = subprocess.run(command, capture_output=True, text=True, **options)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.mark.slow
def test_the_package_builds_and_works_away_from_its_source(tmp_path):
  source, dist, site = (tmp_path / name for name in ('source', 'dist', 'site'))
  source.mkdir()
  for path in _run('git', 'ls-files', '-z', cwd=ROOT).split('\0'):
    if (ROOT / path).is_file():
      (source / path).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / path, source / path)
  _run(sys.executable, '-m', 'build', '--outdir', dist, source)
  version = f'jaxgan-{jaxgan.__version__}'
  with tarfile.open(dist / f'{version}.tar.gz') as archive:
    names = archive.getnames()
  for name in ('LICENSE', 'requirements.txt', 'jaxgan/templates/report.html'):
    assert f'{version}/{name}' in names

  pip = (sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps')
  _run(*pip, f'--target={site}', dist / f'{version}-py3-none-any.whl')
  away = {'cwd': tmp_path, 'env': {**os.environ, 'PYTHONPATH': str(site)}}
  where = _run(
    sys.executable,
    '-c',
    'import jaxgan; print(jaxgan.__file__, jaxgan.__version__)',
    **away,
  )
  assert where.split() == [str(site / 'jaxgan/__init__.py'), jaxgan.__version__]
  assert 'jinja2' in (site / f'{version}.dist-info/METADATA').read_text()
  tests = 'import jinja2; jinja2.PackageLoader("jaxgan")'
  _run(sys.executable, '-c', tests, **away)
  assert not (site / 'tests').exists()
