"""The settings of StarGAN v2; a file in configs/ changes a few of them."""

from ml_collections import ConfigDict

from jaxgan.nets import layers
from jaxgan.systems import settings
from jaxgan.systems.settings import Setting

# As published for AFHQ, on a folder of images.
SETTINGS = settings.extend(
  settings.BASE,
  {
    'system': 'stargan_v2',
    'seed': 777,
    'batch_size': 8,  # less is known to fail
    'sample_every_steps': 5000,
    'model.channel_base': Setting(2**14),  # first width times img_size
    'model.max_conv_dim': Setting(512, least=1),
    'model.hidden_dim': Setting(512, least=1),  # of the mapping network
    'model.style_dim': Setting(64, least=1),
    'model.latent_dim': Setting(16, least=1),
    # > 0: high-pass path with face masks; it divides the kernel.
    'model.w_hpf': Setting(0.0),
    # wing.ckpt, weights of the face network, if w_hpf > 0.
    'model.wing_file': Setting(''),
    # Same results to rounding, other speed and memory: the form of convolutions
    # that resample,
    'model.resample': Setting('auto', among=('auto', *layers.RESAMPLE_FORMS)),
    'model.select_heads': Setting(True),  # only heads of the batch's domains,
    'model.remat': Setting(False),  # recompute blocks in the backward pass
    'hparams.lambda_reg': Setting(1.0),  # R1
    'hparams.lambda_sty': Setting(1.0),  # style reconstruction
    'hparams.lambda_ds': Setting(2.0),  # diversity; linear to 0 at ds_iter
    'hparams.lambda_cyc': Setting(1.0),  # cycle consistency
    'hparams.ds_iter': Setting(100_000, least=1),
    'hparams.ema_decay': Setting(0.999, below=1),
    'optim.lr': Setting(1e-4),
    'optim.f_lr': Setting(1e-6),  # of the mapping network
    'optim.beta1': Setting(0.0, below=1),
    'optim.beta2': Setting(0.99, below=1),
    'optim.weight_decay': Setting(1e-4),  # L2 inside the gradient
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for AFHQ."""
  return settings.create(SETTINGS)
