import pathlib
import signal
import subprocess
import sys

import ml_collections
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from jaxgan.runs import workdir
from jaxgan.runtime import errors, files
from jaxgan.systems.stargan_v2.config import default_config
from tests import tiny

_VALUES = (
  st.integers(0, 2**32 - 1)
  | st.floats(allow_nan=False, allow_infinity=False)
  | st.text()
  | st.booleans()
)
_CONFIGS = st.dictionaries(
  st.from_regex('[a-z_]{1,8}', fullmatch=True),
  _VALUES
  | st.dictionaries(st.from_regex('[a-z_]{1,8}', fullmatch=True), _VALUES),
  max_size=5,
)


@given(_CONFIGS)
def test_any_config_agrees_with_itself_saved(tmp_path_factory, values):
  path = epath.Path(tmp_path_factory.mktemp('run'))
  config = ml_collections.ConfigDict(values)
  workdir.save_config(path, config)
  workdir.check_config(path, config, False, defaults=config)


_OWN = workdir.RESUMABLE & workdir.flatten(default_config()).keys()


@given(st.sampled_from(sorted(_OWN)))
def test_a_resumed_run_may_change_these_settings(tmp_path_factory, key):
  path = epath.Path(tmp_path_factory.mktemp('run'))
  workdir.save_config(path, tiny.config())
  old = tiny.config()
  for part in key.split('.'):
    old = old[part]
  value = {str: 'other', bool: not old, int: 99, float: 9.0}[type(old)]
  changed = tiny.config(**{key: value})
  workdir.check_config(path, changed, False, default_config())


@given(st.sampled_from(sorted(workdir.PLACES)))
def test_where_files_lie_is_no_other_setting(tmp_path_factory, key):
  path = epath.Path(tmp_path_factory.mktemp('run'))
  group, name = key.split('.')
  old, *others = (
    ml_collections.ConfigDict({group: {name: place}})
    for place in ('data', 'data/', '/mnt/data', '')
  )
  workdir.save_config(path, old)
  for new in others:
    workdir.check_config(path, new, False, old)


_CONTENTS = {
  'cat': {'images': 3, 'sum': 'ab'},
  'dog': {'images': 2, 'sum': 'c'},
}


@pytest.mark.parametrize(
  'changed, message',
  [
    ({'cat': {'images': 4, 'sum': 'd'}}, "'cat' has 4 images, and had 3. Give"),
    ({'cow': {'images': 1, 'sum': 'd'}}, "'cow' has 1 images, and had 0. Give"),
    (
      {'dog': {'images': 2, 'sum': 'd'}},
      "'dog' has other images, names or labels than before. Give it the same "
      'images, take another --workdir, or continue with --allow_config_change',
    ),
  ],
)
def test_other_data_is_refused(tmp_path, changed, message):
  path = epath.Path(tmp_path)
  workdir.save_data(path, _CONTENTS)
  # Nothing was learned of it yet.
  workdir.check_data(path, _CONTENTS | changed, False)
  (path / 'checkpoints' / '1').mkdir(parents=True)
  workdir.check_data(path, _CONTENTS, False)
  workdir.check_data(path, _CONTENTS | changed, True)
  with pytest.raises(errors.ConfigMismatchError) as error:
    workdir.check_data(path, _CONTENTS | changed, False)
  assert message in str(error.value)


def test_data_of_no_record_is_taken_to_be_the_same(tmp_path, caplog):
  path = epath.Path(tmp_path)
  (path / 'checkpoints' / '1').mkdir(parents=True)
  workdir.check_data(path, {}, False)  # drawn: there is nothing to record
  assert not caplog.messages
  workdir.check_data(path, _CONTENTS, False)
  assert 'has no record of what it was trained on' in caplog.text


@pytest.mark.parametrize('text', ['{', '[]', '{"cat": 3}'])
def test_a_broken_record_of_data_is_named(tmp_path, text):
  path = epath.Path(tmp_path)
  (path / 'checkpoints' / '1').mkdir(parents=True)
  (path / 'data.json').write_text(text)
  with pytest.raises(errors.UserError, match=r'data\.json is damaged'):
    workdir.check_data(path, _CONTENTS, False)


def test_other_settings_are_listed(tmp_path):
  path = epath.Path(tmp_path)
  workdir.save_config(path, tiny.config())
  changed = tiny.config(seed=5, optim__lr=0.5)
  with pytest.raises(errors.ConfigMismatchError) as error:
    workdir.check_config(path, changed, False, default_config())
  assert 'optim.lr: 0.0001 -> 0.5; seed: 0 -> 5' in str(error.value)
  workdir.check_config(path, changed, True, default_config())


def test_settings_of_a_later_version_are_the_defaults(tmp_path):
  path = epath.Path(tmp_path)
  saved = tiny.config().unlock()
  del saved.data.on_device, saved.micro_batches
  workdir.save_config(path, saved)
  workdir.check_config(path, tiny.config(), False, default_config())
  with pytest.raises(errors.ConfigMismatchError, match='on_device: False'):
    changed = tiny.config(data__on_device=True)
    workdir.check_config(path, changed, False, default_config())


def test_a_broken_config_is_named(tmp_path):
  (tmp_path / 'config.json').write_text('{"seed": ')
  with pytest.raises(errors.UserError, match=r'config\.json is no JSON'):
    workdir.load_config(epath.Path(tmp_path))


@pytest.mark.skipif(
  not pathlib.Path('/dev/full').is_char_device(), reason='no /dev/full here'
)
def test_what_a_full_disk_refuses_is_named(tmp_path, monkeypatch):
  file = workdir.MetricsFile(epath.Path(tmp_path), 0)
  (tmp_path / 'metrics.jsonl').symlink_to('/dev/full')
  with pytest.raises(OSError, match="No space left .*: '.*/metrics.jsonl'"):
    file.append(1, {'loss': 1.0})
  # A link, for what fails to be written is removed, and root may remove all.
  (tmp_path / 'full').symlink_to('/dev/full')
  full = epath.Path(tmp_path / 'full')
  monkeypatch.setattr(files, 'partial_path', lambda path: full)
  with pytest.raises(OSError, match="No space left .*: '.*/config.json'"):
    workdir.save_config(epath.Path(tmp_path), tiny.config())


_TRAINING = """
import sys, time
from etils import epath
from jaxgan.runs import workdir
with workdir.locked(epath.Path(sys.argv[1])):
  print('at work', flush=True)
  time.sleep(60)
"""


def test_a_second_training_is_refused_until_the_first_is_gone(tmp_path):
  path = epath.Path(tmp_path)
  with subprocess.Popen(
    [sys.executable, '-c', _TRAINING, str(tmp_path)], stdout=subprocess.PIPE
  ) as first:
    first.stdout.readline()
    with pytest.raises(errors.UserError, match=f'by process {first.pid} on '):
      with workdir.locked(path):
        pass
    first.send_signal(signal.SIGKILL)
  with workdir.locked(path):
    pass


def test_a_start_that_fails_leaves_nothing(tmp_path):
  new, old, begun = (epath.Path(tmp_path / n) for n in ('new', 'old', 'begun'))
  old.mkdir()
  for path in (new, old, begun):
    with pytest.raises(ZeroDivisionError), workdir.opened(path):
      assert (path / 'lock').exists()
      (path / 'checkpoints').mkdir()
      if path == begun:
        (path / 'config.json').write_text('{}')
      raise ZeroDivisionError
  assert not new.exists()
  assert list(old.iterdir()) == []
  names = {'lock', 'checkpoints', 'config.json'}
  assert {p.name for p in begun.iterdir()} == names


def test_history_has_no_empty_lines(tmp_path):
  path = epath.Path(tmp_path)
  for step in range(3):
    workdir.History(path).append(step, said='started')
  text = (path / 'history.jsonl').read_text()
  assert text.count('\n') == len(text.splitlines()) == 3 and '\n\n' not in text
