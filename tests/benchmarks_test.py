import contextlib
import json
import os
import pathlib
import subprocess
import sys
import types

import ml_collections
import numpy as np
import pytest
from PIL import Image

from benchmarks import (
  peer,
  peer_munit,
  peer_stargan,
  peer_stargan_v2,
  peer_unit,
)
from jaxgan.apps import trained_model
from jaxgan.data.contracts import domains_ref
from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems.munit import config as munit_config
from jaxgan.systems.unit import config as unit_config
from tests import cells

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
  '--config=configs/stargan_v2/shapes.py',
  '--config.data.img_size=32',
  '--config.model.channel_base=128',
  '--config.model.max_conv_dim=8',
  '--config.model.hidden_dim=8',
  '--config.batch_size=2',
)
TINY_STARGAN = (
  '--config=configs/stargan/shapes.py',
  '--config.data.img_size=16',
  '--config.model.g_conv_dim=4',
  '--config.model.g_repeat_num=1',
  '--config.model.d_conv_dim=4',
  '--config.model.d_repeat_num=2',
  '--config.hparams.n_critic=3',
  '--config.batch_size=2',
)
WITHOUT_TENSORFLOW = """
import runpy, sys
try:
  runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)
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


def _benchmark(name, *args, tensorflow=False):
  """Runs a program in a process of its own: their flags have the same names."""
  env = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',  # compiles faster
  }
  start = ('-m',) if tensorflow else ('-c', WITHOUT_TENSORFLOW)
  return subprocess.run(
    [sys.executable, *start, f'benchmarks.{name}', *args],
    cwd=ROOT,
    env=env,
    capture_output=True,
    text=True,
    timeout=600,
  )


def _run(name, *args, **kwargs):
  """The lines of the table, and what the last line holds."""
  done = _benchmark(name, *args, **kwargs)
  assert done.returncode == 0, done.stderr
  *table, last = done.stdout.splitlines()
  return table, json.loads(last)


def _check_markdown(table, records):
  header, line, *rows = (row for row in table if row.startswith('|'))
  assert header == f'| {" | ".join(records[0])} |'
  assert set(line) == set('| -')
  assert len(rows) == len(records)
  for row, record in zip(rows, records, strict=True):
    cells = [cell.strip() for cell in row.split('|')[1:-1]]
    assert len(cells) == len(record)


def _config(**model):
  groups = {'model': model, 'hparams': {'ema_decay': 0.9}}
  return ml_collections.ConfigDict(groups)


def test_train_step():
  table, result = _run('train_step', *TINY, '--steps=3', '--warmup=1')
  assert list(result) == [
    'ms_per_step',
    'images_per_s',
    'compile_s',
    'peak_memory_gb',
    'gflop_per_step',
    'gflop_of_algorithm',
    'matmul_tflops',
    'mfu',
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
  assert 0.1 < result['gflop_of_algorithm'] < 0.45
  assert 1e-3 < result['matmul_tflops'] < 100
  assert 0 < result['mfu'] < 1
  names = [line.split('  ')[0] for line in table]
  assert {'parameters generator', 'peak memory from', *result} <= set(names)


def test_step_of_many_iterations():
  table, result = _run('train_step', *TINY_STARGAN, '--steps=3', '--warmup=1')
  # Two images in each of three iterations.
  assert result['images_per_s'] == pytest.approx(
    6000 / result['ms_per_step'], rel=1e-2
  )
  assert 0 < result['gflop_of_algorithm'] < 0.1
  assert 0 < result['mfu'] < 1
  (images,) = (line for line in table if line.startswith('images  '))
  assert images.endswith('2 of 16 px, 3 domains, float32')


@pytest.mark.parametrize('tiny', [TINY, TINY_STARGAN])
def test_translation(tiny):
  _, result = _run(
    'train_step', *tiny, '--what=translate', '--steps=3', '--warmup=1'
  )
  assert list(result) == ['ms_per_batch', 'images_per_s', 'compile_s']
  assert result['images_per_s'] == pytest.approx(
    2000 / result['ms_per_batch'], rel=1e-2
  )


def test_memory_grows_with_the_batch():
  table, records = _run(
    'memory', *TINY, '--what=translate', '--batch_sizes=2,8'
  )
  _check_markdown(table, records)
  small, large = records
  assert (small['batch'], large['batch']) == (2, 8)
  for record in records:
    parts = ('arguments', 'outputs', 'temporaries')
    total = sum(record[f'{part} GB'] for part in parts)
    assert record['peak GB'] == pytest.approx(total, rel=1e-2)
  # Two images of 32 x 32 x 3 floats in, one out, for every slot.
  image = 32 * 32 * 3 * 4 / 1e9
  added = large['arguments GB'] - small['arguments GB']
  assert added == pytest.approx(6 * 2 * image, rel=1e-2)
  assert large['outputs GB'] == pytest.approx(8 * image, rel=1e-2)
  assert large['temporaries GB'] > 2 * small['temporaries GB']
  assert large['TFLOP'] == pytest.approx(4 * small['TFLOP'], rel=0.1)


def test_memory_of_a_system_without_remat():
  _, records = _run(
    'memory', *TINY_STARGAN, '--what=translate', '--batch_sizes=2,8'
  )
  small, large = records
  assert small['remat'] is None
  # An image of 16 x 16 x 3 floats and its three labels in, one out.
  image = 16 * 16 * 3 * 4 / 1e9
  added = large['arguments GB'] - small['arguments GB']
  assert added == pytest.approx(6 * (image + 12e-9), rel=1e-2)
  assert large['outputs GB'] == pytest.approx(8 * image, rel=1e-2)


@pytest.mark.slow
def test_remat_needs_no_more_memory():
  # Hardly less: for a CPU, XLA merges most of what is computed again.
  table, records = _run(
    'memory', *TINY, '--config.batch_size=8', '--remat=False,True'
  )
  _check_markdown(table, records)
  kept, recomputed = records
  assert (kept['remat'], recomputed['remat']) == (False, True)
  assert kept['arguments GB'] == recomputed['arguments GB']
  assert recomputed['temporaries GB'] <= 1.01 * kept['temporaries GB']
  assert recomputed['TFLOP'] >= kept['TFLOP']


def test_only_selected_heads_do_not_grow():
  table, records = _run(
    'train_step', *TINY, '--config.model.hidden_dim=32', '--domains=2,2000'
  )
  _check_markdown(table, records)
  few, many = records
  assert (few['domains'], many['domains']) == (2, 2000)
  # 3 layers of 32 x 32 and one of 32 x 16 of the mapping network, and heads of
  # 8 x 16 and 8 x 1, each with its biases.
  a_domain = 3 * 33 * 32 + 33 * 16 + 9 * 16 + 9
  assert many['parameters'] - few['parameters'] == 1998 * a_domain
  assert many['all heads ms'] > many['selected ms'] > few['selected ms'] > 0


def test_input_of_files(tmp_path):
  rng = np.random.default_rng(0)
  for split in ('train', 'val'):
    for name in 'ab':
      folder = tmp_path / 'data' / split / name
      folder.mkdir(parents=True)
      pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(folder / '0.png')
  _, result = _run(
    'input_pipeline',
    *TINY,
    '--config.data.name=folder',
    f'--config.data.root={tmp_path}/data',
    f'--config.data.cache_dir={tmp_path}/cache',
    '--config.data.on_device=True',
    '--steps=0',
    '--batches=5',
    tensorflow=True,
  )
  speed = result['host_images_per_s']
  assert 0 < result['host_images_per_s_core'] <= speed
  assert result['device_images_per_s'] > 0
  assert list((tmp_path / 'cache').iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('on_device', [False, True])
def test_steps_that_wait_for_data(tmp_path, on_device):
  _, result = _run(
    'input_pipeline',
    *TINY,
    f'--config.data.on_device={on_device}',
    f'--config.data.cache_dir={tmp_path}',
    '--steps=6',
    '--batches=5',
    tensorflow=True,
  )
  ratio = result['ms_per_step_fixed'] / result['ms_per_step_fed']
  assert result['waiting'] == pytest.approx(1 - ratio, abs=1e-3)
  assert result['waiting'] < 1


@pytest.mark.slow
def test_a_start_passes_its_marks_in_order():
  _, result = _run('train_step', *TINY, '--what=start')
  for name in ('cold', 'warm'):
    marks = ('data', 'compiled', 'first_step', 'end')
    seconds = [result[f'{mark}_{name}_s'] for mark in marks]
    assert seconds == sorted(seconds) and seconds[0] > 0
  compiling = {
    name: result[f'compiled_{name}_s'] - result[f'data_{name}_s']
    for name in ('cold', 'warm')
  }
  assert compiling['warm'] < compiling['cold']


@pytest.mark.parametrize(
  'name, flag, status',
  [
    ('train_step', '--matmul_tflops=fast', 2),
    ('memory', '--target=toaster', 1),
    ('memory', '--batch_sizes=2,many', 2),
    ('train_step', '--domains=2,many', 2),
  ],
)
def test_bad_flag_is_one_line(name, flag, status):
  done = _benchmark(name, *TINY, flag)
  assert done.returncode == status
  assert 'Traceback' not in done.stderr
  assert done.stderr.splitlines()[-1].startswith(f'error: {flag}')


@pytest.mark.parametrize('tiny', [TINY, TINY_STARGAN])
@pytest.mark.parametrize('exists', [False, True])
def test_bad_peer_is_one_line(tmp_path, exists, tiny):
  directory = tmp_path if exists else tmp_path / 'missing'
  done = _benchmark('train_step', *tiny, f'--peer={directory}')
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
    'def moving_average(beta=0.999): return beta\n'
  )


def test_widths_are_set_apart_and_stand_ins_leave(tmp_path):
  _checkout(tmp_path, MODEL)
  config = _config(channel_base=128, max_conv_dim=8, hidden_dim=6)
  before = dict(sys.modules)
  create = peer_stargan_v2.Peer
  sources = create.read_sources(str(tmp_path), config)
  modules = peer.load(sources, create.stand_ins, {'InputFetcher': int})
  solver = modules['core.solver']
  assert sys.modules == before
  assert (solver.Generator.first, solver.Generator.cap) == (128, 8)
  assert solver.MappingNetwork.hidden == 6
  assert (solver.StyleEncoder.first, solver.StyleEncoder.cap) == (128, 8)
  assert solver.InputFetcher is int
  assert solver.moving_average() == 0.9
  assert (tmp_path / 'core/model.py').read_text() == MODEL


@pytest.mark.parametrize('lost', ['2**14', '512', 'MappingNetwork'])
def test_other_code_is_refused(tmp_path, lost):
  _checkout(tmp_path, MODEL.replace(lost, '99'))
  config = _config(channel_base=128, max_conv_dim=8, hidden_dim=6)
  with pytest.raises(errors.UserError, match='not a checkout'):
    peer_stargan_v2.Peer.read_sources(str(tmp_path), config)


def test_a_checkout_whose_averages_decay_otherwise_is_refused(tmp_path):
  _checkout(tmp_path, MODEL)
  (tmp_path / 'core/solver.py').write_text('beta=0.99')
  config = _config(channel_base=128, max_conv_dim=8, hidden_dim=6)
  with pytest.raises(errors.UserError, match='no beta=0.999 in core/solver.py'):
    peer_stargan_v2.Peer.read_sources(str(tmp_path), config)


def test_files_at_the_root_of_a_checkout(tmp_path):
  (tmp_path / 'model.py').write_text('class Generator: width = 3')
  (tmp_path / 'solver.py').write_text(
    'from model import Generator\nfrom torchvision.utils import save_image\n'
  )
  before = dict(sys.modules)
  create = peer_stargan.Peer
  sources = create.read_sources(str(tmp_path), None)
  solver = peer.load(sources, create.stand_ins, {})['solver']
  assert sys.modules == before
  assert solver.Generator.width == 3 and solver.save_image() is None


def test_a_stargan_peer_takes_its_pictures_from_the_first_batch():
  loader = peer_stargan._Loader(['first', 'second'])
  assert list(loader) == ['first', 'first', 'second']


def _write(root, files):
  for name, text in files.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# A trainer that tells what is asked of it, and whether it was given the
# settings that it was built with.
TRAINER = """
import torch
class Trainer:
  def __init__(self, settings):
    self.settings, self.told = settings, [torch.Tensor().cuda(0)]
  def cuda(self, *device):
    self.told.append(device)
  def update_learning_rate(self):
    self.told.append('rate')
  def dis_update(self, x_a, x_b, settings):
    self.told.append(('D', x_a, x_b, settings is self.settings))
  def gen_update(self, x_a, x_b, settings):
    self.told.append(('G', x_a, x_b, settings is self.settings))
UNIT_Trainer = MUNIT_Trainer = COCOGANTrainer = Trainer
"""
PAIR = {
  'networks.py': 'x = 1',
  'utils.py': """
from torch.utils.serialization import load_lua
from torchvision import transforms
from data import ImageFilelist, ImageFolder
import torchvision.utils as vutils
from networks import x
""",
  'trainer.py': f'from utils import x{TRAINER}',
}
PYTHON_2 = {
  'src/trainers/init.py': 'y = 1',
  'src/trainers/helpers.py': '',
  'src/trainers/common_net.py': """
import cv2
kernel_size = 3
pad = (kernel_size-1)/2
kernel = cv2.getGaussianKernel(kernel_size, -1)
""",
  'src/trainers/cocogan_nets.py': 'from .common_net import *',
  'src/trainers/cocogan_trainer.py': f"""
from .cocogan_nets import *
from .init import *
import itertools
pairs = list(itertools.izip('ab', 'cd'))
def get(loss):
  return loss.data.cpu().numpy()[0]
{TRAINER}""",
}


class _Tensor:
  """Of `_torch`; without a device there is no `cuda`."""

  def cuda(self, *device):
    raise AssertionError


def _torch():
  """As much of torch as a peer asks for before its networks are run."""
  torch = types.ModuleType('torch')
  torch.Tensor, torch.manual_seed = _Tensor, lambda seed: None
  torch.cuda = types.SimpleNamespace(device_count=lambda: 0)
  torch.backends = types.SimpleNamespace(cudnn=types.SimpleNamespace())
  torch.from_numpy = lambda x: types.SimpleNamespace(to=lambda name: x.shape)
  return torch


@pytest.fixture
def made_torch(monkeypatch):
  torch = _torch()
  monkeypatch.setattr(peer, 'import_library', lambda name: torch)
  for name in ('torch', 'torch.utils', 'torch.utils.serialization'):
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
  monkeypatch.setitem(sys.modules, 'torch', torch)
  torch.utils = sys.modules['torch.utils']
  torch.utils.serialization = sys.modules['torch.utils.serialization']
  return torch


@pytest.mark.parametrize(
  'create, config, files, device, rates',
  [
    (peer_munit.create, munit_config.default_config(), PAIR, (), ['rate']),
    (peer_unit.create, unit_config.default_config(), PYTHON_2, (0,), []),
    (peer_unit.create, unit_config.unshared_config(), PAIR, (), ['rate']),
  ],
)
def test_a_step_of_a_pair(
  tmp_path, made_torch, create, config, files, device, rates
):
  _write(tmp_path, files)
  before = dict(sys.modules)
  theirs = create(str(tmp_path), config, 'cpu')
  shapes = (2, 8, 8, 3), (4, 8, 8, 3)
  batch = {f'x_{n}': np.zeros(s) for n, s in zip('ab', shapes, strict=True)}
  theirs.step(theirs.load_batch(batch))
  tensor, *told = theirs.trainer.told
  assert isinstance(tensor, _Tensor)
  nchw = (2, 3, 8, 8), (4, 3, 8, 8)
  assert told == [device, *rates, ('D', *nchw, True), ('G', *nchw, True)]
  # Neither the stand-ins nor what was done to tensors is left.
  assert sys.modules == before
  assert not hasattr(made_torch.utils.serialization, 'load_lua')
  with pytest.raises(AssertionError):
    _Tensor().cuda()


class _Array(np.ndarray):
  """As much of a tensor as an original gives back."""

  def cpu(self):
    return self

  def numpy(self):
    return np.asarray(self)

  def flatten(self, start):
    return self.reshape(*self.shape[:start], -1)


def _to_tensor(x):
  return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).view(_Array)


def _without_torch(create):
  """An original that was not built, on arrays in the place of tensors."""
  theirs = create.__new__(create)
  theirs._directory = ''
  theirs.device = types.SimpleNamespace(
    torch=types.SimpleNamespace(no_grad=contextlib.nullcontext),
    tensor=_to_tensor,
    any_cuda=contextlib.nullcontext,
    wait=lambda: None,
  )
  return theirs


def test_an_original_of_a_pair_translates_from_the_other_domain():
  theirs = _without_torch(peer_munit.Peer)
  theirs.nets = lambda: {
    'generator': [
      types.SimpleNamespace(
        enc_content=lambda x, i=i: x + 10 * i,
        enc_style=lambda x, i=i: x.mean((2, 3), keepdims=True) + 100 * i,
        decode=lambda x, s, i=i: x + s[:, :1] + 1000 * i,
      )
      for i in range(2)
    ]
  }
  x = np.arange(40 * 2 * 3 * 3, dtype=np.float32).reshape(40, 2, 3, 3)
  z = np.ones((40, 3), np.float32)
  assert theirs.style(1, z=z).tolist() == z.tolist()
  s = theirs.style(1, x_ref=x)
  np.testing.assert_allclose(s, x.mean((1, 2)) + 100, rtol=1e-6)
  fake = theirs.translate(x, 1, z)  # the content of domain 0
  np.testing.assert_allclose(fake, x + 1 + 1000)
  fake = theirs.translate(x, 0, 2 * z)
  np.testing.assert_allclose(fake, x + 10 + 2)


def test_an_original_runs_its_own_loop_on_our_batches():
  theirs = _without_torch(peer_stargan_v2.Peer)
  theirs.settings, theirs._munch = types.SimpleNamespace(), dict
  seen = []

  def train(loaders):
    batches = loaders['src']
    seen.append([next(batches) for _ in range(theirs.settings.total_iters)])

  average = types.SimpleNamespace(
    generator=lambda x, s: x + s[:, :, None, None],
    mapping_network=lambda z, y: z + y[:, None],
    style_encoder=lambda x, y: x.mean((2, 3)) - y[:, None],
  )
  theirs.solver = types.SimpleNamespace(train=train, nets_ema=average)
  batches = ({'y_src': np.array([i])} for i in range(9))
  theirs.learn(batches, 3)
  assert [batch['y_src'].item() for batch in seen[0]] == [0, 1, 2]
  theirs.step('a batch')  # to be timed
  assert seen[1] == ['a batch']
  x = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
  z = np.ones((2, 3), np.float32)
  assert theirs.style(4, z=z).tolist() == (z + 4).tolist()
  s = theirs.style(4, x_ref=x)
  np.testing.assert_allclose(s, x.mean((1, 2)) - 4)
  fake = theirs.translate(x, 4, s)
  np.testing.assert_allclose(fake, x + s[:, None, None])


def test_code_of_python_2_runs_today(tmp_path):
  _write(tmp_path, {name: '' for name in PYTHON_2})
  _write(tmp_path, {k: v.replace(TRAINER, '') for k, v in PYTHON_2.items()})
  create = peer_unit.Shared
  sources = create.read_sources(str(tmp_path), None)
  given = {'getGaussianKernel': peer_unit.binomial}
  modules = peer.load(sources, create.stand_ins, given)
  trainer = modules['trainers.cocogan_trainer']
  assert trainer.pairs == [('a', 'c'), ('b', 'd')]
  assert type(trainer.pad) is int and trainer.pad == 1
  assert trainer.kernel.sum() == 1 and trainer.y == 1
  loss = types.SimpleNamespace(cpu=lambda: np.float32(3))
  assert trainer.get(types.SimpleNamespace(data=loss)) == 3


def test_other_code_than_of_a_pair_is_refused(tmp_path, made_torch):
  for create, config in (
    (peer_munit.create, munit_config.default_config()),
    (peer_unit.create, unit_config.default_config()),
    (peer_unit.create, unit_config.unshared_config()),
  ):
    with pytest.raises(errors.UserError, match='not a checkout'):
      create(str(tmp_path), config, 'cpu')
  nets = PYTHON_2['src/trainers/common_net.py'].replace('/2', '//2 ')
  _write(tmp_path, PYTHON_2 | {'src/trainers/common_net.py': nets})
  with pytest.raises(errors.UserError, match='not a checkout.*version_02'):
    peer_unit.Shared.read_sources(str(tmp_path), None)
  _write(tmp_path, PAIR)
  config = munit_config.default_config()
  config.hparams.lambda_vgg = 1.0
  with pytest.raises(errors.UserError, match='lambda_vgg=0'):
    peer_munit.create(str(tmp_path), config, 'cpu')


def test_the_settings_of_a_pair():
  config = unit_config.default_config()
  config.model.update(d_layers=6, d_front=2, d_kind='shared', normalize=False)
  settings = peer_unit.create_shared_settings(config)
  assert settings['dis']['name'] == 'COCOSharedDis'
  assert settings['dis']['n_front_layer'] == 2
  assert settings['dis']['n_shared_layer'] == 4
  assert settings['gen']['name'] == 'COCOResGen2'
  assert settings['gen']['n_gen_front_blk'] == 3  # two halvings and the stem
  for size, policy in ((0, 'constant'), (5, 'step')):
    config.optim.step_size = size
    settings = peer_munit.create_settings(config, {'a': 1}, {'b': 2})
    assert settings['lr_policy'] == policy
    assert (settings['gen']['a'], settings['b']) == (1, 2)


def _evaluate(module, expression, *arguments):
  """What an expression on a program's names gives, through JSON.

  In a process of its own: the programs' flags have the same names.
  """
  code = (
    f'import json, sys; from benchmarks.{module} import *; '
    'a = [json.loads(x) for x in sys.argv[1:]]; '
    f'print(json.dumps({expression}))'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, *map(json.dumps, arguments)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_what_grows_in_a_long_run_is_not_flat():
  def sample(i, leak):
    step = 10 * (i + 1)
    return {
      'step': step,
      'memory_mb': 1000 + 2 * i * leak,
      'open_files': 8 + (i >= 90) * leak,
      'threads': 50,
      'checkpoints_mb': 3 + (i % 5 == 0),
      # One step in five has a checkpoint and a neighbour on the machine.
      'ms_a_step': (100 if i % 5 == 0 else 20) + 0.1 * i * leak,
      'processor_s': 0.02 * step,
      'events_mb': 1e-3 * step + 1e-6 * step**2 * leak,
      'metrics_mb': 1e-3 * step,
      'samples_mb': 2e-3 * step,
    }

  runs = [[sample(i, leak) for i in range(200)] for leak in (0, 1)]
  flat, grown = _evaluate('long_run', 'list(map(compare, a[0]))', runs)
  assert [row['ratio'] for row in flat] == [1.0] * 9
  assert all(row['flat'] for row in flat)
  not_flat = {row['quantity'] for row in grown if not row['flat']}
  assert not_flat == {
    'memory_mb',
    'open_files',
    'ms_a_step',
    'events_mb a 1,000 steps',
  }
  # Samples 20 to 64 against 155 to 199: means of 42 and 177.
  memory, files, *_ = grown
  assert memory['ratio'] == pytest.approx(1354 / 1084, abs=1e-4)
  assert (files['first quarter'], files['last quarter']) == (8, 9)


@pytest.mark.slow
def test_long_run_watches_a_training():
  done = _benchmark('long_run', '--steps=100', tensorflow=True)
  *table, last = done.stdout.splitlines()
  rows = {row['quantity']: row for row in json.loads(last)}
  _check_markdown(table, list(rows.values()))
  # A hundred steps under whatever load are no measurement.
  assert done.returncode == 0 or 'error: not flat: ' in done.stderr
  assert rows['open_files']['ratio'] == 1
  assert 100 < rows['memory_mb']['end'] < 10_000
  assert rows['metrics_mb a 1,000 steps']['ratio'] == pytest.approx(1, abs=0.1)
  assert rows['samples_mb a 1,000 steps']['end'] > 0.1


@pytest.mark.slow
def test_settings_are_trained_scored_and_drawn(tmp_path):
  change, ruin = 'seed=1+hparams.lambda_ds=0', 'optim.lr=1e30'
  table, rows = _run(
    'sweep',
    *TINY,
    '--config.num_train_steps=5',
    f'--workdir={tmp_path}',
    f'--change={change},{ruin}',
    tensorflow=True,
  )
  _check_markdown(table, rows)
  assert [row['run'] for row in rows] == ['base', change, ruin]
  assert all(0 <= row['latent/domain_accuracy'] <= 1 for row in rows[:2])
  assert rows[2]['latent/domain_accuracy'] is None
  for name, seed, weight in (('base', 0, 1.0), (change, 1, 0.0)):
    config = json.loads((tmp_path / name / 'config.json').read_text())
    assert config['seed'] == seed and config['hparams']['lambda_ds'] == weight
    scores = (tmp_path / name / 'eval/scores.csv').read_text().splitlines()
    assert {line.split(',')[2] for line in scores[1:]} == {'0'}  # the seed

  # Two runs, below sources and references; the first cell is to a square.
  picture = np.asarray(Image.open(tmp_path / 'scores.png'))
  rows = cells.read(picture, 128, rows=4, columns=9)
  model = trained_model.load(tmp_path / change)
  config = workdir.require_config(tmp_path / 'base')
  _, val = domains_ref.Data(config).evaluation()
  style = model.reference_styles([val.readable(1, 0)], 'square')
  expected = model.translate([val.readable(0, 0)], 'square', style)[0][0]
  shown = rows[3, 0][::4, ::4]
  assert abs(np.int32(shown) - np.int32(expected)).max() <= 1
