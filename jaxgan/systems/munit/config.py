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
    # '': as the paper has it. OFFICIAL: as the released code does. There the
    # learning rate falls an iteration earlier, and VGG lacks its fourth pool.
    'parity': Setting('', among=('', OFFICIAL)),
    'num_train_steps': 1_000_000,
    **two_domains.BLOCKS,
    'model.dim': Setting(64, least=1),  # first width of the encoders
    'model.n_downsample': Setting(2, least=1),  # of the content encoder
    # Residual blocks of content encoder, and of decoder: they alone see the
    # style.
    'model.n_res': Setting(4, least=1),
    'model.latent_dim': Setting(8, least=1),  # of a style
    # Of the layers between a style and the norms.
    'model.mlp_dim': Setting(256, least=1),
    'model.d_dim': Setting(64, least=1),  # first width of the discriminators
    'model.d_layers': Setting(4, least=1),  # their halvings
    'model.d_scales': Setting(3, least=1),  # sizes of an image they look at
    'hparams.gan_type': Setting('lsgan', among=tuple(adversarial.GAN_TYPES)),
    'hparams.lambda_gan': Setting(1.0, least=0),
    'hparams.lambda_x': Setting(10.0, least=0),  # reconstruction of images,
    'hparams.lambda_s': Setting(1.0, least=0),  # of styles,
    'hparams.lambda_c': Setting(1.0, least=0),  # of contents
    # Style-augmented cycle; 10 where the domains share much.
    'hparams.lambda_cyc': Setting(0.0, least=0),
    # Domain-invariant perceptual term.
    'hparams.lambda_vgg': Setting(0.0, least=0),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for edges and photographs."""
  return settings.create(SETTINGS)
