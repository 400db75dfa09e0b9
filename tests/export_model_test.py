import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax import export

from jaxgan.apps import trained_model
from jaxgan.data import shapes
from jaxgan.inference.translator import Translator
from jaxgan.systems import contract, stargan_v2
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent

# Runs the four lines of model.json on inputs of two batch sizes.
_READER = """
import json, sys
import numpy as np
for name in ('jaxgan', 'flax'):
  sys.modules[name] = None  # importing it fails
for name, call in json.load(open('model.json'))['call'].items():
  for size in (1, 3):
    scope = dict(np.load(f'{name}{size}.npz'))
    exec('\\n'.join(call), scope)
    np.save(f'{name}{size}.npy', scope['image'])
"""


def _run(*args, cwd=ROOT):
  env = {'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'}
  result = subprocess.run(
    [sys.executable, *map(str, args)],
    cwd=cwd,
    capture_output=True,
    text=True,
    env=env,
  )
  return result.returncode, result.stderr


def _tool(*args):
  return _run('-m', 'jaxgan.tools.export_model', *args)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'tiny'
  tiny.write_run(directory)
  return directory


def _inputs(size):
  rng = np.random.default_rng(size)
  x, x_ref = rng.uniform(-1, 1, (2, size, tiny.SIZE, tiny.SIZE, 3))
  return {
    'x': x.astype(np.float32),
    'x_ref': x_ref.astype(np.float32),
    'z': rng.standard_normal((size, 4), np.float32),
    'y': np.arange(size, dtype=np.int32) % tiny.DOMAINS,
  }


def test_the_programs_run_without_this_package(workdir, tmp_path):
  out = tmp_path / 'out'
  status, stderr = _tool(f'--workdir={workdir}', f'--out={out}')
  assert (status, stderr) == (0, '')
  assert sorted(os.listdir(out)) == [
    'latent.jaxexport',
    'model.json',
    'reference.jaxexport',
  ]
  description = json.loads((out / 'model.json').read_text())
  assert description['domains'] == list(shapes.DOMAINS)
  assert description['step'] == 2 and description['img_size'] == tiny.SIZE
  assert description['latent_dim'] == 4
  for name in ('reference', 'latent'):
    for size in (1, 3):
      np.savez(out / f'{name}{size}.npz', **_inputs(size))
  assert _run('-I', '-c', _READER, cwd=out) == (0, '')

  network, state = tiny.create()
  params = state.ema_params
  for size in (1, 3):
    i = _inputs(size)
    for name, style in (('reference', 'x_ref'), ('latent', 'z')):
      s = stargan_v2.style(network, params, i['y'], **{style: i[style]})
      expected = stargan_v2.translate(
        network, params, {}, i['x'], i['y'], s, None
      )
      got = np.load(out / f'{name}{size}.npy')
      np.testing.assert_allclose(got, expected, atol=1e-5)

  status, stderr = _tool(f'--workdir={workdir}', f'--out={out}')
  assert status == 1 and 'latent.jaxexport exists: take' in stderr


def test_face_masks_are_inside():
  def masks(params, x):
    mask = jax.nn.sigmoid(params['scale'] * x[..., :1])
    return mask, mask

  network, state = tiny.create(model__w_hpf=1.0)
  network = dataclasses.replace(network, frozen_nets={'fan': masks})
  frozen = {'fan': {'scale': np.float32(3)}}
  config = tiny.config(data__domains=shapes.DOMAINS)
  translator = Translator(
    contract.get_system(config), network, state.ema_params, frozen
  )
  model = trained_model.Model(translator, config, 2, crop=False)
  program = export.deserialize(bytearray(model.export()['reference']))
  assert program.platforms == trained_model.PLATFORMS
  assert program.nr_devices == 1
  i = _inputs(2)
  s = translator.style(i['y'], x_ref=i['x_ref'])
  expected = translator.translate(i['x'], i['y'], s)
  got = program.call(i['x'], i['x_ref'], i['y'])
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_bad_input_is_one_line(tmp_path):
  for args, status, message in (
    ([], 2, '--workdir is missing'),
    ([f'--workdir={tmp_path}', '--out=x'], 1, 'not the work directory'),
    (['--workdir=x', '--out=x', '--step=y'], 2, '--step=y is neither'),
  ):
    got, stderr = _tool(*args)
    assert got == status and stderr.count('\n') == 1
    assert stderr.startswith('error: ') and message in stderr
