r"""StarGAN on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/stargan/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (one CPU core that other jobs used too, 8 minutes, seed 0, Noto to
Twemoji): retrieval 0.185, where the source itself has 0.219; style 0.73, the
source 0.42; L1 39.9, the source 38.2. Colours are about the source's, grounds
are white, faces keep eyes and mouths; all is grainy.

Tried before, seed 0:
  lambda_rec 10, as published, and a rate of 5e-4: 0.086. Colours are exchanged
    for each other (yellow for green and red), sharp and clean: any exchange of
    hues makes emoji that look real, and the cycle brings it back.
  lambda_rec 1 (6,711 of 10,000 steps): 0.192, L1 42.3. Colours are right,
    drawings are coarser, eyes and mouths often lost.
  batches of 16 and a discriminator of half the width, with a rate of 5e-4 and
    lambda_rec 10: 0.007, ground and object exchange their colours.
  n_critic 1 (lambda_rec 10) or 2 (lambda_rec 1, a rate of 2e-4), with the
    narrow discriminator: one picture for all sources.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Narrow networks, for minutes of training on one CPU core."""
  config = default_config()
  config.data.name = 'folder'
  config.data.root = 'data/emoji'
  config.data.val_split = 'val'
  config.data.domains = ('noto', 'twemoji')
  config.data.paired_names = True  # to score by; training does not see it
  config.data.crop_size = 0
  config.data.img_size = 32
  config.batch_size = 8
  config.num_train_steps = 10_000
  config.log_every_steps = 50  # of n_critic a multiple, or G is not logged
  config.sample_every_steps = 1000
  config.checkpoint_every_steps = 2000
  config.model.g_conv_dim = 16
  config.model.g_repeat_num = 3
  config.model.d_conv_dim = 32
  config.model.d_repeat_num = 4
  # Published: 10, with which colours were exchanged for each other.
  config.hparams.lambda_rec = 2.0
  config.optim.lr = 3e-4
  config.optim.decay_start = 5000
  config.optim.decay_steps = 5000
  return config
