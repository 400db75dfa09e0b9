import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tracemalloc

import imageio_ffmpeg
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model, translate_files
from jaxgan.data import labelled, preprocess, videos
from jaxgan.runtime import errors, files, images
from tests import cells, tiny

ROOT = pathlib.Path(__file__).parent.parent
CELL = 128 + 2  # pixels of a small image in the grid, with its margin


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'tiny'
  tiny.write_run(directory)
  return directory


@pytest.fixture(scope='module')
def model(workdir):
  return trained_model.load(workdir)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """src/{a,b,c}.png and ref/{circle,square}/{r,s}.png."""
  rng = np.random.default_rng(0)
  root = epath.Path(tmp_path_factory.mktemp('pictures'))
  names = [f'src/{x}' for x in 'abc']
  names += [f'ref/{d}/{x}' for d in ('circle', 'square') for x in 'rs']
  for name in names:
    path = root / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  return root


def _find(*paths):
  return translate_files.find([str(path) for path in paths])


def _sources(*paths):
  return translate_files.find_sources([str(path) for path in paths])


def _read(path):
  with Image.open(path) as image:
    return np.asarray(image)


class Negative(trained_model.Model):
  """Negatives, without networks."""

  def __init__(self, part=lambda picture: picture, size=16):
    self._part, self._background, self.img_size = part, '', size
    self.domains = ('dog',)

  def translate(self, pixels, domain, styles=None, *, source_labels=None):
    assert domain == 'dog' and source_labels is None
    return [[Image.fromarray(255 - x) for x in pixels]]


DOG = translate_files.Style('dog', '', None)
KEEP_SIZE = translate_files.Options(keep_size=True)


def _smooth(width, height):
  """A picture that a few pixels tell, uint8 [H, W, 3]."""
  x = np.linspace(20, 230, width)[None].repeat(height, 0)
  y = np.linspace(20, 230, height)[:, None].repeat(width, 1)
  return np.stack([x, y, 250 - y], -1).astype(np.uint8)


def _encode(path, *args):
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-v', 'error', *args, str(path)]
  subprocess.run(command, check=True)
  return path


def _read_video(path):
  """(what ffmpeg says of it, frames uint8 [N, H, W, 3])."""
  # Not imageio_ffmpeg.read_frames: it forks, which JAX warns of.
  command = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', str(path)]
  command += ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
  result = subprocess.run(command, capture_output=True, check=True)
  facts = re.search('Video: h264.*', result.stderr.decode()).group()
  width, height = map(int, re.search(r', (\d+)x(\d+)', facts).groups())
  frames = np.frombuffer(result.stdout, np.uint8)
  return facts, frames.reshape(-1, height, width, 3)


def _run(*args):
  result = subprocess.run(
    [sys.executable, '-m', 'jaxgan.tools.translate', *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )
  assert 'Traceback' not in result.stderr
  return result


def test_every_source_in_every_style(model, pictures, tmp_path, capsys):
  paths, references = _sources(pictures / 'src'), _find(pictures / 'ref')
  styles = translate_files.reference_styles(model, references, None)
  assert translate_files.translate(model, paths, styles, tmp_path / 'out')
  files = sorted(path.name for path in (tmp_path / 'out').iterdir())
  assert files == sorted(
    ['grid.png']
    + [
      f'{x}_to_{domain}_{r}.png'
      for x in 'abc'
      for domain in ('circle', 'square')
      for r in 'rs'
    ]
  )
  code = model.reference_styles([model.read(references[2])], 'square')
  [[expected]] = model.translate([model.read(paths[1].path)], 'square', code)
  got = _read(tmp_path / 'out' / 'b_to_square_r.png')
  assert abs(got.astype(int) - np.asarray(expected)).max() <= 1

  # Sources b and c in the second row of the grid, below their labels.
  grid = _read(tmp_path / 'out' / 'grid.png')
  shown = cells.read(grid, 128, rows=5, columns=4)
  np.testing.assert_array_equal(shown[3, 2][::4, ::4], got)
  left = grid.shape[1] - (3 * CELL + 2)
  assert grid[:16, left:].min() < 100  # the label
  assert grid[:16, :left].min() == 255
  assert capsys.readouterr().out == (
    '12 translations: each of 3 sources in each of 4 styles\n'
    f'{tmp_path / "out"}: 12 translations, grid.png\n'
  )


def test_a_long_list_is_cut_in_the_grid_alone(
  model, pictures, tmp_path, capsys
):
  styles = translate_files.latent_styles(model, 'square', 18, seed=0, psi=1.0)
  assert translate_files.translate(
    model, _sources(pictures / 'src'), styles, tmp_path
  )
  assert len(list(tmp_path.glob('?_to_square_seed0_*.png'))) == 3 * 18
  cells.read(_read(tmp_path / 'grid.png'), 128, rows=17, columns=3)
  assert 'first 3 of 3 sources and 16 of 18 styles' in capsys.readouterr().out


def test_an_unreadable_source_is_named_and_left_out(
  model, pictures, tmp_path, capsys
):
  bad = epath.Path(tmp_path / 'bad.png')
  bad.write_bytes(b'')
  paths = _sources(bad, pictures / 'src')
  styles = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  assert not translate_files.translate(model, paths, styles, tmp_path / 'out')
  assert capsys.readouterr().err == f'error: {bad}: empty file\n'
  assert len(list((tmp_path / 'out').iterdir())) == 3 + 1
  assert not translate_files.translate(
    model, _sources(bad), styles, tmp_path / 'none'
  )
  assert not list((tmp_path / 'none').iterdir())


def test_nothing_is_overwritten(model, pictures, tmp_path):
  paths = _sources(pictures / 'src')
  styles = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  twice = _sources(pictures / 'src', pictures / 'src' / 'b.png')
  with pytest.raises(errors.UserError, match='b_to_.* would be made twice'):
    translate_files.translate(model, twice, styles, tmp_path)
  (tmp_path / 'c_to_square_seed0_0.png').touch()
  with pytest.raises(errors.UserError, match='c_to_square.* exists'):
    translate_files.translate(model, paths, styles, tmp_path)
  assert len(list(tmp_path.iterdir())) == 1
  with pytest.raises(errors.UserError, match='^cannot write to /dev/null/x'):
    translate_files.translate(model, paths, styles, '/dev/null/x')


def test_results_have_the_size_and_shape_of_sources(tmp_path, capsys):
  turned = Image.Exif()
  turned[274] = 6
  Image.fromarray(_smooth(50, 30)).save(tmp_path / 'a.png')
  Image.fromarray(_smooth(50, 30)).save(tmp_path / 'b.jpg', exif=turned)
  sources = _sources(tmp_path)
  model, out = Negative(), tmp_path / 'out'
  assert translate_files.translate(
    model, sources, [DOG], out, options=KEEP_SIZE
  )
  result = _read(out / 'a_to_dog.png')
  [[square]] = model.translate([model.read(tmp_path / 'a.png')], 'dog')
  expected = square.resize((50, 30), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(result, expected)
  assert abs(255 - _smooth(50, 30).astype(int) - result).max() < 16
  assert _read(out / 'b_to_dog.png').shape == (50, 30, 3)
  cells.read(_read(out / 'grid.png'), 128, rows=2, columns=2)
  assert capsys.readouterr().out == f'{out}: 2 translations, grid.png\n'

  model, out = Negative(trained_model._central_square), tmp_path / 'cropped'
  assert translate_files.translate(
    model, sources, [DOG], out, options=KEEP_SIZE
  )
  result = _read(out / 'a_to_dog.png')
  middle = _smooth(50, 30)[:, 10:40].astype(int)
  assert result.shape == (30, 30, 3)
  assert abs(255 - middle - result).max() < 16
  assert capsys.readouterr().out == (
    '2 of 2 sources were seen in part, their middle, and results show that '
    f'part alone (the first, {tmp_path}/a.png: 30 x 30 of 50 x 30 pixels)\n'
    f'{out}: 2 translations, grid.png\n'
  )


def test_what_lies_around_a_small_picture_is_not_in_its_result():
  clear = np.dstack([_smooth(50, 30), np.arange(30)[:, None].repeat(50, 1)])
  model = Negative(lambda picture: labelled.crop(picture, 40))
  opened = model.open(clear.astype(np.uint8), keep_size=True)
  [[image]] = model.translate([opened.pixels], 'dog')
  assert image.getpixel((8, 0)) == (255, 255, 255)  # of the black above it
  result = np.asarray(opened.finish(image)).astype(int)
  assert result.shape == (30, 40, 4) and opened.whole == (50, 30)
  np.testing.assert_array_equal(result[..., 3], clear[:, 5:45, 3])
  inside = slice(4, -4), slice(4, -4)
  expected = 255 - _smooth(50, 30)[:, 5:45].astype(int)
  assert abs(result[..., :3] - expected)[inside].max() < 16


@pytest.mark.parametrize('kind', ['RGBA', 'LA', 'P', 'webp'])
def test_results_are_see_through_where_sources_are(tmp_path, kind):
  alpha = np.full((30, 50), 255, np.uint8)
  alpha[:, :25] = 0
  image = Image.fromarray(np.dstack([_smooth(50, 30), alpha]))
  path = tmp_path / ('x.webp' if kind == 'webp' else 'x.png')
  if kind == 'P':
    image = image.quantize(32)
  elif kind == 'LA':
    image = image.convert('LA')
  image.save(path, **({'lossless': True} if kind == 'webp' else {}))
  model, sources = Negative(), _sources(path)

  def run(**options):
    out = tmp_path / str(sorted(options))
    options = translate_files.Options(**options)
    assert translate_files.translate(
      model, sources, [DOG], out, options=options
    )
    return _read(out / 'x_to_dog.png'), _read(out / 'grid.png')

  result, grid = run()
  assert result.shape == (16, 16, 4)
  np.testing.assert_array_equal(
    result[..., 3], preprocess.resize(Image.fromarray(alpha), 16)
  )
  # On white in the grid, source and result.
  left = grid[-2 * CELL - 2 :, -CELL - 2 :]
  assert left[[70, 70 + CELL], 20].min() == 255
  assert left[[70, 70 + CELL], 120].max(-1).min() < 255
  result, _ = run(keep_size=True)
  np.testing.assert_array_equal(result[..., 3], alpha)
  result, grid = run(alpha=False)
  assert result.shape == (16, 16, 3)
  assert grid[-CELL + 70, -CELL + 20].max() < 255 or kind in ('P', 'webp')


def test_a_picture_that_hides_nothing_gives_a_plain_one(tmp_path):
  opaque = np.dstack([_smooth(50, 30), np.full((30, 50), 255, np.uint8)])
  opened = Negative().open(opaque)
  assert opened.mask is opened.alpha is None
  image = opened.finish(Image.fromarray(opened.pixels))
  np.testing.assert_array_equal(image, opened.pixels)


def test_networks_see_the_background_of_the_training():
  clear = np.dstack([_smooth(50, 30), np.zeros((30, 50), np.uint8)])
  model = Negative()
  assert model.read(clear).max() < 255
  model._background = 'white'
  assert model.read(clear).min() == 255


def test_subfolders_are_kept(tmp_path, monkeypatch):
  for name in ('a/x.png', 'b/c/x.png', 'top.png'):
    path = tmp_path / 'photos' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_smooth(9, 9)).save(path)
  (tmp_path / 'photos' / 'link').symlink_to(tmp_path / 'photos' / 'b')

  def run(out, *src):
    sources = _sources(*(tmp_path / x for x in src))
    assert translate_files.translate(Negative(), sources, [DOG], tmp_path / out)
    return sorted(
      os.path.relpath(file, tmp_path / out)
      for file in (tmp_path / out).glob('**/*.*')
    )

  assert run('all', 'photos/../photos') == [
    *('a/x_to_dog.png', 'b/c/x_to_dog.png', 'grid.png', 'top_to_dog.png')
  ]
  # Below each folder that is given; a file has no folder.
  assert run('some', 'photos/b', 'photos/a/x.png') == [
    *('c/x_to_dog.png', 'grid.png', 'x_to_dog.png')
  ]
  with pytest.raises(errors.UserError) as raised:
    run('equal', 'photos/a', 'photos/b/c')
  a, b = (tmp_path / f'photos/{x}/x.png' for x in ('a', 'b/c'))
  out = tmp_path / 'equal'
  assert str(raised.value) == (
    f'{out}/x_to_dog.png would be made twice, of {a} with dog and of {b} with '
    'dog: rename one, or take two --out'
  )
  # In another case; over a result; over a folder; as a folder of a result.
  shutil.copytree(tmp_path / 'photos/a', tmp_path / 'photos/A')
  with monkeypatch.context() as patch:
    patch.setattr(files, '_ignores_case', lambda folder: True)
    with pytest.raises(errors.UserError, match='would be made twice'):
      run('equal', 'photos')
  with pytest.raises(errors.UserError, match='a/x_to_dog.png exists: take'):
    run('all', 'photos')
  (tmp_path / 'file').mkdir()
  (tmp_path / 'file/a').touch()
  with pytest.raises(errors.UserError, match='file/a exists: take another'):
    run('file', 'photos')
  shutil.copytree(tmp_path / 'photos/a', tmp_path / 'photos/top_to_dog.png')
  with pytest.raises(errors.UserError, match='top_to_dog.png would be made tw'):
    run('equal', 'photos')
  assert not out.exists()


def test_a_video_is_translated_frame_by_frame(tmp_path, capsys):
  clip = tmp_path / 'clip.mov'
  shown = _encode(
    clip,
    *('-f', 'lavfi', '-i', 'testsrc=s=41x24:r=30000/1001:d=0.7'),
    *('-f', 'lavfi', '-i', 'sine=d=0.7', '-pix_fmt', 'yuv444p', '-crf', '1'),
  )
  (tmp_path / 'cut.mkv').write_bytes(b'')
  _encode(tmp_path / 'whole.mkv', '-i', clip, '-c', 'copy')
  data = (tmp_path / 'whole.mkv').read_bytes()
  (tmp_path / 'cut.mkv').write_bytes(data[: len(data) * 2 // 3])
  (tmp_path / 'no.mp4').write_bytes(b'hello')
  bad = [tmp_path / 'cut.mkv', tmp_path / 'no.mp4']
  out = tmp_path / 'out'
  assert not translate_files.translate(
    Negative(), _sources(clip, *bad), [DOG], out, options=KEEP_SIZE
  )
  said = capsys.readouterr()
  assert said.out == (
    f'{clip}: 21 frames of 41 x 24 pixels, 29.97 a second\n'
    f'{out}/clip_to_dog.mp4: 21 frames\n'
  )
  assert said.err == ''.join(
    f'error: {path}: a damaged video, or one of another kind than its name '
    f'says ({reason}): make it anew\n'
    for path, reason in zip(
      bad, ('File ended prematurely', 'moov atom not found'), strict=True
    )
  )
  assert [path.name for path in out.iterdir()] == ['clip_to_dog.mp4']
  facts, frames = _read_video(out / 'clip_to_dog.mp4')
  assert '29.97 fps' in facts and frames.shape == (21, 24, 42, 3)
  _, source = _read_video(shown)
  for frame, x in zip(frames, source, strict=True):
    square = 255 - preprocess.resize(Image.fromarray(x), 16)
    expected = Image.fromarray(square).resize(
      (41, 24), Image.Resampling.BICUBIC
    )
    difference = frame[:, :41].astype(int) - np.asarray(expected)
    assert abs(difference.mean(-1)).mean() < 6  # of light: colour is halved
  sound = [imageio_ffmpeg.get_ffmpeg_exe(), '-i', str(out / 'clip_to_dog.mp4')]
  assert b'Audio: aac' in subprocess.run(sound, capture_output=True).stderr


def test_a_video_that_ends_early_leaves_nothing(tmp_path):
  clip = _encode(
    tmp_path / 'clip.mp4', '-f', 'lavfi', '-i', 'testsrc=s=32x32:r=9:d=2'
  )

  class Interrupted(Negative):
    def open(self, picture, *, keep_size):
      self.count = getattr(self, 'count', 0) + 1
      if self.count == 10:
        while not list(out.iterdir()):  # until the encoder has begun
          time.sleep(0.01)
        raise KeyboardInterrupt
      return super().open(picture, keep_size=keep_size)

  out = tmp_path / 'out'
  with pytest.raises(KeyboardInterrupt):
    translate_files.translate(Interrupted(), _sources(clip), [DOG], out)
  assert not list(out.iterdir())
  with pytest.raises(errors.UserError, match='all sources are videos: leave'):
    styles = [DOG, DOG._replace(name='other')]
    video = translate_files.Video()
    translate_files.translate(Negative(), _sources(clip), styles, out, video)


def test_a_list_of_videos_is_not_followed(tmp_path):
  clip = _encode(
    tmp_path / 'clip.mp4', '-f', 'lavfi', '-i', 'color=s=16x16:r=9:d=1'
  )
  other = tmp_path / 'list.mkv'
  other.write_text('ffconcat version 1.0\nfile clip.mp4\n')
  with pytest.raises(errors.UserError, match='list.mkv: a damaged video, or'):
    videos.check(epath.Path(other))
  _encode(tmp_path / 'sound.mp4', '-f', 'lavfi', '-i', 'sine=d=1')
  with pytest.raises(errors.UserError, match='mp4: there is no video in it$'):
    videos.check(epath.Path(tmp_path / 'sound.mp4'))
  assert videos.check(epath.Path(clip)) == (16, 16, 9, 9)


def test_a_name_that_is_too_long_is_shortened_before_work(
  model, pictures, tmp_path, capsys, monkeypatch
):
  source = _find(pictures / 'src')[0]
  long = [tmp_path / f'{"é" * 120}{end}.png' for end in 'ab']
  for path in long:
    shutil.copy(source, path)
  (style,) = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  paths = _sources(source, *long)
  out = tmp_path / 'out'
  assert translate_files.translate(model, paths, [style], out)
  sums = [hashlib.sha256(path.stem.encode()).hexdigest() for path in long]
  names = [f'{"é" * 35}~{x[:8]}_to_square_seed0_0.png' for x in sums]
  assert sorted(path.name for path in out.iterdir()) == sorted(
    [*names, 'a_to_square_seed0_0.png', 'grid.png']
  )
  assert capsys.readouterr().out == (
    '2 names would be too long for a file and are shortened, the first to '
    f'{names[0]}\n{out}: 3 translations, grid.png\n'
  )
  # All three parts: the name fits, and each part still begins as it did.
  name = translate_files._target(
    translate_files.Source(epath.Path('s.png'), 's' * 250),
    translate_files.Style('d' * 250, 'r' * 250, None),
  )
  assert len(name) == 246 and re.fullmatch(
    r's{70}~[0-9a-f]{8}_to_d{70}~[0-9a-f]{8}_r{70}~[0-9a-f]{8}\.png', name
  )
  monkeypatch.setattr(files, 'MAX_NAME', 1000)  # more than the disk takes
  for out in (tmp_path / 'new', tmp_path / ('x' * 256)):
    with pytest.raises(errors.UserError, match='is too long a name here'):
      translate_files.translate(model, paths, [style], out)
    assert not (tmp_path / 'new').exists()


def test_names_that_a_file_system_takes_for_one(
  model, pictures, tmp_path, monkeypatch
):
  source = _find(pictures / 'src')[0]
  # The second é is an e and an accent.
  pairs = ('x.png', 'X.png'), ('\u00e9.png', 'e\u0301.png')
  (style,) = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  for i, pair in enumerate(pairs):
    for name in pair:
      shutil.copy(source, tmp_path / name)
    paths = _sources(*(tmp_path / name for name in pair))
    out = tmp_path / str(i)
    with monkeypatch.context() as patch:
      patch.setattr(files, '_ignores_case', lambda folder: True)
      with pytest.raises(errors.UserError, match='would be made twice'):
        translate_files.translate(model, paths, [style], out)
      assert not out.exists()
    assert translate_files.translate(model, paths, [style], out)
    assert len(list(out.iterdir())) == 3
  monkeypatch.setattr(files, '_ignores_case', lambda folder: True)
  (tmp_path / '2').mkdir()
  (tmp_path / '2' / 'GRID.png').touch()
  with pytest.raises(errors.UserError, match='GRID.png exists, which is grid'):
    translate_files.translate(model, _sources(source), [style], tmp_path / '2')


def test_a_video_is_of_one_domain_and_not_too_wide(model, pictures, tmp_path):
  paths, references = _sources(pictures / 'src'), _find(pictures / 'ref')
  styles = translate_files.reference_styles(model, references, None)
  video = translate_files.Video()
  for some in (styles[:1], styles):
    with pytest.raises(errors.UserError, match='two or more styles of one'):
      translate_files.translate(model, paths, some, tmp_path, video)
  with pytest.raises(
    errors.UserError, match='119 sources of 32 pix.* or leave out --video'
  ):
    many = [
      translate_files.Source(epath.Path(f'{i}.png'), str(i)) for i in range(120)
    ]
    translate_files.translate(model, many, styles[:2], tmp_path, video)
  assert not list(tmp_path.iterdir())


def test_frames_are_drawn_when_asked_for(model, pictures):
  drawn = []

  class Counting:
    read, open = staticmethod(model.read), staticmethod(model.open)

    def translate(self, x, domain, styles, source_labels):
      drawn.append(len(x) * len(styles))
      return model.translate(x, domain, styles)

  paths = _sources(pictures / 'src')
  references = _find(pictures / 'ref' / 'square')
  styles = translate_files.reference_styles(model, references, None)
  frames = translate_files._draw_frames(
    Counting(), paths, styles, 1000, translate_files.Options()
  )
  first = next(frames)
  assert drawn == [63]
  # The bottom row: the reference, and the sources in its style.
  sources = [model.read(source.path) for source in paths]
  (row,) = model.translate(sources, 'square', styles[0].code[None])
  row = [model.read(references[0]), *map(np.asarray, row)]
  expected = images.grid([row])[2:34].astype(int)
  assert abs(first[36:68] - expected).max() <= 1


def test_a_video_takes_no_memory_for_its_length(tmp_path):
  path = epath.Path(tmp_path / 'x.mp4')
  rng = np.random.default_rng(0)
  picture = (
    rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
  )
  shape = (127, 125, 3)
  tracemalloc.start()
  images.write_video(path, (picture[:127, :125] + 0 for _ in range(300)), 25)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 20 * np.prod(shape)
  facts, frames = _read_video(path)
  assert 'yuv420p' in facts and '25 fps' in facts
  assert frames.shape == (300, 128, 126, 3)
  # Chroma is halved, and the encoder loses a little: the middle of a square.
  assert abs(frames[299, 8, 8].astype(int) - picture[8, 8]).max() < 16


def test_a_broken_video_leaves_nothing(tmp_path):
  frame = np.zeros((16, 16, 3), np.uint8)

  def breaking():
    yield frame
    raise errors.UserError('x.png: truncated')

  path = epath.Path(tmp_path / 'x.mp4')
  with pytest.raises(errors.UserError, match='x.png'):
    images.write_video(path, breaking(), 30)
  assert not list(tmp_path.iterdir())
  path = epath.Path(tmp_path / 'nowhere' / 'x.mp4')
  with pytest.raises(OSError, match='encoder failed: .*No such file'):
    images.write_video(path, [frame] * 9, 30)


def test_the_program_writes_what_it_says(workdir, pictures, tmp_path):
  result = _run(
    f'--workdir={workdir}',
    f'--src={pictures / "src"},{pictures / "ref" / "circle"}',
    f'--ref={pictures / "ref" / "circle"}',
    '--domain=triangle',
    f'--out={tmp_path / "out"}',
    '--video',
    '--frames=3',
    '--fps=7',
  )
  assert (result.returncode, result.stderr) == (0, '')
  devices, count, written = result.stdout.splitlines()
  assert count == '10 translations: each of 5 sources in each of 2 styles'
  assert re.fullmatch(r'\d x cpu, 1 process, float32', devices)
  assert written == (
    f'{tmp_path / "out"}: 10 translations, grid.png, video.mp4'
  )
  assert (tmp_path / 'out' / 'a_to_triangle_r.png').exists()
  facts, frames = _read_video(tmp_path / 'out' / 'video.mp4')
  assert '7 fps' in facts
  assert frames.shape == (2 * 3, 2 * 34 + 2, 6 * 34 + 2, 3)
  assert len(list((tmp_path / 'out').iterdir())) == 10 + 2


@pytest.mark.parametrize(
  'args, status, message',
  [
    (['--workdir=x', '--src=x'], 2, '--out is missing'),
    (['--ref=x', '--num_latents=2'], 2, 'either --ref or --num_latents'),
    (['--num_latents=2'], 2, '--num_latents needs --domain'),
    (['--ref=x', '--psi=0.5'], 2, '--psi is of --num_latents'),
    (
      ['--num_latents=1', '--domain=circle', '--src_label='],
      1,
      'in this run nothing depends on it',
    ),
    (['--ref=nowhere'], 1, 'there is no file or folder nowhere'),
    (['--ref={}/src/a.png'], 1, '(--domain)'),
  ],
)
def test_bad_input_is_one_line(
  workdir, pictures, tmp_path, args, status, message
):
  if '--workdir=x' not in args:
    args = [arg.format(pictures) for arg in args]
    args += [f'--workdir={workdir}', f'--src={pictures / "src"}']
    args += [f'--out={tmp_path / "out"}']
  result = _run(*args)
  assert result.returncode == status
  assert result.stderr.startswith('error: ') and message in result.stderr
  assert result.stderr.count('\n') == 1 and not (tmp_path / 'out').exists()
