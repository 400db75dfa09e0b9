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
    # '': as the paper has it. OFFICIAL: as the released code does, which says
    # that the learning rate falls to 0, but lowers it by 0.1 % in all.
    'parity': Setting('', among=('', OFFICIAL)),
    'batch_size': 16,  # and of each data set
    'num_train_steps': 200_000,
    'log_every_steps': 50,  # of n_critic a multiple, or G is not logged
    'sample_every_steps': 5000,
    # 'celeba': <root>/images and <root>/list_attr_celeba.txt, labels are
    # attributes. 'folder': <root>/<split>/<domain>/<images>, or
    # 'tfds:<data set>', labels are domains. 'shapes', 'shapes_attributes'.
    'data.name': 'celeba',
    'data.root': 'data/celeba',
    'data.crop_size': Setting(178, least=0),  # seen, in the middle; 0 for all
    'data.val_split': 'test',
    'data.num_test': Setting(1999, least=1),  # of celeba, not trained on
    # Attributes or domains to use; () for all that the data has.
    'data.domains': ('Black_Hair', 'Blond_Hair', 'Brown_Hair', 'Male', 'Young'),
    # A second data set, with the same splits, to be trained together with it.
    'data.joint_name': Setting(''),
    'data.joint_root': Setting(''),
    'data.joint_crop_size': Setting(0, least=0),
    'data.joint_domains': Setting(()),
    'data.img_size': 128,
    'model.g_conv_dim': Setting(64, least=1),  # first width of the generator
    'model.g_repeat_num': Setting(6, least=0),  # its residual blocks
    'model.d_conv_dim': Setting(64, least=1),  # first width of the critic
    'model.d_repeat_num': Setting(6, least=1),  # its halvings
    # Same results to rounding, another speed: convolutions that resample.
    'model.resample': Setting(
      'auto', among=('auto', *convolutions.RESAMPLE_FORMS)
    ),
    'hparams.lambda_cls': Setting(1.0),  # classification
    'hparams.lambda_rec': Setting(10.0),  # reconstruction
    'hparams.lambda_gp': Setting(10.0),  # gradient penalty
    # The generator is stepped in every fifth iteration.
    'hparams.n_critic': Setting(5, least=1),
    'optim.lr': Setting(1e-4),
    # Of generator and discriminator, where they differ; 0: optim.lr.
    'optim.g_lr': Setting(0.0, least=0),
    'optim.d_lr': Setting(0.0, least=0),
    'optim.decay_start': Setting(100_000, least=0),  # then linearly
    'optim.decay_steps': Setting(100_000, least=1),  # until it is 0
    # Of parity: the rate is changed at multiples of this.
    'optim.lr_update_step': Setting(1000, least=1),
    'optim.beta1': Setting(0.5, below=1),
    'optim.beta2': Setting(0.999, below=1),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for CelebA."""
  return settings.create(SETTINGS)


def old_step_iterations(config: ConfigDict) -> int:
  """Iterations in a step of a checkpoint of format 1."""
  n_critic: int = config.hparams.n_critic
  return n_critic
