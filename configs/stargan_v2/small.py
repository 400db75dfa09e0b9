"""Draft.

  python train.py --config=configs/stargan_v2/small.py --workdir=DIR \
    --config.data.root=photos
"""

import ml_collections

from jaxgan.systems.stargan_v2.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """A net that two CPU cores train in half an hour."""
  config = default_config()
  config.data.root = 'photos'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.seed = 0
  config.num_train_steps = 3000 * img_size // 64
  config.log_every_steps = 25
  config.sample_every_steps = 100
  config.checkpoint_every_steps = 500
  # First widths 8 at 64 px, 16 at 128, 32 at 256, where 64 is published.
  config.model.channel_base = img_size * img_size // 8
  config.model.max_conv_dim = img_size
  config.model.hidden_dim = 64
  config.model.style_dim = 16
  config.model.latent_dim = 8
  config.hparams.lambda_ds = 1.0
  config.hparams.ds_iter = config.get_oneway_ref('num_train_steps')
  config.hparams.ema_decay = 0.99
  config.optim.lr = 0.064 / img_size.to_float()  # 1e-3 at 64 px
  config.optim.f_lr = 0.0064 / img_size.to_float()
  return config
