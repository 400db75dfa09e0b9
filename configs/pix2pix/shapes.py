"""pix2pix on `shapes`, the drawn data set: contours are filled.

python train.py --config=configs/pix2pix/shapes.py --workdir=DIR

Seed 0: 2.9 levels of 255 from the targets; the sources are 8.6 from them.
"""

import ml_collections

from jaxgan.systems.pix2pix.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in minutes."""
  config = default_config()
  config.num_train_steps = 8000
  config.log_every_steps = 50
  config.sample_every_steps = 2000
  config.checkpoint_every_steps = 2000
  config.data.name = 'shapes'
  config.data.root = ''
  config.data.pair = ('contour', 'filled')
  config.data.img_size = 32
  config.data.load_size = 0
  config.model.dim = 32
  config.model.depth = 5
  config.model.d_dim = 16
  config.model.d_layers = 2
  config.optim.decay_start = 4000
  config.optim.decay_steps = 4000
  return config
