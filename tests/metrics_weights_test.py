import logging

import numpy as np
import pytest
from absl import logging as absl_logging

from jaxgan.metrics import lpips, weights
from jaxgan.pytorch import torch_params
from jaxgan.runtime import errors
from tests import parity, pytorch_files


@pytest.fixture
def directory(tmp_path, monkeypatch):
  """Made weights under public names."""
  monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
  alexnet = parity.rule_made_network('alexnet', lpips.AlexNet(), (1, 64, 64, 3))
  state_dict = torch_params.to_state_dict(alexnet)
  state_dict['classifier.1.weight'] = np.zeros((2, 2), np.float32)  # not ours
  pytorch_files.write(tmp_path / weights.ALEXNET.names[1], state_dict)
  linear = {
    f'lpips_weights.{i}.main.1.weight': np.full((1, c, 1, 1), i, np.float32)
    for i, c in enumerate(lpips.WIDTHS)
  }
  pytorch_files.write(tmp_path / 'lpips_weights.ckpt', linear)
  return tmp_path


def test_older_names_and_unknown_sums(directory, caplog, monkeypatch):
  absl_logging.get_absl_logger().propagate = True
  with caplog.at_level(logging.WARNING):
    params, label = weights.load_lpips(str(directory))
  one, two = label.split('+')
  assert one.startswith('unverified:') and len(one) == 19
  assert two.startswith('unverified:')
  assert 'alexnet-owt-4df8aa71.pth is not the public file' in caplog.text
  assert [float(x[3]) for x in params['linear']] == [0, 1, 2, 3, 4]
  assert params['alexnet']['features.3']['kernel'].shape == (5, 5, 64, 192)
  monkeypatch.setenv(weights.ENVIRONMENT, str(directory))
  assert weights.load_lpips('')[1] == label


def test_a_known_sum_is_recognised(directory, monkeypatch):
  label = weights.load_lpips(str(directory))[1].split('+')[1]
  known = weights.WeightFile(
    weights.LPIPS.names, (label.removeprefix('unverified:'),), ''
  )
  monkeypatch.setattr(weights, 'LPIPS', known)
  again = weights.load_lpips(str(directory))[1].split('+')[1]
  assert again == label.removeprefix('unverified:')


def _truncate(path):
  path.write_bytes(path.read_bytes()[:5000])


def _other(path):
  pytorch_files.write(path, {'features.0.weight': np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda p: p.unlink(), 'alexnet-owt-7be5be79.pth is missing: curl'),
    (lambda p: p.write_bytes(b''), 'is an empty file, no whole file of PyTor'),
    (lambda p: p.write_bytes(b'<html>'), 'is a web page, as of a download th'),
    (_truncate, 'is cut off, as by a download that broke off, no whole file'),
    (_other, 'holds no AlexNet: there is no tensor features.0.bias'),
    (lambda p: pytorch_files.write(p, [1]), 'holds no state dict'),
  ],
)
def test_a_bad_file_is_one_line(directory, damage, message):
  damage(directory / weights.ALEXNET.names[1])
  with pytest.raises(errors.UserError, match=message) as error:
    weights.load_lpips(str(directory))
  assert '\n' not in str(error.value)


def test_both_files_of_lpips_are_named(tmp_path, monkeypatch):
  monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
  with pytest.raises(weights.MissingWeightsError) as error:
    weights.load_lpips(str(tmp_path))
  for file in (weights.ALEXNET, weights.LPIPS):
    target = f'{tmp_path}/{file.names[0]}'
    assert f'{target} is missing: curl -L -o {target} {file.url}' in str(
      error.value
    )
  with pytest.raises(weights.MissingWeightsError) as error:
    weights.load_lpips('')
  assert str(error.value) == (
    'alexnet-owt-7be5be79.pth and lpips_weights.ckpt are needed: put them in a '
    'directory and name that by --weights_dir or JAXGAN_WEIGHTS (curl -LO '
    f'{weights.ALEXNET.url}; curl -LO {weights.LPIPS.url})'
  )


def test_a_directory_that_is_none_is_named(tmp_path, monkeypatch):
  missing, file = tmp_path / 'none', tmp_path / 'file'
  file.touch()
  cure = ': name the folder that holds the files of weights'
  for path, what in ((missing, 'does not exist'), (file, 'is a file')):
    for load in (weights.load_lpips, weights.find_classifiers):
      with pytest.raises(errors.UserError) as error:
        load(str(path))
      assert str(error.value) == f'--weights_dir={path} {what}{cure}'
    monkeypatch.setenv(weights.ENVIRONMENT, str(path))
    with pytest.raises(
      errors.UserError, match=f'^JAXGAN_WEIGHTS={path} {what}'
    ):
      weights.load_inception('', fid_2015=True)
