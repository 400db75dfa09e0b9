r"""StarGAN v2 on CelebA-HQ (female, male) at 256 px, the published settings.

  python train.py --config=configs/stargan_v2/celeba_hq.py --workdir=DIR \
    --config.data.root=DATA --config.model.wing_file=wing.ckpt

DATA holds train/{female,male} and val/{female,male}; wing.ckpt the weights of
the face network, which the original's authors publish. They are read once and
then kept in DIR. Published scores of the original: FID 13.73 (latent), 23.84
(reference); LPIPS 0.452 and 0.388.

Not yet run. With --config.model.w_hpf=0 it trains without the face masks and
needs no wing.ckpt.
"""

import ml_collections

from jaxgan.systems.stargan_v2.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Half the diversity weight of AFHQ, and the high-pass path."""
  config = default_config()
  config.data.root = 'data/celeba_hq'
  config.model.w_hpf = 1.0
  config.hparams.lambda_ds = 1.0
  return config
