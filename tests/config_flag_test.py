"""--config and --config.<setting>, as people write them."""

import json
import pathlib
import sys

import pytest
from absl import flags
from etils import epath

from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems import config_flag
from tests import tiny, tiny_stargan

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / 'configs/stargan_v2/shapes.py'


@pytest.fixture
def parse(monkeypatch):
  def parse(*arguments, config=CONFIG):
    values = flags.FlagValues()
    config_flag.define('', flag_values=values)
    argv = ['train.py', f'--config={config}', *arguments]
    monkeypatch.setattr(sys, 'argv', argv)
    values(argv)
    return values['config'].value

  return parse


@pytest.mark.parametrize(
  'text, number',
  [('1e5', 100_000), ('100_000', 100_000), ('100,000', 100_000), ('7.0', 7)],
)
def test_whole_numbers_are_understood(parse, text, number):
  found = parse(f'--config.num_train_steps={text}').num_train_steps
  assert found == number and type(found) is int


@pytest.mark.parametrize(
  'argument, message',
  [
    ('num_train_steps=1.5', 'not a whole number'),
    ('num_train_steps=many', 'not a number'),
    ('num_train_steps=1,5', 'not a number'),
    ('optim.lr=nan', 'not a finite number'),
    ('optim.lr=-inf', 'not a finite number'),
  ],
)
def test_other_numbers_are_named(parse, argument, message):
  with pytest.raises(flags.Error, match=f'--config.{argument}: {message}$'):
    parse(f'--config.{argument}')


@pytest.mark.parametrize(
  'text, names',
  [
    ('cat,dog', ('cat', 'dog')),
    ('cat, dog', ('cat', 'dog')),
    ("('cat', 'dog')", ('cat', 'dog')),
    ('[cat,dog]', ('cat', 'dog')),
    ('(0,1)', ('0', '1')),
    ('000,001', ('000', '001')),
    ('cat', ('cat',)),
    ('"cat, grey",dog', ('cat, grey', 'dog')),
    ("it's,dog", ("it's", 'dog')),
    ('()', ()),
    ('', ()),
  ],
)
def test_names_are_understood(parse, text, names):
  assert parse(f'--config.data.domains={text}').data.domains == names


def test_names_of_a_repeated_flag_are_taken_together(parse):
  flag = '--config.data.domains'
  assert parse(f'{flag}=a', f'{flag}=b').data.domains == ('a', 'b')


@pytest.mark.parametrize(
  'name, message',
  [
    ('modle.style_dim', 'did you mean config.model.style_dim?'),
    ('lr', 'did you mean config.optim.lr?'),
    ('batchsize', 'did you mean config.batch_size?'),
    ('data.lambda_cy', 'did you mean config.hparams.lambda_cyc?'),
    ('model["style_dmi"]', 'did you mean config.model.style_dim?'),
    ('zzz', f'python -m jaxgan.tools.settings --config={CONFIG} lists them'),
  ],
)
def test_an_unknown_setting_is_one_line(parse, name, message):
  with pytest.raises(errors.UsageError) as error:
    parse(f'--config.{name}=1')
  assert str(error.value) == f'there is no setting config.{name}: {message}'


def test_a_group_of_settings_is_no_setting(parse):
  with pytest.raises(errors.UsageError, match='config.model is a group: chan'):
    parse('--config.model={"dim": 3}')


@pytest.mark.parametrize(
  'name, text, message',
  [
    (
      'a.py',
      'def get_config():\n  return 1 + "x"',
      ':2 is no config: TypeErro',
    ),
    ('a.py', 'get_config = {', ' is no config: SyntaxError: '),
    (
      'a.py',
      'get_config = dict',
      r' is no config: get_config\(\) returns dict',
    ),
    ('a.json', '{', ' is no JSON object of settings'),
    ('a.json', '{"system": "x"}', "config.system is 'x'; there is: munit"),
    ('a.json', None, 'there is no config .*a.json: python -m jaxgan'),
  ],
)
def test_what_is_no_config_is_named(parse, tmp_path, name, text, message):
  path = tmp_path / name
  if text is not None:
    path.write_text(text)
  with pytest.raises(errors.UserError, match=message):
    parse(config=path)


def test_a_folder_is_no_config(parse, tmp_path):
  with pytest.raises(errors.UserError, match='give a config file, or the conf'):
    parse(config=tmp_path)


@pytest.mark.parametrize('form', ['{}', 'configs/{}', 'configs/{}.py', '{}.py'])
def test_a_config_has_a_name_away_from_its_file(
  parse, tmp_path, monkeypatch, form
):
  monkeypatch.chdir(tmp_path)
  config = parse(config=form.format('stargan_v2/shapes'))
  assert config.to_dict() == parse(config=CONFIG).to_dict()


def test_a_file_goes_before_a_config_of_its_name(parse, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'stargan_v2').mkdir()
  (tmp_path / 'stargan_v2/shapes').write_text(
    'from jaxgan.systems.unit.config import default_config as get_config'
  )
  assert parse(config='stargan_v2/shapes').system == 'unit'


@pytest.mark.parametrize(
  'name, cure',
  [
    ('stargan_v2/shape', 'did you mean stargan_v2/shapes or stargan/shapes'),
    ('configs/munit/shaeps.py', 'did you mean munit/shapes or'),
    ('../loop', 'python -m jaxgan.tools.settings lists those that have a name'),
  ],
)
def test_an_unknown_name_is_one_line(parse, tmp_path, monkeypatch, name, cure):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError) as error:
    parse(config=name)
  assert str(error.value).startswith(f'there is no config {name}: {cure}')


def test_a_config_may_take_an_argument_and_lie_below_a_colon(parse, tmp_path):
  folder = tmp_path / 'a:b'
  folder.mkdir()
  for path in (tmp_path / 'c.py', folder / 'c.py'):
    path.write_text(
      f'import runpy\nmake = runpy.run_path({str(CONFIG)!r})["get_config"]\n'
      'def get_config(seed="0"):\n  c = make()\n  c.seed = int(seed)\n'
      '  return c\n'
    )
  assert parse(config=f'{tmp_path}/c.py:7').seed == 7
  assert parse(config=folder / 'c.py').seed == 0


@pytest.mark.parametrize('tiny_system', [tiny, tiny_stargan])
def test_the_config_of_a_run_is_read_back(
  parse, tmp_path, monkeypatch, tiny_system
):
  monkeypatch.setenv('HOME', str(tmp_path))
  config = tiny_system.config()
  workdir.save_config(epath.Path(tmp_path), config)
  path = tmp_path / 'config.json'
  assert parse(config='~/config.json').to_dict() == config.to_dict()
  # What an earlier version did not have is there, to be changed.
  saved = json.loads(path.read_text())
  del saved['micro_batches']
  path.write_text(json.dumps(saved))
  read = parse('--config.micro_batches=2', config=path)
  assert read.micro_batches == 2 and read.seed == config.seed
