import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from jaxgan.runtime import errors
from jaxgan.systems.stargan_v2 import align
from jaxgan.tools import align_faces
from tests import parity, pytorch_files

ROOT = pathlib.Path(__file__).parent.parent


def _landmarks():
  """A face that looks straight out of a picture of 256 px."""
  rng = np.random.default_rng(0)
  landmarks = rng.uniform(60, 200, (98, 2))
  turn = np.arange(8) * np.pi / 4
  ring = 15 * np.stack([np.cos(turn), np.sin(turn)], -1)
  landmarks[60:68], landmarks[96] = (90, 120) + ring, (90, 120)
  landmarks[68:76], landmarks[97] = (160, 120) + ring, (160, 120)
  landmarks[76], landmarks[82] = (100, 190), (150, 190)
  return landmarks


def _turn(landmarks, degrees, scale, shift):
  turn = np.deg2rad(degrees)
  matrix = np.array(
    [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
  )
  return scale * landmarks @ matrix.T + shift


def _picture(size=64):
  pixels = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
  image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(image)


@pytest.mark.parametrize('degrees', [-170, -30, 0, 45, 100])
def test_matrix_undoes_a_similarity(degrees):
  reference = _landmarks()
  face = _turn(reference, degrees, 0.4, (70, -20))
  matrix = align.align_matrix(face, reference)
  np.testing.assert_array_equal(matrix[2], [0, 0, 1])
  back = face @ matrix[:2, :2].T + matrix[:2, 2]
  np.testing.assert_allclose(back, reference, atol=1e-9)


def test_scale_is_of_pupils_and_mouth_ends_alone():
  reference = _landmarks()
  face = reference.copy()
  face[88:96] = reference[88:96].mean(0)  # their mean stays
  np.testing.assert_allclose(
    align.align_matrix(face, reference), np.eye(3), atol=1e-9
  )


def test_axis_leans_on_eyes_and_mouth():
  face = np.zeros((98, 2))
  face[[*range(68, 76), 97]] = (10, 0)  # right eye; the left is at (0, 0)
  face[[76, 82]] = (5, 20)
  np.testing.assert_allclose(align._face_axis(face), [1, 0])
  face[[76, 82]] = (-5, 0)  # the mouth to the left: the face lies on its side
  # (10, 0) - rot90((10, 0)) = (10, 10)
  np.testing.assert_allclose(align._face_axis(face), [0.5**0.5] * 2)


def test_padding_mirrors_and_blurs_towards_the_border():
  pytest.importorskip('cv2')
  image = np.zeros((64, 64, 3), np.uint8)
  image[:, :, 0] = np.arange(64) * 4  # red grows to the right
  image[:, ::2, 1] = 200  # green stripes of a pixel, 100 where blurred
  padded = align.mirror_pad(image)
  assert padded.shape == (128, 128, 3)
  np.testing.assert_array_equal(padded[32:96, 32:96], image)
  # The pixel of the edge is not repeated.
  assert abs(padded[64, 31, 0] - 4) < 0.5 and abs(padded[64, 96, 0] - 248) < 0.5
  column = np.arange(128)
  weight = np.clip(np.minimum(column, 127 - column) / 32, 0, 1) ** 4
  stripes = 100 + 100 * weight * (-1.0) ** column
  np.testing.assert_allclose(padded[64, :, 1], stripes, atol=1e-3)

  image = np.zeros((200, 200, 3), np.uint8)
  image[np.arange(200) % 8 < 4] = 200
  padded = align.mirror_pad(image)  # sigma 2 at half the size, 4 at the whole
  assert np.ptp(padded[100:300, 200]) == 200
  assert np.ptp(padded[120:280, 0]) < 5


def test_warp_brings_the_face_upright_to_its_place():
  pytest.importorskip('cv2')
  image, landmarks = _picture(256), _landmarks()
  np.testing.assert_array_equal(
    align.warp_face(image, landmarks, landmarks), image
  )
  # Quarter turns and shifts move pixels onto pixels.
  turned = np.rot90(image)  # counterclockwise
  face = np.stack([landmarks[:, 1], 255 - landmarks[:, 0]], -1)
  np.testing.assert_allclose(
    align.warp_face(turned, face, landmarks).astype(int), image, atol=1
  )
  shifted = align.warp_face(image, landmarks, landmarks + (10, 20))
  np.testing.assert_array_equal(shifted[20:, 10:], image[:-20, :-10])
  # What comes in from outside mirrors the picture, blurred a little.
  assert np.abs(shifted[18, 10:].astype(int) - image[2, :-10]).mean() < 10


def _fake_heatmaps(peaks, points):
  heat = np.zeros((1, 64, 64, 98), np.float32)
  for channel, (x, y) in enumerate(points):
    heat[0, int(y), int(x), channel] = peaks[channel]
  return lambda params, x: heat


def test_low_peak_is_no_face(monkeypatch):
  pytest.importorskip('cv2')
  points = _landmarks() / 4
  peaks = np.ones(98)
  monkeypatch.setattr(align, '_heatmaps', _fake_heatmaps(peaks, points))
  reference = 4 * (np.floor(points) + 0.5)
  picture = _picture(128)
  np.testing.assert_array_equal(
    align.align_face({}, picture, reference), picture
  )
  for low in (np.nan, 0.05):
    peaks[33] = low
    monkeypatch.setattr(align, '_heatmaps', _fake_heatmaps(peaks, points))
    with pytest.raises(align.NoFaceError, match=f'peak is {low:.3f}, .* 0.1'):
      align.align_face({}, picture, reference)
  align.align_face({}, picture, reference, min_peak=0.05)


@pytest.fixture
def run(tmp_path):
  """Runs the program on IN and OUT with flags; returns its exit status."""
  np.savez(tmp_path / 'mean.npz', mean=_landmarks())
  defaults = {
    'wing': str(tmp_path / 'wing.ckpt'),
    'landmarks': str(tmp_path / 'mean.npz'),
  }
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()

  def run(in_, out, **settings):
    with flagsaver.flagsaver(**(defaults | settings)):
      return align_faces.main(str(in_), str(out))

  return run


@pytest.fixture
def any_face(monkeypatch):
  """A face network for which every picture is a face in its place."""
  pytest.importorskip('cv2')
  monkeypatch.setattr(align_faces, '_load_wing', lambda path: {})
  monkeypatch.setattr(
    align, '_heatmaps', _fake_heatmaps(np.ones(98), _landmarks() / 4)
  )


def _save(path, size=64):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(_picture(size)).save(path)
  return path


def test_nested_folder_becomes_pngs_of_the_same_names(run, any_face, tmp_path):
  _save(tmp_path / 'in' / 'a.jpg')
  _save(tmp_path / 'in' / 'x' / 'y' / 'b.PNG', 300)
  _save(tmp_path / 'in' / '.ipynb_checkpoints' / 'a-copy.jpg')
  (tmp_path / 'in' / 'notes.txt').write_text('no picture')
  out = tmp_path / 'new' / 'out'
  assert run(tmp_path / 'in', out, img_size=128) == 0
  written = [p for p in out.rglob('*') if p.is_file()]
  assert sorted(written) == [out / 'a.png', out / 'x' / 'y' / 'b.png']
  for path in written:
    with Image.open(path) as image:
      assert image.format == 'PNG' and image.size == (128, 128)
  assert run(tmp_path / 'in' / 'a.jpg', tmp_path / 'one') == 0
  assert [p.name for p in (tmp_path / 'one').iterdir()] == ['a.png']


def test_bad_pictures_are_named_and_the_others_done(
  run, any_face, tmp_path, monkeypatch, capsys
):
  good = _save(tmp_path / 'in' / 'good.png')
  (tmp_path / 'in' / 'empty.jpg').write_bytes(b'')
  (tmp_path / 'in' / 'half.png').write_bytes(good.read_bytes()[:500])
  _save(tmp_path / 'in' / 'wall.png', 32)
  real = align.align_face

  def fail_on_small(params, image, *args):
    if image.std() < 1:
      raise align.NoFaceError('no face found')
    return real(params, image, *args)

  Image.new('RGB', (9, 9)).save(tmp_path / 'in' / 'wall.png')
  monkeypatch.setattr(align, 'align_face', fail_on_small)
  assert run(tmp_path / 'in', tmp_path / 'out') == 1
  assert [p.name for p in (tmp_path / 'out').iterdir()] == ['good.png']
  captured = capsys.readouterr()
  lines = captured.err.splitlines()
  assert [line.partition('/in/')[2].partition(':')[0] for line in lines] == [
    'empty.jpg',
    'half.png',
    'wall.png',
  ]
  assert all(line.startswith('error: ') for line in lines)
  assert captured.out.startswith('1 of 4 pictures aligned')


def test_nothing_is_overwritten_by_mistake(run, any_face, tmp_path):
  in_ = tmp_path / 'in'
  with pytest.raises(errors.UserError, match='no file or folder'):
    run(in_, tmp_path / 'out')
  in_.mkdir()
  with pytest.raises(errors.UserError, match='in holds no images'):
    run(in_, tmp_path / 'out')
  picture = _save(in_ / 'a.png')
  before = picture.read_bytes()
  for out in (in_, in_ / 'out', tmp_path / 'out' / '..' / 'in'):
    with pytest.raises(errors.UserError, match='must lie outside'):
      run(in_, out)
  with pytest.raises(errors.UserError, match='exists: take another OUT'):
    run(picture, in_)
  _save(in_ / 'a.jpg')
  with pytest.raises(
    errors.UserError, match='a.png would be made twice, of .*a.jpg'
  ):
    run(in_, tmp_path / 'out')
  assert picture.read_bytes() == before and not (tmp_path / 'out').exists()
  (tmp_path / 'file').write_text('')
  with pytest.raises(errors.UserError, match='cannot write'):
    run(picture, tmp_path / 'file')


def test_a_long_name_is_shortened(run, any_face, tmp_path, capsys):
  _save(tmp_path / 'in' / f'{"x" * 251}.png')
  assert run(tmp_path / 'in', tmp_path / 'out') == 0
  (path,) = (tmp_path / 'out').iterdir()
  assert path.name == f'{"x" * 234}~{_sum_of("x" * 251)}.png'
  assert capsys.readouterr().out.startswith(
    '1 names would be too long for a file and are shortened, the first to '
    f'{path.name}\n'
  )


def _sum_of(text):
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def _write_foreign_npz(path):
  np.savez(path, other=np.ones(3))


def _write_wrong_shape(path):
  np.savez(path, mean=np.ones((68, 2)))


def _write_truncated(path):
  np.savez(path, mean=_landmarks())
  path.write_bytes(path.read_bytes()[:700])


def _write_single_array(path):
  with path.open('wb') as f:
    np.save(f, _landmarks())


@pytest.mark.parametrize(
  'write, message',
  [
    (lambda path: None, 'No such file'),
    (lambda path: path.write_bytes(b''), 'no whole .npz'),
    (lambda path: path.write_bytes(b'<html>'), 'no whole .npz .* a web page'),
    (_write_truncated, 'no whole .npz'),
    (_write_single_array, 'no whole .npz'),
    (_write_foreign_npz, 'array `mean`'),
    (_write_wrong_shape, r'float64 \(68, 2\), not \(98, 2\)'),
  ],
)
def test_bad_landmarks_are_named(run, any_face, tmp_path, write, message):
  path = tmp_path / 'x.npz'
  write(path)
  picture = _save(tmp_path / 'a.png')
  with pytest.raises(errors.UserError, match=f'^--landmarks={path}.*{message}'):
    run(picture, tmp_path / 'out', landmarks=str(path))
  assert not (tmp_path / 'out').exists()


def test_bad_wing_is_named(run, tmp_path):
  pytest.importorskip('cv2')
  path, picture = tmp_path / 'wing.ckpt', _save(tmp_path / 'a.png')

  def check(message):
    with pytest.raises(errors.UserError, match=f'^--wing={path}: .*{message}'):
      run(picture, tmp_path / 'out')

  check('there is no file')
  path.write_bytes(b'')
  check('no whole file')
  pytorch_files.write(path, {'state_dict': {'x': np.ones(2)}})
  check('no tensor')
  path.write_bytes(path.read_bytes()[:300])
  check('no whole file')


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'wing': None}, '--wing is missing'),
    ({'landmarks': ''}, '--landmarks is missing'),
    ({'img_size': 100}, '--img_size must be a power of two'),
    ({'img_size': 0}, '--img_size must be a power of two'),
  ],
)
def test_misuse_is_status_2(run, tmp_path, settings, message):
  with pytest.raises(errors.UsageError, match=message) as e:
    run(tmp_path, tmp_path / 'out', **settings)
  assert e.value.exit_status == 2


def test_missing_opencv_is_named(run, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'cv2', None)
  with pytest.raises(errors.UserError, match='pip install opencv-python'):
    run(tmp_path, tmp_path / 'out')


def _program(*args):
  result = subprocess.run(
    [sys.executable, '-m', 'jaxgan.tools.align_faces', *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  return result.returncode, result.stderr


def test_missing_argument_is_one_line():
  assert _program('x.png') == (2, 'error: OUT is missing: see --help\n')


@pytest.mark.slow
def test_program_end_to_end(tmp_path):
  pytest.importorskip('cv2')
  state_dict = parity.rule_made_face_network()
  pytorch_files.write(tmp_path / 'nets.ckpt', {'fan': state_dict})
  np.savez(tmp_path / 'mean.npz', mean=_landmarks())
  assert _program(
    _save(tmp_path / 'a.png'),
    tmp_path / 'out',
    f'--wing={tmp_path / "nets.ckpt"}',
    f'--landmarks={tmp_path / "mean.npz"}',
    '--min_peak=-1000',  # with weights made by a rule peaks are anything
  ) == (0, '')
  with Image.open(tmp_path / 'out' / 'a.png') as image:
    assert image.size == (256, 256)
