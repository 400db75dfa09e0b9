"""Files of weights, read without PyTorch; some were written by PyTorch."""

import json
import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from jaxgan.pytorch import convert, torch_files
from jaxgan.runtime import errors
from jaxgan.systems import two_domains_files
from jaxgan.systems.stargan_v2 import official, step
from tests import pytorch_files

DATA = pathlib.Path(__file__).parent / 'data'
FORMS = 'zip', 'legacy'


def _equal(got, expected, where=''):
  """Values, types, dtypes and shapes."""
  if isinstance(expected, dict):
    assert list(got) == list(expected), where
    for key, value in expected.items():
      _equal(got[key], value, f'{where}/{key}')
  elif isinstance(expected, np.ndarray):
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
    np.testing.assert_array_equal(got, expected, err_msg=where)
  else:
    assert type(got) is type(expected) and got == expected, where


@pytest.mark.parametrize('form', FORMS)
def test_a_file_of_pytorch_is_read(form):
  tree = torch_files.load(DATA / f'torch_{form}.pt')
  net, optim = tree.pop('net'), tree.pop('optim')
  base = np.arange(12, dtype=np.float32).reshape(3, 4)
  half = {'float16': 'float32', 'bfloat16': 'float32'}
  names = (
    *('float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16'),
    *('int8', 'uint8', 'bool'),
  )
  schedule = tree.pop('schedule')
  assert schedule['milestones'] == {3: 1, 5: 1} and schedule['gamma'] == 0.1
  expected = {
    'base': base,
    'transposed': base.T,
    'part': base[1:, 2:],
    'parameter': base[0],
    'repeated': np.full(3, 7, np.float32),
    'empty': np.zeros((0, 3), np.float32),
    'scalar': np.array(2.5, np.float32),
    'types': {
      name: np.array([0, 1, 2]).astype(half.get(name, name)) for name in names
    },
    'plain': [1, -2.5, None, True, 'é', b'\0\xff', (3, [4]), 2**40, {5}],
    'size': (3, 4),
    'device': 'cuda:0',
    'dtype': 'torch.bfloat16',
    'numpy': {
      'scalar': 1.5,
      'integer': 7,
      'array': np.arange(6.0).reshape(2, 3),
      'big': np.arange(3, dtype=np.int32),
    },
  }
  _equal(tree, expected)
  assert list(net) == [
    *('0.weight', '0.bias', '1.weight', '1.bias'),
    *('1.running_mean', '1.running_var', '1.num_batches_tracked'),
  ]
  np.testing.assert_array_equal(
    net['0.weight'], np.full((2, 2), 0.4999, np.float32)
  )
  assert net['1.num_batches_tracked'] == np.array(1)
  (settings,) = optim['param_groups']
  assert settings['params'] == [0, 1, 2, 3] and settings['betas'] == (0.5, 0.99)
  assert list(optim['state']) == settings['params']
  np.testing.assert_array_equal(optim['state'][3]['exp_avg'], [10.5, 10.5])
  net['0.weight'][:] = 1  # may be written to, as those of torch


@pytest.mark.parametrize('form', FORMS)
def test_a_file_is_read_as_torch_reads_it(form, tmp_path):
  torch = pytest.importorskip('torch')
  rng = np.random.default_rng(0)
  tree = {}
  for number in range(20):
    shape = tuple(rng.integers(1, 5, rng.integers(0, 5)))
    x = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    x = x.permute(*rng.permutation(x.ndim)) if x.ndim else x
    x = x[1:] if x.ndim and x.shape[0] > 1 else x
    kinds = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
    tree[f'{number}'] = x.to(kinds[number % 4])
  path = tmp_path / 'x.pt'
  torch.save(tree, path, _use_new_zipfile_serialization=form == 'zip')
  read = torch.load(path, weights_only=True)
  half = torch.bfloat16, torch.float16
  expected = {
    key: (x.float() if x.dtype in half else x).numpy()
    for key, x in read.items()
  }
  _equal(torch_files.load(path), expected)


def test_nothing_of_torch_is_imported_to_read():
  for path in DATA.parent.parent.glob('jaxgan/**/*.py'):
    if path.name != 'torch_files.py':
      assert 'import torch\n' not in path.read_text(), path
  text = DATA.parent.parent.joinpath(
    'jaxgan/pytorch/torch_files.py'
  ).read_text()
  assert text.count('import torch\n') == 1


def test_numbers_of_a_big_endian_machine(tmp_path):
  numbers = np.array([1.5, -2], '>f4').tobytes()
  pickled = pytorch_files.tensor(pytorch_files.storage(2), (2,))
  content = pytorch_files.archive(
    pytorch_files.PROTO + pickled + pytorch_files.STOP,
    **{'byteorder': b'big', 'data/0': numbers},
  )
  (tmp_path / 'x.pt').write_bytes(content)
  got = torch_files.load(tmp_path / 'x.pt')
  _equal(got, np.array([1.5, -2], np.float32))


def test_a_legacy_file_of_views_and_of_python_2(tmp_path):
  """A storage that is part of another, texts and pairs as Python 2 wrote."""
  view = pytorch_files.group(*map(pytorch_files.text, ['v']))[:-1]
  view += pytorch_files.number(1) + pytorch_files.number(3) + b't'
  of = pytorch_files.storage(4, view=view)
  pairs = b'](](U\x01a' + pytorch_files.tensor(of, (2,), offset=1) + b'ee'
  tree = pytorch_files.name('collections', 'OrderedDict') + pairs + b'\x85R'
  beginning = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}]
  content = b''.join(pickle.dumps(x, 2) for x in beginning)
  content += pytorch_files.PROTO + tree + pytorch_files.STOP
  content += pickle.dumps(['0'], 2) + (4).to_bytes(8, 'little')
  content += np.arange(4, dtype='<f4').tobytes()
  path = tmp_path / 'x.pt'
  path.write_bytes(content)
  _equal(torch_files.load(path), {'a': np.array([2, 3], np.float32)})
  path.write_bytes(content.replace(b'\x8a\x01\x03t', b'\x8a\x01\x04t'))
  with pytest.raises(errors.UserError, match='its pickle is damaged'):
    torch_files.load(path)


def test_any_byte_of_a_bool_but_zero_is_true(tmp_path):
  of = pytorch_files.storage(3, 'BoolStorage')
  pickled = pytorch_files.PROTO + pytorch_files.tensor(of, (3,)) + b'.'
  content = pytorch_files.archive(pickled, **{'data/0': b'\0\1\2'})
  (tmp_path / 'x.pt').write_bytes(content)
  got = torch_files.load(tmp_path / 'x.pt')
  assert got.dtype == np.bool_ and got.view(np.uint8).tolist() == [0, 1, 1]


def test_writing_without_torch_names_it(tmp_path, monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'torch', None)
  with pytest.raises(errors.UserError) as error:
    torch_files.save(tmp_path / 'x.pt', {'a': np.ones(2)})
  assert str(error.value) == (
    'writing files of PyTorch needs torch: pip install torch (files of '
    'safetensors need none)'
  )
  assert not list(tmp_path.iterdir())


def test_safetensors_are_written_and_read(tmp_path):
  path = tmp_path / 'x.safetensors'
  tree = {
    'net': {'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3).T},
    'other': {'count': np.array(3), 'flag': np.array([True, False])},
  }
  assert torch_files.is_weights(tree)
  assert not torch_files.is_weights({'net': tree, 'epoch': 3})
  torch_files.save(path, tree)
  read = torch_files.load(path)
  expected = {
    'net.a.weight': tree['net']['a.weight'],
    'other.count': tree['other']['count'],
    'other.flag': tree['other']['flag'],
  }
  _equal({key: read[key] for key in expected}, expected)
  found = convert.find(read, lambda t: t.keys() >= {'net', 'other'})
  _equal(found['net'], tree['net'])
  assert convert.find(read, lambda t: 'none' in t) is None
  assert convert.find_state_dict(read).keys() == expected.keys()


def test_networks_are_found_in_safetensors(tmp_path):
  path, wanted = tmp_path / '000003_nets_ema.safetensors', step.EMA_NETWORKS
  original = DATA / '000003_nets_ema.ckpt'
  torch_files.save(path, torch_files.load(original))
  got = official._load_networks(epath.Path(path), wanted)
  expected = official._load_networks(epath.Path(original), wanted)
  assert got.keys() == expected.keys() == set(wanted)
  for name, state_dict in expected.items():
    _equal({key: got[name][key] for key in state_dict}, state_dict)


def test_names_of_safetensors_tell_the_step(tmp_path):
  def named(name):
    return official._parse_name(epath.Path(name), None)

  assert named('000003_nets_ema.safetensors') == (3, True)
  assert named('000003_nets.safetensors') == (3, False)
  path = epath.Path('gen_00000007.safetensors')
  assert two_domains_files._find_step(path, None) == 7
  with pytest.raises(errors.UserError) as error:
    official._siblings(epath.Path(tmp_path) / '000003_nets.safetensors')
  assert str(error.value) == (
    f'{tmp_path}/000003_nets.safetensors cannot be imported without '
    '000003_nets_ema.safetensors and 000003_optims.ckpt beside it: to have the '
    'averages only, import the file ..._nets_ema.safetensors'
  )


def _safetensors(content=b'0', **header):
  header = json.dumps(header).encode()
  return len(header).to_bytes(8, 'little') + header + content


def test_half_precision_of_safetensors(tmp_path):
  half = np.array([1.5, -0.25], jnp.bfloat16)
  header = {
    'a': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [0, 4]},
    'b': {'dtype': 'F16', 'shape': [], 'data_offsets': [4, 6]},
  }
  numbers = half.tobytes() + np.float16(0.5).tobytes()
  path = tmp_path / 'x.safetensors'
  path.write_bytes(_safetensors(numbers, **header))
  expected = {
    'a': np.array([1.5, -0.25], np.float32),
    'b': np.array(0.5, np.float32),
  }
  got = torch_files.load(path)
  _equal({key: got[key] for key in 'ab'}, expected)


@pytest.mark.parametrize(
  'content, reason',
  [
    ((8).to_bytes(8, 'little') + b'{"x": 1}', 'Error while deserializing'),
    (
      safetensors.numpy.save({'x': np.ones(9, np.float32)})[:-4],
      'Error while deserializing',
    ),
    (
      safetensors.numpy.save({'x': np.array([np.inf])}),
      'it has numbers that are NaN or infinite',
    ),
    (
      _safetensors(
        x={'dtype': 'F8_E5M2', 'shape': [1], 'data_offsets': [0, 1]}
      ),
      'x is of the type F8_E5M2',
    ),
  ],
)
def test_safetensors_that_cannot_be_are_one_line(tmp_path, content, reason):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(content)
  with pytest.raises(errors.UserError) as error:
    torch_files.load(path)
  line = f'{path} is no whole file of safetensors ({reason}'
  assert str(error.value).startswith(line)
