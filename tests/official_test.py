"""Files of the original: what is in them is read, and comes back."""

import functools
import pathlib
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from absl import logging

from jaxgan import loop
from jaxgan.apps import import_export
from jaxgan.pytorch import convert, torch_files, torch_params
from jaxgan.runtime import errors
from jaxgan.systems import contract
from jaxgan.systems.stargan_v2 import official, step, wing
from jaxgan.systems.stargan_v2.names import names
from tests import tiny

torch = pytest.importorskip('torch')

ROOT = pathlib.Path(__file__).parent.parent
EMA_FILE = ROOT / 'tests' / 'data' / '000003_nets_ema.ckpt'
KINDS = ('nets', 'nets_ema', 'optims')
COUNTS = {  # of updates after seven iterations
  'generator': 14,
  'mapping_network': 7,
  'style_encoder': 7,
  'discriminator': 14,
}


def _save(path, tree):
  """Writes a file in the format of 2019."""

  def to_torch(x):
    if isinstance(x, dict):
      return {key: to_torch(value) for key, value in x.items()}
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x

  torch.save(to_torch(tree), path, _use_new_zipfile_serialization=False)
  return path


def _generator_shapes(num_downs):
  """The original's tensors at 32 px, in its order: widths 4, 8, 8 ..."""
  encode = [(4, 8)] + (num_downs + 1) * [(8, 8)]
  shapes = {'from_rgb.weight': (4, 3, 3, 3), 'from_rgb.bias': (4,)}
  for i, (a, b) in enumerate(encode):
    block = {'conv1.weight': (a, a, 3, 3), 'conv1.bias': (a,)}
    block |= {'conv2.weight': (b, a, 3, 3), 'conv2.bias': (b,)}
    block |= {'norm1.weight': (a,), 'norm1.bias': (a,)}
    block |= {'norm2.weight': (a,), 'norm2.bias': (a,)}
    block |= {'conv1x1.weight': (b, a, 1, 1)} if a != b else {}
    shapes |= {f'encode.{i}.{key}': shape for key, shape in block.items()}
  for i, (b, a) in enumerate(reversed(encode)):
    block = {'conv1.weight': (b, a, 3, 3), 'conv1.bias': (b,)}
    block |= {'conv2.weight': (b, b, 3, 3), 'conv2.bias': (b,)}
    block |= {'norm1.fc.weight': (2 * a, 5), 'norm1.fc.bias': (2 * a,)}
    block |= {'norm2.fc.weight': (2 * b, 5), 'norm2.fc.bias': (2 * b,)}
    block |= {'conv1x1.weight': (b, a, 1, 1)} if a != b else {}
    shapes |= {f'decode.{i}.{key}': shape for key, shape in block.items()}
  shapes |= {'to_rgb.0.weight': (4,), 'to_rgb.0.bias': (4,)}
  return shapes | {'to_rgb.2.weight': (3, 4, 1, 1), 'to_rgb.2.bias': (3,)}


def _network_shapes(w_hpf):
  nets = {
    name: {key: value.shape for key, value in state_dict.items()}
    for name, state_dict in torch_files.load(EMA_FILE).items()
  }
  plain = _generator_shapes(1)
  assert list(plain.items()) == list(nets['generator'].items())
  nets['generator'] = _generator_shapes(2) if w_hpf else plain
  nets['discriminator'] = {
    key.replace('shared', 'main'): shape
    for key, shape in nets['style_encoder'].items()
    if not key.startswith('unshared')
  } | {'main.7.weight': (3, 8, 1, 1), 'main.7.bias': (3,)}
  return nets


def _draw_adam(rng, name, shapes, w_hpf):
  # Until 2020 PyTorch numbered parameters by their addresses.
  numbers = {key: 140_000_000_000 - 72 * i for i, key in enumerate(shapes)}
  trained = [
    k for k in shapes if not (w_hpf and k == 'decode.3.conv1x1.weight')
  ]
  group = {
    'lr': 1e-6 if name == 'mapping_network' else 1e-4,
    'betas': (0.0, 0.99),
    'eps': 1e-8,
    'weight_decay': 1e-4,
    'amsgrad': False,
    'params': list(numbers.values()),
  }
  state = {
    numbers[key]: {
      'step': COUNTS[name],
      'exp_avg': rng.standard_normal(shapes[key], np.float32),
      'exp_avg_sq': rng.random(shapes[key], np.float32),
    }
    for key in trained
  }
  return {'state': state, 'param_groups': [group]}


def _draw_fan(rng):
  shapes = wing.param_shapes()
  fan = torch_params.to_state_dict(
    jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), shapes)
  )
  for key in [key for key in fan if key.endswith('.running_mean')]:
    counter = key.replace('running_mean', 'num_batches_tracked')
    fan[counter] = np.array(rng.integers(1000), np.int64)
  assert len(fan) == 336
  return fan


@pytest.fixture(scope='module', params=[0.0, 2.0], ids=['plain', 'faces'])
def original(request, tmp_path_factory):
  """(w_hpf, path of 000007_nets.ckpt, {kind: tree} of it and its siblings)."""
  rng, w_hpf = np.random.default_rng(0), request.param
  shapes = _network_shapes(w_hpf)

  def draw(names):
    nets = {
      name: {k: rng.standard_normal(s, np.float32) for k, s in tensors.items()}
      for name, tensors in shapes.items()
      if name in names
    }
    if w_hpf:
      kernel = [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]]
      kernel = np.array(kernel, np.float32) / np.float32(w_hpf)
      nets['generator']['hpf.filter'] = kernel
      nets['fan'] = fan
    return nets

  fan = _draw_fan(rng) if w_hpf else None
  trees = {
    'nets': draw(COUNTS),
    'nets_ema': draw(COUNTS.keys() - {'discriminator'}),
    'optims': {
      name: _draw_adam(rng, name, tensors, w_hpf)
      for name, tensors in shapes.items()
    },
  }
  folder = tmp_path_factory.mktemp('original')
  for kind, tree in trees.items():
    _save(folder / f'000007_{kind}.ckpt', tree)
  return w_hpf, folder / '000007_nets.ckpt', trees


def _assert_same_nets(got, expected):
  assert got.keys() == expected.keys()
  for name, state_dict in expected.items():
    assert got[name].keys() == state_dict.keys()
    for key, value in state_dict.items():
      assert got[name][key].dtype == value.dtype
      np.testing.assert_array_equal(got[name][key], value, err_msg=key)


def test_every_tensor_of_a_full_checkpoint_comes_back(original, tmp_path):
  w_hpf, path, trees = original
  run, out = tmp_path / 'run', tmp_path / 'out'
  import_export.import_run(str(path), tiny.config(model__w_hpf=w_hpf), str(run))
  import_export.export_run(str(run), str(out))
  names = [f'000007_{kind}.ckpt' for kind in KINDS]
  assert sorted(p.name for p in out.iterdir()) == sorted(names)
  back = {k: torch_files.load(out / f'000007_{k}.ckpt') for k in KINDS}
  _assert_same_nets(back['nets'], trees['nets'])
  _assert_same_nets(back['nets_ema'], trees['nets_ema'])
  for name, old in trees['optims'].items():
    (group,) = back['optims'][name]['param_groups']
    numbers = old['param_groups'][0]['params']
    assert group == old['param_groups'][0] | {'params': [*range(len(numbers))]}
    state = back['optims'][name]['state']
    assert {numbers[i] for i in state} == old['state'].keys()
    for i, entry in state.items():
      for key, value in old['state'][numbers[i]].items():
        np.testing.assert_array_equal(entry[key], value)
  with pytest.raises(errors.UserError, match='000007_nets.ckpt exists'):
    import_export.export_run(str(run), str(out))


def _init_fn(config):
  return functools.partial(step.init_state, step.create_model(config))


def test_a_full_checkpoint_is_a_state_to_go_on_from(original):
  w_hpf, path, trees = original
  config = tiny.config(model__w_hpf=w_hpf, seed=5)
  config, state, frozen, partial, *_ = official.import_official(path, config)
  assert not partial and int(state.step) == 7
  assert config.data.domains == ('circle', 'square', 'triangle')
  like = jax.eval_shape(_init_fn(config), jax.random.key(0))
  assert jax.tree.structure(like) == jax.tree.structure(state)
  for x, y in zip(jax.tree.leaves(like), jax.tree.leaves(state), strict=True):
    assert (x.shape, x.dtype) == (y.shape, y.dtype)
  assert frozen.keys() == ({'fan', 'unused'} if w_hpf else set())

  get = optax.tree_utils.tree_get
  for name, count in COUNTS.items():
    assert get(state.opt_state[name], 'count') == count
  # Tensors of one shape must not be mixed up: bias of the last convolution.
  keys = [k for k in trees['nets']['generator'] if k != 'hpf.filter']
  adam = trees['optims']['generator']
  number = adam['param_groups'][0]['params'][keys.index('to_rgb.2.bias')]
  moments = {'mu': 'exp_avg', 'nu': 'exp_avg_sq'}
  for ours, theirs in moments.items():
    np.testing.assert_array_equal(
      get(state.opt_state['generator'], ours)['to_rgb_conv']['bias'],
      adam['state'][number][theirs],
    )


def test_released_averages_are_read_as_measured(tmp_path):
  run, out = tmp_path / 'run', tmp_path / 'out'
  import_export.import_run(str(EMA_FILE), tiny.config(), str(run))
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  opened = contract.open_run(run, placement)
  state = opened.state
  assert opened.step == int(state.step) == 3 and not opened.frozen
  assert opened.config.model.num_domains == 3
  with np.load(ROOT / 'tests' / 'data' / 'stargan_v2_train.npz') as reference:
    for name, params in state.ema_params.items():
      state_dict = convert.to_tensors(names(name, params), params)
      prefix = f'after3/{name}_ema/'
      keys = {k.removeprefix(prefix) for k in reference if k.startswith(prefix)}
      assert keys == state_dict.keys()
      for key, value in state_dict.items():
        expected = reference[prefix + key].astype(np.float32)
        np.testing.assert_array_equal(value, expected)
      jax.tree.map(np.testing.assert_array_equal, state.params[name], params)

  import_export.export_run(str(run), str(out))
  assert [p.name for p in out.iterdir()] == [EMA_FILE.name]
  expected = torch_files.load(EMA_FILE)
  got = torch_files.load(out / EMA_FILE.name)
  _assert_same_nets(got, expected)
  assert [list(net) for net in got.values()] == [
    list(net) for net in expected.values()
  ]
  with pytest.raises(errors.UserError, match='holds only what .* --init_from='):
    loop.train(tiny.config(), str(run))
  with pytest.raises(errors.UserError, match='not empty'):
    import_export.import_run(str(EMA_FILE), tiny.config(), str(run))


def test_a_run_begun_here_is_given_what_the_original_never_uses():
  config = tiny.config(model__w_hpf=0.5, model__num_domains=3)
  state = jax.jit(_init_fn(config))(jax.random.key(0))
  fan = jax.tree.map(
    lambda x: np.broadcast_to(np.float32(0), x.shape), wing.param_shapes()
  )
  files = official.export_official(state, {'fan': fan}, config, partial=False)
  assert list(files) == [
    '000000_nets.ckpt',
    '000000_nets_ema.ckpt',
    '000000_optims.ckpt',
  ]
  for nets in (files['000000_nets.ckpt'], files['000000_nets_ema.ckpt']):
    assert list(nets)[-1] == 'fan' and len(nets['fan']) == 336
    assert nets['fan']['bn1.num_batches_tracked'].dtype == np.int64
    shapes = {key: value.shape for key, value in nets['generator'].items()}
    assert shapes == _generator_shapes(2) | {'hpf.filter': (3, 3)}
    assert list(shapes) == [*_generator_shapes(2), 'hpf.filter']
    assert not nets['generator']['decode.3.conv1x1.weight'].any()
    np.testing.assert_array_equal(
      nets['generator']['hpf.filter'],
      [[-2, -2, -2], [-2, 16, -2], [-2, -2, -2]],
    )
  adam = files['000000_optims.ckpt']['generator']
  unused = list(shapes).index('decode.3.conv1x1.weight')
  numbers = adam['param_groups'][0]['params']
  assert [n for n in numbers if n not in adam['state']] == [unused]


@pytest.mark.parametrize(
  'override, message',
  [
    ({'data__img_size': 64}, 'img_size is 32 there and 64 in the config$'),
    ({'model__channel_base': 256}, 'channel_base is 128 there and 256'),
    ({'model__max_conv_dim': 16}, 'max_conv_dim is 8 there and 16'),
    ({'model__hidden_dim': 9}, 'hidden_dim is 8 there and 9'),
    ({'model__style_dim': 4}, 'style_dim is 5 there and 4'),
    ({'model__latent_dim': 5}, 'latent_dim is 4 there and 5'),
    ({'model__num_domains': 2}, 'num_domains is 3 there and 2'),
    ({'model__w_hpf': 1.0}, 'w_hpf is 0.0 there and 1.0'),
    ({'data__domains': ('a', 'b')}, r'3 domains and the config 2 \(a, b\)'),
    (
      {'data__name': 'folder', 'data__root': 'nowhere'},
      r"names of the 3 domains .*nowhere.* --config.data.domains=\"\('cat'",
    ),
  ],
)
def test_settings_that_are_not_the_files_are_named(override, message):
  with pytest.raises(errors.UserError, match=message):
    official.import_official(EMA_FILE, tiny.config(**override))


@pytest.mark.parametrize('original', [2.0], indirect=True, ids=['faces'])
@pytest.mark.parametrize('w_hpf', [0.0, 1.0])
def test_another_w_hpf_is_named(original, w_hpf):
  _, path, _ = original
  for file in (path, path.parent / '000007_nets_ema.ckpt'):
    with pytest.raises(
      errors.UserError, match=f'w_hpf is 2.0 there and {w_hpf}'
    ):
      official.import_official(file, tiny.config(model__w_hpf=w_hpf))


@pytest.mark.parametrize('original', [2.0], indirect=True, ids=['faces'])
def test_a_file_without_the_kernel_takes_it_from_the_config(original, tmp_path):
  # As the released file of CelebA-HQ.
  _, whole, trees = original
  nets = {name: dict(tensors) for name, tensors in trees['nets_ema'].items()}
  del nets['generator']['hpf.filter']
  path = _save(tmp_path / '000007_nets_ema.ckpt', nets)
  with pytest.raises(errors.UserError, match='released CelebA-HQ has --config'):
    official.import_official(path, tiny.config())
  run, out = tmp_path / 'run', tmp_path / 'out'
  import_export.import_run(str(path), tiny.config(model__w_hpf=2.0), str(run))
  import_export.export_run(str(run), str(out))
  # The original's code of today wants the kernel to be there.
  _assert_same_nets(torch_files.load(out / path.name), trees['nets_ema'])

  del nets['fan']
  with pytest.raises(errors.UserError, match='not .*style_encoder, fan'):
    official.import_official(_save(path, nets), tiny.config(model__w_hpf=2.0))


def test_a_face_network_without_use_is_left_out(tmp_path, caplog):
  # As in the released file of AFHQ.
  nets = torch_files.load(EMA_FILE)
  fan = _draw_fan(np.random.default_rng(0))
  path = _save(tmp_path / EMA_FILE.name, nets | {'fan': fan})
  with caplog.at_level(logging.WARNING):
    imported = official.import_official(path, tiny.config())
  assert 'the face network in it has no use here' in caplog.text
  plain = official.import_official(EMA_FILE, tiny.config())
  assert imported.frozen == plain.frozen == {}
  jax.tree.map(
    np.testing.assert_array_equal,
    imported.state.ema_params,
    plain.state.ema_params,
  )


def test_domains_are_numbered_by_name_or_taken_from_the_data(tmp_path):
  for name in ('dog', 'cat', 'wild'):
    folder = tmp_path / 'train' / name
    folder.mkdir(parents=True)
    (folder / '0.png').touch()
  data = {'data__name': 'folder', 'data__root': str(tmp_path)}
  given = {'data__domains': ('dog', 'wild', 'cat')}
  for overrides in (data, given):
    config = official.import_official(EMA_FILE, tiny.config(**overrides)).config
    assert config.data.domains == ('cat', 'dog', 'wild')


def _edit(change):
  tree = torch_files.load(EMA_FILE)
  change(tree)
  return tree


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda t: t.pop('style_encoder'), 'holds generator, mapping_network, not'),
    (lambda t: t.update(x={}), 'holds .*, x, not generator, mapping_'),
    (lambda t: t.update(generator=7), 'generator is not a state dict'),
    (
      lambda t: t['generator'].update(
        a=np.ones(1, np.float32), b=t['generator']['from_rgb.bias']
      ),
      'generator has 2 unknown tensors, the first is a$',
    ),
    (lambda t: t['generator'].pop('to_rgb.2.bias'), 'no tensor to_rgb.2.bias'),
    (
      lambda t: t['style_encoder'].update({'shared.0.bias': np.ones(9, 'f')}),
      r'shared.0.bias has shape \(9,\)',
    ),
    (
      lambda t: t['generator'].update({'from_rgb.bias': np.ones(4)}),
      'generator from_rgb.bias is float64, not float32',
    ),
    (lambda t: t['mapping_network'].clear(), 'mapping_network is not a st'),
    (lambda t: t.clear(), 'holds no networks, not generator'),
  ],
)
def test_foreign_content_is_named(tmp_path, change, message):
  path = _save(tmp_path / '000003_nets_ema.ckpt', _edit(change))
  with pytest.raises(errors.UserError, match=message):
    official.import_official(path, tiny.config())


def test_prefixes_of_data_parallel_and_other_names_are_read(tmp_path):
  tree = torch_files.load(EMA_FILE)
  tree = {
    name: {f'module.{key}': value for key, value in state_dict.items()}
    for name, state_dict in tree.items()
  }
  path = _save(tmp_path / 'afhq.ckpt', tree)
  with pytest.raises(errors.UserError, match='afhq.ckpt .* --step'):
    official.import_official(path, tiny.config())
  _, state, _, partial, *_ = official.import_official(path, tiny.config(), 9)
  assert partial and int(state.step) == 9
  _, expected, *_ = official.import_official(EMA_FILE, tiny.config())
  jax.tree.map(
    np.testing.assert_array_equal, state.ema_params, expected.ema_params
  )


def _first_entry(tree):
  return next(iter(tree['style_encoder']['state'].values()))


@pytest.mark.parametrize('original', [0.0], indirect=True, ids=['plain'])
@pytest.mark.parametrize(
  'change, message',
  [
    (lambda t: t.pop('generator'), 'does not hold the optimisers of generator'),
    (lambda t: t['generator'].pop('state'), "generator .*KeyError: 'state'"),
    (
      lambda t: _first_entry(t).update(step=8),
      r'style_encoder .*have made \[7, 8\] steps',
    ),
    (
      lambda t: _first_entry(t).pop('exp_avg'),
      'shared.0.weight has step, exp_avg_sq',
    ),
    (
      lambda t: t['generator']['state'].popitem(),
      'generator .*no tensor to_rgb.2.bias',
    ),
    (
      lambda t: t['generator']['param_groups'][0]['params'].pop(),
      'generator .*55 parameters, of 56 in the network',
    ),
    (
      lambda t: _first_entry(t).update(exp_avg=np.ones(3, np.float32)),
      r'shared.0.weight has shape \(3,\)',
    ),
  ],
)
def test_optimisers_must_be_whole(original, tmp_path, change, message):
  _, path, trees = original
  for kind in ('nets', 'nets_ema'):
    (tmp_path / f'000007_{kind}.ckpt').symlink_to(
      path.parent / f'000007_{kind}.ckpt'
    )
  optims = torch_files.load(path.parent / '000007_optims.ckpt')
  change(optims)
  _save(tmp_path / '000007_optims.ckpt', optims)
  with pytest.raises(errors.UserError, match=message):
    official.import_official(tmp_path / '000007_nets.ckpt', tiny.config())


@pytest.mark.parametrize('original', [0.0], indirect=True, ids=['plain'])
def test_missing_siblings_and_other_settings_are_named(
  original, tmp_path, caplog
):
  _, path, trees = original
  logging.get_absl_logger().propagate = True
  official.import_official(path, tiny.config())
  assert not caplog.records
  official.import_official(path, tiny.config(optim__f_lr=1e-5))
  (record,) = caplog.records
  assert 'mapping_network: lr was 1e-06 and will be 1e-05' in record.message

  alone = _save(tmp_path / '000007_nets.ckpt', trees['nets'])
  with pytest.raises(
    errors.UserError,
    match='t 000007_nets_ema.ckpt and 000007_optims.ckpt beside',
  ):
    official.import_official(alone, tiny.config())
  ema = path.parent / '000007_nets_ema.ckpt'
  (tmp_path / '000007_nets_ema.ckpt').write_bytes(ema.read_bytes())
  with pytest.raises(errors.UserError, match='without 000007_optims.ckpt'):
    official.import_official(alone, tiny.config())
  with pytest.raises(errors.UserError, match='there is no file .*000008_nets'):
    official.import_official(path.parent / '000008_nets.ckpt', tiny.config())
  _save(tmp_path / '000009_nets.ckpt', trees['nets_ema'])
  with pytest.raises(errors.UserError, match='not .*, discriminator'):
    official.import_official(tmp_path / '000009_nets.ckpt', tiny.config())


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  'damage, what',
  [
    (lambda b: b[: len(b) // 2], 'cut off'),
    (lambda b: b'', 'an empty file'),
    (lambda b: b'GIF89a' + b, 'a picture'),
  ],
  ids=['truncated', 'empty', 'foreign'],
)
@pytest.mark.parametrize('original', [0.0], indirect=True, ids=['plain'])
def test_a_damaged_file_is_named_and_leaves_nothing(
  original, tmp_path, damage, what, kind
):
  _, path, _ = original
  files = tmp_path / 'files'
  files.mkdir()
  for other in KINDS:
    content = (path.parent / f'000007_{other}.ckpt').read_bytes()
    content = damage(content) if other == kind else content
    (files / f'000007_{other}.ckpt').write_bytes(content)
  with pytest.raises(errors.UserError, match=f'000007_{kind}.ckpt is {what}'):
    import_export.import_run(
      str(files / '000007_nets.ckpt'), tiny.config(), str(tmp_path / 'run')
    )
  assert not (tmp_path / 'run').exists()


def _run(*args):
  result = subprocess.run(
    [sys.executable, '-m', *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )
  assert 'Traceback' not in result.stderr
  return result.returncode, result.stderr


def test_tools_end_in_one_line(tmp_path):
  tool = 'jaxgan.tools.import_checkpoint'
  flags = (
    '--config=configs/stargan_v2/afhq.py',
    '--config.data.domains=("cat","dog","wild")',
    f'--workdir={tmp_path / "run"}',
  )
  status, stderr = _run(tool, EMA_FILE, *flags)
  assert status == 1 and stderr.startswith(f'error: {EMA_FILE} does not fit: ')
  assert len(stderr.splitlines()) == 1 and 'img_size is 32 there' in stderr
  status, stderr = _run(tool, *flags)
  assert status == 2 and 'FILE is missing' in stderr
  tool = 'jaxgan.tools.export_checkpoint'
  status, stderr = _run(tool, f'--workdir={tmp_path}', f'--out={tmp_path}')
  assert status == 1 and 'is not the work directory of a run' in stderr
  assert _run(tool, f'--workdir={tmp_path}')[0] == 2


@pytest.mark.slow
def test_exported_and_imported_is_never_exported(tmp_path):
  plain, files, again = (
    tmp_path / name for name in ('plain', 'files', 'again')
  )
  loop.train(tiny.config(), str(plain))
  import_export.export_run(str(plain), str(files), step=2)
  import_export.import_run(
    str(files / '000002_nets.ckpt'), tiny.config(), str(again)
  )
  loop.train(tiny.config(), str(again))
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  runs = [contract.open_run(path, placement) for path in (plain, again)]
  assert runs[0].step == runs[1].step == 4
  jax.tree.map(np.testing.assert_array_equal, runs[0].state, runs[1].state)
  lines = [
    (p / 'metrics.jsonl').read_text().splitlines() for p in (plain, again)
  ]
  assert lines[0][2:] == lines[1]


@pytest.mark.slow
def test_averages_start_another_run(tmp_path):
  ema, run = tmp_path / 'ema', tmp_path / 'run'
  import_export.import_run(str(EMA_FILE), tiny.config(), str(ema))
  loop.train(tiny.config(num_train_steps=1), str(run), init_from=str(ema))
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  old, new = (contract.open_run(path, placement).state for path in (ema, run))
  for name, params in new.params.items():  # two updates of 1e-4 later
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=0, atol=3e-4),
      params,
      old.params[name],
    )
