"""The original PyTorch UNIT, as a peer to time; see `peer`.

Its networks with shared blocks are in the branch version_02, for Python 2 and
the torch of its time, those without in the master; a checkout is of one. It
needs torch only, without shared blocks yaml as well.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer, peer_munit
from jaxgan.runtime import errors

# What Python 3 and the torch of today have no more: file, old, new.
_TODAY = (
  ('common_net', '(kernel_size-1)/2', '(kernel_size-1)//2'),
  ('cocogan_trainer', 'itertools.izip', 'zip'),
  ('cocogan_trainer', '.numpy()[0]', '.item()'),
)
_DISCRIMINATORS = {
  'shared': 'COCOSharedDis',
  'separate': 'COCODis',
  'multiscale': 'COCOMsDis',
}


class Unshared(peer_munit.Peer):
  """The code without shared blocks."""

  home = 'https://github.com/mingyuliutw/UNIT'
  kind = 'UNIT_Trainer'

  def create_settings(
    self, config: ml_collections.ConfigDict
  ) -> dict[str, Any]:
    """Those of both codes, with UNIT's own."""
    hparams = config.hparams
    weights = {
      'recon_kl_w': hparams.lambda_kl,
      'recon_kl_cyc_w': hparams.lambda_klc,
    }
    return peer_munit.create_settings(config, generator={}, weights=weights)

  def translation(
    self, batch: Mapping[str, np.ndarray], dtype: Any
  ) -> Callable[[], Any]:
    """The images of a, without noise, which its own `encode` would draw."""
    x = self.device.tensor(batch['x_a']).to(dtype)
    gen_a, gen_b = (net.to(dtype).eval() for net in self.nets()['generator'])
    return lambda: gen_b.decode(gen_a.enc(x))


class Shared(peer_munit.Peer):
  """The code with shared blocks."""

  home = f'{Unshared.home}, branch version_02'
  files = (
    *(
      f'src/trainers/{name}.py'
      for name in ('init', 'helpers', 'common_net', 'cocogan_nets')
    ),
    'src/trainers/cocogan_trainer.py',
  )
  stand_ins = {'cv2': ('getGaussianKernel',)}
  kind = 'COCOGANTrainer'
  device_number = (0,)

  @classmethod
  def read_sources(
    cls, directory: str, config: ml_collections.ConfigDict
  ) -> dict[pathlib.PurePosixPath, str]:
    """The text of the files, as Python 3 and the torch of today can run it."""
    sources = {
      path.relative_to('src'): text
      for path, text in super().read_sources(directory, config).items()
    }
    for name, old, new in _TODAY:
      path = pathlib.PurePosixPath(f'trainers/{name}.py')
      if old not in sources[path]:
        raise errors.UserError(
          f'--peer: {directory} is not a checkout of {cls.home}: no {old} in '
          f'{path}'
        )
      sources[path] = sources[path].replace(old, new)
    return sources

  def create_settings(
    self, config: ml_collections.ConfigDict
  ) -> dict[str, Any]:
    """Those of the branch version_02."""
    peer_munit.check_terms(config)
    return create_shared_settings(config)

  def given(self) -> dict[str, Any]:
    """OpenCV's Gaussian of three values."""
    return {'getGaussianKernel': binomial}

  def nets(self) -> Mapping[str, Sequence[Any]]:
    """One of each, for both domains."""
    trainer = self.trainer
    return {'generator': [trainer.gen], 'discriminator': [trainer.dis]}

  def train(self, loaded: tuple[Any, Any]) -> None:
    """An update of discriminators and of generators: the rate never falls."""
    self.trainer.dis_update(*loaded, self.settings)
    self.trainer.gen_update(*loaded, self.settings)

  def translation(
    self, batch: Mapping[str, np.ndarray], dtype: Any
  ) -> Callable[[], Any]:
    """The images of a, without noise."""
    x = self.device.tensor(batch['x_a']).to(dtype)
    generator = self.trainer.gen.to(dtype).eval()
    return lambda: generator.forward_a2b(x)


def create(
  directory: str, config: ml_collections.ConfigDict, backend: str
) -> peer.Peer:
  """The code that has the config's networks."""
  kind = Shared if config.model.shared else Unshared
  return kind(directory, config, backend)


def binomial(size: int, sigma: float) -> np.ndarray:
  """What OpenCV has for a Gaussian of three values."""
  del size, sigma
  return np.array([0.25, 0.5, 0.25])


def create_shared_settings(
  config: ml_collections.ConfigDict,
) -> dict[str, Any]:
  """The settings of the branch version_02."""
  model, hparams = config.model, config.hparams
  inputs = {key: model[key] for key in ('input_dim_a', 'input_dim_b')}
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
