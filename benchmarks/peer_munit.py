"""The original PyTorch MUNIT, as a peer to time; see `peer`.

It needs torch and yaml only. The later code of UNIT is built alike:
`create_trainer` is for both.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer
from jaxgan.runtime import errors

_HOME = 'https://github.com/NVlabs/MUNIT'
# Each imports only earlier ones.
_LOADED = ('networks.py', 'utils.py', 'trainer.py')
_STAND_INS = {
  'data': ('ImageFilelist', 'ImageFolder'),
  'torch.utils.serialization': ('load_lua',),
  'torchvision': ('transforms',),
  'torchvision.utils': (),
}


class Peer:
  """The original's networks, optimisers and updates."""

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    self._directory = directory
    model = config.model
    self._settings = create_settings(
      config,
      generator={
        'style_dim': model.latent_dim,
        'mlp_dim': model.mlp_dim,
      },
      weights={
        'recon_s_w': config.hparams.lambda_s,
        'recon_c_w': config.hparams.lambda_c,
      },
    )
    self._device, self._trainer = create_trainer(
      directory, _HOME, 'MUNIT_Trainer', self._settings, config, backend
    )
    self.describe = self._device.describe

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network, of both domains."""
    return count_params(self._trainer)

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """Moves a batch to the device."""
    return self._device.tensor(batch['x_a']), self._device.tensor(batch['x_b'])

  def step(self, loaded: tuple[Any, Any]) -> None:
    """Runs one iteration on a batch of `load_batch` and waits for its end."""
    with peer.foreign_code(self._directory, _HOME), self._device.any_cuda():
      self._trainer.update_learning_rate()
      self._trainer.dis_update(*loaded, self._settings)
      self._trainer.gen_update(*loaded, self._settings)
      self._device.wait()

  def translator(
    self, batch: Mapping[str, np.ndarray], dtype: str
  ) -> Callable[[], None]:
    """What translates images of b in the styles of a's, and waits."""
    torch, device = self._device.torch, self._device
    dtype = getattr(torch, dtype)
    x_a, x_b = (x.to(dtype) for x in self.load_batch(batch))
    gen_a, gen_b = (
      getattr(self._trainer, name).to(dtype).eval()
      for name in ('gen_a', 'gen_b')
    )

    def translate() -> None:
      with peer.foreign_code(self._directory, _HOME), torch.no_grad():
        # Its own `encode` would give of each image what is not asked for, too.
        gen_a.decode(gen_b.enc_content(x_b), gen_a.enc_style(x_a))
        device.wait()

    return translate


def create_trainer(
  directory: str,
  home: str,
  name: str,
  settings: Mapping[str, Any],
  config: ml_collections.ConfigDict,
  backend: str,
) -> tuple[peer.Device, Any]:
  """The device, and on it what trains: a class of the checkout's trainer.py."""
  sources = peer.read_sources(directory, home, _LOADED)
  device = peer.Device(backend, config.seed)
  check_terms(config)
  with peer.foreign_code(directory, home), device.any_cuda():
    create = getattr(peer.load(sources, _STAND_INS, {})['trainer'], name)
    trainer = create(settings)
    trainer.cuda()
  return device, trainer


def check_terms(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a loss that the originals need files for."""
  if config.hparams.lambda_vgg:
    raise errors.UserError(
      '--peer compares without the perceptual term: set '
      f'--config.hparams.lambda_vgg=0, got {config.hparams.lambda_vgg}'
    )


def count_params(trainer: Any) -> dict[str, int]:
  """The number of parameters of each network, of both domains."""
  return {
    name: sum(
      peer.count_params(getattr(trainer, f'{letters}_{domain}'))
      for domain in 'ab'
    )
    for name, letters in (('generator', 'gen'), ('discriminator', 'dis'))
  }


def create_settings(
  config: ml_collections.ConfigDict,
  generator: Mapping[str, Any],
  weights: Mapping[str, float],
) -> dict[str, Any]:
  """The original's settings, with those that only one of the systems has."""
  model, hparams, optim = config.model, config.hparams, config.optim
  return {
    'gen': {
      'dim': model.dim,
      'n_downsample': model.n_downsample,
      'n_res': model.n_res,
      'activ': 'relu',
      'pad_type': 'reflect',
      **generator,
    },
    'dis': {
      'dim': model.d_dim,
      'n_layer': model.d_layers,
      'num_scales': model.d_scales,
      'gan_type': hparams.gan_type,
      'norm': 'none',
      'activ': 'lrelu',
      'pad_type': 'reflect',
    },
    'input_dim_a': 3,
    'input_dim_b': 3,
    'init': 'kaiming',
    'display_size': 1,
    'lr': optim.lr,
    'beta1': optim.beta1,
    'beta2': optim.beta2,
    'weight_decay': optim.weight_decay,
    'lr_policy': 'step' if optim.step_size else 'constant',
    'step_size': optim.step_size,
    'gamma': optim.gamma,
    'gan_w': hparams.lambda_gan,
    'recon_x_w': hparams.lambda_x,
    'recon_x_cyc_w': hparams.lambda_cyc,
    'vgg_w': 0,
    **weights,
  }
