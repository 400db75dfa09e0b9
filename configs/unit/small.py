r"""UNIT on pictures of one's own, two domains without pairs: a small recipe.

  python train.py --config=configs/unit/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*, of two domains; of more, name
two: --config.data.domains=cats,dogs. The networks are of the later code, which
shares no blocks.

Measured on emoji of two makers (Noto and Twemoji, 1,185 training pictures of
each) at 64 px: 1,500 steps in 9 minutes on one CPU core that other jobs used
too (3 to 17 images/s, mostly 16). At step 250 the objects can be recognised; at
1,500 outlines are clear, grounds stay white but for round objects that fill the
picture, and the reconstructions are sharp. Colours are exchanged for each other
(yellow faces become dark red, blue discs yellow): no loss holds them, and
outputs are farther from the true pictures of the other maker (59.1 levels of
255, mean of 151 validation pictures) than the sources are (40.4). With the
published lambda_cyc of 10, grounds and objects exchanged their colours and did
not change back in 500 steps; so did the networks with shared blocks (1,250
steps, batch 2), which also left a checkerboard.

With lambda_cyc 0.1 (7 minutes on one CPU core) eyes and mouths are lost, and
colours are exchanged all the same. Which ones is decided by the seed:
of two seeds at 32 px one exchanged yellow for blue, the other kept it (see
emoji.py). On clothing (dresses and trousers of a CC0 data set) it made blurred
pictures with dark and red grounds, and no dress became trousers (1,500 steps, 6
minutes of CPU time).

With --config.data.img_size=128 or 256, for one GPU, widths and steps grow and
the rate falls with the side; at 256 px the widths are the published ones. Not
measured: any GPU, and photographs with lambda_cyc 1.
"""

import ml_collections

from jaxgan.systems.unit.config import unshared_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
  config = unshared_config()
  config.data.root = 'photos'
  config.data.val_split = 'val'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.batch_size = 2
  config.num_train_steps = 1500 * img_size // 64
  config.log_every_steps = 25
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 500
  # First widths 16 at 64 px, and 64 at 256, as published.
  config.model.dim = img_size // 4
  config.model.n_res = 2
  config.model.d_dim = img_size // 4
  config.model.d_layers = 3
  config.model.d_scales = 2
  # With 10, the published weight, grounds and objects exchange their colours.
  config.hparams.lambda_cyc = 1.0
  config.optim.lr = 0.032 / img_size.to_float()  # 5e-4 at 64 px
  return config
