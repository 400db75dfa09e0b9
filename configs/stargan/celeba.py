r"""StarGAN on five attributes of CelebA at 128 px, the published settings.

  python train.py --config=configs/stargan/celeba.py --workdir=DIR \
    --config.data.root=DATA

DATA holds images/*.jpg and list_attr_celeba.txt. The released checkpoints are
of these settings, at 128 px and with --config.data.img_size=256.

Not yet run.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults are CelebA's."""
  return default_config()
