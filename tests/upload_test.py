"""Runs on the hub, whose client is a stand-in with the layout of its cache."""

import hashlib
import json
import os
import pathlib
import sys
import types

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

import jaxgan
from jaxgan import loop
from jaxgan.apps import sharing, trained_model
from jaxgan.runs import checkpoint, hub, workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract
from tests import programs, tiny_pix2pix

_PLACES = {'data__root': '/home/me/cats', 'data__cache_dir': '/home/me/cache'}


def _write_run(directory):
  tiny_pix2pix.write_run(directory, **_PLACES)
  counts = {'filled': {'images': 17, 'sum': 'abc'}}
  workdir.save_data(epath.Path(directory), counts)
  for step in ('2', '4'):  # 4 is after the checkpoint
    (directory / 'samples' / step).mkdir(parents=True)
    picture = Image.new('RGB', (4, 4), (int(step), 0, 0))
    picture.save(directory / 'samples' / step / 'grid.png')
  (directory / 'eval').mkdir()
  for step in (1, 2):
    scores = [
      {'name': 'fid/label/mean', 'value': 40.0 + step},
      {'name': 'fid_floor/label/mean', 'value': 3.0},
    ]
    content = {'step': step, 'seeds': 1, 'scores': scores}
    content['options'] = {'protocol': 'clean'}
    (directory / f'eval/{step}_clean.json').write_text(json.dumps(content))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  directory = tmp_path_factory.mktemp('home') / 'cats'
  _write_run(directory)
  return directory


@pytest.fixture(scope='module')
def folder(run, tmp_path_factory):
  """What is uploaded of the run."""
  out = tmp_path_factory.mktemp('out') / 'folder'
  assert sharing.prepare(run, out, licence='cc0-1.0', repo='me/cats') == 2
  return out


def _files(directory):
  return {
    str(path.relative_to(directory)): path
    for path in directory.rglob('*')
    if path.is_file()
  }


def test_the_folder_is_a_run_without_the_places_of_the_machine(run, folder):
  names = {name.partition('/')[0] for name in _files(folder)}
  assert names == {
    *('README.md', 'config.json', 'data.json'),
    *('checkpoints', 'samples'),
  }
  for name, path in _files(folder).items():
    assert str(run.parent).encode() not in path.read_bytes(), name
    assert b'/home/me' not in path.read_bytes(), name
  with Image.open(folder / 'samples/grid.png') as picture:
    assert picture.getpixel((0, 0)) == (2, 0, 0)
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  a, b = (contract.open_run(path, device) for path in (run, folder))
  jax.tree.map(np.testing.assert_array_equal, a.state, b.state)
  steps = epath.Path(folder / 'checkpoints/2')
  assert checkpoint._verify(steps) == (True, '')


def test_of_files_of_settings_the_names_are_left():
  config = tiny_pix2pix.config().copy_and_resolve_references().unlock()
  config.model.vgg_file = '/home/me/vgg16.pth'
  config.data.root = '/home/me/cats'
  shared = sharing.without_places(config)
  assert shared.model.vgg_file == 'vgg16.pth' and shared.data.root == ''
  assert config.data.root == '/home/me/cats'


def test_the_card_says_what_the_report_does(folder):
  card = (folder / 'README.md').read_text()
  head = card.split('---\n')[1]
  assert head == (
    'library_name: jaxgan\n'
    'license: "cc0-1.0"\n'
    'pipeline_tag: image-to-image\n'
    'tags: [jax, flax, gan, image-to-image, pix2pix]\n'
  )
  for line in (
    "model = jaxgan.load('hf://me/cats')",
    '  --out=OUT --domain="filled"',
    '| filled | 17 |',
    'label: clean, step 2:',
    '|  | fid | fid_floor |',
    '| mean | 42 | 3 |',
    '![grid.png](samples/grid.png)',
    '| `model.depth` | 3 | 8 |',
  ):
    assert line in card.splitlines(), line
  assert '`data.root`' not in card


def test_samples_are_left_out_on_request(run, tmp_path):
  sharing.prepare(run, tmp_path, licence='other', samples=False)
  assert not (tmp_path / 'samples').exists()
  assert "jaxgan.load('hf://USER/NAME')" in (tmp_path / 'README.md').read_text()
  with pytest.raises(errors.UserError, match='is not empty: take another --o'):
    sharing.prepare(run, tmp_path, licence='other')
  with pytest.raises(
    errors.UserError, match='no checkpoint of step 3 in .*: 2'
  ):
    sharing.prepare(run, tmp_path / 'new', licence='other', step=3)
  assert not (tmp_path / 'new').exists()


class _Hub:
  """The hub's client: what is uploaded lies in its cache, as links to sums."""

  def __init__(self, cache):
    self.cache, self.asked, self.fails = cache, [], None
    self.private = True

  def HfApi(self):
    return self

  def create_repo(self, repo_id, *, private, exist_ok):
    if self.fails:
      raise self.fails
    assert exist_ok
    self.asked.append(('create', repo_id, private))
    return f'https://huggingface.co/{repo_id}'

  def repo_info(self, repo_id):
    return types.SimpleNamespace(private=self.private)

  def upload_folder(self, *, repo_id, folder_path, delete_patterns):
    assert delete_patterns == ['checkpoints/*', 'samples/*']
    home = self.cache / f'models--{repo_id.replace("/", "--")}'
    (home / 'blobs').mkdir(parents=True)
    for name, path in _files(pathlib.Path(folder_path)).items():
      data = path.read_bytes()
      blob = home / 'blobs' / hashlib.sha256(data).hexdigest()
      blob.write_bytes(data)
      link = home / 'snapshots/main' / name
      link.parent.mkdir(parents=True, exist_ok=True)
      link.symlink_to(os.path.relpath(blob, link.parent))

  def snapshot_download(self, repo_id, *, revision, allow_patterns):
    if self.fails:
      raise self.fails
    self.asked.append((repo_id, revision, allow_patterns))
    home = self.cache / f'models--{repo_id.replace("/", "--")}'
    return str(home / 'snapshots' / (revision or 'main'))


@pytest.fixture
def client(monkeypatch, tmp_path):
  module = _Hub(tmp_path / 'cache')
  monkeypatch.setitem(sys.modules, 'huggingface_hub', module)
  return module


def test_a_run_on_the_hub_is_opened_by_its_address(client, folder):
  address = hub.upload(epath.Path(folder), 'me/cats', private=True)
  assert address == 'https://huggingface.co/me/cats'
  assert client.asked == [('create', 'me/cats', True)]
  model = jaxgan.load('hf://me/cats')
  assert model.step == 2 and model.domains == ('filled',)
  assert trained_model.style_kinds('hf://me/cats@main') == ('label',)
  patterns = ['config.json', 'data.json', 'frozen.npz', 'checkpoints/*']
  assert client.asked[1:] == [
    ('me/cats', None, patterns),
    ('me/cats', 'main', patterns),
  ]


def test_nothing_private_goes_to_a_public_repository(client, folder):
  client.private = False
  message = '^me/cats is there already, and public: make it private on the hub'
  with pytest.raises(errors.UserError, match=message):
    hub.upload(epath.Path(folder), 'me/cats', private=True)
  assert not client.cache.exists()


def test_what_the_hub_refuses_is_one_line(client, folder, monkeypatch):
  client.fails = ConnectionError('no\nnetwork')
  with pytest.raises(
    errors.UserError, match='^cannot download hf://a/b: no ne'
  ):
    jaxgan.load('hf://a/b')
  with pytest.raises(errors.UserError, match='^cannot upload to a/b: no netw'):
    hub.upload(epath.Path(folder), 'a/b', private=False)
  for name in ('', 'a', 'a/b/c', '../b', 'a/..', 'a--b/c', 'a/b.git', 'a/-'):
    with pytest.raises(errors.UserError, match='names no repository of the hu'):
      hub.locate(f'hf://{name}')
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(errors.UserError, match='hub needs huggingface_hub .*: p'):
    hub.locate('hf://a/b')
  with pytest.raises(errors.UserError, match='where runs are only read'):
    loop.train(tiny_pix2pix.config(), 'hf://a/b')


def test_the_tool_sends_nothing_unless_it_is_asked(
  client, run, tmp_path, monkeypatch, capsys
):
  tool = programs.load('jaxgan.tools.upload')

  def call(**flags):
    for name in ('workdir', 'license', 'repo', 'out', 'step'):
      value = {'step': 'latest'}.get(name, '')
      flag = types.SimpleNamespace(name=name, value=flags.get(name, value))
      monkeypatch.setattr(tool, f'_{name.upper()}', flag)
    for name, value in (('private', False), ('samples', True)):
      flag = types.SimpleNamespace(value=value)
      monkeypatch.setattr(tool, f'_{name.upper()}', flag)
    tool.main()
    return capsys.readouterr().out

  here = {'workdir': str(run), 'license': 'other'}
  out = str(tmp_path / 'look')
  assert call(**here, out=out) == (
    f'wrote {out}, and sent nothing: look at its README.md\n'
  )
  assert not client.asked
  said = call(**here, repo='me/cats')
  assert said == 'step 2 is at https://huggingface.co/me/cats\n'
  for flags, line in (
    ({'workdir': str(run), 'repo': 'me/cats'}, '--license is missing: name'),
    (here, 'give either --repo or --out'),
    (here | {'repo': 'me/cats', 'out': out}, 'give either --repo or --out'),
  ):
    with pytest.raises(errors.UsageError, match=line):
      call(**flags)
