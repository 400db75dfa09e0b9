r"""StarGAN on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/stargan/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (7,358 of 7,500 iterations, some seven minutes of CPU time, seed 0,
Noto to Twemoji): retrieval 0.007, which is chance, L1 80 (the source 38).
Ground and object exchange their colours: the cycle brings them back, and the
adversarial loss does not mind. So these settings are no good yet; small.py, at
64 px and half of the batch, keeps grounds white.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
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
  # With 10, the published weight, colours are exchanged for each other.
  config.hparams.lambda_rec = 2.0
  config.optim.lr = 3e-4
  config.optim.decay_start = 5000
  config.optim.decay_steps = 5000
  return config
