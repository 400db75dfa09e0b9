r"""StarGAN on CelebA and RaFD together, at 256 px as the original's example.

  python train.py --config=configs/stargan/celeba_rafd.py --workdir=DIR \
    --config.data.root=CELEBA --config.data.joint_root=RAFD

CELEBA is as in `celeba.py`, RAFD as in `rafd.py`.

Not yet run.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """CelebA first, RaFD second."""
  config = default_config()
  config.data.img_size = 256
  config.data.joint_name = 'folder'
  config.data.joint_root = 'data/rafd'
  config.data.joint_crop_size = 256
  return config
