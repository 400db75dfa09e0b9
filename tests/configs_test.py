import functools
import importlib.util
import pathlib

import jax
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import contract
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = sorted(ROOT.glob('configs/*/*.py'))
NETWORKS = {
  'munit': {'generator', 'discriminator'},
  'pix2pix': {'generator', 'discriminator'},
  'stargan': {'generator', 'discriminator'},
  'stargan_v2': {
    'generator',
    'mapping_network',
    'style_encoder',
    'discriminator',
  },
  'unit': {'generator', 'discriminator'},
}


def _load(path):
  spec = importlib.util.spec_from_file_location('config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize(
  'path', CONFIGS, ids=lambda p: f'{p.parent.name}/{p.stem}'
)
def test_config_builds_its_system(path):
  module = _load(path)
  config = module.get_config().lock()
  assert '--config=' + str(path.relative_to(ROOT)) in module.__doc__
  if config.system == 'stargan':
    config.data.domains = config.data.domains or ('a', 'b', 'c')
    if config.data.joint_name:
      config.data.joint_domains = config.data.joint_domains or ('d', 'e')
  elif config.system == 'stargan_v2':
    config.model.num_domains = 3
  else:
    config.data.domains = config.data.domains or ('a', 'b')
  system = contract.get_system(config)
  contract.check_config(system, config)
  init_state = functools.partial(system.init_state, system.create_model(config))
  state = jax.eval_shape(init_state, jax.random.key(0))
  assert set(state.params) == NETWORKS[config.system]


def test_published_settings():
  afhq = _load(ROOT / 'configs/stargan_v2/afhq.py').get_config()
  celeba_hq = _load(ROOT / 'configs/stargan_v2/celeba_hq.py').get_config()
  assert (afhq.hparams.lambda_ds, celeba_hq.hparams.lambda_ds) == (2.0, 1.0)
  assert (afhq.model.w_hpf, celeba_hq.model.w_hpf) == (0.0, 1.0)
  for config in (afhq, celeba_hq):
    assert config.batch_size == 8
    assert config.num_train_steps == config.hparams.ds_iter == 100_000
    assert (config.optim.lr, config.optim.f_lr) == (1e-4, 1e-6)
    assert (config.optim.beta1, config.optim.beta2) == (0.0, 0.99)
    assert config.optim.weight_decay == 1e-4
    assert config.hparams.ema_decay == 0.999


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_small_recipes_grow_with_the_picture(name):
  small, large = (
    _load(ROOT / f'configs/{name}/small.py').get_config() for _ in range(2)
  )
  large.data.img_size = 256
  large.data.domains = ('a', 'b')
  contract.check_config(contract.load(name), large)
  assert small.data.img_size == 64
  assert large.num_train_steps == 4 * small.num_train_steps
  if name == 'stargan_v2':
    widths = [c.model.channel_base // c.data.img_size for c in (small, large)]
    assert widths == [16, 64]
    assert large.hparams.ds_iter == large.num_train_steps
    # Or a run could not be made longer.
    large.num_train_steps += 1
    assert large.hparams.ds_iter == large.num_train_steps - 1
  if name != 'pix2pix':  # its batch of 1 has the same rate at any size
    assert large.optim.lr == pytest.approx(small.optim.lr / 4)


@pytest.mark.parametrize(
  'override, message',
  [
    ({'data__img_size': 48}, 'power of two'),
    ({'data__img_size': 16}, 'power of two'),
    ({'model__channel_base': 16}, 'leaves no channels'),
    ({'model__dtype': 'float16'}, "one of 'float32', 'bfloat16', 'float64':"),
    ({'hparams__ds_iter': 0}, 'ds_iter must be 1 or more'),
  ],
)
def test_bad_settings_are_named(override, message):
  system = contract.load('stargan_v2')
  with pytest.raises(errors.UserError, match=message):
    contract.check_config(system, tiny.config(**override))


def test_unknown_system_is_named():
  with pytest.raises(
    errors.UserError, match="'stylegan9'; there is: munit, pi"
  ):
    contract.get_system(tiny.config(system='stylegan9'))
