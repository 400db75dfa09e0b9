"""What a system is: the names that each defines, and what holds of all."""

import dataclasses
import importlib
import sys
import types

import jax.numpy as jnp
import pytest

from jaxgan import loop
from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract, frozen, settings, stargan_v2
from jaxgan.systems.frozen import Frozen
from jaxgan.training.state import State
from tests import tiny

FIELDS = dataclasses.fields(contract.System)
REQUIRED = [f.name for f in FIELDS if f.default is dataclasses.MISSING]


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_a_system_defines_its_names(name):
  system = contract.load(name)
  config = settings.create(system.SETTINGS)
  assert config.system == name
  assert contract.find_system(config) == system
  assert system.KINDS
  assert set(system.KINDS) <= {'latent', 'reference', 'label'}
  # Where there is a label, there is no style.
  assert (system.style is None) == ('label' in system.KINDS)
  assert 'label' not in system.KINDS or len(system.KINDS) == 1
  assert system.SOURCES in ('any', 'other') and 0 < system.PSI <= 1
  assert system.COLLAPSE_SIGNS
  # And nothing under a name that nobody asks for.
  module = importlib.import_module(f'jaxgan.systems.{name}')
  names = {field.name for field in FIELDS}
  assert set(module.__all__) <= names | {'default_config'}


def _stub(**names):
  module = types.ModuleType('jaxgan.systems.stub')
  vars(module).update(dict.fromkeys(REQUIRED, object()) | names)
  return module


def test_what_is_left_out_has_a_value(monkeypatch):
  monkeypatch.setitem(sys.modules, 'jaxgan.systems.stub', _stub(PSI=0.5))
  system = contract.load('stub')
  assert system.PSI == 0.5 and system.SOURCES == 'any'
  assert not (system.BY_DOMAIN or system.DRAWS or system.SEPARABLE)
  assert system.phases_at is system.style is system.reconstruct is None


@pytest.mark.parametrize('name', REQUIRED)
def test_a_system_that_lacks_a_name_is_none(monkeypatch, name):
  module = _stub()
  delattr(module, name)
  monkeypatch.setitem(sys.modules, 'jaxgan.systems.stub', module)
  with pytest.raises(TypeError, match=f"'{name}'"):
    contract.load('stub')


@pytest.mark.parametrize(
  'parts, separable, message',
  [
    (3, True, 'config.micro_batches must divide batch_size 2: 3'),
    (
      2,
      False,
      'config.micro_batches must be 1: the losses of stargan_v2 are not means '
      'over images',
    ),
  ],
)
def test_micro_batches_that_cannot_be_are_refused(
  monkeypatch, tmp_path, parts, separable, message
):
  config = tiny.config(micro_batches=parts)
  monkeypatch.setattr(stargan_v2, 'SEPARABLE', separable)
  with pytest.raises(errors.UserError) as error:
    contract.check_config(contract.load('stargan_v2'), config)
  assert str(error.value) == message
  # Before anything is made.
  with pytest.raises(errors.UserError, match=message):
    loop.train(config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()
  config = tiny.config(micro_batches=2 if separable else 1)
  contract.check_config(contract.load('stargan_v2'), config)


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_a_background_that_is_no_colour_is_refused(name):
  system = contract.load(name)
  config = settings.create(system.SETTINGS)
  for text in ('whit', '#80808080', 'x' * 200):
    config.data.background = text
    with pytest.raises(errors.UserError) as caught:
      contract.check_config(system, config)
    assert str(caught.value) == (
      "config.data.background must be '' or a colour, as 'white' or '#808080': "
      f'{text[:80]!r}'
    )
  # A resumed run goes on with it, on all processes.
  assert 'data.background' not in workdir.RESUMABLE | workdir.PLACES


def test_what_may_change_and_differ_are_settings():
  known = set()
  for name in contract.SYSTEMS:
    known |= contract.load(name).SETTINGS.keys()
  assert known >= workdir.RESUMABLE and known >= workdir.PLACES


def test_averages_are_used_where_there_are_some():
  system = contract.load('stargan_v2')
  state = State(
    step=jnp.int32(3),
    params={'g': 'live', 'd': 'd'},
    opt_state={},
    ema_params={'g': 'average'},
  )
  assert system.inference_params(state) == {'g': 'average', 'd': 'd'}
  state = state.replace(variables={'g': 'statistics'})
  assert system.inference_params(state) == {
    'g': 'average',
    'd': 'd',
    'variables': {'g': 'statistics'},
  }


def test_domains_are_those_of_both_data_sets():
  config = tiny.config(data__domains=('cat', 'dog'))
  assert contract.domain_names(config) == ('cat', 'dog')
  config.unlock().data.joint_domains = ('wild',)
  assert contract.domain_names(config) == ('cat', 'dog', 'wild')


def _refuse(params):
  if params != 'right':
    raise errors.UserError('of another network')


def test_networks_that_are_never_trained_are_loaded_where_needed():
  vgg = Frozen('vgg', lambda config: config.a, lambda config: 'right', _refuse)
  fan = Frozen('fan', lambda config: config.b, lambda config: 1 / 0, _refuse)
  config = types.SimpleNamespace(a=True, b=False)
  assert frozen.load([vgg, fan], config) == {'vgg': 'right'}
  frozen.check([vgg, fan], {'vgg': 'right'}, config)
  for wrong in ({}, {'vgg': 'wrong'}, {'fan': 'right'}):
    with pytest.raises(errors.UserError, match='of another network'):
      frozen.check([vgg, fan], wrong, config)
