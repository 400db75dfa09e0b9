import math
import pathlib
import re
import types

import ml_collections
import pytest

from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract, named, settings
from jaxgan.systems.settings import Setting
from jaxgan.systems.stargan_v2.config import default_config
from tests import programs
from tests import tiny_munit as tiny

tool = programs.load('jaxgan.tools.settings')

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
  assert DECLARED['seed'] == settings.BASE['seed']._replace(default=7)
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


DOCS = pathlib.Path(__file__).parents[1] / 'docs'
# What tells of the weights and rates of a system.
PAGES = {
  'munit': 'munit.md',
  'pix2pix': 'pix2pix.md',
  'stargan': 'stargan.md',
  'stargan_v2': 'hyperparameters.md',
  'unit': 'munit.md',
}
# Texts that are no choice among a few, beside those of PLACES.
FREE = {
  'system',
  'data.name',
  'data.joint_name',
  'data.train_split',
  'data.val_split',
  'data.background',  # any colour that Pillow knows
}


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_every_setting_is_explained_bounded_and_documented(name):
  page = (DOCS / PAGES[name]).read_text()
  for key, setting in contract.load(name).SETTINGS.items():
    assert setting.about.endswith('.') and '\n' not in setting.about, key
    kind = type(setting.default)
    if kind in (int, float):
      assert 0 <= setting.least <= setting.default, key
      assert setting.default < setting.below <= 2**32, key
    if kind is str and key not in FREE | workdir.PLACES:
      assert setting.default in setting.among, key
    group, _, last = key.partition('.')
    if group in ('hparams', 'optim'):
      quoted = rf'`[^`\n]*\b{last}\b[^`\n]*`'
      assert re.search(quoted, page), f'{PAGES[name]} does not name {key}'


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_defaults_are_within_their_own_bounds(name):
  system = contract.load(name)
  config = settings.create(system.SETTINGS)
  contract.check_config(system, config)
  assert config.system == name


_ALL = [
  pytest.param(name, key, id=f'{name}-{key}')
  for name in contract.SYSTEMS
  for key, setting in contract.load(name).SETTINGS.items()
  if type(setting.default) in (int, float)
]


@pytest.mark.parametrize('name, key', _ALL)
def test_no_number_is_negative_or_without_bounds(name, key):
  declared = contract.load(name).SETTINGS
  is_whole = type(declared[key].default) is int
  values = (-1, 2**32) if is_whole else (-1e-9, math.nan, math.inf)
  for value in values:
    config = settings.create(declared)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(errors.UserError, match=f'^config.{key} must be '):
      settings.check(config, declared)


@pytest.mark.parametrize(
  'key, value, kind',
  [
    ('seed', 1.5, 'a whole number: 1.5'),
    ('seed', True, 'a whole number: True'),
    ('data.timeout', '9', "a number: '9'"),
    ('data.augment', 1, 'True or False: 1'),
    ('data.name', 3, 'a text: 3'),
    ('data.domains', 'cat', "names, as ('a', 'b'): 'cat'"),
    ('data.domains', ('cat', 1.5), "names, as ('a', 'b'): ('cat', 1.5)"),
  ],
)
def test_a_setting_of_another_type_is_named(key, value, kind):
  # As a config without types gives it.
  config = settings.create(DECLARED)
  with config.ignore_type():
    config.update_from_flattened_dict({key: value})
  settings.settle(config, DECLARED)
  with pytest.raises(errors.UserError) as error:
    settings.check(config, DECLARED)
  assert str(error.value) == f'config.{key} must be {kind}'


def test_an_unknown_and_a_missing_setting_are_named():
  config = settings.create(DECLARED)
  config.model.dmi = 3
  with pytest.raises(errors.UserError, match='no setting config.model.dmi'):
    settings.check(config, DECLARED)
  del config.model.dmi, config.model.dim
  with pytest.raises(errors.UserError, match='config.model.dim is missing: '):
    settings.check(config, DECLARED)


def test_values_become_what_people_mean(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  config = settings.create(DECLARED)
  config.data.domains = (0, 1, 'cat')
  config.data.timeout = 30
  config.data.root = '~/data'
  config.data.cache_dir = '~'
  config.data.train_split = '~'  # the name of a folder
  settings.settle(config, DECLARED)
  data = config.data
  assert data.domains == ('0', '1', 'cat') and type(data.timeout) is float
  assert (data.root, data.cache_dir) == ('/home/me/data', '/home/me')
  assert data.train_split == '~'
  settings.check(config, DECLARED)


def test_settings_of_places_are_known():
  places = {
    key
    for name in contract.SYSTEMS
    for key, setting in contract.load(name).SETTINGS.items()
    if isinstance(setting.default, str)
    and key.endswith(('root', 'dir', 'file', 'path'))
  }
  assert places == workdir.PLACES


def test_names_that_come_twice_are_refused():
  declared = {'data.domains': Setting(())}
  config = settings.create(declared)
  config.data.domains = ('cat', 'cat')
  with pytest.raises(errors.UserError, match='domains has a name twice'):
    settings.check(config, declared)


def test_whole_numbers_of_a_dict_are_numbers():
  config = ml_collections.ConfigDict({'optim': {'lr': 1}})
  settings.settle(config, {'optim.lr': Setting(0.5)})
  assert config.optim.lr == 1.0 and isinstance(config.optim.lr, float)


@pytest.fixture
def listed(monkeypatch, capsys):
  """What `tools.settings` prints, line by line."""

  def listed(config, find=''):
    monkeypatch.setattr(tool, '_CONFIG', types.SimpleNamespace(value=config))
    monkeypatch.setattr(tool, '_FIND', types.SimpleNamespace(value=find))
    tool.main()
    return capsys.readouterr().out.splitlines()

  return listed


@pytest.mark.parametrize('name', contract.SYSTEMS)
def test_every_setting_is_listed_within_100_columns(listed, name):
  declared = contract.load(name).SETTINGS
  lines = listed(settings.create(declared))
  keys = [line.split()[0] for line in lines if line and line[0] != ' ']
  assert sorted(keys) == sorted(declared)
  assert max(map(len, lines)) <= 100


def test_a_listed_setting_has_its_value_bounds_and_meaning(listed):
  config = default_config()
  config.hparams.lambda_ds = 1.0
  config.hparams.ema_decay = 0.5
  config.data.domains = ('cat', 'a domain with a long name')
  gap = ' ' * 42
  assert listed(config, 'lambda_ds') == [
    'hparams.lambda_ds        1.0              '
    'Weight of diversity at first; it falls to 0 at ds_iter. (0',
    f'{gap}or more; default 2.0)',
    'hparams.ds_iter          100000           '
    'Iteration at which lambda_ds has fallen to 0. (1 or more)',
    '',
  ]
  assert listed(config, 'AVERAGES') == [
    'shard_state              False            Divide parameters, optimisers '
    'and averages among the',
    f'{gap}devices.',
    '',
    'hparams.ema_decay        0.5              Share of the averages that an '
    'iteration keeps. (0 or more,',
    f'{gap}less than 1; default 0.999)',
    '',
  ]
  assert listed(config, 'data.domains') == [
    'data.domains             cat,a domain with a long name',
    f'{gap}Names of the domains to use; () for all there are.',
    f'{gap}(default ())',
    '',
  ]
  with pytest.raises(errors.UserError, match='of stargan_v2 tells of lambda_x'):
    listed(config, 'lambda_x')


def test_without_a_config_all_configs_are_listed(listed):
  lines = listed(None)
  names = [line.split()[0] for line in lines if re.match('  [a-z]', line)]
  assert sorted(names) == list(named.paths()) and 'unit/shapes' in names
  assert (
    '  stargan_v2/afhq            StarGAN v2 on AFHQ (cat, dog, wild) at 256 '
    'px, the published settings'
  ) in lines
  assert max(map(len, lines)) <= 100
