"""Configs, checkpoints, weights and names that nobody wrote in good faith.

None of them runs code, leads out of the directories that were named, or ends
in anything but a line.
"""

import ast
import functools
import gzip
import io
import json
import os
import pathlib
import pickle
import re
import tarfile
import types
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxgan import evaluation
from jaxgan.apps import translate_files
from jaxgan.data import sources
from jaxgan.metrics.translations import Options, Scorer
from jaxgan.pytorch import torch_files, torch_reader
from jaxgan.runs import checkpoint, workdir
from jaxgan.runtime import cli, errors, files, images
from jaxgan.systems import contract
from jaxgan.systems import frozen as frozen_lib
from jaxgan.systems.stargan_v2 import official, step, wing
from tests import pytorch_files, tiny

ROOT = pathlib.Path(__file__).parent.parent
FORMS = 'zip', 'legacy'  # of PyTorch's files

# Every line that imports by a name: the config file that --config names, which
# is a program of the user's, and a system, by a name of a fixed tuple.
IMPORTS_BY_NAME = [
  ('jaxgan/systems/config_flag.py', 'import importlib.machinery'),
  (
    'jaxgan/systems/config_flag.py',
    "loader = importlib.machinery.SourceFileLoader('config', file)",
  ),
  ('jaxgan/systems/contract.py', 'import importlib'),
  (
    'jaxgan/systems/contract.py',
    "module = importlib.import_module(f'jaxgan.systems.{name}')",
  ),
]
# Of versions of packages, which imports nothing.
METADATA = re.compile(
  r'^import importlib\.metadata$'
  r'|\bimportlib\.metadata\.(version|PackageNotFoundError)\b'
)
# What might unpack to any path, used for the names and bytes in an archive.
READ_IN_MEMORY = {'icon_sets.py': {'tarfile'}}


class Evil:
  """Writes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def one_line(caught, *parts):
  line = str(caught.value)
  assert line.isprintable() and all(part in line for part in parts), line


def test_nothing_unpickles_or_evaluates():
  """Of the calls in the code: what runs data as code, and what may."""
  forbidden = {'eval', 'exec', 'compile_command', '__import__', 'torch.load'}
  modules = {'pickle', 'dill', 'cloudpickle', 'shelve', 'marshal', 'yaml'}
  modules |= {'joblib', 'tarfile', 'runpy'}
  wanted = {'np.load': 'allow_pickle=False'}
  paths = [*ROOT.glob('jaxgan/**/*.py'), ROOT / 'train.py', ROOT / 'eval.py']
  assert len(paths) > 50
  seen, by_name = set(), []
  for path in paths:
    for line in map(str.strip, path.read_text().splitlines()):
      if 'importlib' in METADATA.sub('', line):
        by_name.append((path.relative_to(ROOT).as_posix(), line))
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        names = {a.name.split('.')[0] for a in node.names}
        assert names & modules <= READ_IN_MEMORY.get(path.name, set()), path
      elif isinstance(node, ast.ImportFrom):
        assert node.module.split('.')[0] not in modules, path
      elif isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        assert name not in forbidden, path
        assert name.rpartition('.')[2] not in ('extract', 'extractall'), path
        keywords = {ast.unparse(keyword) for keyword in node.keywords}
        assert 'shell=True' not in keywords, path
        if name in wanted:
          assert wanted[name] in keywords, path
          seen.add(name)
  assert seen == wanted.keys()
  assert sorted(by_name) == sorted(IMPORTS_BY_NAME)


def changed(key, value):
  """The text of a tiny run's config with a change."""
  settings = tiny.config(
    data__domains=('a', 'b', 'c'), model__num_domains=3
  ).to_dict()
  *groups, last = key.split('.')
  group = settings
  for name in groups:
    group = group[name]
  if value is None:
    del group[last]
  else:
    group[last] = value
  return json.dumps(settings)


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'no JSON object of settings (Expecting value'),
    ('null', 'something else than an object'),
    ('[' * 100_000, 'nested too deeply'),
    ('{"seed": ' + '9' * 5000 + '}', 'Exceeds the limit'),
    ('{"a.b": 1}', 'does not accept dots'),
    ('{"__class__": 1, "items": 2}', '__class__ cannot be overridden'),
    (changed('system', None), "config.system is 'None'"),
    (changed('system', ['stargan_v2']), """config.system is "['star"""),
    (changed('system', 'x\n' * 999), r"config.system is 'x\nx\nx"),
    (changed('model', None), 'model is no group of settings'),
    (changed('model', 5), 'model is no group of settings'),
    (changed('hparams.x', 1.0), "no setting is called 'hparams.x'"),
    (changed('model.style_dim', '5'), "model.style_dim is '5', and 64 by"),
    (changed('model.style_dim', 5.0), "model.style_dim is '5.0', and 64 by"),
    (changed('model.style_dim', True), "model.style_dim is 'True', and 64"),
    (changed('model.hidden_dim', 2**62), 'model.hidden_dim is'),
    (changed('seed', -1), "seed is '-1'"),
    (changed('optim.lr', float('nan')), "optim.lr is 'nan'"),
    (changed('optim.lr', float('inf')), "optim.lr is 'inf'"),
    (changed('model.resample', '\x1b[31m'), r"'strided': '\x1b[31m'"),
    (changed('data.domains', [1, 2, 3]), "data.domains is '[1, 2, 3]'"),
    (changed('data.domains', ['a', 'b']), 'are not 3 names'),
    (changed('data.domains', ['a', 'a', 'b']), 'are not 3 names'),
    (changed('data.domains', ['a', 'b', '../c']), "('a', 'b', '../c')"),
    (changed('data.domains', ['a', 'b', '/c']), "('a', 'b', '/c')"),
    (changed('data.domains', ['a', 'b', '..']), "('a', 'b', '..')"),
    (changed('data.domains', ['a', 'b', 'c\n']), 'are not 3 names'),
  ],
)
def test_a_config_that_cannot_be_is_one_line(tmp_path, text, message):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(errors.UserError) as caught:
    contract.open_run(tmp_path, None)
  one_line(caught, message)


def test_lines_of_metrics_that_cannot_be_are_dropped(tmp_path):
  good = '{"step": 1, "loss": 2.0}'
  bad = (
    '[' * 100_000,
    '{"step": 1' + '0' * 400 + '}',
    '{"step": NaN}',
    '{"step": [1]}',
    '{"step": "../x"}',
    '7',
    '\x00',
  )
  path = tmp_path / 'metrics.jsonl'
  path.write_text('\n'.join([good, *bad, good]))
  workdir.MetricsFile(epath.Path(tmp_path), resumed_step=5)
  assert path.read_text() == f'{good}\n{good}\n'


def npz(**entries):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
  return buffer.getvalue()


def npy(array, allow_pickle=False):
  buffer = io.BytesIO()
  np.save(buffer, array, allow_pickle=allow_pickle)
  return buffer.getvalue()


def bomb(size):
  """A ZIP archive of a few kB that unpacks to `size` bytes."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('x.npy', npy(np.zeros(size, np.uint8)))
  return buffer.getvalue()


def overlapping(count):
  """An archive whose entries are all the same 100 kB."""
  data = npz(**{'x.npy': npy(np.zeros(100_000, np.uint8))})
  start = data.rindex(b'PK\1\2')
  end = data.rindex(b'PK\5\6')
  entry = data[start:end]
  tail = bytearray(data[end:])
  tail[8:12] = count.to_bytes(2, 'little') * 2
  tail[12:16] = (len(entry) * count).to_bytes(4, 'little')
  return data[:start] + entry * count + bytes(tail)


def encrypted():
  data = bytearray(npz(**{'x.npy': npy(np.ones(3))}))
  for magic, offset in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
    data[data.index(magic) + offset] |= 1
  return bytes(data)


@pytest.mark.parametrize(
  'make, message',
  [
    (lambda path: b'', '(it is an empty file)'),
    (lambda path: b'PK\3\4' + bytes(99), '(it is cut off'),
    (lambda path: npy(np.ones(3)), '(it is an array of NumPy)'),
    (
      lambda path: npz(**{'x.npy': npy(np.array([Evil(path)]), True)}),
      'Object arrays cannot be loaded',
    ),
    (lambda path: pickle.dumps(Evil(path)), 'not a zip'),
    (lambda path: npz(x=b'bytes'), 'not all of its files are arrays'),
    (lambda path: npz(**{'x.npy': npy(np.array(['text']))}), 'not all are num'),
    (
      lambda path: npz(**{
        'x.npy': npy(np.ones(3)).replace(b'(3,), ', b'(10**15,)')
      }),
      '',
    ),
    (
      lambda path: npz(**{
        'x.npy': npy(np.ones(3)).replace(b'(3,)', b'(3e9,)')
      }),
      '',
    ),
    (
      lambda path: npz(**{
        'a.npy': npy(np.ones(3)), 'a/b.npy': npy(np.ones(3))
      }),
      '',
    ),
    (lambda path: npz(**{'x.npy': npy(np.ones(30))[:-9]}), ''),
    (lambda path: encrypted(), 'encrypted'),
    (lambda path: bomb(2**27), 'bytes for 134,2'),
    (lambda path: overlapping(9999), 'bytes for 1,001,'),
  ],
)  # fmt: skip
def test_frozen_parameters_that_cannot_be_are_one_line(tmp_path, make, message):
  (tmp_path / 'checkpoints' / '1').mkdir(parents=True)
  (tmp_path / 'frozen.npz').write_bytes(make(tmp_path / 'evil'))
  with pytest.raises(errors.UserError) as caught:
    workdir.load_frozen(epath.Path(tmp_path))
  one_line(caught, f'{tmp_path}/frozen.npz is damaged', message)
  assert not (tmp_path / 'evil').exists()


def test_names_in_an_archive_stay_names(tmp_path):
  """'..' in them is a key like any other; nothing is unpacked to a disk."""
  (tmp_path / 'run' / 'checkpoints' / '1').mkdir(parents=True)
  data = npz(**{'../../x.npy': npy(np.ones(3)), '/tmp/y.npy': npy(np.ones(3))})
  (tmp_path / 'run' / 'frozen.npz').write_bytes(data)
  frozen = workdir.load_frozen(epath.Path(tmp_path / 'run'))
  assert frozen.keys() == {'..', ''}
  assert os.listdir(tmp_path) == ['run']


@pytest.mark.parametrize(
  'frozen', [{'x': 1}, {'fan': 1}, {'fan': {}}, {'fan': {'l0': {'bias': 1}}}]
)
def test_frozen_parameters_of_another_network_are_one_line(frozen):
  config = tiny.config(model__w_hpf=1.0)
  with pytest.raises(errors.UserError, match='does not hold the face network'):
    frozen_lib.check(step.FROZEN, frozen, config)
  frozen_lib.check(step.FROZEN, {'fan': wing.param_shapes()}, config)
  frozen_lib.check(step.FROZEN, frozen, tiny.config())


@pytest.fixture
def saved(tmp_path):
  """A checkpoint of step 1, and its state."""
  state = {'w': jnp.arange(6.0)}
  checkpointer = checkpoint.Checkpointer(tmp_path / 'checkpoints')
  checkpointer.save(1, state, {})
  checkpointer.close()
  return tmp_path / 'checkpoints' / '1', state


def restore(directory, state):
  checkpointer = checkpoint.Checkpointer(directory.parent, read_only=True)
  try:
    return checkpointer.restore(state)
  finally:
    checkpointer.close()


@pytest.mark.parametrize(
  'text',
  ['', '[' * 100_000, '[]', '{}', '{"format": "x"}', '{"format": 1e999}'],
)
def test_facts_that_cannot_be_are_one_line(saved, text):
  directory, state = saved
  assert restore(directory, state)[1] == 1
  (directory / 'facts' / 'metadata').write_text(text)
  seal(directory)
  with pytest.raises(errors.UserError) as caught:
    restore(directory, state)
  one_line(caught, f'checkpoint {directory} does not fit')


def seal(directory):
  """Makes the sums true again, as whoever changes a file can."""
  found = checkpoint._files(epath.Path(directory))
  lines = [f'{checkpoint._sha256(p)}  {name}\n' for name, p in found.items()]
  (directory / 'sha256sums.txt').write_text(''.join(lines))


@pytest.mark.parametrize(
  'damage',
  [
    lambda d: (d / 'sha256sums.txt').write_bytes(b'\xff\0\n' * 99),
    lambda d: (d / 'sha256sums.txt').write_text('0  ../../../etc/passwd\n'),
    lambda d: (d / 'sha256sums.txt').write_text('0  /dev/zero\n'),
    lambda d: replace(d / 'facts' / 'metadata', os.mkfifo),
    lambda d: replace(
      d / 'facts' / 'metadata', lambda path: os.symlink('/dev/zero', path)
    ),
    lambda d: replace(
      d / 'facts' / 'metadata', lambda path: os.symlink(path, path)
    ),
  ],
)
def test_a_checkpoint_of_odd_files_is_damaged(saved, damage):
  directory, state = saved
  damage(directory)
  with pytest.raises(errors.UserError) as caught:
    restore(directory, state)
  one_line(caught, 'no undamaged checkpoint')


@pytest.mark.parametrize(
  'make', [os.mkfifo, functools.partial(os.symlink, '..')]
)
def test_odd_files_beside_those_of_a_checkpoint_are_not_read(saved, make):
  directory, state = saved
  make(directory / 'facts' / 'more')
  assert restore(directory, state)[1] == 1


def test_links_in_a_checkpoint_are_not_walked(tmp_path):
  for name in ('a', 'b'):
    os.symlink('.', tmp_path / name)
  (tmp_path / 'c').touch()
  assert checkpoint._files(epath.Path(tmp_path)).keys() == {'a', 'b', 'c'}


def replace(path, make):
  path.unlink()
  make(path)


@pytest.mark.parametrize(
  'make', ['code', 'long', 'tar', 'names', 'bomb', 'nan']
)
def test_files_of_pytorch_are_data(tmp_path, make):
  """None runs code or writes; those that are no weights are one line."""
  path, evil = tmp_path / 'weights.ckpt', tmp_path / 'evil'
  message = 'no whole file of PyTorch weights: '
  if make == 'code':
    message = 'holds a Python object (getattr), which could run code: '
    pickled = pickle.dumps({'x': Evil(evil)}, 2)
    path.write_bytes(pytorch_files.archive(pickled))
  elif make == 'long':
    message = 'of a kind that is not read: torch._rebuild_'
    name = pytorch_files.name('torch', '_rebuild_' * 9999 + '-')
    path.write_bytes(
      pytorch_files.archive(pytorch_files.PROTO + name + pytorch_files.STOP)
    )
  elif make == 'tar':
    message = 'is a tar archive of the first PyTorch, no whole file'
    with tarfile.open(path, 'w') as archive:
      for name in ('storages', '../evil', str(evil)):
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
  elif make == 'bomb':
    path.write_bytes(bomb(2**27))
    message = 'bytes for 134,2'
  elif make == 'nan':
    pytorch_files.write(path, {'x': np.array([1.0, float('nan')])})
    message = 'NaN or infinite'
  else:
    pytorch_files.write(path, {'x': np.ones(2)})
    with zipfile.ZipFile(path, 'a') as archive:
      archive.writestr('x/../../evil', b'x')
      archive.writestr(f'x/{evil}', b'x')
    assert torch_files.load(path)['x'].tolist() == [1, 1]
  if make != 'names':
    with pytest.raises(errors.UserError) as caught:
      torch_files.load(path)
    one_line(caught, str(path), message)
  assert os.listdir(tmp_path) == ['weights.ckpt']


def _pickle(*parts):
  """A file of one pickle, with four numbers under the key 0."""
  pickled = pytorch_files.PROTO + b''.join(parts) + pytorch_files.STOP
  return pytorch_files.archive(pickled, **{'data/0': bytes(16)})


def _view(**where):
  return _pickle(pytorch_files.tensor(pytorch_files.storage(4), **where))


_DEEP = b')' + b'\x85' * 5000  # a tuple in a tuple in a tuple ...
_SET = pytorch_files.name('__builtin__', 'set')
_ENCODE = pytorch_files.name('_codecs', 'encode')
_BEYOND = 'it has a tensor that goes beyond its storage'
_LARGE = 'it would become far larger than it is'
_MANY = 'its containers hold too many others'
_DAMAGED = 'its pickle is damaged'
_NO_KEY = 'it has a key that is no text and no number'


@pytest.mark.parametrize(
  'content, reason',
  [
    (_view(offset=1), _BEYOND),
    (_view(offset=2**70), _BEYOND),
    # Their product would take minutes.
    (_view(size=(2**2000,) * 500, stride=(0,) * 500), _BEYOND),
    (_view(stride=(2**62,)), _BEYOND),
    (_view(size=(1, 1)), _BEYOND),
    (_view(size=(1,) * 99, stride=(1,) * 99), _BEYOND),
    (_view(offset=-1), 'it has a negative size'),
    (_view(stride=(-1,)), 'it has a negative size'),
    (_view(size=(2**60,), stride=(0,)), _LARGE),
    (_view(size=(0, 2**62), stride=(0, 0)), 'array is too big'),
    # A list of a list twice, and so on; a list in itself.
    (
      _pickle(
        b']q\0',
        *(b']q%c(h%ch%ce' % (i + 1, i, i) for i in range(40)),
      ),
      _MANY,
    ),
    (_pickle(b']q\0h\0a'), _MANY),
    # Hashing these would exhaust the interpreter's own stack, or much time.
    (_pickle(b'}', _DEEP, b'Ns'), _NO_KEY),
    (_pickle(_SET, b'](', _DEEP, b'e\x85R'), _NO_KEY),
    (_pickle(b'}', pytorch_files.number((2**61 - 1) * 99), b'Ns'), _NO_KEY),
    (_pickle(b'N' * 9999), 'its pickle is too long'),
    (
      _pickle(
        pytorch_files.text('a' * 10**6),
        b'q\0](',
        (_ENCODE + b'h\0\x85R') * 99,
        b'e',
      ),
      _LARGE,
    ),
    (_pickle(b'h\0'), _DAMAGED),
    (_pickle(b'X\1\0\0\0\xff'), _DAMAGED),
    (_pickle(pytorch_files.text('x'), b')R'), _DAMAGED),
    (_pickle(b'}', pytorch_files.text('x'), b')b)R'), _DAMAGED),
    (_pickle(_SET, b'N}', pytorch_files.text('x'), b'Ns\x86b'), _DAMAGED),
    (_pickle(b'\x82\1'), 'its pickle has EXT1, which data has not'),
    (_pickle(b'(ios\nsystem\n'), 'its pickle has INST, which data has not'),
    (_pickle(_SET, b')\x81'), 'its pickle has NEWOBJ, which data has not'),
    (_pickle(_SET), 'it has a value that is no data'),
    (
      pytorch_files.archive(b')' + pytorch_files.STOP, byteorder=b'none'),
      'its parts do not fit together',
    ),
    (
      _pickle(pytorch_files.storage(4, 'ComplexFloatStorage')),
      'it has a tensor of a kind that is not read: torch.ComplexFloatStorage',
    ),
  ],
)  # fmt: skip
def test_pickles_that_cannot_be_are_one_line(
  tmp_path, content, reason, monkeypatch
):
  monkeypatch.setattr(torch_reader, '_MAX_ITEMS', 9000)
  path = tmp_path / 'x.pth'
  path.write_bytes(content)
  with pytest.raises(errors.UserError) as caught:
    torch_files.load(path)
  one_line(caught, f'{path} is no whole file of PyTorch weights ({reason}')


def test_a_storage_that_is_shorter_than_it_says_is_not_made(tmp_path):
  path = tmp_path / 'x.pth'
  path.write_bytes(_pickle(pytorch_files.tensor(pytorch_files.storage(2**60))))
  with pytest.raises(errors.UserError, match='x.pth is cut off, as by a downl'):
    torch_files.load(path)


def _archive(*names):
  data = io.BytesIO()
  with zipfile.ZipFile(data, 'w') as archive:
    for name in names:
      archive.writestr(name, b'x')
  return data.getvalue()


@pytest.mark.parametrize(
  'content, what, cure',
  [
    (b'', 'an empty file', 'download or copy it again'),
    (
      b'\n<!DOCTYPE html>\n<html><head><title>404</title>',
      'a web page, as of a download that failed',
      'download the file itself (curl -L follows a moved address)',
    ),
    (
      b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
      'a pointer of Git LFS',
      'get the file itself with git lfs pull',
    ),
    (
      b'{"message": "Not Found"}',
      """a text that begins with '{"message": "Not Found"}'""",
      'download or copy it again',
    ),
    (
      _archive('weights/a.bin', 'b', 'c'),
      'a ZIP archive of other files (weights/a.bin, b, ...)',
      'unpack it, and name the file that is in it',
    ),
    (
      _archive('archive/data.pkl', 'archive/data/0')[:60],
      'cut off, as by a download that broke off',
      'download or copy it again',
    ),
    (
      _archive('m/data.pkl', 'm/constants.pkl', 'm/code/x.py'),
      'a program of TorchScript',
      'torch.save the state_dict of what torch.jit.load reads of it',
    ),
    (
      gzip.compress(b'x'),
      'a gzip archive',
      'unpack it, and name the file that is in it',
    ),
    (
      b'\x04\0\0\0\x01\0\0\0\x03\0\0\0',
      'a file of Lua Torch',
      'load it with the code that wrote it, and torch.save its state_dict',
    ),
  ],
  # Without the bytes, in which archives hold the time.
  ids=lambda x: 'file' if isinstance(x, bytes) else None,
)
def test_files_that_are_no_weights_are_named(tmp_path, content, what, cure):
  path = tmp_path / 'x.pth'
  path.write_bytes(content)
  with pytest.raises(errors.UserError) as caught:
    torch_files.load(path)
  line = f'{path} is {what}, no whole file of PyTorch weights: {cure}'
  assert str(caught.value) == line


def test_bytes_of_nothing_known_are_told(tmp_path):
  path = tmp_path / 'x.pth'
  path.write_bytes(bytes(500))
  with pytest.raises(errors.UserError) as caught:
    torch_files.load(path)
  one_line(caught, f'{path} is no whole file of PyTorch weights (nothing tells')


@pytest.mark.parametrize('name', ['torch_zip.pt', 'torch_legacy.pt'])
def test_a_file_of_pytorch_that_is_cut_off_is_named(tmp_path, name):
  path = tmp_path / 'x.pth'
  data = (ROOT / 'tests' / 'data' / name).read_bytes()
  for share in (0.1, 0.5, 0.9):
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(errors.UserError, match='x.pth is cut off, as by a dow'):
      torch_files.load(path)


def _damaged(data, rng, cut):
  """A copy that is shorter, or has three other bytes."""
  if cut:
    return data[: int(rng.integers(len(data)))]
  data = bytearray(data)
  for at in rng.integers(0, len(data), 3):
    data[at] = int(rng.integers(256))
  return bytes(data)


def test_any_damage_to_a_file_of_pytorch_is_one_line(tmp_path):
  path, rng, read = tmp_path / 'x.ckpt', np.random.default_rng(0), 0
  files_of = [(ROOT / f'tests/data/torch_{x}.pt').read_bytes() for x in FORMS]
  with zipfile.ZipFile(io.BytesIO(files_of[0])) as archive:
    name = next(n for n in archive.namelist() if n.endswith('data.pkl'))
    pickled = archive.read(name)
  for number in range(300):
    data = _damaged(files_of[number % 2], rng, cut=number % 3 == 0)
    if number % 4 == 0:  # the sum of the archive's entry is right
      data = pytorch_files.archive(_damaged(pickled, rng, cut=False))
    path.write_bytes(data)
    try:
      torch_files.load(path)
      read += 1
    except errors.UserError as e:
      assert str(e).startswith(str(path)) and str(e).isprintable()
  assert 0 < read < 200


@pytest.mark.parametrize('name', ['..', '.', '', 'a/b', '/a', 'a\n', '\x1b[m'])
def test_domains_that_would_lead_elsewhere(tmp_path, name):
  """Names of folders cannot, but labels of TFDS can."""
  with pytest.raises(errors.UserError) as caught:
    sources.select_domains(['cat', name], (), 'tfds:x')
  one_line(caught, f'tfds:x has a domain named {name!r}')
  assert sources.select_domains(['cat', name], ('cat',), '') == ('cat',)
  assert sources.select_domains(['élan', 'x y'], (), '') == ('élan', 'x y')


def test_domains_outside_of_the_data_are_not_there(tmp_path):
  for name in ('train/cat', 'secret'):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / 'a.png').touch()
  for wanted in ('../secret', str(tmp_path / 'secret'), '.', '..'):
    with pytest.raises(errors.UserError, match='which is not in .*there: cat'):
      sources.FolderSource(str(tmp_path), 'train', (wanted,))


@pytest.fixture
def elsewhere(tmp_path):
  """A file that must stay as it is, and a directory to write to."""
  path = tmp_path / 'precious'
  path.write_text('precious')
  (tmp_path / 'run').mkdir()
  yield path, tmp_path / 'run'
  assert path.read_text() == 'precious'
  assert sorted(os.listdir(tmp_path)) == ['precious', 'run']


@pytest.mark.parametrize('target', ['../precious', '../new'])
def test_links_do_not_lead_what_is_written_elsewhere(elsewhere, target):
  path, run = elsewhere
  run = epath.Path(run)
  links = 'config.json.partial', 'lock', 'metrics.jsonl', 'x.png.partial'
  for name in (*links, 'x.mp4.partial', 'scores.csv'):
    os.symlink(target, run / name)
  workdir.prepare(run)
  with workdir.locked(run):
    workdir.save_config(run, tiny.config())
  workdir.MetricsFile(run, 0).append(1, {'loss': 2.0})
  assert json.loads((run / 'metrics.jsonl').read_text())['step'] == 1
  images.write_png(run / 'x.png', np.zeros((4, 4, 3), np.uint8))
  frame = np.zeros((16, 16, 3), np.uint8)
  images.write_video(run / 'x.mp4', iter([frame, frame]), 10)
  evaluation._append_csv(run / 'scores.csv', 1, {0: []})
  for name in ('config.json', 'metrics.jsonl', 'x.png', 'x.mp4', 'scores.csv'):
    assert not os.path.islink(run / name) and os.path.isfile(run / name)


@pytest.mark.parametrize(
  'text', ['', '[]', '{}', '[' * 100_000, '{"value": "x", "name": "fid"}']
)
def test_scores_that_cannot_be_are_no_scores(tmp_path, text):
  scorer = Scorer(Options(metrics=()))
  path = evaluation._json_path(epath.Path(tmp_path / 'eval'), 5, scorer.options)
  path.parent.mkdir()
  path.write_text(text)
  assert not evaluation._is_scored(epath.Path(tmp_path), 5, scorer, 1)

  (tmp_path / 'best').mkdir()
  (tmp_path / 'best' / 'best.json').write_text(text)
  best = evaluation._Best.__new__(evaluation._Best)
  best._best = epath.Path(tmp_path / 'best')
  record = {'name': 'fid', 'value': 1.0, 'protocol': '', 'weights': ''}
  reason = best._reason_against(record)
  assert (
    reason
    == f'{tmp_path}/best/best.json is damaged: move it away to keep a new one'
  )


@pytest.mark.parametrize('name', ['²', '٣', '1.5', '-1', 'x', ''])
def test_what_is_no_step(tmp_path, name):
  (tmp_path / 'checkpoints' / f'{name}_').mkdir(parents=True)
  if name:
    (tmp_path / 'checkpoints' / name).mkdir()
  (tmp_path / 'checkpoints' / '7').mkdir()
  assert files.numbers_in(epath.Path(tmp_path / 'checkpoints')) == [7]
  with pytest.raises(errors.UsageError):
    cli.parse_step(name)


def test_more_iterations_than_are_counted():
  path = epath.Path('99999999999_nets_ema.ckpt')
  with pytest.raises(errors.UserError, match='99999999999 iterations are more'):
    official._parse_name(path, None)


def test_a_grid_is_drawn_whatever_files_are_called():
  cell = np.zeros((128, 128, 3), np.uint8)
  style = translate_files.Style('cat', 'a\udcff\n\x1b', np.zeros(2))
  source = translate_files.Source(epath.Path('x.png'), '\udcff\n')
  columns = {source: [cell, cell]}
  model = types.SimpleNamespace(domains=('cat',))
  grid = translate_files._draw_grid(model, columns, [style])
  # A line of labels, and two images of 128 pixels between margins of 2.
  assert grid.shape[0] == 16 + 2 + 2 * 130


def test_printable():
  assert errors.printable('a é 猫') == 'a é 猫'
  assert errors.printable('a\n\x1b[m\udcff') == r'a\n\x1b[m\udcff'
  assert str(errors.UserError('no\nsuch')) == r'no\nsuch'


def test_archives_may_unpack_to_a_little_more(monkeypatch):
  files.check_unpacked_size(bomb(2**20))
  monkeypatch.setattr(files, '_MAX_UNPACKED', 2**20)
  with pytest.raises(ValueError, match='an archive of 1,.* bytes for 1,048,7'):
    files.check_unpacked_size(bomb(2**20))
