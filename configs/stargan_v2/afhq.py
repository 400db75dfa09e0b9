r"""StarGAN v2 on AFHQ (cat, dog, wild) at 256 px, the published settings.

  python train.py --config=configs/stargan_v2/afhq.py --workdir=DIR \
    --config.data.root=DATA

DATA holds train/{cat,dog,wild} and val/{cat,dog,wild}. Published scores of the
original: FID 16.18 (latent), 19.78 (reference); LPIPS 0.450 and 0.432.

Not yet run.
"""

import ml_collections

from jaxgan.systems.stargan_v2.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults are AFHQ's."""
  config = default_config()
  config.data.root = 'data/afhq'
  return config
