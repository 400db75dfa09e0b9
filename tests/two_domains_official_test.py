"""Files of the originals of MUNIT and UNIT: what is in them comes back."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import loop
from jaxgan.apps import import_export, trained_model
from jaxgan.pytorch import torch_files
from jaxgan.runtime import errors
from jaxgan.systems import contract, munit, unit
from tests import tiny_munit, tiny_unit
from tests.tiny_two_domains import DOMAINS

torch = pytest.importorskip('torch')

KINDS = {
  'munit': (munit, tiny_munit, {}),
  'shared': (unit, tiny_unit, {}),
  'unshared': (unit, tiny_unit, tiny_unit.UNSHARED),
}


def _layers(*names):
  return [f'{name}.{leaf}' for name in names for leaf in ('weight', 'bias')]


def _convs(*names):
  return _layers(*(f'{name}.conv' for name in names))


_BLOCK = [f'model.0.model.0.model.{j}' for j in range(2)]
_ENCODER = _convs(
  *(f'model.{i}' for i in (0, 1)), *(f'model.2.model.0.model.{j}' for j in '01')
)
_UP = ['model.2.norm.gamma', 'model.2.norm.beta', *_convs('model.2', 'model.3')]
_DISCRIMINATOR = [
  key
  for k in range(2)
  for key in _convs(f'cnns.{k}.0', f'cnns.{k}.1') + _layers(f'cnns.{k}.2')
]
# In the original order, by file; of both domains, a and b, where not of U1.
KEYS = {
  'munit': {
    'gen_00000001.pt': [
      *_convs(*(f'enc_style.model.{i}' for i in range(5))),
      *_layers('enc_style.model.6'),
      *(f'enc_content.{key}' for key in _ENCODER),
      *(
        f'dec.{key}'
        for conv in _BLOCK
        for key in (
          f'{conv}.norm.running_mean',
          f'{conv}.norm.running_var',
          *_convs(conv),
        )
      ),
      *(f'dec.{key}' for key in _UP),
      *_layers(*(f'mlp.model.{i}.fc' for i in range(3))),
    ],
    'dis_00000001.pt': _DISCRIMINATOR,
  },
  'unshared': {
    'gen_00000001.pt': [
      *(f'enc.{key}' for key in _ENCODER),
      *(f'dec.{key}' for key in _convs(*_BLOCK) + _UP),
    ],
    'dis_00000001.pt': _DISCRIMINATOR,
  },
  'shared': {
    'unit_gen_00000001.pkl': _layers(
      *(
        f'encode_{x}.{layer}'
        for x in 'AB'
        for layer in ('0.model.0', '1.model.0', '2.model.0', '2.model.3')
      ),
      *(f'{x}_shared.0.model.{i}' for x in ('enc', 'dec') for i in (0, 3)),
      *(
        f'decode_{x}.{layer}'
        for x in 'AB'
        for layer in ('0.model.0', '0.model.3', '1.model.0', '2')
      ),
    ),
    'unit_dis_00000001.pkl': _layers(
      *(
        f'model_{x}.{layer}'
        for x in 'AB'
        for layer in ('0.model.0', '1.model.0', '2.model.0', '3')
      )
    ),
  },
}


@functools.cache
def _state(kind):
  """After a step, every parameter and moment a number of its own."""
  _, tiny, overrides = KINDS[kind]
  _, state = tiny.create(**overrides)
  rng = np.random.default_rng(0)

  def draw(tree):
    return jax.tree.map(
      lambda x: rng.standard_normal(x.shape).astype(np.float32), tree
    )

  opt_state = {
    name: optax.tree_utils.tree_set(
      tree,
      count=np.int32(1),
      mu=draw(state.params[name]),
      nu=jax.tree.map(np.square, draw(state.params[name])),
    )
    for name, tree in state.opt_state.items()
  }
  params = draw(state.params)
  return state.replace(step=np.int32(1), params=params, opt_state=opt_state)


def _config(kind, **more):
  _, tiny, overrides = KINDS[kind]
  return tiny.config(**DOMAINS | overrides | more)


def _write(kind, folder, change=None, partial=False):
  """The files of `_state` under a folder: path of the generators'."""
  system = KINDS[kind][0]
  files = system.export_official(_state(kind), {}, _config(kind), partial)
  if change:
    change(files)
  for name, tree in files.items():
    torch_files.save(folder / name, tree)
  return folder / next(name for name in KEYS[kind] if 'gen_' in name)


def _equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('kind', KINDS)
def test_names_are_in_the_order_of_the_original(kind, tmp_path):
  _write(kind, tmp_path)
  for name, keys in KEYS[kind].items():
    tree = torch_files.load(tmp_path / name)
    if kind == 'shared':
      assert list(tree) == keys
      continue
    assert list(tree) == ['a', 'b']
    for part in tree.values():
      assert list(part) == keys
      for key, value in part.items():
        assert value.dtype == np.float32
        if 'running' in key:
          assert (value == float(key.endswith('var'))).all()
  names = {path.name for path in tmp_path.iterdir()}
  optimizers = {'optimizer.pt'} if kind != 'shared' else set()
  assert names == KEYS[kind].keys() | optimizers


@pytest.mark.parametrize('kind', KINDS)
def test_a_state_comes_back(kind, tmp_path):
  path = _write(kind, tmp_path)
  system, state = KINDS[kind][0], _state(kind)
  imported = system.import_official(path, _config(kind))
  assert (int(imported.state.step), imported.partial) == (1, False)
  _equal(imported.state.params, state.params)
  if kind == 'shared':
    assert imported.what == 'weights without optimisers'
    moments = jax.tree.leaves(imported.state.opt_state)
    assert not any(np.any(x) for x in moments)
  else:
    assert imported.what == 'weights and optimisers'
    _equal(imported.state.opt_state, state.opt_state)
  fresh = KINDS[kind][1].create(**KINDS[kind][2])[1]
  for a, b in zip(*map(jax.tree.leaves, (imported.state, fresh)), strict=True):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)


def test_tensors_are_turned_over(tmp_path):
  params = _state('shared').params['generator']
  tree = torch_files.load(_write('shared', tmp_path))
  kernel = params['encoder_1']['down_0']['kernel']  # [3, 3, 2, 4]
  weight = tree['encode_B.1.model.0.weight']
  assert weight.shape == (4, 2, 3, 3)
  assert weight[3, 1, 2, 0] == kernel[2, 0, 1, 3]
  # Of a transposed convolution the inputs come first.
  kernel = params['decoder_0']['up_0']['kernel']
  weight = tree['decode_A.1.model.0.weight']
  assert weight.shape == (4, 2, 3, 3)
  assert weight[3, 1, 2, 0] == kernel[2, 0, 3, 1]
  assert tree['decode_A.2.weight'].shape == (2, 3, 1, 1)
  mlp = _state('munit').params['generator']['mlp_0']['fc_0']['kernel']
  weight = torch_files.load(_write('munit', tmp_path))['a'][
    'mlp.model.0.fc.weight'
  ]
  np.testing.assert_array_equal(weight, mlp.T)


def test_optimisers_are_those_of_pytorch(tmp_path, monkeypatch):
  # An optimiser imports Triton where it is installed (PyTorch's CUDA build
  # brings it), and Triton ends a process that has TensorFlow in it.
  monkeypatch.setitem(sys.modules, 'triton', None)
  path = _write('munit', tmp_path)
  saved = torch.load(tmp_path / 'optimizer.pt', weights_only=True)
  tensors = torch.load(path, weights_only=True)
  weights = [
    torch.nn.Parameter(tensors[letter][key])
    for letter in 'ab'
    for key in KEYS['munit'][path.name]
    if 'running' not in key
  ]
  adam = torch.optim.Adam(weights)
  adam.load_state_dict(saved['gen'])
  group = adam.param_groups[0]
  assert group['lr'] == pytest.approx(1e-3) and group['initial_lr'] == 1e-3
  assert group['betas'] == (0.5, 0.999) and group['weight_decay'] == 1e-4
  assert len(group['params']) == len(weights) == len(adam.state)
  for weight in weights:
    assert adam.state[weight]['exp_avg'].shape == weight.shape
    assert int(adam.state[weight]['step']) == 1


@pytest.mark.parametrize('kind', KINDS)
def test_generators_alone_translate_and_do_not_train(kind, tmp_path):
  path, run = _write(kind, tmp_path, partial=True), tmp_path / 'run'
  assert [p.name for p in tmp_path.iterdir()] == [path.name]
  import_export.import_run(str(path), _config(kind), str(run))
  model = trained_model.load(run)
  assert model.step == 1 and model.domains == ('circle', 'triangle')
  with pytest.raises(errors.UserError, match='cannot be trained on'):
    loop.train(_config(kind), str(run))
  # What goes out is what came in.
  import_export.export_run(str(run), str(tmp_path / 'out'))
  (name,) = [p.name for p in (tmp_path / 'out').iterdir()]
  assert name == path.name
  _equal(*(torch_files.load(p) for p in (path, tmp_path / 'out' / name)))


def test_an_imported_run_goes_out_again(tmp_path, capsys):
  path, run, out = _write('munit', tmp_path), tmp_path / 'run', tmp_path / 'out'
  import_export.import_run(str(path), _config('munit'), str(run))
  assert 'a run at step 1: weights and opt' in capsys.readouterr().out
  import_export.export_run(str(run), str(out))
  assert len(list(out.iterdir())) == 3
  for written in out.iterdir():
    again = torch_files.load(written)
    _equal(again, torch_files.load(tmp_path / written.name))
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  assert contract.open_run(run, device).config.system == 'munit'


@pytest.mark.parametrize('kind', KINDS)
def test_files_below_a_key_and_of_half_precision_are_read(kind, tmp_path):
  path = _write(kind, tmp_path)
  for file in tmp_path.iterdir():
    tree = torch.load(file, weights_only=True)
    if file.name != 'optimizer.pt':
      for part in (tree,) if kind == 'shared' else tree.values():
        for key in list(part):
          part[f'module.{key}'] = part.pop(key).bfloat16()
    torch.save({'epoch': 1, 'state_dict': tree}, file)
  imported = KINDS[kind][0].import_official(path, _config(kind))
  assert not imported.partial
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=2**-8),
    imported.state.params,
    _state(kind).params,
  )
  if kind != 'shared':
    _equal(imported.state.opt_state, _state(kind).opt_state)


def test_statistics_of_old_files_are_left_out(tmp_path):
  def change(files):
    for part in files['gen_00000001.pt'].values():
      for key in list(part):
        if 'enc_content' in key and key.endswith('weight'):
          norm = key.replace('conv.weight', 'norm')
          part[f'{norm}.running_mean'] = np.full(4, 7, np.float32)
          part[f'{norm}.running_var'] = np.full(4, 7, np.float32)
          part[f'{norm}.num_batches_tracked'] = np.array(5)

  path = _write('munit', tmp_path, change)
  imported = munit.import_official(path, _config('munit'))
  assert imported.what == 'weights and optimisers'
  _equal(imported.state.params, _state('munit').params)


def test_optimisers_of_a_later_step_are_left_out_and_named(tmp_path, caplog):
  path = _write('unshared', tmp_path)
  imported = unit.import_official(path, _config('unshared'), 0)
  assert imported.what == 'weights without optimisers'
  assert int(imported.state.step) == 0
  assert 'optimizer.pt is left out: it is of step 1 and not of 0' in caplog.text
  assert not any(np.any(x) for x in jax.tree.leaves(imported.state.opt_state))


def test_optimisers_that_began_later_are_taken(tmp_path):
  path = _write('unshared', tmp_path)
  imported = unit.import_official(path, _config('unshared'), 3)
  assert imported.what == 'weights and optimisers'
  assert int(imported.state.step) == 3
  _equal(imported.state.opt_state, _state('unshared').opt_state)


def test_other_settings_of_the_optimiser_are_named(tmp_path, caplog):
  path = _write('munit', tmp_path)
  munit.import_official(path, _config('munit', optim__beta1=0.9))
  assert 'gen: betas was' in caplog.text and 'and will be (0.9' in caplog.text
  caplog.clear()
  munit.import_official(path, _config('munit'))
  assert not caplog.text


@pytest.mark.parametrize(
  'step, rate', [(1, 1.0), (10, 1.0), (11, 0.5), (20, 0.5), (21, 0.25)]
)
def test_the_rate_that_goes_out_is_that_of_the_last_iteration(step, rate):
  config = _config('munit', optim__step_size=10)
  state = _state('munit').replace(step=jnp.int32(step))
  files = munit.export_official(state, {}, config, False)
  for saved in files['optimizer.pt'].values():
    # To the digit: in float32 it would be another than the config's.
    assert saved['param_groups'][0]['lr'] == 1e-3 * rate
    assert saved['param_groups'][0]['initial_lr'] == 1e-3


# Settings that leave tensors behind, and such that do not.
_OPTIONS = {
  'model__activ': 'prelu',
  'model__pad_type': 'zero',
  'model__d_norm': 'bn',
  'model__d_activ': 'prelu',
  'model__input_dim_a': 1,
}


def test_slopes_and_norms_have_the_names_and_the_order_of_the_original(
  tmp_path,
):
  config = tiny_munit.config(**DOMAINS | _OPTIONS)
  model = munit.create_model(config)
  state = jax.jit(functools.partial(munit.init_state, model))(jax.random.key(0))
  files = munit.export_official(state, {}, config, False)
  for name, tree in files.items():
    torch_files.save(tmp_path / name, tree)
  gen, dis = (files[f'{k}_00000000.pt']['a'] for k in ('gen', 'dis'))
  layer = ['activation.weight', 'conv.weight', 'conv.bias']
  assert list(gen)[:3] == [f'enc_style.model.0.{leaf}' for leaf in layer]
  norm = [f'norm.{leaf}' for leaf in ('weight', 'bias', 'running_mean')]
  norm += ['norm.running_var', 'norm.num_batches_tracked']
  assert [key for key in dis if key.startswith('cnns.0.1')] == [
    f'cnns.0.1.{leaf}' for leaf in norm + layer
  ]
  up = ['norm.gamma', 'norm.beta', *layer]
  assert [key for key in gen if key.startswith('dec.model.2')] == [
    f'dec.model.2.{leaf}' for leaf in up
  ]
  mlp = ('0.fc.weight', '0.fc.bias', '0.activation.weight', '1.fc.weight')
  assert [k for k in gen if k.startswith('mlp')][:4] == [
    f'mlp.model.{leaf}' for leaf in mlp
  ]
  assert gen['enc_content.model.0.conv.weight'].shape == (2, 1, 7, 7)
  assert gen['dec.model.3.conv.weight'].shape == (1, 2, 7, 7)

  imported = munit.import_official(tmp_path / 'gen_00000000.pt', config)
  assert imported.what == 'weights and optimisers'
  _equal(imported.state.params, state.params)
  assert imported.untold == {
    'model.pad_type': 'zero',
    'model.d_pad_type': 'reflect',
  }
  for setting, value, message in (
    ('model__activ', 'relu', "of model.activ='prelu', not 'relu'"),
    ('model__d_norm', 'none', "of model.d_norm='bn', not 'none'"),
    ('model__d_activ', 'selu', "of model.d_activ='prelu', not 'selu'"),
    ('model__input_dim_a', 3, 'of model.input_dim_a=1, not 3'),
  ):
    config = tiny_munit.config(**DOMAINS | _OPTIONS | {setting: value})
    with pytest.raises(errors.UserError, match=f'its tensors are {message}$'):
      munit.import_official(tmp_path / 'gen_00000000.pt', config)


def test_settings_that_a_file_does_not_tell_are_said(tmp_path, capsys):
  path = _write('unshared', tmp_path, partial=True)
  import_export.import_run(str(path), _config('unshared'), str(tmp_path / 'r'))
  assert (
    'not told by the file, taken from the config: '
    "model.pad_type='reflect', model.activ='relu'\n"
  ) in capsys.readouterr().out
  path = _write('shared', tmp_path, partial=True)
  assert not unit.import_official(path, _config('shared')).untold


def test_a_spectral_norm_is_refused_by_its_name(tmp_path):
  def change(files):
    part = files['dis_00000001.pt']['a']
    part['cnns.0.1.conv.module.weight_bar'] = part.pop('cnns.0.1.conv.weight')

  path = _write('munit', tmp_path, change)
  with pytest.raises(errors.UserError, match=r'a spectral norm \(norm: sn\)'):
    munit.import_official(path, _config('munit'))
  config = _config('munit', model__d_norm='sn')
  message = "config.model.d_norm must be one of 'none', 'bn', 'in', 'ln': 'sn'"
  with pytest.raises(errors.UserError, match=message):
    contract.check_config(contract.load('munit'), config)


def test_steps_that_differ_are_said(tmp_path, caplog):
  path = _write('unshared', tmp_path)
  unit.import_official(path, _config('unshared'), 3)
  assert f'{path} is of step 1 by its name, and becomes step 3' in caplog.text
  assert 'optimizer.pt: gen has made 1 steps, and becomes that of step 3' in (
    caplog.text
  )


GEN = 'gen_00000001.pt'


@pytest.mark.parametrize(
  'kind, change, overrides, message',
  [
    ('munit', None, {'model__dim': 4}, 'gen_.* does not fit the config: a.enc'),
    (
      'munit',
      None,
      {'model__n_res': 2},
      'gen_.*: there is no tensor a.enc_con',
    ),
    ('unshared', None, {'model__n_res': 0}, 'gen_.*: there are 16 more tensor'),
    ('munit', None, {'model__latent_dim': 8}, r'has shape \(3, 8, 1, 1\)'),
    (
      'munit',
      None,
      {'model__d_scales': 1},
      'dis_.*: there are 12 more tensors',
    ),
    ('munit', None, {'model__d_layers': 3}, 'dis_.* does not fit the config'),
    (
      'shared',
      None,
      {'model__n_shared': 2},
      'no tensor enc_shared.1.model.0.w',
    ),
    (
      'shared',
      None,
      {'model__d_kind': 'multiscale'},
      'dis_.*: there is no tens',
    ),
    ('shared', None, tiny_unit.UNSHARED, 'gen_.* there is no tensor a.enc'),
    (
      'munit',
      lambda f: f[GEN]['b'].pop('mlp.model.1.fc.bias'),
      {},
      'there is no tensor b.mlp.model.1.fc.bias',
    ),
    (
      'munit',
      lambda f: f[GEN]['a'].update(more=np.ones(1, np.float32)),
      {},
      'there are 1 more tensors, the first is a.more',
    ),
    ('munit', lambda f: f[GEN].update(a=3), {}, 'neither the networks of two'),
    (
      'munit',
      lambda f: f['optimizer.pt'].pop('dis'),
      {},
      'optimizer.pt does not hold the optimisers gen and dis',
    ),
    (
      'munit',
      lambda f: f['optimizer.pt']['gen']['param_groups'][0]['params'].pop(),
      {},
      'optimizer.pt: gen has no whole state of Adam .*parameters, of',
    ),
    (
      'munit',
      None,
      {'data__domains': ('circle', 'triangle', 'square')},
      'has two domains, and the config 3',
    ),
  ],
)
def test_what_does_not_fit_is_one_line(
  kind, change, overrides, message, tmp_path
):
  path = _write(kind, tmp_path, change)
  with pytest.raises(errors.UserError, match=message) as error:
    KINDS[kind][0].import_official(path, _config(kind, **overrides))
  assert len(str(error.value).splitlines()) == 1


def test_names_of_files_and_of_domains(tmp_path):
  path = _write('munit', tmp_path)
  settings = {
    'data__name': 'folder',
    'data__domains': (),
    'data__root': str(tmp_path),
  }
  with pytest.raises(errors.UserError, match='domains a and b are not in'):
    munit.import_official(path, _config('munit', **settings))
  other = path.rename(tmp_path / 'edges2shoes.pt')
  with pytest.raises(errors.UserError, match='give it with --step'):
    munit.import_official(other, _config('munit'))
  imported = munit.import_official(other, _config('munit'), 7)
  assert imported.partial and int(imported.state.step) == 7
  assert imported.what == 'generators without discriminators'
