import json
import shutil

import numpy as np
import pytest
from absl import logging

from jaxgan.data import preprocess, sources
from jaxgan.runtime.errors import UserError


@pytest.fixture
def warnings(monkeypatch):
  lines = []
  monkeypatch.setattr(logging, 'warning', lambda t, *a: lines.append(t % a))
  return lines


@pytest.fixture
def root(tmp_path):
  """A cat in two files, a dog in one; each file holds its own name."""
  for name in ('dog/b.png', 'cat/z.JPG', 'cat/a.webp'):
    path = tmp_path / 'train' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode())
  return tmp_path


def test_domains_and_files_are_in_order_of_their_names(root, warnings):
  source = sources.create_source('folder', str(root), 'train')
  assert source.domains == ('cat', 'dog') and source.counts == (2, 1)
  read = [source.read(0, 0), source.read(0, 1), source.read(1, 0)]
  assert read == [b'cat/a.webp', b'cat/z.JPG', b'dog/b.png']
  assert source.describe(0, 1) == str(root / 'train/cat/z.JPG')
  assert warnings == []


def test_strays_are_ignored_with_a_warning(root, warnings):
  for name in ('list.txt', '.ipynb_checkpoints/a.png', '__MACOSX/a.png'):
    path = root / 'train' / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
  (root / 'train/cat/notes.md').touch()
  (root / 'train/cat/._a.png').touch()  # macOS leaves these
  (root / 'train/cat/deeper').mkdir()
  source = sources.FolderSource(str(root), 'train')
  assert source.domains == ('cat', 'dog') and source.counts == (2, 1)
  assert warnings == [
    f'{root}/train: ignored 3 entries, the first is .ipynb_checkpoints',
    f'{root}/train/cat: ignored 3 entries, the first is ._a.png',
  ]


def test_a_subset_of_the_domains(root):
  (root / 'train/ant').mkdir()  # empty, but not asked for
  source = sources.FolderSource(str(root), 'train', ('dog', 'cat'))
  assert source.domains == ('cat', 'dog')
  with pytest.raises(UserError, match="'cta', which .* did you mean 'cat'"):
    sources.FolderSource(str(root), 'train', ('cta',))


def remove_domains(root):
  for path in [*root.glob('train/*/*'), *root.glob('train/*')]:
    path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize(
  'change, root_name, message',
  [
    (None, '', 'data.root is empty'),
    (None, 'nowhere', "data.root '.*nowhere' is not a folder"),
    (lambda root: (root / 'train').rename(root / 't'), '.', 'train is missing'),
    (remove_domains, '.', 'train holds no folders'),
    (lambda root: (root / 'train/cow').mkdir(), '.', 'cow holds no images'),
  ],
)
def test_what_is_wrong_is_said_in_a_line(root, change, root_name, message):
  if change:
    change(root)
  where = str(root / root_name) if root_name else ''
  with pytest.raises(UserError, match=message) as caught:
    sources.create_source('folder', where, 'train')
  assert '\n' not in str(caught.value)


@pytest.fixture
def unpaired_root(tmp_path):
  """The layout of the originals, each file with its own name."""
  for name in ('trainA/b.png', 'trainA/a.JPG', 'trainB/c.png', 'testA/d.png'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(name.encode())
  return tmp_path


def test_two_folders_of_a_split_are_two_domains(unpaired_root, warnings):
  (unpaired_root / 'trainB/list.txt').touch()
  source = sources.create_source('unpaired', str(unpaired_root), 'train')
  assert source.domains == ('A', 'B') and source.counts == (2, 1)
  read = [source.read(0, 0), source.read(0, 1), source.read(1, 0)]
  assert read == [b'trainA/a.JPG', b'trainA/b.png', b'trainB/c.png']
  assert source.describe(1, 0) == str(unpaired_root / 'trainB/c.png')
  assert source.ignored == (str(unpaired_root / 'trainB/list.txt'),)
  assert warnings == [
    f'{unpaired_root}/trainB: ignored 1 entries, the first is list.txt'
  ]
  named = sources.UnpairedSource(str(unpaired_root), 'train', ('shoe', 'edge'))
  assert named.domains == ('shoe', 'edge') and named.counts == source.counts
  assert named.describe(1, 0) == source.describe(1, 0)

  source = sources.UnpairedSource(str(unpaired_root), 'test', ('A',))
  assert source.domains == ('A',) and source.read(0, 0) == b'testA/d.png'


@pytest.mark.parametrize(
  'split, domains, root_name, message',
  [
    ('train', (), '', 'data.root is empty'),
    ('train', (), 'nowhere', "data.root '.*nowhere' is not a folder"),
    ('test', (), '.', "testB is missing: .*testA and .*testB, 'folder' for .*"),
    ('val', (), '.', 'valA is missing'),
    ('empty', (), '.', r'emptyB holds no images \(.*\): add some$'),
    ('train', ('cat',), '.', r"'cat', which is not in .* \(there: A, B\)"),
  ],
)
def test_what_is_wrong_with_two_folders(
  unpaired_root, split, domains, root_name, message
):
  shutil.copytree(unpaired_root / 'testA', unpaired_root / 'emptyA')
  (unpaired_root / 'emptyB').mkdir()
  where = str(unpaired_root / root_name) if root_name else ''
  with pytest.raises(UserError, match=message) as caught:
    sources.create_source('unpaired', where, split, domains)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'name, near',
  [('foldr', 'folder'), ('tfd:x', 'tfds'), ('unpared', 'unpaired')],
)
def test_an_unknown_source(name, near):
  with pytest.raises(UserError, match=f"unknown: did you mean '{near}'"):
    sources.create_source(name, 'root', 'train')


COLOURS = np.arange(0, 200, 20)


@pytest.fixture(scope='module')
def tfds_root(tmp_path_factory):
  """Ten squares of one colour each, labels turn about, in both formats."""
  import tensorflow_datasets as tfds

  class Squares(tfds.core.GeneratorBasedBuilder):
    """Ten squares."""

    VERSION = tfds.core.Version('1.0.0')
    code_path = None  # TFDS wants another package to look it up.

    def _info(self):
      features = {
        'image': tfds.features.Image(shape=(None, None, 3)),
        'label': tfds.features.ClassLabel(names=['pear', 'fig', 'none']),
        'size': np.int64,
      }
      features = tfds.features.FeaturesDict(features)
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, _):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for i, colour in enumerate(COLOURS):
        image = np.full((8, 8, 3), colour, np.uint8)
        yield i, {'image': image, 'label': i % 2, 'size': 8}

  root = tmp_path_factory.mktemp('tfds')
  for form in ('array_record', 'tfrecord'):
    data_dir = str(root / form)
    Squares(data_dir=data_dir, file_format=form).download_and_prepare()
  return root


def colours(source):
  def colour(domain, index):
    image = preprocess.decode(source.read(domain, index))
    assert image.size == (8, 8)
    return np.asarray(image)[0, 0, 0]

  return [
    sorted(colour(domain, index) for index in range(count))
    for domain, count in enumerate(source.counts)
  ]


@pytest.mark.parametrize('form', ['array_record', 'tfrecord'])
def test_tfds(tfds_root, form):
  folder = tfds_root / form / 'squares'
  for _ in range(2):  # The second time finds the copy.
    source = sources.create_source(
      'tfds:squares', str(tfds_root / form), 'train', ('fig', 'pear')
    )
    assert source.domains == ('pear', 'fig') and source.counts == (5, 5)
    expected = [COLOURS[::2].tolist(), COLOURS[1::2].tolist()]
    assert colours(source) == expected
  copies = ['1.0.0.array_record'] if form == 'tfrecord' else []
  assert sorted(p.name for p in folder.iterdir()) == ['1.0.0', *copies]


def test_tfds_part_of_a_split(tfds_root):
  data_dir = str(tfds_root / 'array_record')
  a, b = (
    sources.TfdsSource('squares', split, data_dir, ('pear', 'fig'))
    for split in ('train[:60%]', 'train[60%:]')
  )
  assert sum(a.counts) == 6 and sum(b.counts) == 4
  halves = [x + y for x, y in zip(colours(a), colours(b), strict=True)]
  assert sorted(sum(halves, [])) == COLOURS.tolist()
  assert a.describe(0, 0).startswith('tfds:squares train[:60%] record ')


@pytest.mark.parametrize(
  'name, split, message',
  [
    ('squares', 'train', "no images of 'none': leave it out"),
    ('squares', 'vla', "split 'vla' .*: Unknown split"),
    ('squares', 'train[', "split 'train\\[' .*Error parsing"),
    ('squares:9.9.9', 'train', 'tfds:squares:9.9.9: .*9.9.9, only: 1.0.0'),
    ('mnist', 'train', 'not prepared .* tfds.builder\\(.mnist., data_dir='),
  ],
)
def test_what_is_wrong_with_a_tfds_data_set(tfds_root, name, split, message):
  with pytest.raises(UserError, match=message) as caught:
    sources.TfdsSource(name, split, str(tfds_root / 'array_record'))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('form', ['array_record', 'tfrecord'])
def test_a_damaged_tfds_file_is_named(tfds_root, tmp_path, form):
  root = tmp_path / 'data'
  shutil.copytree(
    tfds_root / form, root, ignore=shutil.ignore_patterns('*.array_record')
  )
  (path,) = root.glob('squares/1.0.0/*record-*')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  for damaged, message in (
    (data, 'corrupted record at|header hash mismatch'),
    (b'', f'tfds:squares train is damaged .*: remove {root}/squares/1.0.0'),
  ):
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=message):
      sources.TfdsSource('squares', 'train', str(root), ('fig', 'pear'))


def test_a_copy_that_lost_the_race_is_thrown_away(tmp_path):
  data, copy = tmp_path / '1.0.0', tmp_path / '1.0.0.array_record'
  for folder in (data, copy):
    folder.mkdir()
    (folder / 'dataset_info.json').write_text('{"name": "x"}')
  paths = map(sources.epath.Path, (data, copy))
  sources._copy_as_array_record(*paths, num_bytes=1)
  assert sorted(p.name for p in tmp_path.iterdir()) == [data.name, copy.name]
  assert json.loads((copy / 'dataset_info.json').read_text()) == {'name': 'x'}
