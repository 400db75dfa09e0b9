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
from jaxgan.systems import stargan_v2
from jaxgan.systems.stargan_v2 import losses
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

  state, _, static = tiny.create()
  nets, params = static['nets'], state.ema_params
  for size in (1, 3):
    i = _inputs(size)
    for name, style in (('reference', 'x_ref'), ('latent', 'z')):
      s = losses.style(nets, params, i['y'], **{style: i[style]})
      expected = losses.translate(nets, params, i['x'], s)
      got = np.load(out / f'{name}{size}.npy')
      np.testing.assert_allclose(got, expected, atol=1e-5)

  status, stderr = _tool(f'--workdir={workdir}', f'--out={out}')
  assert status == 1 and 'reference.jaxexport exists: take' in stderr


def test_face_masks_are_inside():
  state, _, static = tiny.create(model__w_hpf=1.0)

  def masks_fn(frozen, x):
    mask = jax.nn.sigmoid(frozen['scale'] * x[..., :1])
    return mask, mask

  translator = stargan_v2.Translator(
    state.ema_params,
    {'scale': np.float32(3)},
    nets=static['nets'],
    masks_fn=masks_fn,
  )
  config = tiny.config(data__domains=shapes.DOMAINS)
  model = trained_model.Model(translator, shapes.DOMAINS, config, 2, crop=False)
  program = export.deserialize(bytearray(model.export()['reference']))
  assert program.platforms == trained_model.PLATFORMS
  assert program.nr_devices == 1
  i = _inputs(2)
  expected = translator.translate(i['x'], translator.encode(i['x_ref'], i['y']))
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
