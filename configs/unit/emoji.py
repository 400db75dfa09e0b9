r"""UNIT on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/unit/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md). The networks
are of the later code, which shares no blocks.

Not measured yet.
"""

import ml_collections

from jaxgan.systems.unit.config import unshared_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
  config = unshared_config()
  config.data.name = 'folder'
  config.data.root = 'data/emoji'
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
  config.model.d_dim = 16
  config.model.d_layers = 3
  config.model.d_scales = 2
  # With 1, as with 10, the published weight, colours are exchanged.
  config.hparams.lambda_cyc = 0.1
  config.optim.lr = 5e-4
  return config
