r"""Draft.

  python train.py --config=configs/pix2pix/small.py --workdir=DIR \
    --config.data.root=photos
"""

import ml_collections

from jaxgan.systems.pix2pix.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in less than an hour."""
  config = default_config()
  config.data.root = 'photos'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.data.load_size = 9 * img_size // 8
  config.num_train_steps = 6000 * img_size // 64
  steps = config.get_oneway_ref('num_train_steps')
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 1000
  config.model.dim = 32
  config.model.depth = 4
  config.model.d_dim = 32
  config.model.d_layers = 2
  config.optim.lr = 5e-4
  config.optim.decay_start = steps // 2
  config.optim.decay_steps = steps // 2
  return config
