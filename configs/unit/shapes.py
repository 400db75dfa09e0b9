"""UNIT on `shapes`, the drawn data set: circles and triangles of all hues.

python train.py --config=configs/unit/shapes.py --workdir=DIR
"""

import ml_collections

from jaxgan.systems.unit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in minutes."""
  config = default_config()
  config.batch_size = 8
  config.num_train_steps = 3000
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500
  config.data.name = 'shapes'
  config.data.root = ''
  config.data.val_split = 'val'
  config.data.domains = ('circle', 'triangle')
  config.data.img_size = 32
  config.model.dim = 16
  config.model.n_res = 1
  config.model.d_dim = 16
  config.model.d_layers = 4
  config.optim.lr = 5e-4
  return config
