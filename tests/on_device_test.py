import functools
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import loop
from jaxgan.data import crops, on_device, preprocess, streams
from jaxgan.data.contracts import domains_ref
from jaxgan.data.streams import Stream
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError
from jaxgan.systems import contract, stargan_v2
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
COUNTS = (5, 3, 1)
STARTS = (0, 5, 8)
SIDE = 8


def part(augment=True):
  """What a slot takes, of images that lie on the devices already."""
  crop = crops.ResizedCrop() if augment else crops.Whole()
  return domains_ref.Picks(None, crop, Stream.BATCH, domains_ref.KEYS, 5)


class Draw(NamedTuple):
  rows: np.ndarray  # of x_src, x_ref, x_ref2
  words: np.ndarray
  y_src: np.ndarray
  y_ref: np.ndarray


@functools.cache
def draws(seed=3, step=7, slots=6000):
  """The draws of many slots: each array with a leading axis [slots]."""
  starts, counts = jnp.array(STARTS), jnp.array(COUNTS)

  def draw(slot):
    words = streams.device_words(
      seed, Stream.BATCH, step, slot, part().words_per_slot
    )
    domains, numbers = part().pick(words[:5], counts)
    return Draw(starts[domains] + numbers, words, domains[0], domains[1])

  return jax.device_get(jax.jit(jax.vmap(draw))(jnp.arange(slots)))


def test_host_and_devices_pick_alike_from_the_same_words():
  many, counts = draws(), np.array(COUNTS)
  for i in range(50):
    domains, numbers = part().pick(many.words[i, :5], counts)
    assert domains.tolist() == [many.y_src[i], *[many.y_ref[i]] * 2]
    rows = np.array(STARTS)[domains] + numbers
    np.testing.assert_array_equal(rows, many.rows[i])


def test_domains_and_images_are_drawn_evenly():
  rows, _, y_src, y_ref = draws()
  for y, columns in ((y_src, [0]), (y_ref, [1, 2])):
    # Within 4 standard deviations of a binomial, here as below.
    share = np.bincount(y, minlength=3) / len(y)
    np.testing.assert_allclose(share, 1 / 3, atol=4 * 0.0061)
    for domain, (start, count) in enumerate(zip(STARTS, COUNTS, strict=True)):
      for column in columns:
        numbers = rows[y == domain, column] - start
        assert numbers.min() >= 0 and numbers.max() < count
        share = np.bincount(numbers) / len(numbers)
        np.testing.assert_allclose(share, 1 / count, atol=4 * 0.011)
  # The roles are drawn independently.
  assert abs((y_src == y_ref).mean() - 1 / 3) < 4 * 0.0061
  both = (y_src == 0) & (y_ref == 0)
  same = (rows[both, 0] == rows[both, 1]).mean()
  assert abs(same - 1 / 5) < 4 * (0.16 / both.sum()) ** 0.5


def test_references_differ_where_there_are_two():
  rows, _, _, y_ref = draws()
  several = y_ref < 2
  assert (rows[several, 1] != rows[several, 2]).all()
  assert (rows[~several, 1:] == 8).all()
  # Every other image is as likely.
  of_five = rows[y_ref == 0]
  ahead = (of_five[:, 2] - of_five[:, 1]) % 5
  share = np.bincount(ahead, minlength=5)[1:] / len(ahead)
  np.testing.assert_allclose(share, 1 / 4, atol=4 * 0.0098)


def test_a_slot_depends_on_seed_step_and_slot_only():
  few, many = draws(slots=5), draws()
  for a, b in zip(few, many, strict=True):
    np.testing.assert_array_equal(a, b[:5])
  for other in (draws(seed=4), draws(step=8)):
    assert (other.words != many.words).any(-1).all()
    assert 0.7 < (other.rows != many.rows).mean() < 0.95
  # Nothing is used twice, and all bits are.
  assert len(np.unique(many.words)) > 0.9999 * many.words.size
  bits = np.unpackbits(many.words.view(np.uint8))
  assert abs(bits.mean() - 0.5) < 4 * 0.5 / bits.size**0.5


def _random_box(rng, width, height):
  """Left, top, right, bottom, as torchvision's RandomResizedCrop draws them."""
  (low, high), ratio = crops.SCALE, np.log(crops.RATIO)
  for _ in range(10):
    area = width * height * rng.uniform(low, high)
    sides = np.exp(rng.uniform(*ratio) / 2 * np.array([1, -1])) * area**0.5
    w, h = np.rint(sides).astype(int)
    if 0 < w <= width and 0 < h <= height:
      left = int(rng.random() * (width - w + 1))
      top = int(rng.random() * (height - h + 1))
      return left, top, left + w, top + h
  w = min(width, max(1, round(height * crops.RATIO[1])))
  h = min(height, max(1, round(width / crops.RATIO[0])))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h


def _box(left, top, right, bottom, mirror=False):
  corner, end = np.array([left, top]), np.array([right, bottom])
  return crops.Box(corner, end - corner, mirror)


WORDS = crops.ResizedCrop.num_words


@functools.cache
def _boxes(count=4000):
  random_box = jax.vmap(crops.random_box, in_axes=(0, None))

  def draw(key, size):
    words = jax.random.bits(key, (count, WORDS - 2))
    return words, jnp.concatenate(random_box(words, size), axis=1)

  return jax.jit(draw)


@pytest.mark.parametrize('size', [(64, 64), (256, 217), (200, 256), (40, 10)])
def test_boxes_are_those_of_the_host(size):
  words, ours = map(np.asarray, _boxes()(jax.random.key(0), jnp.array(size)))
  for i in range(100):
    own = np.concatenate(crops.random_box(words[i], np.array(size)))
    assert abs(own - ours[i]).max() <= 1
  rng = np.random.default_rng(0)
  theirs = np.array([_random_box(rng, *size) for _ in range(4000)])
  theirs[:, 2:] -= theirs[:, :2]
  for boxes in (ours, theirs):
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:] <= size).all()
  error = np.hypot(ours.std(0), theirs.std(0)) / 4000**0.5
  assert (abs(ours.mean(0) - theirs.mean(0)) <= 4 * error).all()
  # Fourth moments of these boxes are below 3: a sixth bounds 4 deviations.
  np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.07)
  quantiles = np.linspace(0, 1, 11)
  a, b = (np.quantile(boxes, quantiles, 0) for boxes in (ours, theirs))
  assert (abs(a - b) <= np.maximum(0.04 * max(size), 1)).all()
  both = [np.corrcoef(boxes[:, 2:].T + 1e-9)[0, 1] for boxes in (ours, theirs)]
  if size != (40, 10):
    assert abs(both[0] - both[1]) < 0.08
  else:  # None fits: all are the one in the middle.
    assert (ours == theirs).all()


def test_half_are_mirrored_and_half_cropped():
  ramp = np.arange(16, dtype=np.uint8) * 16
  pixels = np.broadcast_to(ramp[None, :, None], (16, 16, 3))
  augment = jax.vmap(crops.ResizedCrop().on_device, in_axes=(0, None, None))
  words = jax.random.bits(jax.random.key(1), (4000, WORDS))
  out = np.asarray(jax.jit(augment)(words, pixels, jnp.array([16, 16])))
  assert out.min() == 0 and out.max() == 240 and (out == np.rint(out)).all()
  lines = out[:, 0, :, 0]
  mirrored = lines[:, 0] > lines[:, -1]
  whole = (np.where(mirrored[:, None], lines[:, ::-1], lines) == ramp).all(1)
  assert abs(mirrored.mean() - 0.5) < 4 * 0.0079
  # One of many boxes is the whole image.
  rng = np.random.default_rng(0)
  boxes = [_random_box(rng, 16, 16) for _ in range(4000)]
  full = np.mean([box[0] == 0 and box[2] == 16 for box in boxes])
  assert abs(whole.mean() - (1 + full) / 2) < 4 * 0.011
  assert abs((mirrored & whole).mean() - (1 + full) / 4) < 4 * 0.011


@functools.cache
def _resample():
  return jax.jit(crops.resample)


def _noise(seed, side=64):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (side, side, 3), np.uint8)


@pytest.mark.parametrize('seed', range(5))
def test_a_crop_is_what_pillow_gives_bit_for_bit(seed):
  rng = np.random.default_rng(seed)
  pixels, size = _noise(seed), np.array([64, 64])
  box = _random_box(rng, 64, 64)
  cropped = Image.fromarray(pixels).crop(box)
  expected = preprocess.resize(cropped, 64)
  got = np.asarray(_resample()(pixels, _box(*box), size))
  np.testing.assert_array_equal(got, expected)
  got = np.asarray(_resample()(pixels, _box(*box, mirror=True), size))
  np.testing.assert_array_equal(got, expected[:, ::-1])
  whole = _box(0, 0, 64, 64)
  np.testing.assert_array_equal(_resample()(pixels, whole, size), pixels)


@pytest.mark.parametrize('size', [(10, 1000), (1000, 10), (1, 64)])
def test_a_box_thinner_than_a_pixel_has_a_picture(size):
  words = jax.random.bits(jax.random.key(0), (16, WORDS), jnp.uint32)
  augment = jax.vmap(crops.ResizedCrop().on_device, in_axes=(0, None, None))
  pixels = jnp.full((SIDE, SIDE, 3), 200, jnp.uint8)
  np.testing.assert_array_equal(augment(words, pixels, jnp.array(size)), 200)


def test_a_crop_in_stored_pixels_is_close_to_pillow():
  rng = np.random.default_rng(0)
  width, height = 256, 217
  for seed in range(5):
    pixels = _noise(seed)
    box = _random_box(rng, width, height)
    scale = np.array([64 / width, 64 / height, 64 / width, 64 / height])
    expected = Image.fromarray(pixels).resize(
      (64, 64),
      Image.Resampling.BILINEAR,
      box=tuple(scale * box),
    )
    got = _resample()(pixels, _box(*box), np.array([width, height]))
    # At its edges Pillow looks beyond the box; the two filters round alike.
    inner = slice(1, -1), slice(1, -1)
    error = abs(np.asarray(got) - np.asarray(expected, np.float32))[inner]
    assert error.max() <= 1 and (error > 0).mean() < 1e-3


def _flat_images():
  """Row r is of level 10 r + 5, so that a pixel tells its row."""
  levels = np.arange(sum(COUNTS), dtype=np.uint8) * 10 + 5
  images = np.broadcast_to(levels[:, None, None, None], (9, SIDE, SIDE, 3))
  return np.ascontiguousarray(images), np.full((9, 2), SIDE, np.int32), COUNTS


def _batch_fn(mesh, batch_size, augment=True, seed=3):
  return jax.jit(
    functools.partial(
      on_device.batch,
      (part(augment),),
      seed=seed,
      batch_size=batch_size,
      mesh=mesh,
    )
  )


def test_a_batch_keeps_the_contract_and_lies_divided():
  mesh = sharding.create_mesh(4)
  data = [on_device.place(*_flat_images(), mesh)]
  assert data[0].images.shape == (10, SIDE, SIDE, 3)
  assert [len(s.data) for s in data[0].images.addressable_shards] == [5, 5]
  step = sharding.replicate(jnp.int32(5), mesh)
  program = _batch_fn(mesh, 4).lower(data, step).compile()
  assert f'u8[10,{SIDE},{SIDE},3]' not in program.as_text()
  with jax.transfer_guard('disallow'):
    batch = program(data, step)
  assert batch.keys() == {'x_src', 'x_ref', 'x_ref2', 'y_src', 'y_ref'}
  levels = {}
  for key, value in batch.items():
    assert value.sharding.is_equivalent_to(
      sharding.batch_sharding(mesh), value.ndim
    )
    if key[0] == 'y':
      assert value.shape == (4,) and value.dtype == np.int32
      continue
    assert value.shape == (4, SIDE, SIDE, 3) and value.dtype == np.float32
    value = np.asarray(value)
    assert np.ptp(value, axis=(1, 2, 3)).max() == 0  # flat stays flat
    levels[key] = np.rint((value[:, 0, 0, 0] + 1) * 127.5).astype(int)
    np.testing.assert_allclose(
      value[:, 0, 0, 0],
      preprocess.to_float(levels[key].astype(np.uint8)),
      atol=1e-6,
    )
  expected = draws(step=5, slots=4)
  for column, key in enumerate(('x_src', 'x_ref', 'x_ref2')):
    rows = (levels[key] - 5) // 10
    np.testing.assert_array_equal(rows, expected.rows[:, column])
    y = batch['y_src' if key == 'x_src' else 'y_ref']
    np.testing.assert_array_equal(np.repeat([0, 1, 2], COUNTS)[rows], y)
  # Two slots alone hold what the first two of four do.
  two = _batch_fn(mesh, 2)(data, step)
  for key, value in two.items():
    np.testing.assert_array_equal(value, batch[key][:2])


EIGHT = """
import jax, numpy as np
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_disable_most_optimizations', True)
from jaxgan.runtime import sharding
from tests.on_device_test import _batch_fn, _noise, on_device
assert jax.device_count() == 8
pixels = np.stack([_noise(i, 32) for i in range(21)])
sizes = np.random.default_rng(0).integers(30, 50, (21, 2)).astype(np.int32)
batches = []
one = jax.make_mesh((1,), ('data',), (jax.sharding.AxisType.Auto,),
                    devices=jax.devices()[:1])
for mesh in (one, sharding.create_mesh(8)):
  data = [on_device.place(pixels, sizes, (11, 10), mesh)]
  shards = data[0].images.addressable_shards
  assert all(len(s.data) == -(-21 // mesh.size) for s in shards)
  program = _batch_fn(mesh, 8).lower(
    data, sharding.replicate(np.int32(0), mesh)
  ).compile()
  assert mesh.size == 1 or 'u8[24,32,32,3]' not in program.as_text()
  batches.append([
    program(data, sharding.replicate(np.int32(step), mesh))
    for step in range(5)
  ])
for a, b in zip(*batches):
  for key, value in a.items():
    assert len(b[key].addressable_shards) == 8
    assert len(b[key].addressable_shards[0].data) == 1
    np.testing.assert_array_equal(value, b[key])
print('same')
"""


def test_eight_devices_draw_what_one_draws():
  flags = '--xla_force_host_platform_device_count=8'
  out = subprocess.run(
    [sys.executable, '-c', EIGHT],
    cwd=ROOT,
    env=os.environ | {'XLA_FLAGS': flags},
    capture_output=True,
    text=True,
  )
  assert out.returncode == 0 and 'same' in out.stdout, out.stderr[-2000:]


def test_images_that_do_not_fit_are_named(monkeypatch):
  stats = {'bytes_limit': 1_100_000, 'bytes_in_use': 100_000}
  monkeypatch.setattr(on_device, '_memory_stats', lambda: stats)
  on_device.check_fits(650, 32)  # 325 on each of the two devices
  with pytest.raises(
    UserError, match='660 images at 32 px take 0.00101 GB on each .* 0.001 GB'
  ):
    on_device.check_fits(660, 32)
  monkeypatch.setattr(on_device, '_memory_stats', lambda: {})
  on_device.check_fits(10**9, 1024)


@pytest.fixture(scope='module')
def cache_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cache'))


def test_training_data_is_read_for_the_devices(tmp_path, cache_dir):
  for split in ('train', 'val'):
    folder = tmp_path / split / 'ant'
    folder.mkdir(parents=True)
    for i in range(2):
      Image.new('RGB', (40, 30)).save(folder / f'{i}.png')
  config = tiny.config(
    data__name='folder',
    data__root=str(tmp_path),
    data__on_device=True,
    data__cache_dir=cache_dir,
  )
  train = domains_ref.Data(config).training(0, 1)
  assert train.domains == train.val.domains == ('ant',)
  assert train.source.skipped == 0
  assert train.resolved == {'data.domains': ('ant',), 'model.num_domains': 1}
  mesh = sharding.create_mesh(config.batch_size)
  fed, to_batch = train.source.feed(mesh, start_step=3, num_steps=2)
  fed = list(fed)
  assert len(fed) == 2 and fed[0] is fed[1]
  batch = jax.jit(to_batch)(fed[0], jnp.int32(3))
  assert all((batch[key] == -1).all() for key in ('x_src', 'x_ref', 'x_ref2'))
  # A bad image of either split stops.
  for split, message in (('val', '1 of 2 .*val'), ('train', '1 of 2 .*train')):
    path = tmp_path / split / 'ant' / '0.png'
    data = path.read_bytes()
    path.write_bytes(b'')
    with pytest.raises(UserError, match=message):
      domains_ref.Data(config).training(0, 1)
    path.write_bytes(data)


def _state(workdir):
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return contract.open_run(workdir, device).state


def _light_step(model, state, frozen, batch, rng):
  """Learns the sums of what it is fed: compiles at once, forgets nothing."""
  sums = {f'{key}_total': jnp.sum(value) for key, value in batch.items()}
  total = sum(sums.values()) + jax.random.uniform(rng)
  params = jax.tree.map(lambda x: x + total, state.params)
  return state.replace(step=state.step + 1, params=params), sums


@pytest.mark.parametrize(
  'light', [True, pytest.param(False, marks=pytest.mark.slow)]
)
def test_a_resumed_run_is_an_undisturbed_one(
  tmp_path, cache_dir, monkeypatch, light
):
  if light:
    monkeypatch.setattr(stargan_v2, 'train_step', _light_step)
    monkeypatch.setattr(stargan_v2, 'grids', lambda *args: {}, raising=False)

  def train(workdir, end):
    config = tiny.config(
      num_train_steps=end,
      checkpoint_every_steps=100,
      data__on_device=True,
      data__cache_dir=cache_dir,
    )
    loop.train_and_evaluate(config, str(workdir))

  one, two = tmp_path / 'one', tmp_path / 'two'
  train(one, 4)
  for end in (1, 3, 4):
    train(two, end)
  jax.tree.map(np.testing.assert_array_equal, _state(one), _state(two))
  metrics = (one / 'metrics.jsonl').read_bytes()
  assert metrics == (two / 'metrics.jsonl').read_bytes()
  lines = [json.loads(line) for line in metrics.splitlines()]
  assert [line['step'] for line in lines] == [1, 2, 3, 4]
  name = 'x_src_total' if light else 'D/latent_real'
  assert len({line[name] for line in lines}) == 4


WITHOUT_TENSORFLOW = """
import sys
sys.modules['tensorflow'] = None  # importing it fails
import jax
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_disable_most_optimizations', True)
from jaxgan import loop
from jaxgan.systems import stargan_v2
from tests import on_device_test, tiny
stargan_v2.train_step = on_device_test._light_step  # compiles at once
loop.train_and_evaluate(
  tiny.config(num_train_steps=2, data__on_device=True,
              data__cache_dir=sys.argv[2]),
  sys.argv[1],
)
"""


def test_training_needs_no_tensorflow(tmp_path, cache_dir):
  out = subprocess.run(
    [sys.executable, '-c', WITHOUT_TENSORFLOW, str(tmp_path), cache_dir],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert out.returncode == 0, out.stderr[-2000:]
  assert 'done: step 2 of 2' in out.stdout
  assert out.stdout.count('no TensorBoard events') == 1
  assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 2
  assert (tmp_path / 'samples/2/reference.png').exists()
  assert not list(tmp_path.glob('events*'))
