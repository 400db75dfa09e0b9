r"""MUNIT on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/munit/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (3,000 steps, some 18
minutes of CPU time, seed 0, Noto to Twemoji): retrieval 0.091 (latent) and
0.080 (reference), where the source itself has 0.219; of the best of ten outputs
0.278 and 0.258; style 0.76 and 0.77, the source 0.42.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
  config = default_config()
  config.data.root = 'data/emoji'
  config.data.name = 'folder'
  config.data.val_split = 'val'
  config.data.domains = ('noto', 'twemoji')
  config.data.paired_names = True  # to score by; training does not see it
  config.data.img_size = 32
  config.batch_size = 4
  config.num_train_steps = 6000
  config.log_every_steps = 25
  config.sample_every_steps = 1000
  config.checkpoint_every_steps = 1000
  config.model.dim = 16
  config.model.n_downsample = 1  # a code of 16 x 16; of 8 x 8 it is blurred
  config.model.n_res = 2
  config.model.mlp_dim = 64
  config.model.d_dim = 16
  config.model.d_layers = 3
  config.model.d_scales = 2
  config.optim.lr = 5e-4
  return config
