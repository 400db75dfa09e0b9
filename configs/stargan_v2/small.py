r"""StarGAN v2 on pictures of one's own, two domains or more: a small recipe.

  python train.py --config=configs/stargan_v2/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*.

Measured on emoji of three makers (Noto, Twemoji, Fluent; 1,185 training
pictures of each) at 64 px: 1,200 steps in 20 minutes on one CPU core that
other jobs used too, compiled in one more (8 images/s). At step 100 all is
noise; at 300 (six minutes) the objects can be recognised, faces have eyes and
mouths, and colours begin to follow the reference; at 1,200 outlines are sharp
and colours are the reference's, or of the latent. An output has one or two
colours, a fine grid lies over it, and small spots are left at some edges. The
drawing stays the source's: the makers draw alike. eval.py's pixel_distance of
two outputs of a source (--num_sources=50 --num_outputs=2): latent 0.20,
reference 0.26.

Measured on clothing (dresses, trousers and T-shirts of a CC0 data set, 1,504
training pictures) at 64 px: 1,200 steps in 22 minutes of CPU time. `The run has
begun to work` comes at step 300. At 1,200 colours and grounds are the
reference's, trousers get legs and shirts sleeves, place and pose are the
source's; all is blurred, a checkerboard lies over it, and of some sources the
ground is taken for the object.

Tried before, 3,000 steps: first width 8, a rate of 1e-3 and lambda_cyc 1, at
twice the speed (28 minutes). Objects could be recognised at step 300 and
colours came to follow the reference, but eyes and mouths were lost, and from
step 1,000 on each output had a spot of another colour.

With --config.data.img_size=128 or 256, for one GPU, widths and steps grow and
the rate falls with the side; at 256 px the widths are the published ones and
the rate is nearly theirs. Not measured: any GPU.
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
  # Not by the steps: a run that has begun may become longer.
  config.hparams.ds_iter = 1200 * img_size // 64
  config.hparams.ema_decay = 0.99
  config.optim.lr = 0.032 / img_size.to_float()  # 5e-4 at 64 px
  config.optim.f_lr = 0.0032 / img_size.to_float()
  return config
