import jax
import numpy as np
import pytest

from jaxgan.pytorch import convert
from jaxgan.runtime import errors
from jaxgan.systems.stargan_v2.names import names
from tests import tiny


def _tensors(network, params):
  return convert.to_tensors(names(network, params), params)


@pytest.mark.parametrize(
  'name', ['generator', 'mapping_network', 'style_encoder', 'discriminator']
)
def test_there_and_back_is_the_same(name):
  params = tiny.create()[1].params[name]
  state_dict = _tensors(name, params)
  back, unused = convert.from_tensors(names(name, params), state_dict, params)
  assert not unused
  jax.tree.map(np.testing.assert_array_equal, back, params)
  assert sum(v.size for v in state_dict.values()) == sum(
    x.size for x in jax.tree.leaves(params)
  )


def test_official_keys_and_layouts():
  params = tiny.create()[1].params
  g = _tensors('generator', params['generator'])
  conv = params['generator']['encode_0']['conv2']['kernel']  # HWIO
  assert g['encode.0.conv2.weight'].shape == (8, 4, 3, 3)
  assert g['encode.0.conv2.weight'][5, 1, 0, 2] == conv[0, 2, 1, 5]
  fc = params['generator']['decode_2']['norm1']['fc']['kernel']
  np.testing.assert_array_equal(g['decode.2.norm1.fc.weight'], fc.T)
  assert {'to_rgb.0.weight', 'to_rgb.2.bias', 'from_rgb.bias'} <= g.keys()

  f = _tensors('mapping_network', params['mapping_network'])
  head = params['mapping_network']['heads_1']['kernel'][2]
  np.testing.assert_array_equal(f['unshared.2.2.weight'], head.T)
  assert {'shared.6.weight', 'unshared.0.6.bias'} <= f.keys()

  d = _tensors('discriminator', params['discriminator'])
  assert d['main.7.weight'].shape == (3, 8, 1, 1)  # 3 blocks at 32 px
  assert d['main.7.bias'].shape == (3,)
  e = _tensors('style_encoder', params['style_encoder'])
  assert e['shared.5.weight'].shape == (8, 8, 4, 4)
  assert e['unshared.1.weight'].shape == (5, 8)


def test_missing_and_misshapen_tensors_are_named():
  params = tiny.create()[1].params['generator']
  places = names('generator', params)
  good = _tensors('generator', params)
  bad = {k: v for k, v in good.items() if k != 'to_rgb.2.bias'}
  with pytest.raises(ValueError, match='no tensor to_rgb.2.bias'):
    convert.from_tensors(places, bad, params)
  bad = good | {'to_rgb.2.bias': np.zeros(4)}
  with pytest.raises(ValueError, match=r'to_rgb.2.bias has shape \(4,\)'):
    convert.from_tensors(places, bad, params)
  bad = good | {'hpf.filter': np.zeros((3, 3))}
  assert convert.from_tensors(places, bad, params)[1] == ['hpf.filter']


def test_a_head_of_another_kind_is_refused():
  params = tiny.create()[1].params['discriminator']
  places = names('discriminator', params)
  good = _tensors('discriminator', params)
  for odd in (np.zeros((3, 8, 1, 5)), np.zeros((3, 8)), np.zeros(())):
    with pytest.raises(ValueError, match='main.7.weight has shape'):
      convert.from_tensors(places, good | {'main.7.weight': odd}, params)
  with pytest.raises(ValueError, match=r'main.7.bias has shape \(\)'):
    convert.from_tensors(places, good | {'main.7.bias': np.zeros(())}, params)


def test_moments_that_are_no_numbers_are_one_line():
  places = {'w': convert.Place(('kernel',))}
  entry = {'step': 1, 'exp_avg': ['a', 'b'], 'exp_avg_sq': np.zeros(2)}
  saved = {'state': {0: entry}, 'param_groups': [{'params': [0]}]}
  like = {'kernel': np.zeros(2, np.float32)}
  with pytest.raises(
    errors.UserError, match='^file: net has no whole state of'
  ):
    convert.read_adam('file: net', saved, ['w'], places, like)


_W = np.ones(2, np.float32)
_ADAM = {'state': {0: {'exp_avg': _W}}, 'param_groups': [{'params': [0]}]}


@pytest.mark.parametrize(
  'tree',
  [
    {'c.weight': _W},
    {'module.c.weight': _W},
    {'_orig_mod.module.c.weight': _W},
    {'state_dict': {'c.weight': _W}},
    {'epoch': 3, 'c.weight': _W},
    {'epoch': np.array(3), 'model': {'c.weight': _W}, 'optimizer': _ADAM},
    {'net': {'module.c.weight': _W}, 'best': 0.5, 'scheduler': {'last': 1}},
    {'anything': {'state_dict': {'c.weight': _W}}, 'optimizer': _ADAM},
    {'params_ema': {'c.weight': 0 * _W}, 'params': {'c.weight': _W}},
  ],
)
def test_a_state_dict_is_found_below_keys(tree):
  found = convert.find_state_dict(tree)
  assert found.keys() == {'c.weight'}
  np.testing.assert_array_equal(found['c.weight'], _W)


@pytest.mark.parametrize(
  'tree', [3, [_W], {}, {'epoch': 3}, {'a': {'x': _W}, 'b': {'x': _W}}, _ADAM]
)
def test_what_is_no_state_dict_of_one_network_is_none(tree):
  with pytest.raises(ValueError, match='it is no state dict of one network'):
    convert.find_state_dict(tree)


def test_the_key_that_is_taken_of_several_is_named(caplog):
  tree = {'ema': {'w': _W}, 'model': {'w': 2 * _W}}
  assert convert.find_state_dict(tree)['w'][0] == 2
  assert "below the key 'model', not below 'ema'" in caplog.text
