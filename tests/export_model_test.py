import dataclasses
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from jax import export

from jaxgan.apps import onnx_programs, trained_model
from jaxgan.data import shapes
from jaxgan.inference.translator import Translator
from jaxgan.runtime import errors
from jaxgan.systems import contract, stargan_v2
from tests import (
  programs,
  tiny,
  tiny_munit,
  tiny_pix2pix,
  tiny_stargan,
  tiny_unit,
)

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


class _Proto:
  def __init__(self):
    self.graph = types.SimpleNamespace(value_info=['odd'])

  def SerializeToString(self):
    assert not self.graph.value_info
    return b'onnx'


def _stand_in_for_onnx(monkeypatch, images):
  """Replaces jax2onnx, and ONNX Runtime by a function of its inputs."""
  asked = []

  def to_onnx(program, shapes, *, input_names, output_names):
    del program
    asked.append((input_names, [str(s.shape) for s in shapes], output_names))
    return _Proto()

  class Session:
    def __init__(self, data, options, providers):
      assert data == b'onnx' and providers == ['CPUExecutionProvider']

    def run(self, names, inputs):
      assert names is None
      return [images(**inputs)]

  modules = {
    'jax2onnx': types.SimpleNamespace(to_onnx=to_onnx),
    'onnxruntime': types.SimpleNamespace(
      InferenceSession=Session, SessionOptions=types.SimpleNamespace
    ),
  }
  for name, module in modules.items():
    monkeypatch.setitem(sys.modules, name, module)
  return asked


def test_onnx_that_gives_other_images_is_not_written(monkeypatch):
  b, *_ = export.symbolic_shape('b')
  arguments = {
    'x': jax.ShapeDtypeStruct((b, 4, 4, 3), 'float32'),
    'y': jax.ShapeDtypeStruct((b,), 'int32'),
  }

  def program(x, y):
    return x * (1 + y[:, None, None, None])

  asked = _stand_in_for_onnx(monkeypatch, lambda x, y: program(x, y) + 5e-4)
  converted = onnx_programs.convert(program, arguments, 2)
  assert asked == [(['x', 'y'], ['(b, 4, 4, 3)', '(b,)'], ['image'])]
  assert converted.data == b'onnx'
  assert converted.difference == pytest.approx(5e-4, rel=1e-2)

  _stand_in_for_onnx(monkeypatch, lambda x, y: program(x, y) + 2e-3)
  with pytest.raises(errors.UserError, match='differ from .* by 0.002: take'):
    onnx_programs.convert(program, arguments, 2)
  _stand_in_for_onnx(monkeypatch, lambda x, y: program(x, y)[:, :2])
  with pytest.raises(errors.UserError, match='differ from .* by inf: take'):
    onnx_programs.convert(program, arguments, 2)
  _stand_in_for_onnx(monkeypatch, lambda x, y: x[0, 0, 0, 7])
  with pytest.raises(errors.UserError, match='cannot convert the run .IndexE'):
    onnx_programs.convert(program, arguments, 2)


def test_what_onnx_needs_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'jax2onnx', None)
  with pytest.raises(errors.UserError, match='^--onnx needs jax2onnx and onn'):
    onnx_programs.import_libraries()
  tiny_pix2pix.write_run(tmp_path / 'run')
  model = trained_model.load(tmp_path / 'run')
  with pytest.raises(errors.UserError, match='draw random numbers when they a'):
    model.export_onnx()


def test_model_json_says_how_to_call_onnx(monkeypatch):
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: f'{name} 1')
  tool = programs.load('jaxgan.tools.export_model')
  converted = {'latent': onnx_programs.Converted(b'', 2e-6)}
  assert tool._describe_onnx(converted) == {
    'call_onnx': {
      'latent': [
        'import onnxruntime',
        "session = onnxruntime.InferenceSession('latent.onnx')",
        "image, = session.run(None, {'x': x, 'z': z, 'y': y})",
      ]
    },
    'onnx_difference': {'latent': 2e-6},
    'jax2onnx': 'jax2onnx 1',
  }


@pytest.mark.parametrize(
  'write_run',
  [
    tiny_unit.write_run,
    tiny_stargan.write_run,
    pytest.param(tiny.write_run, marks=pytest.mark.slow),
    pytest.param(tiny_munit.write_run, marks=pytest.mark.slow),
  ],
)
def test_onnx_runtime_gives_the_same_images(write_run, tmp_path):
  pytest.importorskip('jax2onnx')
  pytest.importorskip('onnxruntime')
  write_run(tmp_path / 'run')
  model = trained_model.load(tmp_path / 'run')
  converted = model.export_onnx()
  assert converted.keys() == set(model.kinds)
  assert all(c.difference < 1e-4 for c in converted.values())
