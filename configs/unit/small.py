r"""UNIT on pictures of one's own, two domains without pairs: a small recipe.

  python train.py --config=configs/unit/small.py --workdir=DIR \
    --config.data.root=photos

photos holds train/<domain>/* and val/<domain>/*, of two domains; of more, name
two: --config.data.domains=cats,dogs. The networks are of the later code, which
shares no blocks.

DRAFT
"""

import ml_collections

from jaxgan.systems.unit.config import unshared_config


def get_config() -> ml_collections.ConfigDict:
  """Networks that two CPU cores train in less than an hour."""
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
