import numpy as np
import pytest
from PIL import Image

from jaxgan.apps import trained_model
from jaxgan.data import preprocess, shapes
from jaxgan.runtime import errors, images
from jaxgan.systems import stargan_v2
from tests import tiny


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'tiny'
  tiny.write_run(directory, steps=(2, 4))
  return directory


@pytest.fixture(scope='module')
def model(workdir):
  return trained_model.load(workdir)


def _pictures(count, size=tiny.SIZE):
  rng = np.random.default_rng(0)
  return list(rng.integers(0, 256, (count, size, size, 3), np.uint8))


def _networks():
  network, state = tiny.create()
  return network, state.ema_params


def test_load_takes_the_step_asked_for(workdir, model):
  assert (model.step, trained_model.load(workdir, 2).step) == (4, 2)
  assert model.domains == shapes.DOMAINS and model.img_size == tiny.SIZE


def test_results_are_those_of_the_networks(model):
  network, params = _networks()
  x_src, x_ref = _pictures(5)[:3], _pictures(5)[3:]
  styles = model.reference_styles(x_ref, 'square')
  rows = model.translate(x_src, 'square', styles)
  assert [len(row) for row in rows] == [3, 3]
  x, x_ref = (preprocess.to_float(np.stack(p)) for p in (x_src, x_ref))
  s = stargan_v2.style(network, params, np.array([1, 1]), x_ref=x_ref)
  y = np.full(3, 1)
  for row, code in zip(rows, s, strict=True):
    code = code[None].repeat(3, 0)
    fake = stargan_v2.translate(network, params, {}, x, y, code, None)
    # Rounding to 8 bits may fall to either side.
    difference = images.to_uint8(fake) - np.stack(row).astype(int)
    assert abs(difference).max() <= 1 and (difference == 0).mean() > 0.99


@pytest.mark.parametrize('psi', [float('nan'), float('inf'), -0.1])
def test_a_psi_that_is_none_is_refused(model, psi):
  with pytest.raises(errors.UserError, match=f'^psi must be 0 or more: {psi}$'):
    model.latent_styles('triangle', 1, psi=psi)


def test_psi_goes_from_the_mean_to_the_style(model):
  network, params = _networks()
  z = trained_model._draw_latents(7, 3, model.latent_dim)
  s = stargan_v2.style(network, params, np.full(3, 2), z=z)
  mean, half, full = (
    model.latent_styles('triangle', 3, seed=7, psi=psi) for psi in (0, 0.5, 1)
  )
  np.testing.assert_allclose(full, s, atol=1e-6)
  np.testing.assert_allclose(mean, mean[:1].repeat(3, 0))
  np.testing.assert_allclose(half, (mean + full) / 2, atol=1e-6)
  many = model.latent_styles('triangle', 2000, seed=1, psi=1.0)
  np.testing.assert_allclose(mean[0], many.mean(0), atol=0.15 * many.std())


def test_a_latent_is_the_same_however_many_are_drawn(model):
  few, many = (model.latent_styles('circle', n, seed=3) for n in (2, 20))
  np.testing.assert_allclose(few, many[:2], atol=1e-6)
  assert np.ptp(many, axis=0).min() > 1e-3
  other = model.latent_styles('circle', 2, seed=4)
  assert abs(few - other).max() > 1e-3


def test_a_picture_is_squeezed_or_cropped(workdir, model):
  stripes = np.zeros((20, 60, 3), np.uint8)
  for i in range(3):
    stripes[:, 20 * i : 20 * (i + 1), i] = 255  # red, green, blue
  squeezed = model.read(stripes)
  cropped = trained_model.load(workdir, crop=True).read(stripes)
  assert squeezed.shape == cropped.shape == (tiny.SIZE, tiny.SIZE, 3)
  np.testing.assert_array_equal(squeezed[16, [2, 16, 29]], 255 * np.eye(3))
  assert (cropped == [0, 255, 0]).all()


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'I;16', 'P', 'CMYK'])
def test_any_kind_of_picture_is_read_alike_from_a_file(model, tmp_path, mode):
  grey = np.arange(0, 256, 4, np.uint8)[None].repeat(64, 0)
  image = Image.fromarray(grey)
  if mode == 'I;16':
    image = Image.fromarray(grey.astype(np.uint16) * 257)
  elif mode == 'P':
    image = image.quantize(64)
  elif mode != 'L':
    image = image.convert('RGB').convert(mode)
  path = tmp_path / ('x.jpg' if mode == 'CMYK' else 'x.png')
  image.save(path)
  expected = model.read(grey).astype(int)
  for picture in (image, path, str(path)):
    assert abs(model.read(picture) - expected).max() <= 4


def test_interpolation_eases_from_one_style_up_to_the_next():
  a, b = np.zeros(2, np.float32), np.array([1, -2], np.float32)
  alpha = [0, 5 / 32, 0.5, 27 / 32]
  np.testing.assert_allclose(
    trained_model.interpolate(a, b, 4), np.outer(alpha, b), atol=1e-7
  )


def test_domain_is_that_of_the_folder(model, tmp_path):
  assert model.domain_of(tmp_path / 'square' / 'x.png') == 'square'
  with pytest.raises(errors.UserError, match='x.png lies in no folder of a'):
    model.domain_of(tmp_path / 'x.png')
  with pytest.raises(errors.UserError, match="no domain 'dog', but: circle"):
    model.latent_styles('dog', 1)
  with pytest.raises(errors.UserError, match="no domain 'dog', but: circle"):
    model.reference_styles(_pictures(1), 'dog')
  with pytest.raises(errors.UserError, match="no domain 'dog', but: circle"):
    model.translate(_pictures(1), 'dog', model.latent_styles('circle', 1))


@pytest.mark.parametrize(
  'content, message',
  [
    (None, 'No such file'),
    (b'', 'empty file'),
    (b'hello', 'not a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC picture'),
    ('truncated', 'truncated'),
  ],
)
def test_a_bad_picture_is_named(model, tmp_path, content, message):
  path = tmp_path / 'x.png'
  if content == 'truncated':
    Image.fromarray(_pictures(1)[0]).save(path)
    content = path.read_bytes()[:500]
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(errors.UserError, match=f'^{path}: .*{message}'):
    model.read(path)


@pytest.mark.parametrize(
  'source',
  ['circle.png', np.zeros((40, 32, 3), np.uint8), np.zeros((32, 32, 3))],
)
def test_networks_take_pixels_alone(model, source):
  styles = model.latent_styles('square', 1)
  message = r'is no uint8 array \[32, 32, 3\]: give the pixels that the model'
  with pytest.raises(errors.UserError, match=message):
    model.translate([source], 'square', styles)
  with pytest.raises(errors.UserError, match=message):
    model.reference_styles([source], 'square')


def test_no_run_is_one_line(tmp_path):
  with pytest.raises(errors.UserError, match='is not the work directory'):
    trained_model.load(tmp_path)
