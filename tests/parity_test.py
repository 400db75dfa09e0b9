import pathlib

import numpy as np
import pytest

from tests import parity, parity_stargan, parity_two_domains

DATA = pathlib.Path(__file__).parent / 'data'


@pytest.mark.parametrize(
  'name',
  [
    'metrics_drawn.npz',
    pytest.param('stargan_v2_train.npz', marks=pytest.mark.slow),
    pytest.param('stargan_v2_train_masks.npz', marks=pytest.mark.slow),
    pytest.param('stargan_v2_forward_256.npz', marks=pytest.mark.slow),
  ],
)
def test_the_reference_is_met(name, capsys):
  assert parity.main([str(DATA / name)]) == 0, capsys.readouterr().out


def test_the_default_path_meets_the_reference(monkeypatch, capsys):
  path = str(DATA / 'stargan_v2_train.npz')
  monkeypatch.setattr(parity, 'WAYS', {'default': {}})
  assert parity.main([path]) == 0, capsys.readouterr().out


# Every file and every way at least once; `python -m tests.parity` does all.
@pytest.mark.parametrize(
  'name, way',
  [
    ('domains', 'resample=phases'),
    pytest.param('domains', 'resample=plain', marks=pytest.mark.slow),
    pytest.param('attributes', 'images one by one', marks=pytest.mark.slow),
    pytest.param('joint', 'resample=phases', marks=pytest.mark.slow),
  ],
)
def test_stargan_meets_the_reference(name, way, monkeypatch, capsys):
  ways = {way: parity_stargan.WAYS[way]}
  monkeypatch.setattr(parity_stargan, 'WAYS', ways)
  assert parity.main([str(DATA / f'stargan_{name}.npz')]) == 0, (
    capsys.readouterr().out
  )


@pytest.mark.parametrize(
  'name, way',
  [
    ('munit', 'resample=phases'),
    pytest.param('munit_cycle', 'resample=plain', marks=pytest.mark.slow),
    pytest.param('unit_animals', 'images one by one', marks=pytest.mark.slow),
    pytest.param('unit_faces', 'resample=phases', marks=pytest.mark.slow),
    pytest.param('unit_streets', 'resample=plain', marks=pytest.mark.slow),
    pytest.param('unit_unshared', 'resample=phases', marks=pytest.mark.slow),
    pytest.param('munit_options', 'resample=plain', marks=pytest.mark.slow),
    pytest.param('unit_options', 'resample=phases', marks=pytest.mark.slow),
  ],
)
def test_munit_and_unit_meet_the_reference(name, way, monkeypatch, capsys):
  ways = {way: parity_two_domains.WAYS[way]}
  monkeypatch.setattr(parity_two_domains, 'WAYS', ways)
  assert parity.main([str(DATA / f'{name}.npz')]) == 0, capsys.readouterr().out


def test_a_wrong_number_and_an_unknown_array_are_failures(capsys):
  reference = {'loss0/a': np.array(1.0), 'more': np.array(1.0)}
  comparison = parity.Comparison(reference)
  comparison.check('loss', 'loss0/a', np.array(1.0 + 1e-7))
  assert not comparison.report()
  out = capsys.readouterr().out
  assert 'OVER' in out and 'NOT COMPARED: more' in out

  comparison = parity.Comparison({'loss0/a': np.array(1.0)})
  comparison.check('loss', 'loss0/a', np.array(np.nan))
  assert not comparison.report()


def test_scale_of_a_zero_array_is_one():
  comparison = parity.Comparison({'a': np.zeros(3)})
  comparison.check('loss', 'a', np.array([0, 0, 0.5]))
  assert comparison.errors['loss']['a'] == 0.5


@pytest.mark.parametrize('content', [None, b'', b'not an archive'])
def test_another_kind_of_file_is_one_line(tmp_path, content, capsys):
  path = tmp_path / 'x.npz'
  if content is not None:
    path.write_bytes(content)
  assert parity.main([str(path)]) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_another_archive_is_one_line(tmp_path, capsys):
  np.savez(tmp_path / 'x.npz', a=np.zeros(3))
  assert parity.main([str(tmp_path / 'x.npz')]) == 2
  assert 'neither' in capsys.readouterr().err


def test_metrics_without_their_pictures_are_one_line(tmp_path, capsys):
  arrays = {'inception/features': np.zeros(3), 'files': np.array(['a.jpg'])}
  np.savez(tmp_path / 'x.npz', **arrays)
  assert parity.main([str(tmp_path / 'x.npz')]) == 2
  assert 'needs its pictures' in capsys.readouterr().err
