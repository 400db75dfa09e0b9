import logging

import numpy as np
import pytest
from absl import logging as absl_logging

from jaxgan.metrics import lpips, weights
from jaxgan.pytorch import torch_files, torch_params
from jaxgan.runtime import errors
from tests import parity

pytest.importorskip('torch')


@pytest.fixture
def directory(tmp_path, monkeypatch):
  """Made weights under public names."""
  monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
  alexnet = parity.rule_made_network('alexnet', lpips.AlexNet(), (1, 64, 64, 3))
  state_dict = torch_params.to_state_dict(alexnet)
  state_dict['classifier.1.weight'] = np.zeros((2, 2), np.float32)  # not ours
  torch_files.save(tmp_path / weights.ALEXNET.names[1], state_dict)
  linear = {
    f'lpips_weights.{i}.main.1.weight': np.full((1, c, 1, 1), i, np.float32)
    for i, c in enumerate(lpips.WIDTHS)
  }
  torch_files.save(tmp_path / 'lpips_weights.ckpt', linear)
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
  torch_files.save(path, {'features.0.weight': np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda p: p.unlink(), 'alexnet-owt-7be5be79.pth is missing: curl'),
    (lambda p: p.write_bytes(b''), 'no whole file of PyTorch weights'),
    (lambda p: p.write_bytes(b'hello'), 'no whole file of PyTorch weights'),
    (_truncate, 'no whole file of PyTorch weights'),
    (_other, 'holds no AlexNet: there is no tensor features.0.bias'),
    (lambda p: torch_files.save(p, [1]), 'holds no state dict'),
  ],
)
def test_a_bad_file_is_one_line(directory, damage, message):
  damage(directory / weights.ALEXNET.names[1])
  with pytest.raises(errors.UserError, match=message) as error:
    weights.load_lpips(str(directory))
  assert '\n' not in str(error.value)
