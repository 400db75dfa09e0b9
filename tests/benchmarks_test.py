import json
import os
import pathlib
import subprocess
import sys

import ml_collections
import pytest

from benchmarks import peer
from jaxgan import errors

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
  '--config=configs/stargan_v2/shapes.py',
  '--config.data.img_size=32',
  '--config.model.channel_base=128',
  '--config.model.max_conv_dim=8',
  '--config.model.hidden_dim=8',
  '--config.batch_size=2',
)
WITHOUT_TENSORFLOW = """
import runpy, sys
try:
  runpy.run_module('benchmarks.train_step', run_name='__main__')
finally:
  assert 'tensorflow' not in sys.modules
"""
MODEL = """
class Generator:
  first, cap = 2**14, 512
class MappingNetwork:
  hidden = 512
class StyleEncoder:
  first, cap = 2**14, 512
"""


def _benchmark(*args):
  env = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',  # compiles faster
  }
  return subprocess.run(
    [sys.executable, '-c', WITHOUT_TENSORFLOW, *args],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    timeout=300,
  )


def _config(**model):
  return ml_collections.ConfigDict({'model': model})


def test_last_line_is_the_result():
  done = _benchmark(*TINY, '--steps=3', '--warmup=1')
  assert done.returncode == 0, done.stderr
  *table, last = done.stdout.splitlines()
  result = json.loads(last)
  assert list(result) == [
    'ms_per_step',
    'images_per_s',
    'compile_s',
    'peak_memory_gb',
    'gflop_per_step',
  ]
  assert result['ms_per_step'] > 0
  assert result['images_per_s'] == pytest.approx(
    2000 / result['ms_per_step'], rel=1e-2
  )
  assert result['compile_s'] > 0
  assert 1e-4 < result['peak_memory_gb'] < 1
  # By hand: 16 passes of the generator (8 MFLOP for two images) and 39 of a
  # trunk (2.3), a pass back to inputs or to parameters counting as one.
  assert 0.1 < result['gflop_per_step'] < 0.45
  names = [line.split('  ')[0] for line in table]
  assert {'parameters generator', 'peak memory from', *result} <= set(names)


@pytest.mark.parametrize('exists', [False, True])
def test_bad_peer_is_one_line(tmp_path, exists):
  directory = tmp_path if exists else tmp_path / 'missing'
  done = _benchmark(*TINY, f'--peer={directory}')
  assert done.returncode == 1
  assert 'Traceback' not in done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith('error: --peer') and str(directory) in last
  assert not done.stdout


def _checkout(root, model):
  (root / 'core').mkdir()
  (root / 'core/model.py').write_text(model)
  (root / 'core/utils.py').write_text('import torchvision.utils as vutils\n')
  (root / 'core/solver.py').write_text(
    'import core.utils as utils\n'
    'from core.model import *\n'
    'from core.data_loader import InputFetcher\n'
  )


def test_widths_are_set_apart_and_stand_ins_leave(tmp_path):
  _checkout(tmp_path, MODEL)
  config = _config(channel_base=128, max_conv_dim=8, hidden_dim=6)
  before = dict(sys.modules)
  sources = peer.read_sources(str(tmp_path), config, peer._LOADED)
  modules = peer.load(sources, peer._STAND_INS, {'InputFetcher': int})
  solver = modules['core.solver']
  assert sys.modules == before
  assert (solver.Generator.first, solver.Generator.cap) == (128, 8)
  assert solver.MappingNetwork.hidden == 6
  assert (solver.StyleEncoder.first, solver.StyleEncoder.cap) == (128, 8)
  assert solver.InputFetcher is int
  assert (tmp_path / 'core/model.py').read_text() == MODEL


@pytest.mark.parametrize('lost', ['2**14', '512', 'MappingNetwork'])
def test_other_code_is_refused(tmp_path, lost):
  _checkout(tmp_path, MODEL.replace(lost, '99'))
  config = _config(channel_base=128, max_conv_dim=8, hidden_dim=6)
  with pytest.raises(errors.UserError, match='not a checkout'):
    peer.read_sources(str(tmp_path), config, peer._LOADED)
