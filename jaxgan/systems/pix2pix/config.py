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
    # 'paired': <root>/<split>/<images>, each a source and its target side by
    # side. 'folder': <root>/<split>/<source>/ and .../<target>/, files of equal
    # names. 'shapes': contours of drawn shapes, and the shapes.
    'data.name': 'paired',
    # Source and target: names of folders; 'A', the left half, and 'B'; or
    # 'contour' and 'filled'. The other way round is the other direction.
    'data.pair': Setting(('A', 'B')),
    # Both sides before a square is cut; 0 for img_size.
    'data.load_size': Setting(286, least=0),
    'model.dim': Setting(64, least=1),  # first width of the U-Net
    'model.depth': Setting(8, least=2),  # its halvings
    'model.d_dim': Setting(64, least=1),  # first width of the discriminator
    'model.d_layers': Setting(3, least=1),  # its halvings
    # What images to translate are normalised by: 'image', the image itself,
    # with dropout, as released; 'running' statistics, without dropout.
    'model.use': Setting('image', among=('image', 'running')),
    # Same results to rounding, another speed: convolutions that resample.
    'model.resample': Setting(
      'auto', among=('auto', *convolutions.RESAMPLE_FORMS)
    ),
    'hparams.lambda_l1': Setting(100.0, least=0),
    'optim.lr': Setting(2e-4, least=0),
    'optim.decay_start': Setting(40_000, least=0),  # then linearly
    'optim.decay_steps': Setting(40_000, least=1),  # until it is 0
    'optim.beta1': Setting(0.5, least=0, below=1),
    'optim.beta2': Setting(0.999, least=0, below=1),
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
