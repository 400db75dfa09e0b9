r"""MUNIT on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/munit/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (one CPU core that other jobs used too, 16 minutes, seed 0, Noto to
Twemoji): retrieval 0.127 (latent), 0.101 (reference) and 0.219 (own style),
where the source itself has 0.219; of the best of ten outputs 0.325 and 0.291;
style 0.7, the source 0.42. Drawings are clear, eyes and mouths are there; a
style is a colour, so that a drawn one is right by luck.

Tried before: codes of 8 x 8 (n_downsample 2), 3,000 steps of batch 8: 0.091,
0.080 and 0.152, and small parts are blurred.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Narrow networks, for minutes of training on one CPU core."""
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
