r"""MUNIT on pictures of one's own, two domains without pairs: a small recipe.

  python train.py --config=configs/munit/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*, of two domains; of more, name
two: --config.data.domains=cats,dogs.

Measured on emoji of two makers (Noto and Twemoji, 1,185 training pictures of
each) at 64 px: 2,500 steps in 12 minutes on one CPU core that other jobs used
too, compiled in half a minute (17 images/s). At step 250 the objects can be
recognised, from step 750 on outlines are sharp and faces have eyes and mouths;
later steps change little but colours. Colour is style: latents and references
give an output one or two hues. What a reference does not give is lost, as the
red seams of a yellow ball. Some styles colour the white ground. With the true
picture of the other maker as reference, outputs are 34.5 levels of 255 from it,
sources 40.4 (mean of 151 validation pictures).

Measured on clothing (dresses and trousers of a CC0 data set) at 64 px: 2,500
steps in 10 minutes of CPU time. `The run has begun to work` comes at step 300.
At the end tones are the reference's, place and outline the source's: no dress
becomes trousers. All is blurred, the reconstructions too, and grounds take
colours of the reference's trousers.

With --config.data.img_size=128 or 256, for one GPU, widths and steps grow and
the rate falls with the side; at 256 px the widths are the published ones. Not
measured: any GPU.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in some ten minutes."""
  config = default_config()
  config.data.root = 'photos'
  config.data.val_split = 'val'
  config.data.img_size = 64
  img_size = config.data.get_oneway_ref('img_size')
  config.batch_size = 2
  config.num_train_steps = 2500 * img_size // 64
  config.log_every_steps = 25
  config.sample_every_steps = 250
  config.checkpoint_every_steps = 500
  # First widths 16 at 64 px, and 64 at 256, as published.
  config.model.dim = img_size // 4
  config.model.n_res = 2
  config.model.mlp_dim = img_size
  config.model.d_dim = img_size // 4
  config.model.d_layers = 3
  config.model.d_scales = 2
  config.optim.lr = 0.032 / img_size.to_float()  # 5e-4 at 64 px
  return config
