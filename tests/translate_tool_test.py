import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tracemalloc

import imageio_ffmpeg
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model, translate_files
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


def _read(path):
  with Image.open(path) as image:
    return np.asarray(image)


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
  paths, references = _find(pictures / 'src'), _find(pictures / 'ref')
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
  [[expected]] = model.translate([model.read(paths[1])], 'square', code)
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
    f'{tmp_path / "out"}: 12 translations, grid.png\n'
  )


def test_a_long_list_is_cut_in_the_grid_alone(
  model, pictures, tmp_path, capsys
):
  styles = translate_files.latent_styles(model, 'square', 18, seed=0, psi=1.0)
  assert translate_files.translate(
    model, _find(pictures / 'src'), styles, tmp_path
  )
  assert len(list(tmp_path.glob('?_to_square_seed0_*.png'))) == 3 * 18
  cells.read(_read(tmp_path / 'grid.png'), 128, rows=17, columns=3)
  assert 'first 3 of 3 sources and 16 of 18 styles' in capsys.readouterr().out


def test_an_unreadable_source_is_named_and_left_out(
  model, pictures, tmp_path, capsys
):
  bad = epath.Path(tmp_path / 'bad.png')
  bad.write_bytes(b'')
  paths = [bad, *_find(pictures / 'src')]
  styles = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  assert not translate_files.translate(model, paths, styles, tmp_path / 'out')
  assert capsys.readouterr().err == f'error: {bad}: empty file\n'
  assert len(list((tmp_path / 'out').iterdir())) == 3 + 1
  assert not translate_files.translate(model, [bad], styles, tmp_path / 'none')
  assert not list((tmp_path / 'none').iterdir())


def test_nothing_is_overwritten(model, pictures, tmp_path):
  paths = _find(pictures / 'src')
  styles = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  twice = _find(pictures / 'src', pictures / 'src' / 'b.png')
  with pytest.raises(errors.UserError, match='b_to_.* would be made twice'):
    translate_files.translate(model, twice, styles, tmp_path)
  (tmp_path / 'c_to_square_seed0_0.png').touch()
  with pytest.raises(errors.UserError, match='c_to_square.* exists'):
    translate_files.translate(model, paths, styles, tmp_path)
  assert len(list(tmp_path.iterdir())) == 1
  with pytest.raises(errors.UserError, match='^cannot write to /dev/null/x'):
    translate_files.translate(model, paths, styles, '/dev/null/x')


def test_a_name_that_is_too_long_is_shortened_before_work(
  model, pictures, tmp_path, capsys, monkeypatch
):
  source = _find(pictures / 'src')[0]
  long = [tmp_path / f'{"é" * 120}{end}.png' for end in 'ab']
  for path in long:
    shutil.copy(source, path)
  (style,) = translate_files.latent_styles(model, 'square', 1, seed=0, psi=1.0)
  paths = [source, *map(epath.Path, long)]
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
    epath.Path('s' * 250), translate_files.Style('d' * 250, 'r' * 250, None)
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
    paths = [epath.Path(tmp_path / name) for name in pair]
    for path in paths:
      shutil.copy(source, path)
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
    translate_files.translate(model, [source], [style], tmp_path / '2')


def test_a_video_is_of_one_domain_and_not_too_wide(model, pictures, tmp_path):
  paths, references = _find(pictures / 'src'), _find(pictures / 'ref')
  styles = translate_files.reference_styles(model, references, None)
  video = translate_files.Video()
  for some in (styles[:1], styles):
    with pytest.raises(errors.UserError, match='two or more styles of one'):
      translate_files.translate(model, paths, some, tmp_path, video)
  with pytest.raises(errors.UserError, match='room for 119 sources of 32 pix'):
    many = [epath.Path(f'{i}.png') for i in range(120)]
    translate_files.translate(model, many, styles[:2], tmp_path, video)
  assert not list(tmp_path.iterdir())


def test_frames_are_drawn_when_asked_for(model, pictures):
  drawn = []

  class Counting:
    read = staticmethod(model.read)

    def translate(self, x, domain, styles):
      drawn.append(len(x) * len(styles))
      return model.translate(x, domain, styles)

  paths = _find(pictures / 'src')
  references = _find(pictures / 'ref' / 'square')
  styles = translate_files.reference_styles(model, references, None)
  frames = translate_files._draw_frames(Counting(), paths, styles, 1000)
  first = next(frames)
  assert drawn == [63]
  # The bottom row: the reference, and the sources in its style.
  sources = list(map(model.read, paths))
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
  assert result.stdout == (
    f'{tmp_path / "out"}: 10 translations, grid.png, video.mp4\n'
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
