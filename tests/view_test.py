"""A picture is viewed once, as training views it, on every road to a network.

The runs are of systems that take a part of a picture: StarGAN the middle of
`crop_size` pixels, two-domain systems the middle of what `load_size` makes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax import export
from PIL import Image

from jaxgan.apps import trained_model, translate_files
from jaxgan.data import preprocess
from jaxgan.runs import workdir
from jaxgan.runtime import images
from jaxgan.systems import contract, munit
from jaxgan.systems.stargan import step as stargan_step
from jaxgan.training.state import State
from tests import tiny_munit, tiny_stargan

SIZE, TARGET = 16, 'triangle'
TINY = {'stargan': tiny_stargan, 'munit': tiny_munit}
VIEWS = {'stargan': {'data__crop_size': 24}, 'munit': {'data__load_size': 24}}
WIDTH, HEIGHT = 36, 44  # of a source; larger than any view


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """<split>/<domain>/<split>.png: noise, so that every crop is another."""
  root = tmp_path_factory.mktemp('data')
  rng = np.random.default_rng(0)
  for split in ('train', 'val'):
    for domain in ('circle', 'square', TARGET):
      path = root / split / domain / f'{split}.png'
      path.parent.mkdir(parents=True)
      pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
      Image.fromarray(pixels).save(path)
  return root


def write_run(directory, name, folder):
  """The run of a system on that folder."""
  data = {'data__name': 'folder', 'data__root': str(folder)}
  TINY[name].write_run(directory, **data, **VIEWS[name])
  return directory


@pytest.fixture(scope='module')
def written(tmp_path_factory, folder):
  """(work directory, model) of a system."""

  @functools.cache
  def write(name):
    path = tmp_path_factory.mktemp('runs') / name
    return path, trained_model.load(write_run(path, name, folder))

  return write


def seen_in_training(directory, domain):
  """The validation image of a domain as the run's data give it, uint8."""
  config = workdir.require_config(epath.Path(directory))
  _, val = contract.get_system(config).create_data(config).evaluation()
  ((_, pixels),) = val.images(val.domains.index(domain), [0])
  return pixels


def expected_view(name, path):
  """The same by Pillow alone."""
  sides = {'stargan': 24, 'munit': round(WIDTH * SIZE / 24)}
  side = sides[name]
  left, top = (WIDTH - side) // 2, (HEIGHT - side) // 2
  with Image.open(path) as picture:
    square = picture.crop((left, top, left + side, top + side))
  return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def by_networks(name, pixels, style):
  """Translations uint8 of viewed pixels [N, S, S, 3] to TARGET."""
  x = preprocess.to_float(pixels)
  if name == 'stargan':
    state, model = tiny_stargan.create()
    c = jnp.eye(3)[jnp.full(len(x), 2)]
    fake = stargan_step.generate(model, state.params, {}, None, x, c)
    return images.to_uint8(fake)
  model, state = tiny_munit.create()
  s = jnp.tile(style[None], (len(x), 1))
  fake = munit.translate(model, state.params, {}, x, 1, s, None)
  return images.to_uint8(fake)


def styles_of(model):
  """Two styles of TARGET, or the one there is."""
  if 'label' in model.kinds:
    return translate_files.label_styles(model, [TARGET])
  return translate_files.latent_styles(model, TARGET, 2, seed=3, psi=1.0)


def assert_close(a, b):
  """As pictures: the same but for rounding."""
  np.testing.assert_allclose(np.int32(a), np.int32(b), atol=1)


def _read_png(path):
  with Image.open(path) as image:
    return np.asarray(image)


@pytest.mark.parametrize('name', TINY)
def test_reading_gives_what_training_sees(written, folder, name):
  directory, model = written(name)
  path = folder / 'val/circle/val.png'
  pixels = model.read(path)
  np.testing.assert_array_equal(pixels, seen_in_training(directory, 'circle'))
  np.testing.assert_array_equal(pixels, expected_view(name, path))


@pytest.mark.parametrize('name', TINY)
def test_python_and_the_exported_program_view_once(written, folder, name):
  directory, model = written(name)
  pixels = seen_in_training(directory, 'circle')
  style = styles_of(model)[0].code
  expected = by_networks(name, pixels[None], style)[0]
  source = model.read(folder / 'val/circle/val.png')
  codes = None if style is None else style[None]
  [[image]] = model.translate([source], TARGET, codes)
  assert_close(image, expected)

  programs = model.export()
  x, y = preprocess.to_float(source)[None], np.array([2], np.int32)
  if name == 'stargan':
    inputs, program = (x, y), programs['label']
  else:
    inputs, program = (x, style[None], y - 1), programs['latent']
  (got,) = export.deserialize(bytearray(program)).call(*inputs)
  assert_close(images.to_uint8(got), expected)


def test_a_reference_is_viewed_once(written, folder):
  directory, model = written('munit')
  (style,) = translate_files.reference_styles(
    model, translate_files.find([str(folder / 'val' / TARGET)]), None
  )
  x = preprocess.to_float(seen_in_training(directory, TARGET))[None]
  model, state = tiny_munit.create()
  expected = munit.style(model, state.params, 1, x_ref=x)
  np.testing.assert_allclose(style.code[None], expected, atol=1e-5)


@pytest.mark.parametrize('name', TINY)
def test_files_grid_and_video_view_once(written, folder, tmp_path, name):
  directory, model = written(name)
  paths = translate_files.find_sources([str(folder / 'val/circle')])
  styles = styles_of(model)
  assert translate_files.translate(model, paths, styles, tmp_path)
  pixels = seen_in_training(directory, 'circle')
  expected = [by_networks(name, pixels[None], s.code)[0] for s in styles]
  for style, image in zip(styles, expected, strict=True):
    got = _read_png(tmp_path / translate_files._target(paths[0], style))
    assert_close(got, image)

  # Cells of the grid are 128 pixels wide, 2 apart, below and beside labels.
  grid = _read_png(tmp_path / 'grid.png')
  for i, image in enumerate([pixels, *expected]):
    bottom = grid.shape[0] - 2 - 130 * (len(expected) - i)
    cell = grid[bottom - 128 : bottom, -130:-2]
    assert_close(cell[4::8, 4::8], image)

  if len(styles) > 1:
    frame = next(
      translate_files._draw_frames(
        model, paths, styles, 4, translate_files.Options()
      )
    )
    assert_close(frame[2 : 2 + SIZE, 2:-2], pixels)
    assert_close(frame[4 + SIZE : 4 + 2 * SIZE, 2:-2], expected[0])


def test_the_view_is_not_the_whole_picture(written, folder):
  # The tests above would pass where a view is never taken.
  path = folder / 'val/circle/val.png'
  for name in TINY:
    with Image.open(path) as picture:
      whole = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.abs(np.int32(whole) - written(name)[1].read(path)).mean() > 10
    again = written(name)[1].read(written(name)[1].read(path))
    assert np.abs(np.int32(again) - written(name)[1].read(path)).mean() > 10


def test_the_networks_are_those_of_the_run(written):
  # `by_networks` has weights of its own: `create` and `write_run` agree.
  for name in TINY:
    directory, _ = written(name)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    run = contract.open_run(directory, device)
    (expected,) = (x for x in TINY[name].create() if isinstance(x, State))
    jax.tree.map(
      np.testing.assert_array_equal, run.state.params, expected.params
    )
