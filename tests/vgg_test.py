import functools

import flax
import jax
import numpy as np
import pytest

from jaxgan.losses import distances
from jaxgan.nets import layers, vgg
from jaxgan.runtime import errors
from tests import pytorch_files

WIDTHS = (4, 3, 5, 4, 3, 5, 4, 6, 5, 4, 5, 6, 7)
TORCHVISION = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
KINDS = ('caffe', 'torchvision')
# jitted once: compiling is most of the time
_features = jax.jit(vgg.features, static_argnames='fourth_pool')


@functools.partial(jax.jit, static_argnames='fourth_pool')
def _distance(params, x, y, fourth_pool):
  """The perceptual distance, and its gradients to the images."""
  features = functools.partial(vgg.features, params, fourth_pool=fourth_pool)
  distance = functools.partial(distances.perceptual, features)
  return jax.value_and_grad(distance, argnums=(0, 1))(x, y)


def _state_dict(kind, dtype=np.float64):
  rng = np.random.default_rng(1)
  state_dict, width = {}, 3
  for name, number, features in zip(
    vgg.NAMES, TORCHVISION, WIDTHS, strict=True
  ):
    key = name if kind == 'caffe' else f'features.{number}'
    kernel = rng.normal(0, np.sqrt(2 / (9 * width)), (features, width, 3, 3))
    state_dict[f'{key}.weight'] = kernel.astype(dtype)
    state_dict[f'{key}.bias'] = rng.normal(0.1, 0.1, features).astype(dtype)
    width = features
  state_dict['classifier.0.weight'] = np.zeros((2, 2), dtype)
  return state_dict


def _images(size=32, dtype=np.float64):
  return (
    np.random.default_rng(2).uniform(-1, 1, (2, 2, size, size, 3)).astype(dtype)
  )


def _torch_features(kind, state_dict, x, fourth_pool):
  """Of x [B, 3, S, S], by the layers of torch."""
  import torch
  from torch import nn

  if kind == 'caffe':
    mean = torch.tensor((103.939, 116.779, 123.680), dtype=x.dtype)
    h = (x + 1) * 127.5
    h = torch.stack([h[:, 2], h[:, 1], h[:, 0]], 1) - mean[None, :, None, None]
  else:
    mean = torch.tensor((0.485, 0.456, 0.406), dtype=x.dtype)
    std = torch.tensor((0.229, 0.224, 0.225), dtype=x.dtype)
    h = (x + 1) / 2
    h = (h - mean[None, :, None, None]) / std[None, :, None, None]
  values = [v for k, v in state_dict.items() if not k.startswith('classifier')]
  ends = {2: 1, 4: 1, 7: 1, 10: fourth_pool}
  for i, (kernel, bias) in enumerate(
    zip(values[::2], values[1::2], strict=True)
  ):
    if ends.get(i):
      h = nn.functional.max_pool2d(h, 2)
    kernel, bias = torch.tensor(kernel), torch.tensor(bias)
    h = nn.functional.relu(nn.functional.conv2d(h, kernel, bias, padding=1))
  return h


@pytest.mark.parametrize('fourth_pool', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_features_and_distance_are_those_of_torch(kind, fourth_pool):
  torch = pytest.importorskip('torch')
  state_dict, (x, y) = _state_dict(kind), _images()
  params = vgg.from_state_dict(state_dict)
  with jax.enable_x64(True):
    ours = _features(params, x, fourth_pool=fourth_pool)
    value, grads = jax.tree.map(
      np.asarray, _distance(params, x, y, fourth_pool=fourth_pool)
    )
  x_torch, y_torch = (torch.tensor(v.transpose(0, 3, 1, 2)) for v in (x, y))
  x_torch.requires_grad_()
  features = functools.partial(
    _torch_features, kind, state_dict, fourth_pool=fourth_pool
  )
  theirs = features(x_torch)
  side = 2 if fourth_pool else 4
  assert theirs.shape == (2, WIDTHS[-1], side, side)
  np.testing.assert_allclose(
    ours, theirs.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-10, atol=1e-10
  )
  norm = functools.partial(torch.nn.functional.instance_norm, eps=1e-5)
  loss = torch.nn.functional.mse_loss(norm(theirs), norm(features(y_torch)))
  loss.backward()
  assert value == pytest.approx(loss.item(), rel=1e-10) and value > 0.01
  wanted = x_torch.grad.numpy().transpose(0, 2, 3, 1)
  assert np.abs(wanted).max() > 1e-4
  np.testing.assert_allclose(grads[0], wanted, rtol=1e-9, atol=1e-13)
  assert not grads[1].any()  # the source is a constant


def _by_hand(params, x, fourth_pool):
  """Features of x [B, S, S, 3] in [-1, 1], a tap at a time."""
  h = (x + 1) * 127.5
  h = (h - params['input']['mean']) / params['input']['std']
  for name in vgg.NAMES:
    if name.endswith('_1') and name != 'conv1_1':
      if fourth_pool or name != 'conv5_1':
        b, s, _, c = h.shape
        h = h[:, : s // 2 * 2, : s // 2 * 2]
        h = h.reshape(b, s // 2, 2, s // 2, 2, c).max((2, 4))
    kernel, (_, s, _, _) = params[name]['kernel'], h.shape
    padded = np.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h = sum(
      padded[:, i : i + s, j : j + s] @ kernel[i, j]
      for i in range(3)
      for j in range(3)
    )
    h = np.maximum(h + params[name]['bias'], 0)
  return h


def test_features_by_hand():
  x = _images(38)[0]  # odd sides on the way
  params = vgg.from_state_dict(_state_dict('torchvision'))
  ours = _features(params, x.astype(np.float32), fourth_pool=True)
  assert ours.dtype == np.float32 and ours.shape == (2, 2, 2, WIDTHS[-1])
  expected = _by_hand(params, x, True)
  np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_bfloat16_images_are_seen_in_float32():
  params = vgg.from_state_dict(_state_dict('caffe', np.float32))
  x = jax.numpy.asarray(_images(16)[0], jax.numpy.bfloat16)
  fn = functools.partial(vgg.features, fourth_pool=False)
  assert jax.eval_shape(fn, params, x).dtype == np.float32


def test_both_kinds_see_what_they_were_trained_on():
  caffe, torchvision = (
    vgg.from_state_dict(_state_dict(kind)) for kind in KINDS
  )
  np.testing.assert_allclose(caffe['input']['mean'], [123.68, 116.779, 103.939])
  np.testing.assert_allclose(torchvision['input']['std'][0], 58.395)
  first = _state_dict('caffe')['conv1_1.weight']  # [O, BGR, 3, 3]
  np.testing.assert_array_equal(
    caffe['conv1_1']['kernel'][:, :, 0], first[:, 2].transpose(1, 2, 0)
  )
  np.testing.assert_array_equal(
    torchvision['conv1_1']['kernel'][:, :, 0], first[:, 0].transpose(1, 2, 0)
  )


def test_normalised_features_forget_gain_and_offset_of_a_channel():
  # Of the features of two images, one of which is a scaled, shifted other.
  x = jax.numpy.asarray(_images(16, np.float32)[0])
  gain, offset = np.array([2.0, 0.5, 3.0]), np.array([1.0, -1.0, 0.2])
  y = gain[None, None, None] * x + offset[None, None, None]
  np.testing.assert_allclose(
    layers.instance_norm(x), layers.instance_norm(y), atol=1e-3
  )
  params = vgg.from_state_dict(_state_dict('caffe', np.float32))
  value, (grad, _) = _distance(params, x, x, fourth_pool=False)
  assert value == 0 and not np.asarray(grad).any()


@pytest.mark.parametrize('kind', KINDS)
def test_a_file_is_read_and_kept(kind, tmp_path):
  path = tmp_path / 'vgg16.weight'
  pytorch_files.write(path, _state_dict(kind))
  params = vgg.load(path)
  leaves = jax.tree.leaves(params)
  assert len(leaves) == 2 * 13 + 2
  assert all(type(x) is np.ndarray and x.dtype == np.float32 for x in leaves)
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  np.savez(tmp_path / 'frozen.npz', **flat)
  with np.load(tmp_path / 'frozen.npz') as archive:
    again = flax.traverse_util.unflatten_dict(dict(archive), sep='/')
  vgg.check(again, 'frozen.npz')
  jax.tree.map(np.testing.assert_array_equal, again, params)


def _without(key):
  return lambda d: d.pop(key)


def _reshaped(key, shape):
  return lambda d: d.update({key: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
  'kind, damage, message',
  [
    ('caffe', _without('conv5_3.bias'), 'no tensor conv5_3.bias'),
    ('torchvision', _without('features.0.weight'), 'no tensor features.0.weig'),
    (
      'caffe',
      _reshaped('conv2_1.weight', (5, 4, 3, 3)),
      r'conv2_1.weight has shape \(5, 4, 3, 3\) and not \[O, 3, 3, 3\]',
    ),
    (
      'torchvision',
      _reshaped('features.2.weight', (3, 4, 1, 1)),
      r'features.2.weight has shape \(3, 4, 1, 1\) and not \[O, 4, 3, 3\]',
    ),
    ('caffe', _reshaped('conv1_1.weight', ()), r'has shape \(\) and not'),
    ('caffe', _reshaped('conv1_2.bias', (7,)), r'conv1_2.bias has shape \(7,'),
  ],
)
def test_another_network_is_one_line(kind, damage, message, tmp_path):
  state_dict = _state_dict(kind, np.float32)
  damage(state_dict)
  with pytest.raises(ValueError, match=message):
    vgg.from_state_dict(state_dict)
  pytorch_files.write(tmp_path / 'x.pth', state_dict)
  message = f'x.pth holds no VGG-16: .*{message}'
  with pytest.raises(errors.UserError, match=message) as error:
    vgg.load(tmp_path / 'x.pth')
  assert '\n' not in str(error.value)


def test_a_file_of_none_of_them(tmp_path):
  with pytest.raises(ValueError, match='no tensor features.0.weight'):
    vgg.from_state_dict({})
  with pytest.raises(errors.UserError, match='there is no file .*x.pth'):
    vgg.load(tmp_path / 'x.pth')
  pytorch_files.write(tmp_path / 'x.pth', [1])
  with pytest.raises(errors.UserError, match='x.pth holds no VGG-16: it is no'):
    vgg.load(tmp_path / 'x.pth')


def test_parameters_that_come_back_are_checked():
  params = vgg.from_state_dict(_state_dict('caffe', np.float32))
  vgg.check(params, 'frozen.npz')
  first = params['conv1_1']
  wrong = [
    None,
    {},
    np.zeros(3),
    {k: v for k, v in params.items() if k != 'input'},
    params | {'more': np.zeros(3)},
    params | {'input': np.zeros(3)},
    params | {'conv1_1': first | {'bias': np.zeros(9)}},
    params | {'conv1_1': first | {'kernel': np.zeros(())}},
    params | {'conv1_1': first | {'kernel': np.zeros((3, 3, 3, 9))}},
  ]
  for tree in wrong:
    with pytest.raises(errors.UserError, match='frozen.npz does not hold VGG'):
      vgg.check(tree, 'frozen.npz')


def test_small_images_have_nothing_to_normalise():
  for size, fourth_pool in ((16, False), (32, True)):
    vgg.check_size(size, fourth_pool=fourth_pool)
    message = f'{size} px or more: config.data.img_size is {size - 1}'
    with pytest.raises(errors.UserError, match=message):
      vgg.check_size(size - 1, fourth_pool=fourth_pool)
  params = vgg.from_state_dict(_state_dict('caffe', np.float32))
  fn = functools.partial(vgg.features, fourth_pool=True)
  shape = jax.eval_shape(fn, params, np.zeros((1, 32, 32, 3))).shape
  assert shape[1:3] == (2, 2)
