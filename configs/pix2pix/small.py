r"""pix2pix on pairs of one's own: a small recipe.

  python train.py --config=configs/pix2pix/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/* and val/*, pictures of which the left half is the source
and the right half its target. Two folders of equal names take
--config.data.name=folder --config.data.pair=SOURCE,TARGET.

Measured on the emoji of two makers as pairs (Noto to Twemoji, 1,185 for
training, two folders) at 64 px: 6,000 iterations of batch 1 in 4 minutes on one
CPU core that other jobs used too (25 iterations/s). At iteration 500 objects
can be recognised under a grid; at the end colours are right, outlines ragged
and faces faint. The two makers draw the same thing in other places and other
sizes, which no pixel tells: outputs are 37.7 levels of 255 from the targets,
sources 40.4 (eval.py, 151 validation pairs). Pairs that lie on each other, as
contours and pictures, are easier (see shapes.py).

Tried before: six halvings, 10 iterations/s, which was no better after 500.

With --config.data.img_size=128 or 256, for one GPU, steps grow with the side
and widths stay, half of the published ones. Not measured: any GPU, photographs,
and larger batches.
"""

import ml_collections

from jaxgan.systems.pix2pix.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in minutes."""
  config = default_config()
  config.data.root = 'photos'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.data.load_size = 9 * img_size // 8
  config.num_train_steps = 6000 * img_size // 64
  config.log_every_steps = 50
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 1000
  config.model.dim = 32
  config.model.depth = 4
  config.model.d_dim = 32
  config.model.d_layers = 2
  config.optim.lr = 5e-4
  config.optim.decay_start = 3000 * img_size // 64
  config.optim.decay_steps = 3000 * img_size // 64
  return config
