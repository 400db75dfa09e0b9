r"""StarGAN on domains of one's own, two or more: a small recipe.

  python train.py --config=configs/stargan/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*.

Measured on emoji of three makers (Noto, Twemoji, Fluent; 1,185 training
pictures of each) at 64 px: 5,000 iterations in 8 minutes on one CPU core that
other jobs used too (87 images/s). At iteration 500 the objects can be
recognised; at the end faces have eyes and mouths, grounds are white, and
yellow, red and brown are roughly the sources'. A fine halftone lies over
everything, and the outputs for the three makers, whose drawings are alike,
differ little.

With --config.data.img_size=128 or 256, for one GPU, widths and steps grow and
the rate falls with the side; at 256 px the first width is the published 64.
Not measured: any GPU, and photographs with these settings.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
  config = default_config()
  config.data.name = 'folder'
  config.data.root = 'photos'
  config.data.val_split = 'val'
  config.data.domains = ()
  config.data.crop_size = 0
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.batch_size = 8
  config.num_train_steps = 5000 * img_size // 64
  config.log_every_steps = 50  # of n_critic a multiple, or G is not logged
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 1000
  # First widths 16 at 64 px, and 64 at 256.
  config.model.g_conv_dim = img_size // 4
  config.model.g_repeat_num = 3
  config.model.d_conv_dim = img_size // 4
  config.model.d_repeat_num = 5
  config.optim.lr = 0.032 / img_size.to_float()  # 5e-4 at 64 px
  config.optim.decay_start = 2500 * img_size // 64
  config.optim.decay_steps = 2500 * img_size // 64
  return config
