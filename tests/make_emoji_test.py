"""Emoji from made-up icon sets; the real ones are in no test."""

import errno
import gzip
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile
import types

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from etils import epath
from PIL import Image

from jaxgan.data import icon_sets
from jaxgan.runtime import errors, images
from jaxgan.tools import make_emoji

# The left half of a box of 16, in red.
HALF = {'body': '<path fill="#f00" d="M0 0h8v16H0z"/>'}
ICONS = {'abacus': HALF, 'banana': HALF}  # for training; for validation


def _package(name, icons, version=None, **changes):
  """{file: content} of a package of the version that is asked for."""
  version = version or next(
    p.version for p in make_emoji.STYLES.values() if p.name == name
  )
  licence = {'title': 'CC BY 4.0', 'spdx': 'CC-BY-4.0', 'url': 'https://cc'}
  return {
    'icons.json': {'prefix': name, 'icons': icons, **changes},
    'info.json': {
      'name': f'The {name}',
      'author': {'name': 'A Maker', 'url': 'https://maker'},
      'license': licence,
    },
    'package.json': {'name': f'@iconify-json/{name}', 'version': version},
  }


def _texts(package):
  return {file: json.dumps(x).encode() for file, x in package.items()}


def _tar(contents):
  """The bytes of a tar archive of {name: bytes}."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as archive:
    for name, data in contents.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))
  return buffer.getvalue()


def _packed(package):
  texts = _texts(package)
  return gzip.compress(_tar({f'package/{k}': v for k, v in texts.items()}))


def _pack(folder, name, icons=ICONS, version=None, **changes):
  """Leaves an archive as `npm pack` does."""
  package = _package(name, icons, version, **changes)
  told = package['package.json']['version']
  path = folder / f'iconify-json-{name}-{told}.tgz'
  path.write_bytes(_packed(package))
  return path


def _unpack(folder, package):
  folder.mkdir(parents=True)
  for file, data in _texts(package).items():
    (folder / file).write_bytes(data)


@pytest.fixture
def run(tmp_path):
  """Runs the program on OUT; returns its exit status."""
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()

  def run(out=tmp_path / 'out', **settings):
    settings = {'icons': str(tmp_path), 'styles': ['noto'], **settings}
    with flagsaver.flagsaver(**settings):
      return make_emoji.main(str(out))

  return run


@pytest.fixture
def all_black(monkeypatch):
  """Drawing is black squares, without resvg-py."""
  resvg = types.SimpleNamespace(__version__='0.0')
  monkeypatch.setattr(icon_sets, 'import_resvg', lambda: resvg)
  black = lambda icon, size: np.zeros((size, size, 3), np.uint8)  # noqa: E731
  monkeypatch.setattr(icon_sets, '_draw', black)


def _files(folder):
  return sorted(
    path.relative_to(folder).as_posix()
    for path in folder.rglob('*')
    if path.is_file()
  )


def test_the_list_is_that_of_the_published_pictures():
  index = make_emoji.create_index()
  assert len(index) == 1336
  splits = [facts['split'] for facts in index.values()]
  assert (splits.count('train'), splits.count('val')) == (1185, 151)
  assert index['1st-place-medal'] == {
    'caption': '1st place medal',
    'category': 'Activities',
    'split': 'train',
  }
  text = json.dumps(index, indent=0)
  assert hashlib.sha256(text.encode()).hexdigest() == (
    '6d39638b9b422ee571941f6e6dc8efc89475b6d4ac8df64a023095fffd3172b0'
  )


def test_files_lie_as_published(run, all_black, tmp_path, capsys):
  package = _package('noto', ICONS)
  _unpack(tmp_path / 'node_modules/@iconify-json/noto', package)
  _pack(tmp_path, 'openmoji', {'banana': HALF}, '2.0.0')
  out = tmp_path / 'out'
  out.mkdir()
  assert run(out, styles=['noto', 'openmoji'], size=16) == 0
  assert _files(out) == [
    'README.md',
    'index.json',
    'licences/noto.json',
    'licences/openmoji.json',
    'train/noto/abacus.png',
    'val/noto/banana.png',
    'val/openmoji/banana.png',
  ]
  index = json.loads((out / 'index.json').read_text())
  assert index == {
    'abacus': {'caption': 'abacus', 'category': 'Objects', 'split': 'train'},
    'banana': {
      'caption': 'banana',
      'category': 'Food & Drink',
      'split': 'val',
    },
  }
  licence = (out / 'licences/noto.json').read_bytes()
  assert licence == _texts(package)['info.json']
  assert (
    '\n| noto | 2 | The noto, [A Maker](https://maker) | `@iconify-json/noto` '
    '1.2.9 | [CC BY 4.0](https://cc) | yes, with attribution |\n'
  ) in (out / 'README.md').read_text()
  assert capsys.readouterr().out.splitlines() == [
    f'noto: 2 of 1,336 names, of {tmp_path}/node_modules/@iconify-json/noto; '
    'it lacks 1st-place-medal, 2nd-place-medal, 3rd-place-medal, 1,331 more',
    f'openmoji: 1 of 1,336 names, of {tmp_path}/iconify-json-openmoji-2.0.0.tgz'
    '; it lacks 1st-place-medal, 2nd-place-medal, 3rd-place-medal, 1,332 more; '
    'it is of version 2.0.0, and may be drawn otherwise than 1.2.29',
    f'3 pictures of 2 emoji in 2 styles, 16 px, in {out}',
  ]


def _draw(body, size=32, box=(0, 0, 16, 16)):
  with icon_sets.drawing() as draw:
    return draw(icon_sets.Icon(body, box), size)


def test_a_box_is_drawn_whole_on_white():
  pytest.importorskip('resvg_py', reason='pip install -e ".[emoji]"')
  red, white = (255, 0, 0), (255, 255, 255)
  half = _draw(HALF['body'])
  assert half.shape == (32, 32, 3) and half.dtype == np.uint8
  assert (half[:, :16] == red).all() and (half[:, 16:] == white).all()
  # Twice as wide as high: in the middle, from the top left of the box.
  wide = _draw('<path fill="#f00" d="M8 8h16v16H8z"/>', 64, (8, 8, 32, 16))
  assert (wide[16:48, :32] == red).all()
  assert (wide == red).all(-1).sum() == 32 * 32
  # Without the fonts of the machine.
  assert (_draw('<text y="16" font-size="16">A</text>') == white).all()


UNDRAWN = [
  ('<path d="M0', "expected '\"' not '<'"),
  ('</svg><svg>', 'unknown token'),
  ('\ud800', 'surrogates not allowed'),
  ('<image href="/dev/zero"/>', 'it shows another file'),
  ('<x:feImage xmlns:x="a" x:href="b.png"/>', 'it shows another file'),
  ('<g>' * 20_001, 'more than 20,000 tags'),
  ('<g>' * 9_999 + '</g>' * 9_999, 'nodes limit reached'),
]


@pytest.mark.parametrize(
  'body, reason', UNDRAWN, ids=[reason for _, reason in UNDRAWN]
)
def test_what_cannot_be_drawn_says_why(body, reason):
  pytest.importorskip('resvg_py', reason='pip install -e ".[emoji]"')
  with pytest.raises(ValueError, match=reason):
    _draw(body)


def test_elements_in_each_other_do_not_exhaust_the_stack():
  pytest.importorskip('resvg_py', reason='pip install -e ".[emoji]"')
  body = '<g>' * 600 + HALF['body'] + '</g>' * 600  # 500 kill the main thread
  np.testing.assert_array_equal(_draw(body), _draw(HALF['body']))


def test_an_icon_that_cannot_be_drawn_is_left_out(
  run, all_black, tmp_path, monkeypatch, capsys
):
  def draw(icon, size):
    if icon.body != HALF['body']:
      raise ValueError('odd\n')
    return np.zeros((size, size, 3), np.uint8)

  monkeypatch.setattr(icon_sets, '_draw', draw)
  _pack(tmp_path, 'noto', {**ICONS, 'banana': {'body': '<'}})
  assert run() == 1
  captured = capsys.readouterr()
  assert captured.err.endswith(
    'error: noto: 1 of its icons cannot be drawn and are left out: banana '
    '(odd\\n)\n'
  )
  assert captured.out.endswith(
    f'1 pictures of 1 emoji in 1 style, 128 px, in {tmp_path}/out\n'
  )
  assert [p for p in _files(tmp_path / 'out') if '.png' in p] == [
    'train/noto/abacus.png'
  ]
  with Image.open(tmp_path / 'out/train/noto/abacus.png') as image:
    assert (image.size, image.mode) == ((128, 128), 'RGB')


def test_aliases_and_turned_icons_are_no_icons(tmp_path):
  turned = {**HALF, 'hFlip': True}
  aliases = {'cricket': {'parent': 'game'}}
  path = _pack(
    tmp_path,
    'noto-v1',
    {'abacus': HALF, 'banana': turned, 'game': HALF},
    aliases=aliases,
  )
  package = make_emoji.STYLES['noto-v1']
  names = make_emoji.create_index()
  assert 'cricket' in names
  found = icon_sets.read(epath.Path(path), package, names)
  assert found.icons == {'abacus': icon_sets.Icon(HALF['body'], (0, 0, 16, 16))}


def test_a_box_is_of_the_icon_then_of_its_set(tmp_path):
  own = {**HALF, 'height': 25.5, 'left': -2}
  icons = {'abacus': HALF, 'banana': own}
  path = _pack(tmp_path, 'noto', icons, width=36, height=36)
  found = icon_sets.read(
    epath.Path(path), make_emoji.STYLES['noto'], list(icons)
  )
  assert found.icons['abacus'].box == (0, 0, 36, 36)
  assert found.icons['banana'].box == (-2, 0, 36, 25.5)


def _find(folder, style='noto'):
  return icon_sets.find(epath.Path(folder), make_emoji.STYLES[style])


@pytest.mark.parametrize(
  'place',
  [
    *('.', 'package', 'noto', 'noto/package', '@iconify-json/noto'),
    'node_modules/@iconify-json/noto',
  ],
)
def test_packages_are_found_as_folders(tmp_path, place):
  folder = tmp_path / 'icons' / place
  _unpack(folder, _package('noto', ICONS))
  assert _find(tmp_path / 'icons') == epath.Path(folder)
  assert _find(tmp_path / 'icons', 'twemoji') is None


def test_the_version_asked_for_is_found_among_several(tmp_path):
  _pack(tmp_path, 'noto-v1')  # another set
  assert _find(tmp_path) is None
  first = _pack(tmp_path, 'noto', version='1.2.8')
  assert _find(tmp_path) == epath.Path(first)
  last = _pack(tmp_path, 'noto', version='1.3.0')
  with pytest.raises(errors.UserError) as caught:
    _find(tmp_path)
  assert str(caught.value) == (
    f'{first}, {last} are several versions of @iconify-json/noto: keep one'
  )
  wanted = tmp_path / 'noto-1.2.9.tgz'  # as the registry calls it
  wanted.touch()
  assert _find(tmp_path) == epath.Path(wanted)


def _sparse():
  """Claims 2^40 bytes of zeros for icons.json."""
  data = bytearray(_tar({'package/icons.json': b'', 'package/x': b''}))
  header = tarfile.TarInfo('package/icons.json')
  header.type = tarfile.GNUTYPE_SPARSE
  block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
  block[483:495] = b'\x80' + (2**40).to_bytes(11, 'big')
  block[148:156] = b'        '
  block[148:156] = b'%06o\0 ' % sum(block)
  return bytes(block) + bytes(data[512:])


def _changed(file, *keys, value):
  """An archive whose one value is another."""
  package = _package('noto', dict(ICONS))
  content = package[file]
  for key in keys[:-1]:
    content[key] = content = dict(content[key])
  content[keys[-1]] = value
  return _packed(package)


WHOLE = _packed(_package('noto', ICONS))
ICON = 'icons.json', 'icons', 'abacus'


BAD = [
  (b'', 'it is an empty file'),
  (b'<!doctype html>', 'it is a web page, as of a download that failed'),
  (b'PK\x03\x04', 'it is cut off, as by a download that broke off'),
  (b'\0' * 99, 'it is no .tgz'),
  (WHOLE[:-20], 'Compressed file ended before the end-of-stream marker'),
  (WHOLE[:-8] + b'12345678', 'CRC check failed'),
  (gzip.compress(b'x' * 2000), 'invalid header'),
  (gzip.compress(bytes(2**20 + 1)), 'bytes for more than 1,048,576'),
  (gzip.compress(_tar({'icons.json': b'{}'})), 'it has no icons.json'),
  (
    gzip.compress(_tar({'package/../package/icons.json': b'{}'})),
    'it has no icons.json',
  ),
  (
    gzip.compress(_tar({str(i): b'' for i in range(101)})),
    'it has more than 100 files',
  ),
  (gzip.compress(_sparse()), 'it has no icons.json'),
  (_packed({'icons.json': {}}), 'it has no info.json'),
  (
    _packed({**_package('noto', ICONS), 'icons.json': [1]}),
    'icons.json: something else than an object',
  ),
  (
    gzip.compress(
      _tar({f'package/{file}': b'[' * 100_000 for file in icon_sets._FILES})
    ),
    'icons.json: nested too deeply',
  ),
  (_packed(_package('twemoji', ICONS)), "it is of the icons 'twemoji'"),
  (_changed('icons.json', 'icons', value=[]), 'icons.json has no icons'),
  (_changed('icons.json', 'icons', value={}), 'none of its icons has a name'),
  (_changed(*ICON, value='x'), "its icon 'abacus' has no body"),
  (_changed(*ICON, value={'body': 1}), "its icon 'abacus' has no body"),
  *(
    (_changed(*ICON, value={**HALF, 'width': width}), f"'abacus' has {told}")
    for width, told in (
      ('16', 'a box that is not of numbers'),
      (True, 'a box that is not of numbers'),
      (float('nan'), 'a box that is not of numbers'),
      (10**400, 'a box that is not of numbers'),
      (0, 'no size'),
    )
  ),
  (_changed('info.json', 'license', value='MIT'), 'say its license title'),
  (_changed('info.json', 'author', 'url', value=3), 'say its author url'),
  (_changed('package.json', 'version', value=None), 'say its version'),
]


@pytest.mark.parametrize('data, reason', BAD, ids=[reason for _, reason in BAD])
def test_a_bad_archive_is_one_line(run, all_black, tmp_path, data, reason):
  path = tmp_path / 'iconify-json-noto-1.2.9.tgz'
  path.write_bytes(data)
  before = _files(tmp_path)
  with pytest.raises(errors.UserError) as caught:
    run()
  line = str(caught.value)
  assert reason in line and line.isprintable()
  assert line.startswith(f'{path} is no whole icon set noto (')
  assert line.endswith('): get it again, npm pack @iconify-json/noto@1.2.9')
  assert _files(tmp_path) == before and not (tmp_path / 'out').exists()


def test_a_damaged_folder_is_one_line(run, all_black, tmp_path):
  folder = tmp_path / 'noto'
  _unpack(folder, _package('noto', ICONS))
  (folder / 'info.json').unlink()
  with pytest.raises(errors.UserError, match='noto .it has no info.json.: get'):
    run()
  (folder / 'package.json').write_text('{')
  with pytest.raises(errors.UserError) as caught:
    run()
  assert str(caught.value) == (
    f'{folder}/package.json cannot be read (Expecting property name enclosed '
    'in double quotes: line 1 column 2 (char 1)): get it again, npm pack '
    '@iconify-json/noto@1.2.9'
  )


def test_missing_packages_are_named_with_the_command(run, all_black, tmp_path):
  _pack(tmp_path, 'noto')
  with pytest.raises(errors.UserError) as caught:
    run(styles=['noto', 'fluent', 'openmoji'])
  assert str(caught.value) == (
    f'--icons={tmp_path} has no icons of fluent-emoji-flat, openmoji: in that '
    'folder, npm pack @iconify-json/fluent-emoji-flat@1.2.6 '
    '@iconify-json/openmoji@1.2.29'
  )
  with pytest.raises(errors.UserError, match='/no is no folder: name the one'):
    run(icons=str(tmp_path / 'no'))


@pytest.mark.parametrize(
  'styles, line',
  [
    (
      ['notto'],
      "--styles: there is no style 'notto': did you mean noto? There",
    ),
    (['?'], "--styles: there is no style '?': There are noto, twemoji, fluent"),
    ([], '--styles names none of noto, twemoji, fluent, openmoji, emojione'),
  ],
)
def test_misuse_is_status_2(run, styles, line):
  with pytest.raises(errors.UsageError) as caught:
    run(styles=styles)
  assert str(caught.value).startswith(line)


@pytest.mark.parametrize('size', [15, 1025])
def test_a_size_has_bounds(size):
  with pytest.raises(flags.IllegalFlagValueError, match=r'\[16, 1024\]'):
    flags.FLAGS['size'].parse(size)


def test_missing_resvg_is_named(run, monkeypatch):
  monkeypatch.setitem(sys.modules, 'resvg_py', None)
  with pytest.raises(errors.UserError) as caught:
    run()
  assert str(caught.value).endswith('): pip install "resvg-py>=0.5.0"')


def test_out_is_new_or_empty(run, all_black, tmp_path):
  _pack(tmp_path, 'noto')
  out = tmp_path / 'out'
  (out / '.partial/val').mkdir(parents=True)  # of a run that was killed
  (out / '.partial/val/old.png').touch()
  assert run(out) == 0
  assert not (out / '.partial').exists() and not (out / 'val/old.png').exists()
  for path in (out, tmp_path / 'iconify-json-noto-1.2.9.tgz'):
    with pytest.raises(errors.UserError) as caught:
      run(path)
    assert str(caught.value) == (
      f'{path} exists and is no empty folder: take another OUT'
    )
  with pytest.raises(errors.UserError, match='gs://b/x is no folder of this'):
    run('gs://b/x')


@pytest.mark.parametrize('is_new', [True, False])
def test_a_full_disk_leaves_nothing(
  run, all_black, tmp_path, monkeypatch, is_new
):
  def full(path, image):
    del image
    if path.name == 'banana.png':
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    path.touch()

  monkeypatch.setattr(images, 'write_png', full)
  _pack(tmp_path, 'noto')
  out = pathlib.Path(tmp_path / 'out')
  if not is_new:
    out.mkdir()
  with pytest.raises(OSError, match='No space left on device: .*banana.png'):
    run(out)
  assert out.exists() != is_new and not list(out.glob('*'))
