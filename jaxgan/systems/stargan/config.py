"""The settings of StarGAN; a file in configs/ changes a few of them."""

from ml_collections import ConfigDict

from jaxgan.nets import convolutions
from jaxgan.systems import settings
from jaxgan.systems.settings import Setting

OFFICIAL = 'yunjey/stargan'  # a value of config.parity

# As published for CelebA at 128 px.
SETTINGS = settings.extend(
  settings.BASE,
  {
    'system': 'stargan',
    # The released code says that the learning rate falls to 0, but lowers it by
    # 0.1 % in all.
    'parity': Setting(
      '',
      among=('', OFFICIAL),
      about='Empty: as the paper has it; or as the released code computes it.',
    ),
    'batch_size': Setting(
      16, least=1, about='Of all devices together, and of each data set.'
    ),
    'num_train_steps': 200_000,
    'log_every_steps': Setting(
      50,
      least=1,
      about='Steps between two lines of losses: a multiple of n_critic, or '
      'the generator is missing.',
    ),
    'sample_every_steps': 5000,
    'data.name': Setting(
      'celeba',
      about='celeba: <root>/images and list_attr_celeba.txt, labels are '
      'attributes. folder: <root>/<split>/<domain>/<images>, or tfds:<data '
      'set>, labels are domains. shapes, shapes_attributes: drawn.',
    ),
    'data.root': 'data/celeba',
    'data.crop_size': Setting(
      178, about='Side of the square that is seen, in the middle; 0: all.'
    ),
    'data.val_split': 'test',
    'data.num_test': Setting(
      1999, least=1, about='Of celeba: images that are not trained on.'
    ),
    'data.domains': Setting(
      ('Black_Hair', 'Blond_Hair', 'Brown_Hair', 'Male', 'Young'),
      about='Attributes or domains to use; () for all that the data has.',
    ),
    'data.joint_name': Setting(
      '', about='As data.name, of a second data set to train with; empty: none.'
    ),
    'data.joint_root': Setting('', about='As data.root, of the second one.'),
    'data.joint_crop_size': Setting(
      0, about='As data.crop_size, of the second one.'
    ),
    'data.joint_domains': Setting(
      (), about='As data.domains, of the second one.'
    ),
    'data.img_size': 128,
    'model.g_conv_dim': Setting(
      64, least=1, about='First width of the generator.'
    ),
    'model.g_repeat_num': Setting(6, about='Residual blocks of the generator.'),
    'model.d_conv_dim': Setting(
      64, least=1, about='First width of the discriminator.'
    ),
    'model.d_repeat_num': Setting(
      6, least=1, about='Halvings of the discriminator.'
    ),
    'model.resample': Setting(
      'auto',
      among=('auto', *convolutions.RESAMPLE_FORMS),
      about='Form of convolutions that resample: speed, and rounding.',
    ),
    'hparams.lambda_cls': Setting(1.0, about='Weight of the classification.'),
    'hparams.lambda_rec': Setting(
      10.0, about='Weight of the reconstruction of the source.'
    ),
    'hparams.lambda_gp': Setting(10.0, about='Weight of the gradient penalty.'),
    'hparams.n_critic': Setting(
      5, least=1, about='The generator is stepped in every n-th iteration.'
    ),
    'optim.lr': Setting(1e-4, about='Learning rate.'),
    'optim.g_lr': Setting(0.0, about='Of the generator; 0: optim.lr.'),
    'optim.d_lr': Setting(0.0, about='Of the discriminator; 0: optim.lr.'),
    'optim.decay_start': Setting(
      100_000, about='Iteration from which the rate falls, linearly.'
    ),
    'optim.decay_steps': Setting(
      100_000, least=1, about='Iterations from there until the rate is 0.'
    ),
    'optim.lr_update_step': Setting(
      1000, least=1, about='Of parity: the rate changes at multiples of this.'
    ),
    'optim.beta1': Setting(0.5, below=1, about='Of Adam: memory of the mean.'),
    'optim.beta2': Setting(
      0.999, below=1, about='Of Adam: memory of the squares.'
    ),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for CelebA."""
  return settings.create(SETTINGS)


def old_step_iterations(config: ConfigDict) -> int:
  """Iterations in a step of a checkpoint of format 1."""
  n_critic: int = config.hparams.n_critic
  return n_critic
