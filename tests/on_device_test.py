import functools
import json
import os
import pathlib
import subprocess
import sys

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
SIDE = 8


def _noise(seed, side=64):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (side, side, 3), np.uint8)


def _flat_images():
  """Row r is of level 10 r + 5, so that a pixel tells its row."""
  levels = np.arange(sum(COUNTS), dtype=np.uint8) * 10 + 5
  images = np.broadcast_to(levels[:, None, None, None], (9, SIDE, SIDE, 3))
  return np.ascontiguousarray(images), np.full((9, 2), SIDE, np.int32), COUNTS


PART = domains_ref.Picks(
  None, crops.ResizedCrop(), Stream.BATCH, domains_ref.KEYS, num_words=5
)


def _batch_fn(mesh, batch_size, seed=3):
  fn = functools.partial(
    on_device.batch, (PART,), seed=seed, batch_size=batch_size, mesh=mesh
  )
  return jax.jit(lambda data, step: fn([data], step))


def _rows(step, slots):
  """The rows that slots take, [slots, 3]."""
  rows = []
  for slot in range(slots):
    words = streams.device_words(
      3, Stream.BATCH, jnp.int32(step), jnp.int32(slot), PART.words_per_slot
    )
    domains, numbers = PART.pick(words[: PART.num_words], jnp.array(COUNTS))
    rows.append(np.array([0, 5, 8])[domains] + numbers)
  return np.stack(rows)


def test_a_batch_keeps_the_contract_and_lies_divided():
  mesh = sharding.create_mesh(4)
  data = on_device.place(*_flat_images(), mesh)
  assert data.images.shape == (10, SIDE, SIDE, 3)
  assert [len(s.data) for s in data.images.addressable_shards] == [5, 5]
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
  expected = _rows(step=5, slots=4)
  for column, key in enumerate(('x_src', 'x_ref', 'x_ref2')):
    rows = (levels[key] - 5) // 10
    np.testing.assert_array_equal(rows, expected[:, column])
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
  data = on_device.place(pixels, sizes, (11, 10), mesh)
  assert all(
    len(s.data) == -(-21 // mesh.size) for s in data.images.addressable_shards
  )
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
  assert train.resolved == {'data.domains': ('ant',), 'model.num_domains': 1}
  assert train.source.skipped == 0
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
    loop.train(config, str(workdir))

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
loop.train(
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
