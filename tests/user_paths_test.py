"""`~` in a path that is given in Python is the home of the user."""

import pytest

import jaxgan
from jaxgan import evaluation, loop
from jaxgan.apps import import_export, trained_model, translate_files
from jaxgan.data import sources
from jaxgan.metrics import weights
from jaxgan.pytorch import torch_files
from jaxgan.runtime import errors, files
from jaxgan.systems import contract
from tests import tiny

_USES = {
  'load': jaxgan.load,
  'style_kinds': trained_model.style_kinds,
  'system_of': contract.system_of,
  'picture': trained_model._open,
  'find_images': sources.find_images,
  'find': lambda path: translate_files.find([path]),
  'evaluate': evaluation.evaluate_run,
  'follow': lambda path: evaluation.follow_run(path, timeout=0),
  'import': lambda path: import_export.import_run(path, tiny.config(), '~/run'),
  'export': lambda path: import_export.export_run(path, '~/out'),
  'torch': torch_files.load,
  'weights': lambda path: weights.load_inception(path, fid_2015=False),
  'data.root': lambda path: loop.train(
    tiny.config(data__name='folder', data__root=path), '~/run'
  ),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
  here = tmp_path / 'here'
  here.mkdir()
  monkeypatch.chdir(here)
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  yield tmp_path / 'home'
  assert not list(here.iterdir())


@pytest.mark.parametrize('use', _USES)
def test_paths_are_of_the_home(home, use):
  with pytest.raises(errors.UserError, match=f'{home}/none'):
    _USES[use]('~/none')


def test_weights_and_caches_of_the_environment(home, monkeypatch):
  monkeypatch.setenv(weights.ENVIRONMENT, '~/none')
  with pytest.raises(errors.UserError, match=f'{home}/none'):
    weights.load_lpips('')
  monkeypatch.setenv('XDG_CACHE_HOME', '~/cache')
  assert files.default_cache_dir() == f'{home}/cache/jaxgan'


def test_a_name_that_only_begins_with_a_tilde(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UserError, match='there is no user none$'):
    files.user_path('~none/a.png')
  (tmp_path / '~none').mkdir()
  assert str(files.user_path('~none/a.png')) == '~none/a.png'
  assert str(files.user_path('a/~/b')) == 'a/~/b'
