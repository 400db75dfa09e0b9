"""The original PyTorch MUNIT, as a peer; see `peer`.

It needs torch and yaml only. The later code of UNIT is built alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer
from jaxgan.runtime import errors


class Peer(peer.Peer):
  """The original's networks, optimisers and updates."""

  home = 'https://github.com/NVlabs/MUNIT'
  files = ('networks.py', 'utils.py', 'trainer.py')
  stand_ins = {
    'data': ('ImageFilelist', 'ImageFolder'),
    'torch.utils.serialization': ('load_lua',),
    'torchvision': ('transforms',),
    'torchvision.utils': (),
  }
  kind = 'MUNIT_Trainer'
  device_number: tuple[int, ...] = ()  # that the trainer's `cuda` is given

  def create_settings(
    self, config: ml_collections.ConfigDict
  ) -> dict[str, Any]:
    """Those of both codes, with MUNIT's own."""
    model, hparams = config.model, config.hparams
    return create_settings(
      config,
      generator={'style_dim': model.latent_dim, 'mlp_dim': model.mlp_dim},
      weights={'recon_s_w': hparams.lambda_s, 'recon_c_w': hparams.lambda_c},
    )

  def build(self, modules: Mapping[str, Any]) -> None:
    """Builds the trainer of the last file."""
    *_, module = modules.values()
    self.trainer = getattr(module, self.kind)(self.settings)
    self.trainer.cuda(*self.device_number)

  def nets(self) -> Mapping[str, Sequence[Any]]:
    """Those of both domains."""
    return {
      name: [getattr(self.trainer, f'{letters}_{domain}') for domain in 'ab']
      for name, letters in (('generator', 'gen'), ('discriminator', 'dis'))
    }

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """The images of a and of b."""
    return self.device.tensor(batch['x_a']), self.device.tensor(batch['x_b'])

  def train(self, loaded: tuple[Any, Any]) -> None:
    """An update of the rate, of discriminators, of generators."""
    self.trainer.update_learning_rate()
    self.trainer.dis_update(*loaded, self.settings)
    self.trainer.gen_update(*loaded, self.settings)

  def translation(
    self, batch: Mapping[str, np.ndarray], dtype: Any
  ) -> Callable[[], Any]:
    """The images of b in the styles of a's."""
    x_a, x_b = (x.to(dtype) for x in self.load_batch(batch))
    gen_a, gen_b = (net.to(dtype).eval() for net in self.nets()['generator'])
    # Its own `encode` would give of each image what is not asked for, too.
    return lambda: gen_a.decode(gen_b.enc_content(x_b), gen_a.enc_style(x_a))

  def encode(self, y: int, z: Any = None, x_ref: Any = None) -> Any:
    """A style is the latent itself, or what the encoder of its domain gives."""
    s = z if x_ref is None else self.nets()['generator'][y].enc_style(x_ref)
    return s.flatten(1)

  def generate(self, x: Any, y: int, s: Any) -> Any:
    """The content by the other domain's encoder, the image by this one's."""
    generators = self.nets()['generator']
    content = generators[1 - y].enc_content(x)
    return generators[y].decode(content, s[:, :, None, None])


create = Peer


def check_terms(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for a loss that the originals need files for."""
  if config.hparams.lambda_vgg:
    raise errors.UserError(
      '--peer compares without the perceptual term: set '
      f'--config.hparams.lambda_vgg=0, got {config.hparams.lambda_vgg}'
    )


def create_settings(
  config: ml_collections.ConfigDict,
  generator: Mapping[str, Any],
  weights: Mapping[str, float],
) -> dict[str, Any]:
  """The original's settings, with those that only one of the systems has."""
  check_terms(config)
  model, hparams, optim = config.model, config.hparams, config.optim
  return {
    'gen': {
      'dim': model.dim,
      'n_downsample': model.n_downsample,
      'n_res': model.n_res,
      'activ': model.activ,
      'pad_type': model.pad_type,
      **generator,
    },
    'dis': {
      'dim': model.d_dim,
      'n_layer': model.d_layers,
      'num_scales': model.d_scales,
      'gan_type': hparams.gan_type,
      'norm': model.d_norm,
      'activ': model.d_activ,
      'pad_type': model.d_pad_type,
    },
    'input_dim_a': model.input_dim_a,
    'input_dim_b': model.input_dim_b,
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
