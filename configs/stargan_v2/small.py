r"""StarGAN v2 on pictures of one's own, two domains or more: a small recipe.

  python train.py --config=configs/stargan_v2/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*.

DRAFT
"""

import ml_collections

from jaxgan.systems.stargan_v2.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in less than an hour."""
  config = default_config()
  config.data.root = 'photos'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.seed = 0
  config.num_train_steps = 1200 * img_size // 64
  config.log_every_steps = 25
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 500
  # First widths 16 at 64 px, 32 at 128, 64 at 256, as published.
  config.model.channel_base = img_size * img_size // 4
  config.model.max_conv_dim = 2 * img_size
  config.model.hidden_dim = 64
  config.model.style_dim = 16
  config.model.latent_dim = 8
  config.hparams.lambda_ds = 1.0
  config.hparams.lambda_cyc = 5.0  # with 1, small parts are lost
  config.hparams.ds_iter = config.get_oneway_ref('num_train_steps')
  config.hparams.ema_decay = 0.99
  config.optim.lr = 0.032 / img_size.to_float()  # 5e-4 at 64 px
  config.optim.f_lr = 0.0032 / img_size.to_float()
  return config
