import json
import shutil

import numpy as np
import pytest
from absl import logging

from jaxgan.data import listing, preprocess, sources
from jaxgan.runtime import processes
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


def _touch(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_what_is_not_used_is_counted_by_kind_in_a_line(root, warnings):
  _touch(
    *(root / 'train', 'list.txt', '.ipynb_checkpoints/a.png', '__MACOSX/a.png'),
    *('cat/notes.md', 'cat/README', 'cat/.DS_Store', 'cat/deeper/a.png'),
    *('cat/a.cr2', 'cat/b.CR2', 'dog/c.jxl', 'd.png', 'ant/e.png'),
  )
  source = sources.FolderSource(str(root), 'train', ('cat', 'dog'))
  assert source.domains == ('cat', 'dog') and source.counts == (2, 1)
  assert warnings == [
    f'{root}/train: not used: further domains: 1 (ant); pictures of formats '
    'that are not read: 3 (2 .cr2, 1 .jxl); images outside of the folders of '
    'domains: 1 (.png); folders among images: 1 (deeper); other files: 3 (1 no '
    'ending, 1 .md, 1 .txt); hidden files and folders: 3 (.DS_Store, '
    '.ipynb_checkpoints, __MACOSX)'
  ]


def test_processes_but_the_first_say_nothing(root, warnings, monkeypatch):
  _touch(root, 'train/x.txt')
  monkeypatch.setattr(processes, 'is_first', lambda: False)
  assert sources.FolderSource(str(root), 'train').unused and not warnings


def test_no_images_says_what_there_is_instead(tmp_path):
  _touch(tmp_path, 'train/cat/.DS_Store', 'train/cat/a.cr2', 'train/cat/b.cr2')
  with pytest.raises(UserError) as caught:
    sources.FolderSource(str(tmp_path), 'train')
  assert str(caught.value) == (
    f'{tmp_path}/train/cat holds no images (.jpg .jpeg .jfif .png .webp .bmp '
    '.tif .tiff .gif .avif .heic .heif), but pictures of formats that are not '
    'read: 2 (.cr2); hidden files and folders: 1 (.DS_Store): add some or '
    'remove the folder'
  )


def test_a_missing_split_says_what_there_is_instead(root):
  _touch(root, 'val/cat/a.png', 'notes.txt')
  instead = (
    ', or name what there is with config.data.train_split and '
    'config.data.val_split (there: train, val)'
  )
  for split, message in (
    ('test', f'put the images in {root}/test/<domain>/{instead}'),
    ('Train', f'put the images in {root}/Train/<domain>/{instead}'),
  ):
    with pytest.raises(UserError) as caught:
      sources.FolderSource(str(root), split)
    assert str(caught.value) == f'{root}/{split} is missing: {message}'
  with pytest.raises(UserError) as caught:
    sources.UnpairedSource(str(root), 'train')
  assert str(caught.value).endswith(
    f"'folder' for {root}/train/<domain>/{instead}"
  )
  (root / 'new').mkdir()
  with pytest.raises(UserError, match=r'val_split \(there: nothing\)$'):
    sources.FolderSource(str(root / 'new'), 'train')
  (root / 'new').rmdir()
  with pytest.raises(UserError, match=r'val_split \(there: train, val\)$'):
    sources.SideBySideSource(str(root), 'test')


def test_another_layout_is_offered(unpaired_root):
  _touch(unpaired_root, 'testB/a.png')
  a, b = unpaired_root / 'testA', unpaired_root / 'testB'
  with pytest.raises(UserError) as caught:
    sources.FolderSource(str(unpaired_root), 'test')
  expected = f"or take {a} and {b} with config.data.name='unpaired', or name"
  assert expected in str(caught.value)
  assert str(caught.value).endswith(' (there: testA, testB, trainA, trainB)')
  _touch(unpaired_root, 'val/a.png')
  with pytest.raises(UserError, match='val holds no folders: .* outside .*png'):
    sources.FolderSource(str(unpaired_root), 'val')


def test_jfif_is_read_as_jpeg(root):
  _touch(root, 'train/dog/a.JFIF')
  source = sources.FolderSource(str(root), 'train')
  assert source.counts == (2, 2) and not source.unused


def test_what_lies_beside_the_splits(root, unpaired_root):
  _touch(root, 'test/cat/a.png', 'a.cr2', 'b.png', 'README', '.git/x')
  splits = ('train', 'val')
  expected = {
    listing.OTHER_PICTURES: [f'{root}/a.cr2'],
    listing.OUTSIDE: [f'{root}/b.png'],
    listing.SPLITS: [f'{root}/{name}' for name in ('test', 'testA', 'trainA')]
    + [f'{root}/trainB'],
  }
  assert sources.find_beside('folder', str(root), splits) == expected
  expected[listing.SPLITS] = [f'{root}/test']
  # Of this layout, folders of further letters are told as domains.
  _touch(root, 'trainC/a.png', 'testB/a.png')
  assert sources.find_beside('unpaired', str(root), ('train', 'test'))[
    listing.SPLITS
  ] == [f'{root}/test', f'{root}/train']
  for splits in (('.', 'val'), ('./', '../x')):
    assert sources.find_beside('folder', str(root / 'train'), splits) == {}
  splits = (f'{root.name}/train', f'{root.name}/testA')
  assert sources.find_beside('folder', str(root.parent), splits)[
    listing.SPLITS
  ] == [f'{root}/{x}' for x in ('test', 'testB', 'trainA', 'trainB', 'trainC')]


def test_folders_of_tools_say_what_is_not_used(tmp_path, warnings):
  _touch(tmp_path, 'a.png', 'b/c.jpg', 'b/d.tga', '.e.png')
  _touch(tmp_path, 'f.TIFF', 'g.gif', 'h.avif', 'i.heic', 'j.jfif', 'k.tif')
  assert len(sources.find_images(tmp_path)) == 8
  assert warnings == [
    f'{tmp_path}: not used: pictures of formats that are not read: 1 (.tga); '
    'hidden files and folders: 1 (.e.png)'
  ]


def test_two_names_of_domains_fit_in_that_of_a_file(root):
  _touch(root, f'train/{"x" * 100}/a.png')
  assert 'x' * 100 in sources.FolderSource(str(root), 'train').domains
  _touch(root, f'train/{"é" * 51}/a.png')
  with pytest.raises(UserError, match='é., 102 bytes: .* rename it to 100 or'):
    sources.FolderSource(str(root), 'train')


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
    (None, 'trian', r"config.data.root\): did you mean 'train'\?$"),
    (None, 'train', "config.data.root=.*, which has 'train'. Else put the"),
    (None, 'train/cat', r"root=[^ ]*\d, which has 'train'. Else put the"),
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
  _touch(unpaired_root, 'trainB/list.txt', 'trainC/a.png', 'trainD/a.png')
  source = sources.create_source('unpaired', str(unpaired_root), 'train')
  assert source.domains == ('A', 'B') and source.counts == (2, 1)
  read = [source.read(0, 0), source.read(0, 1), source.read(1, 0)]
  assert read == [b'trainA/a.JPG', b'trainA/b.png', b'trainB/c.png']
  assert source.describe(1, 0) == str(unpaired_root / 'trainB/c.png')
  assert warnings == [
    f'the folders {unpaired_root}/trainA and {unpaired_root}/trainB: not used: '
    'further domains: 2 (trainC, trainD); other files: 1 (.txt)'
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


def test_what_a_tfds_data_set_has_besides(tfds_root, warnings):
  data_dir = str(tfds_root / 'array_record')
  sources.TfdsSource('squares', 'train[:60%]', data_dir, ('fig',))
  assert warnings == [
    'tfds:squares train[:60%]: not used: further domains: 2 (pear, none)'
  ]
  for splits, further in (
    (('train[:60%]', 'train[60%:]'), {}),
    (('val', 'test+val'), {listing.SPLITS: ['train']}),
  ):
    assert sources.find_beside('tfds:squares', data_dir, splits) == further


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
