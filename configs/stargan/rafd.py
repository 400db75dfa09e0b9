r"""StarGAN on the eight expressions of RaFD at 128 px, the published settings.

  python train.py --config=configs/stargan/rafd.py --workdir=DIR \
    --config.data.root=DATA

DATA holds train/<expression> and test/<expression>, pictures of 256 px and
more with the face in the middle; any folders of domains will do. Published
classification error of translations: 2.12 % (0.45 % of real images), by a
classifier of the authors'.

Not yet run.
"""

import ml_collections

from jaxgan.systems.stargan.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Folders, and their middle."""
  config = default_config()
  config.data.name = 'folder'
  config.data.root = 'data/rafd'
  config.data.domains = ()
  config.data.crop_size = 256
  return config
