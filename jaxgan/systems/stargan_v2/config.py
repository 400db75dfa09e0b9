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
    'batch_size': Setting(
      8, least=1, about='Of all devices together; less than 8 is known to fail.'
    ),
    'sample_every_steps': 5000,
    'model.channel_base': Setting(
      2**14, about='First width of the networks, times img_size.'
    ),
    'model.max_conv_dim': Setting(512, least=1, about='Largest width.'),
    'model.hidden_dim': Setting(
      512, least=1, about='Width of the mapping network.'
    ),
    'model.style_dim': Setting(64, least=1, about='Numbers of a style.'),
    'model.latent_dim': Setting(16, least=1, about='Numbers of a latent.'),
    'model.w_hpf': Setting(
      0.0,
      about='Above 0: high-pass path with face masks; it divides the kernel.',
    ),
    'model.wing_file': Setting(
      '',
      about='wing.ckpt, weights of the face network, where w_hpf is above 0.',
    ),
    'model.resample': Setting(
      'auto',
      among=('auto', *layers.RESAMPLE_FORMS),
      about='Form of convolutions that resample: speed, memory, and rounding.',
    ),
    'model.select_heads': Setting(
      True, about='Compute only heads of domains in the batch: speed.'
    ),
    'model.remat': Setting(
      False, about='Recompute blocks in the backward pass: memory for time.'
    ),
    'hparams.lambda_reg': Setting(
      1.0, about='Weight of R1, the gradient penalty at real images.'
    ),
    'hparams.lambda_sty': Setting(1.0, about='Weight of style reconstruction.'),
    'hparams.lambda_ds': Setting(
      2.0, about='Weight of diversity at first; it falls to 0 at ds_iter.'
    ),
    'hparams.lambda_cyc': Setting(1.0, about='Weight of cycle consistency.'),
    'hparams.ds_iter': Setting(
      100_000, least=1, about='Iteration at which lambda_ds has fallen to 0.'
    ),
    'hparams.ema_decay': Setting(
      0.999, below=1, about='Share of the averages that an iteration keeps.'
    ),
    'optim.lr': Setting(
      1e-4, about='Learning rate of all but the mapping network.'
    ),
    'optim.f_lr': Setting(1e-6, about='Learning rate of the mapping network.'),
    'optim.beta1': Setting(0.0, below=1, about='Of Adam: memory of the mean.'),
    'optim.beta2': Setting(
      0.99, below=1, about='Of Adam: memory of the squares.'
    ),
    'optim.weight_decay': Setting(1e-4, about='L2, inside the gradient.'),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for AFHQ."""
  return settings.create(SETTINGS)
