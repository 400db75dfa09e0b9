"""The settings of MUNIT; a file in configs/ changes a few of them."""

from ml_collections import ConfigDict

from jaxgan.losses import adversarial
from jaxgan.systems import settings, two_domains
from jaxgan.systems.settings import Setting

OFFICIAL = 'NVlabs/MUNIT'  # a value of config.parity

# As published for edges and photographs at 256 px.
SETTINGS = settings.extend(
  two_domains.SETTINGS,
  {
    'system': 'munit',
    # In the released code the learning rate falls an iteration earlier, and VGG
    # lacks its fourth pool.
    'parity': Setting(
      '',
      among=('', OFFICIAL),
      about='Empty: as the paper has it; or as the released code computes it.',
    ),
    'num_train_steps': 1_000_000,
    **two_domains.BLOCKS,
    'model.dim': Setting(64, least=1, about='First width of the encoders.'),
    'model.n_downsample': Setting(
      2, least=1, about='Halvings of the content encoder.'
    ),
    'model.n_res': Setting(
      4,
      least=1,
      about='Residual blocks of the content encoder, and of the decoder, where '
      'they alone see the style.',
    ),
    'model.latent_dim': Setting(8, least=1, about='Numbers of a style.'),
    'model.mlp_dim': Setting(
      256, least=1, about='Width of the layers between a style and the norms.'
    ),
    'model.d_dim': Setting(
      64, least=1, about='First width of the discriminators.'
    ),
    'model.d_layers': Setting(
      4, least=1, about='Halvings of the discriminators.'
    ),
    'model.d_scales': Setting(
      3, least=1, about='Sizes of an image that discriminators look at.'
    ),
    'hparams.gan_type': Setting(
      'lsgan', among=tuple(adversarial.GAN_TYPES), about='Adversarial loss.'
    ),
    'hparams.lambda_gan': Setting(1.0, about='Weight of the adversarial loss.'),
    'hparams.lambda_x': Setting(
      10.0, about='Weight of the reconstruction of images.'
    ),
    'hparams.lambda_s': Setting(
      1.0, about='Weight of the reconstruction of styles.'
    ),
    'hparams.lambda_c': Setting(
      1.0, about='Weight of the reconstruction of contents.'
    ),
    'hparams.lambda_cyc': Setting(
      0.0,
      about='Weight of the style-augmented cycle; 10 where the domains share '
      'much.',
    ),
    'hparams.lambda_vgg': Setting(
      0.0, about='Weight of the domain-invariant perceptual term.'
    ),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for edges and photographs."""
  return settings.create(SETTINGS)
