import pytest

from jaxgan.runtime import errors
from jaxgan.systems import settings
from tests import tiny_munit as tiny


def test_the_least_is_allowed_and_less_is_not():
  config = tiny.config(model__dim=2)
  settings.check_least(config, {'model.dim': 2, 'hparams.lambda_cyc': 0})
  message = 'config.model.dim must be 3 or more: 2'
  with pytest.raises(errors.UserError, match=message):
    settings.check_least(config, {'model.dim': 3})


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'parity': 'x'}, "config.parity must be '' or 'THE/CODE': 'x'"),
    ({'hparams__gan_type': 'wgan'}, "one of lsgan, nsgan: 'wgan'"),
    ({'model__num_domains': 3}, 'num_domains must be 2, or 0 .*: 3'),
    ({'optim__step_size': -1}, 'optim.step_size must be 0 or more: -1'),
    ({'hparams__lambda_cyc': -1.0}, 'lambda_cyc must be 0 or more: -1'),
    ({'optim__lr': -1.0}, 'optim.lr must be 0 or more: -1'),
    ({'optim__beta2': 1.0}, 'optim.beta2 must be less than 1: 1'),
    ({'data__load_size': -2}, 'data.load_size must be 0 or more: -2'),
  ],
)
def test_what_two_domains_cannot_have(overrides, message):
  settings.check_two_domains(tiny.config(parity='THE/CODE'), 'THE/CODE')
  settings.check_two_domains(tiny.config(model__num_domains=2), 'THE/CODE')
  with pytest.raises(errors.UserError, match=message):
    settings.check_two_domains(tiny.config(**overrides), 'THE/CODE')


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'model__dtype': 'half'}, "float64: 'half'"),
    ({'model__resample': 'b'}, "must be one of auto, a: 'b'"),
    ({'model__resample': 'a', 'micro_batches': 3}, 'divide batch_size 2: 3'),
  ],
)
def test_ways_to_compute_that_there_are_not(overrides, message):
  settings.check_computation(tiny.config(model__resample='auto'), ['a'])
  with pytest.raises(errors.UserError, match=message):
    settings.check_computation(tiny.config(**overrides), ['a'])
