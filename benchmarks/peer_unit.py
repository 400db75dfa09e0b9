"""The original PyTorch UNIT, as a peer to time; see `peer`.

Its networks with shared blocks are in the branch version_02, for Python 2 and
the torch of its time, those without in the master; a checkout is of one. It
needs torch only, without shared blocks yaml as well.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer, peer_munit
from jaxgan.runtime import errors

_MASTER = 'https://github.com/mingyuliutw/UNIT'
_HOME = f'{_MASTER}, branch version_02'
_LOADED = tuple(  # each imports only earlier ones
  f'src/trainers/{name}.py'
  for name in ('init', 'helpers', 'common_net', 'cocogan_nets')
) + ('src/trainers/cocogan_trainer.py',)
# What Python 3 and the torch of today have no more: file, old, new.
_TODAY = (
  ('common_net', '(kernel_size-1)/2', '(kernel_size-1)//2'),
  ('cocogan_trainer', 'itertools.izip', 'zip'),
  ('cocogan_trainer', '.numpy()[0]', '.item()'),
)
_STAND_INS = {'cv2': ('getGaussianKernel',)}
_DISCRIMINATORS = {
  'shared': 'COCOSharedDis',
  'separate': 'COCODis',
  'multiscale': 'COCOMsDis',
}


class Peer:
  """The original's networks, optimisers and updates."""

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    self._directory, self._shared = directory, config.model.shared
    if self._shared:
      self._home = _HOME
      self._settings = _shared_settings(config)
      self._device, self._trainer = _create_shared(
        directory, self._settings, config, backend
      )
    else:
      self._home = _MASTER
      self._settings = peer_munit.create_settings(
        config,
        generator={},
        weights={
          'recon_kl_w': config.hparams.lambda_kl,
          'recon_kl_cyc_w': config.hparams.lambda_klc,
        },
      )
      self._device, self._trainer = peer_munit.create_trainer(
        directory, _MASTER, 'UNIT_Trainer', self._settings, config, backend
      )
    self.describe = self._device.describe

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network, of both domains."""
    if not self._shared:
      return peer_munit.count_params(self._trainer)
    nets = {'generator': self._trainer.gen, 'discriminator': self._trainer.dis}
    return {name: peer.count_params(net) for name, net in nets.items()}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """Moves a batch to the device."""
    return self._device.tensor(batch['x_a']), self._device.tensor(batch['x_b'])

  def step(self, loaded: tuple[Any, Any]) -> None:
    """Runs one iteration on a batch of `load_batch` and waits for its end."""
    with (
      peer.foreign_code(self._directory, self._home),
      self._device.any_cuda(),
    ):
      if not self._shared:  # the rate never falls there
        self._trainer.update_learning_rate()
      self._trainer.dis_update(*loaded, self._settings)
      self._trainer.gen_update(*loaded, self._settings)
      self._device.wait()

  def translator(
    self, batch: Mapping[str, np.ndarray], dtype: str
  ) -> Callable[[], None]:
    """What translates the images of a, without noise, and waits."""
    torch, device, trainer = self._device.torch, self._device, self._trainer
    dtype = getattr(torch, dtype)
    x, _ = (x.to(dtype) for x in self.load_batch(batch))
    trainer.to(dtype).eval()

    def translate() -> None:
      with (
        peer.foreign_code(self._directory, self._home),
        torch.no_grad(),
      ):
        if self._shared:
          trainer.gen.forward_a2b(x)
        else:
          # Its own `encode` would draw noise, too.
          trainer.gen_b.decode(trainer.gen_a.enc(x))
        device.wait()

    return translate


def read_shared_sources(directory: str) -> dict[pathlib.PurePosixPath, str]:
  """The text of the files to load, as Python 3 and the torch of today can."""
  sources = {
    path.relative_to('src'): text
    for path, text in peer.read_sources(directory, _HOME, _LOADED).items()
  }
  for name, old, new in _TODAY:
    path = pathlib.PurePosixPath(f'trainers/{name}.py')
    if old not in sources[path]:
      raise errors.UserError(
        f'--peer: {directory} is not a checkout of {_HOME}: no {old} in {path}'
      )
    sources[path] = sources[path].replace(old, new)
  return sources


def _create_shared(
  directory: str,
  settings: Mapping[str, Any],
  config: ml_collections.ConfigDict,
  backend: str,
) -> tuple[peer.Device, Any]:
  """The device, and on it what trains."""
  sources = read_shared_sources(directory)
  device = peer.Device(backend, config.seed)
  peer_munit.check_terms(config)
  given = {'getGaussianKernel': _binomial}
  with peer.foreign_code(directory, _HOME), device.any_cuda():
    modules = peer.load(sources, _STAND_INS, given)
    trainer = modules['trainers.cocogan_trainer'].COCOGANTrainer(settings)
    trainer.cuda(0)
  return device, trainer


def _binomial(size: int, sigma: float) -> np.ndarray:
  """What OpenCV has for a Gaussian of three values."""
  del size, sigma
  return np.array([0.25, 0.5, 0.25])


def _shared_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The settings of the branch version_02."""
  model, hparams = config.model, config.hparams
  inputs = {'input_dim_a': 3, 'input_dim_b': 3}
  blocks = model.n_downsample + 1
  return {
    'gen': {
      'name': 'COCOResGen' if model.normalize else 'COCOResGen2',
      'ch': model.dim,
      'n_enc_front_blk': blocks,
      'n_enc_res_blk': model.n_res,
      'n_enc_shared_blk': model.n_shared,
      'n_gen_shared_blk': model.n_shared,
      'n_gen_res_blk': model.n_res,
      'n_gen_front_blk': blocks,
      'res_dropout_ratio': model.dropout,
      **inputs,
    },
    'dis': {
      'name': _DISCRIMINATORS[model.d_kind],
      'ch': model.d_dim,
      'n_layer': model.d_layers,
      'n_front_layer': model.d_front,
      'n_shared_layer': model.d_layers - model.d_front,
      **inputs,
    },
    'lr': config.optim.lr,
    'gan_w': hparams.lambda_gan,
    'll_direct_link_w': hparams.lambda_x,
    'll_cycle_link_w': hparams.lambda_cyc,
    'kl_direct_link_w': hparams.lambda_kl,
    'kl_cycle_link_w': hparams.lambda_klc,
  }
