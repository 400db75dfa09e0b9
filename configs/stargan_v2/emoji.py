r"""StarGAN v2 on emoji: Noto and Twemoji, without pairs, 32 px.

  python train.py --config=configs/stargan_v2/emoji.py --workdir=DIR

The pictures are made by jaxgan.tools.make_emoji (docs/emoji.md).

Measured (one CPU core that other jobs used too, 11 minutes, seed 0, Noto to
Twemoji): retrieval 0.099 in both modes, and 0.185 in the source's own style,
where the source itself has 0.219; of the best of ten outputs 0.238 (latent) and
0.265 (reference); style 0.59 and 0.61, the source 0.42. Outlines, eyes and
mouths stay, small spots are left in the middle. A style is a colour here: a
latent or a reference paints the whole emoji, and only by luck in the right one.
In the style of the true counterpart, retrieval was 0.192.

Tried: lambda_ds 0: 0.127 (latent, a little more), 0.101 (reference), 0.185 (own
style).
"""

import ml_collections

from jaxgan.systems.stargan_v2.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Narrow networks, for minutes of training on one CPU core."""
  config = default_config()
  config.data.root = 'data/emoji'
  config.data.domains = ('noto', 'twemoji')
  config.data.paired_names = True  # to score by; training does not see it
  config.data.img_size = 32
  config.seed = 0
  config.num_train_steps = 2500
  config.log_every_steps = 25
  config.sample_every_steps = 500
  config.checkpoint_every_steps = 500
  config.model.channel_base = 512  # first width 16
  config.model.max_conv_dim = 64
  config.model.hidden_dim = 64
  config.model.style_dim = 16
  config.model.latent_dim = 8
  config.hparams.lambda_ds = 1.0
  config.hparams.lambda_cyc = 5.0
  config.hparams.ds_iter = 2500
  config.hparams.ema_decay = 0.99
  config.optim.lr = 1e-3
  config.optim.f_lr = 1e-4
  return config
