"""The settings of UNIT; a file in configs/ changes a few of them."""

from ml_collections import ConfigDict

from jaxgan.losses import adversarial
from jaxgan.systems import settings, two_domains
from jaxgan.systems.settings import Setting

OFFICIAL = 'mingyuliutw/UNIT'  # a value of config.parity
# How much the discriminators of the two domains have in common, and what they
# look at; 'shared' is of the paper's faces, 'separate' of its animals,
# 'multiscale' of its streets.
D_KINDS = ('shared', 'separate', 'multiscale')

# As published for animals at 216 px.
SETTINGS = settings.extend(
  two_domains.SETTINGS,
  {
    'system': 'unit',
    # The KL term of the released code is the mean square of the code, twice the
    # divergence: with shared blocks of the code after the noise is added,
    # otherwise before; and without shared blocks the learning rate falls an
    # iteration earlier, and VGG lacks its fourth pool.
    'parity': Setting(
      '',
      among=('', OFFICIAL),
      about='Empty: as the paper has it; or as the released code computes it.',
    ),
    'num_train_steps': 500_000,
    'sample_every_steps': 5000,
    'checkpoint_every_steps': 5000,
    'data.img_size': 216,
    # The later code has no shared blocks, other blocks, and discriminators of
    # several scales.
    'model.shared': Setting(
      True, about='Whether the blocks next to the code belong to both domains.'
    ),
    # As the defaults with shared blocks, whose borders are zeros.
    **two_domains.BLOCKS,
    'model.dim': Setting(64, least=1, about='First width.'),
    'model.n_downsample': Setting(2, least=1, about='Halvings.'),
    'model.n_res': Setting(
      3, about='Residual blocks of one domain, of encoder and of decoder.'
    ),
    'model.n_shared': Setting(
      1, about='Residual blocks of both domains, of encoder and of decoder.'
    ),
    'model.normalize': Setting(
      True, about='Norms outside of the residual blocks too, but the stem.'
    ),
    'model.dropout': Setting(
      0.0, below=1, about='Share that residual blocks drop.'
    ),
    'model.d_kind': Setting(
      'separate',
      among=D_KINDS,
      about='What discriminators share, and see; not read without shared '
      'blocks.',
    ),
    'model.d_dim': Setting(
      64, least=1, about='First width of the discriminators.'
    ),
    'model.d_layers': Setting(
      6, least=1, about='Halvings of the discriminators.'
    ),
    'model.d_front': Setting(
      2, least=1, about='Of d_kind shared: halvings of each domain alone.'
    ),
    'model.d_scales': Setting(
      3, least=1, about='Sizes of an image that discriminators look at.'
    ),
    'hparams.gan_type': Setting(
      'nsgan',
      among=tuple(adversarial.GAN_TYPES),
      about='Adversarial loss; the later code has lsgan.',
    ),
    'hparams.lambda_gan': Setting(
      10.0, about='Weight of the adversarial loss.'
    ),
    'hparams.lambda_x': Setting(
      100.0, about='Weight of the reconstruction of images.'
    ),
    'hparams.lambda_kl': Setting(
      0.1, about='Weight of the distance of codes to the prior.'
    ),
    'hparams.lambda_cyc': Setting(100.0, about='Weight of the cycle.'),
    'hparams.lambda_klc': Setting(
      0.1, about='As lambda_kl, of the codes of translations.'
    ),
    'hparams.lambda_vgg': Setting(
      0.0, about='Weight of the domain-invariant perceptual term.'
    ),
    'optim.step_size': 0,
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for animals."""
  return settings.create(SETTINGS)


def unshared_config() -> ConfigDict:
  """Returns the settings of the later code, without shared blocks."""
  return settings.create(
    settings.extend(
      SETTINGS,
      {
        'num_train_steps': 1_000_000,
        'sample_every_steps': 10_000,
        'checkpoint_every_steps': 10_000,
        'data.img_size': 256,
        'model.shared': False,
        'model.n_res': 4,
        'model.n_shared': 0,
        'model.d_layers': 4,
        'hparams.gan_type': 'lsgan',
        'hparams.lambda_gan': 1.0,
        'hparams.lambda_x': 10.0,
        'hparams.lambda_kl': 0.01,
        'hparams.lambda_cyc': 10.0,
        'hparams.lambda_klc': 0.01,
        'optim.step_size': 100_000,
      },
    )
  )
