r"""pix2pix on emoji: Noto to Twemoji, as pairs, 32 px.

  python train.py --config=configs/pix2pix/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (16,000 iterations, 18 minutes on one CPU core that other jobs used
too, seed 0): retrieval 0.113, where the source itself has 0.219; style 0.83,
the source 0.42; L1 36.5, the source 38.2. Colours are about right; outlines are
frayed, and faces faint: the two makers draw the same thing in other places and
sizes. Half of the iterations gave the same, 0.119.

Tried: 2,500 iterations of batch 8, a depth of 4, a width of 48 and a rate of
1e-3: 0.093.
"""

import ml_collections

from jaxgan.systems.pix2pix.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Narrow networks, for minutes of training on one CPU core."""
  config = default_config()
  config.data.name = 'folder'
  config.data.root = 'data/emoji'
  config.data.pair = ('noto', 'twemoji')
  config.data.img_size = 32
  config.data.load_size = 36
  config.num_train_steps = 16_000
  config.log_every_steps = 50
  config.sample_every_steps = 2000
  config.checkpoint_every_steps = 2000
  config.model.dim = 32
  config.model.depth = 5
  config.model.d_dim = 16
  config.model.d_layers = 2
  config.optim.decay_start = 8000
  config.optim.decay_steps = 8000
  return config
