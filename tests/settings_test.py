import pytest

from jaxgan.runtime import errors
from jaxgan.systems import contract, settings
from jaxgan.systems.settings import Setting
from tests import tiny_munit as tiny

DECLARED = settings.extend(
  settings.BASE,
  {
    'seed': 7,
    'model.dim': Setting(4, least=2, below=9),
    'model.kind': Setting('a', among=('a', 'b')),
  },
)


def test_a_config_is_the_defaults_nested():
  config = settings.create(DECLARED)
  assert config.seed == 7 and config.batch_size == 8
  assert config.model.to_dict() == {
    'num_domains': 0,
    'dtype': 'float32',
    'dim': 4,
    'kind': 'a',
  }
  settings.check(config, DECLARED)


def test_a_new_default_keeps_the_bounds_and_other_systems_theirs():
  assert DECLARED['seed'] == Setting(7, least=0, below=2**32)
  assert settings.BASE['seed'].default == 0
  assert 'model.dim' not in settings.BASE
  with pytest.raises(KeyError):
    settings.extend(settings.BASE, {'model.typo': 3})


@pytest.mark.parametrize(
  'key, value, message',
  [
    ('model.dim', 1, 'config.model.dim must be 2 or more: 1'),
    ('model.dim', 9, 'config.model.dim must be less than 9: 9'),
    ('model.kind', 'c', "config.model.kind must be one of 'a', 'b': 'c'"),
    ('model.dtype', 'half', "'bfloat16', 'float64': 'half'"),
    ('seed', 2**32, 'config.seed must be less than 4294967296: 4294967296'),
    ('batch_size', 0, 'config.batch_size must be 1 or more: 0'),
    ('keep', 0, 'config.keep must be 1 or more: 0'),
    ('on_nan', 'go', "config.on_nan must be one of 'stop', 'restore': 'go'"),
  ],
)
def test_a_setting_out_of_bounds_is_named(key, value, message):
  config = settings.create(DECLARED)
  config.update_from_flattened_dict({key: value})
  with pytest.raises(errors.UserError, match=message):
    settings.check(config, DECLARED)


def test_a_bound_itself_is_allowed():
  config = settings.create(DECLARED)
  config.update_from_flattened_dict({'model.dim': 2, 'seed': 2**32 - 1})
  settings.check(config, DECLARED)


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'parity': 'x'}, "config.parity must be one of '', 'NVlabs/MUNIT': 'x'"),
    ({'hparams__gan_type': 'wgan'}, "one of 'lsgan', 'nsgan': 'wgan'"),
    ({'model__num_domains': 3}, 'num_domains must be 2, or 0 .*: 3'),
    ({'optim__step_size': -1}, 'optim.step_size must be 0 or more: -1'),
    ({'hparams__lambda_cyc': -1.0}, 'lambda_cyc must be 0 or more: -1'),
    ({'optim__lr': -1.0}, 'optim.lr must be 0 or more: -1'),
    ({'optim__beta2': 1.0}, 'optim.beta2 must be less than 1: 1'),
    ({'data__load_size': -2}, 'data.load_size must be 0 or more: -2'),
    ({'model__resample': 'b'}, "one of 'auto', 'plain', 'phases': 'b'"),
    ({'micro_batches': 3}, 'micro_batches must divide batch_size 2: 3'),
  ],
)
def test_what_two_domains_cannot_have(overrides, message):
  system = contract.load('munit')
  contract.check_config(system, tiny.config(model__num_domains=2))
  with pytest.raises(errors.UserError, match=message):
    contract.check_config(system, tiny.config(**overrides))


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_defaults_are_within_their_own_bounds(name):
  system = contract.load(name)
  config = settings.create(system.SETTINGS)
  contract.check_config(system, config)
  assert config.system == name
