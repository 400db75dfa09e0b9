import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import loop
from jaxgan.nets import layers
from jaxgan.pytorch import torch_params
from jaxgan.runtime import errors
from jaxgan.systems import contract, frozen
from jaxgan.systems.stargan_v2 import step, wing
from tests import parity, pytorch_files, tiny

DATA = pathlib.Path(__file__).parent / 'data'


@pytest.fixture(scope='module')
def state_dict():
  return parity.rule_made_face_network()


def test_size_and_names_are_the_originals(state_dict):
  sizes = {key: value.size for key, value in state_dict.items()}
  statistics = {key for key in sizes if '.running_' in key}
  assert sum(sizes[key] for key in sizes.keys() - statistics) == 6_333_603
  # 336 in the original, which also counts batches in each of 55 norms.
  assert len(statistics) == 2 * 55 and len(sizes) == 336 - 55
  shapes = {key: value.shape for key, value in state_dict.items()}
  assert shapes['conv1.conv.weight'] == (64, 6, 7, 7)
  assert shapes['conv2.downsample.0.running_var'] == (64,)
  assert shapes['conv4.downsample.2.weight'] == (256, 128, 1, 1)
  assert shapes['m0.coordconv.conv.weight'] == (256, 259, 1, 1)
  assert shapes['m0.b2_plus_1.conv2.weight'] == (64, 128, 3, 3)
  assert shapes['m0.b3_4.bn3.bias'] == shapes['top_m_0.bn3.bias'] == (64,)
  assert shapes['l0.weight'] == (99, 256, 1, 1)


def test_state_dict_there_and_back(state_dict):
  foreign = {'bn1.num_batches_tracked': np.array(3), 'more.weight': np.ones(2)}
  params = wing.from_state_dict(state_dict | foreign)
  kernel = params['m0.b1_2']['conv1']['kernel']
  assert kernel[0, 2, 7, 5] == state_dict['m0.b1_2.conv1.weight'][5, 7, 0, 2]
  back = torch_params.to_state_dict(params)
  assert back.keys() == state_dict.keys()
  for key, value in state_dict.items():
    np.testing.assert_array_equal(back[key], value)


def test_missing_and_misshapen_tensors_are_named(state_dict):
  bad = {k: v for k, v in state_dict.items() if k != 'm0.b2_3.bn2.running_mean'}
  with pytest.raises(ValueError, match='no tensor m0.b2_3.bn2.running_mean'):
    wing.from_state_dict(bad)
  with pytest.raises(ValueError, match=r'l0.bias has shape \(98,\)'):
    wing.from_state_dict(state_dict | {'l0.bias': np.zeros(98)})


def test_both_kinds_of_checkpoint_are_read(state_dict):
  parallel = {f'module.{key}': value for key, value in state_dict.items()}
  for checkpoint in (
    {'state_dict': state_dict, 'epoch': 3},
    {'state_dict': parallel},
    {'generator': {}, 'fan': parallel},
  ):
    params = wing.from_checkpoint(checkpoint)
    np.testing.assert_array_equal(params['l0']['bias'], state_dict['l0.bias'])
  for foreign in ({'generator': {}}, {'state_dict': 3}, [], 7):
    with pytest.raises(ValueError, match='no face network'):
      wing.from_checkpoint(foreign)
  with pytest.raises(ValueError, match='no tensor'):
    wing.from_checkpoint({'state_dict': {3: np.zeros(2)}})


def test_frozen_batch_norm_by_hand():
  norm = layers.FrozenBatchNorm(epsilon=1.0)
  params = {'scale': 4.0, 'bias': 10.0, 'mean': 2.0, 'var': 3.0}
  params = {key: jnp.full(1, value) for key, value in params.items()}
  x = jnp.array([2.0, 3.0]).reshape(1, 2, 1, 1)
  y = norm.apply({'params': params}, x)
  np.testing.assert_allclose(y.ravel(), [10, 12])  # 4 * (x - 2) / 2 + 10
  init = norm.init(jax.random.key(0), x)['params']
  assert {k: float(v[0]) for k, v in init.items()} == {
    'scale': 1,
    'bias': 0,
    'mean': 0,
    'var': 1,
  }


def test_the_reference_is_met():
  with np.load(DATA / 'stargan_v2_forward_256.npz') as archive:
    reference = {
      key: archive[key]
      for key in archive
      if key.startswith(('fan/', 'masks/', 'align/'))
    }
  comparison = parity.Comparison(reference)
  parity.compare_faces(comparison)
  assert len(reference) == 6 and comparison.report()


def test_images_are_resized_and_scaled_for_the_network(monkeypatch):
  seen = []

  class Spy:
    def apply(self, variables, x):
      seen.append(np.asarray(x))
      return jnp.zeros((x.shape[0], 64, 64, 99))

  monkeypatch.setattr(wing, 'FAN', Spy)
  x = jnp.broadcast_to(
    jnp.array([-1.0, 1.0])[None, None, :, None], (1, 2, 2, 3)
  )
  assert wing.compute_heatmaps({}, x).shape == (1, 64, 64, 98)
  # Half-pixel centres: flat for half a pixel, then a line of 1 / 128 a pixel.
  line = np.clip((np.arange(256) + 0.5) / 128 - 0.5, 0, 1)
  np.testing.assert_allclose(seen[0][0, 9, :, 1], line, atol=1e-6)
  # No antialiasing: of four pixels the two in the middle count.
  x = np.tile(np.array([1.0, -1, -1, 1], np.float32), 256)
  x = np.broadcast_to(x[None, None, :, None], (1, 1024, 1024, 3))
  wing.compute_heatmaps({}, jnp.asarray(x))
  assert not seen[1].any()


def test_upsampling_puts_corners_on_corners():
  ramp = np.arange(64, dtype=np.float32)
  x = ramp[None, :, None, None] + 100 * ramp[None, None, :, None]
  y = np.asarray(wing.upsample_heatmaps(x))[0, :, :, 0]
  line = np.linspace(0, 63, 256)
  np.testing.assert_allclose(
    y, line[:, None] + 100 * line[None], rtol=1e-5, atol=1e-4
  )


def _masks_of(points, channels=98):
  """Columns 0 of the masks of one image [64, 4]: {(row, channel): heat}."""
  heat = np.zeros((1, 64, 4, channels), np.float32)
  for (row, channel), value in points.items():
    heat[0, row, 0, channel] = value
  return [np.asarray(m)[0, :, 0, 0] for m in wing.postprocess_heatmaps(heat)]


@pytest.mark.parametrize(
  'channel, outline, detail',
  [
    (7, {}, {}),  # the chin begins at 8
    (8, {30: 3}, {}),
    (24, {30: 3}, {}),
    (25, {}, {}),
    (33, {}, {}),
    (34, {37: 2}, {}),
    (46, {}, {}),
    (50, {37: 2}, {}),
    (51, {}, {30: 1}),
    (54, {}, {26: 1}),
    (55, {}, {22: 4}),
    (59, {}, {22: 4}),
    (60, {}, {38: 3, 54: 1}),
    (75, {}, {38: 3, 54: 1}),
    (76, {}, {}),
    (81, {38: 4}, {}),
    (82, {}, {}),
    (83, {22: 4}, {}),
    (87, {22: 4}, {}),
    (88, {32: 3}, {}),
    (95, {32: 3}, {}),
    (97, {}, {30: 1}),
  ],
)
def test_each_part_is_shifted_and_raised(channel, outline, detail):
  # The highest heat becomes 1, half of it 0.5 to the power; 4 px lower both.
  points = {(30, channel): 0.8, (34, channel): 0.4, (10, channel): 0.09}
  for mask, parts in zip(
    _masks_of(points), (outline | detail, detail), strict=True
  ):
    expected = np.zeros(64)
    for row, power in parts.items():
      expected[[row, row + 4]] = 1, 0.5**power
    np.testing.assert_allclose(mask, expected, atol=1e-5)


def test_masks_wrap_around_end_at_one_and_hold_no_nan():
  mask0, mask1 = _masks_of({(3, 57): 1, (60, 90): 1, (62, 89): 1, (62, 91): 1})
  assert np.flatnonzero(mask1).tolist() == [59]  # 3 - 8 + 64
  assert np.flatnonzero(mask0).tolist() == [0, 59, 62] and mask0[0] == 1
  lost = np.full((1, 64, 4, 98), np.nan, np.float32)
  assert not np.any(wing.postprocess_heatmaps(lost))


def test_landmarks_by_hand():
  heat = np.zeros((2, 64, 64, 3), np.float32)
  heat[0, 10, 20, 0] = 1  # no neighbours: the middle of the pixel
  heat[0, 40, 50, 1] = 1
  heat[0, 40, 51, 1] = heat[0, 39, 50, 1] = 0.5  # right and up
  heat[0, 63, 5, 2] = 1  # on the rim
  heat[0, 63, 4, 2] = 0.5
  heat[0, [2, 1], [1, 2], 2] = 0.3  # beside (1, 1): of no account
  heat[1, 0, 0, 0] = heat[1, 2, 62, 1] = heat[1, 62, 1, 2] = 1
  heat[1, 2, 61, 1] = heat[1, 3, 62, 1] = 0.5  # left and down
  heat[1, 62, 0, 2] = heat[1, 62, 2, 2] = 0.5  # a tie
  np.testing.assert_array_equal(
    wing.decode_landmarks(heat),
    [
      [[20.5, 10.5], [50.75, 40.25], [5.5, 63.5]],
      [[0.5, 0.5], [62.25, 2.75], [1.5, 62.5]],
    ],
  )


def test_no_gradient_flows_through_the_masks():
  @jax.custom_jvp
  def masks(x):
    mask = jnp.mean(x, -1, keepdims=True)
    return mask, mask

  @masks.defjvp
  def refuse(primals, tangents):
    raise AssertionError('the masks are differentiated')

  with pytest.raises(AssertionError):
    jax.eval_shape(
      jax.grad(lambda x: masks(x)[0].sum()), jnp.ones((1, 2, 2, 3))
    )
  config = tiny.config(model__num_domains=tiny.DOMAINS, model__w_hpf=1.0)
  model = dataclasses.replace(
    step.create_model(config), frozen_nets={'fan': lambda _, x: masks(x)}
  )
  rng = jax.random.key(0)
  state = jax.eval_shape(lambda rng: step.init_state(model, rng), rng)
  update = functools.partial(step.update, model)
  new, *_ = jax.eval_shape(update, state, {'fan': {}}, tiny.drawn(), rng)
  assert jax.tree.structure(new) == jax.tree.structure(state)


def test_masks_come_from_the_face_network_if_the_high_pass_path_is_on():
  config = {'model__num_domains': tiny.DOMAINS, 'model__wing_file': 'no/file'}
  model = step.create_model(tiny.config(model__w_hpf=2.0, **config))
  assert model.frozen_nets == {'fan': wing.masks}
  model = step.create_model(tiny.config(**config))
  assert model.frozen_nets == {}
  assert frozen.load(step.FROZEN, tiny.config(**config)) == {}


def test_wing_file_that_will_not_do_is_named(tmp_path, state_dict):
  def create(path):
    config = tiny.config(model__w_hpf=1.0, model__wing_file=str(path))
    return frozen.load(step.FROZEN, config)

  with pytest.raises(errors.UserError, match='--config.model.wing_file=wing'):
    create('')
  path = tmp_path / 'x.ckpt'
  named = f'^config.model.wing_file={path}: '
  with pytest.raises(errors.UserError, match=f'{named}there is no file'):
    create(path)
  path.write_bytes(b'not from torch')
  with pytest.raises(errors.UserError, match=f'{named}.* no whole file'):
    create(path)
  pytorch_files.write(path, {'generator': {}})
  with pytest.raises(errors.UserError, match=f'{named}no face network'):
    create(path)
  pytorch_files.write(path, {'state_dict': {'l0.bias': state_dict['l0.bias']}})
  with pytest.raises(errors.UserError, match=f'{named}there is no tensor'):
    create(path)
  pytorch_files.write(path, {'state_dict': state_dict})
  loaded = create(path)
  assert loaded.keys() == {'fan'}
  jax.tree.map(
    np.testing.assert_array_equal,
    loaded['fan'],
    wing.from_state_dict(state_dict),
  )


@pytest.mark.slow
def test_a_run_with_face_masks_trains_samples_and_resumes(
  tmp_path, state_dict, monkeypatch
):
  monkeypatch.setattr(wing, '_INPUT_SIZE', 64)  # the least; 16 times faster
  path = tmp_path / 'wing.ckpt'
  pytorch_files.write(path, {'state_dict': state_dict})
  settings = {'model__w_hpf': 1.0, 'model__wing_file': str(path)}

  def train(end):
    config = tiny.config(num_train_steps=end, **settings)
    loop.train(config, str(tmp_path / 'run'))
    assert (tmp_path / 'run' / 'samples' / str(end) / 'cycle.png').exists()
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return contract.open_run(tmp_path / 'run', device)

  first = train(2)
  path.unlink()  # a run keeps its own copy
  second = train(3)
  assert (first.step, second.step) == (2, 3)
  for run in (first, second):
    jax.tree.map(
      np.testing.assert_array_equal,
      run.frozen['fan'],
      wing.from_state_dict(state_dict),
    )
