"""The settings of pix2pix; a file in configs/ changes a few of them."""

from ml_collections import ConfigDict

from jaxgan.nets import convolutions
from jaxgan.runtime import errors
from jaxgan.systems import settings
from jaxgan.systems.settings import Setting

# As published for facades at 256 px: 400 pairs, 200 epochs.
SETTINGS = settings.extend(
  settings.BASE,
  {
    'system': 'pix2pix',
    'batch_size': 1,
    'num_train_steps': 80_000,
    'sample_every_steps': 5000,
    'checkpoint_every_steps': 5000,
    'data.name': Setting(
      'paired',
      about='paired: <root>/<split>/<images>, each a source and its target '
      'side by side. folder: <root>/<split>/<source>/ and .../<target>/, '
      'files of equal names. shapes: contours of drawn shapes, and the shapes.',
    ),
    'data.pair': Setting(
      ('A', 'B'),
      about='Source and target: names of folders; A, the left half, and B; or '
      'contour and filled. Swapped, it is the other direction.',
    ),
    'data.paired_names': Setting(
      True, about='Evaluation compares outputs with their known targets.'
    ),
    'data.load_size': Setting(
      286, about='Both sides before a square is cut; 0: img_size.'
    ),
    'model.dim': Setting(64, least=1, about='First width of the U-Net.'),
    'model.depth': Setting(8, least=2, about='Halvings of the U-Net.'),
    'model.d_dim': Setting(
      64, least=1, about='First width of the discriminator.'
    ),
    'model.d_layers': Setting(
      3, least=1, about='Halvings of the discriminator.'
    ),
    'model.use': Setting(
      'image',
      among=('image', 'running'),
      about='Norms of a translation: of the image itself, with dropout, as '
      'released; or running statistics, without dropout.',
    ),
    'model.resample': Setting(
      'auto',
      among=('auto', *convolutions.RESAMPLE_FORMS),
      about='Form of convolutions that resample: speed, and rounding.',
    ),
    'hparams.lambda_l1': Setting(
      100.0, about='Weight of the distance to the known target.'
    ),
    'optim.lr': Setting(2e-4, about='Learning rate.'),
    'optim.decay_start': Setting(
      40_000, about='Iteration from which the rate falls, linearly.'
    ),
    'optim.decay_steps': Setting(
      40_000, least=1, about='Iterations from there until the rate is 0.'
    ),
    'optim.beta1': Setting(0.5, below=1, about='Of Adam: memory of the mean.'),
    'optim.beta2': Setting(
      0.999, below=1, about='Of Adam: memory of the squares.'
    ),
  },
)


def default_config() -> ConfigDict:
  """Returns the published settings for facades."""
  return settings.create(SETTINGS)


def check_config(config: ConfigDict) -> None:
  """Raises UserError for settings that no networks can be built from."""
  model, img_size = config.model, config.data.img_size
  if model.num_domains not in (0, 1):
    raise errors.UserError(
      'config.model.num_domains must be 1, the targets, or 0 to take it from '
      f'the data: {model.num_domains}'
    )
  if img_size % 2**model.depth:
    raise errors.UserError(
      f'config.data.img_size must be a multiple of {2**model.depth}, for the '
      f'halvings of model.depth {model.depth}: {img_size}'
    )
  if img_size >> model.d_layers < 3:
    raise errors.UserError(
      f'config.model.d_layers leaves the discriminator no patch of {img_size} '
      f'px: lower it from {model.d_layers}'
    )
