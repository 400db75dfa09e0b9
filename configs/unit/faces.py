r"""UNIT between faces with and without an attribute at 128 px, as published.

  python train.py --config=configs/unit/faces.py --workdir=DIR \
    --config.data.root=DATA

DATA holds train/<domain> and test/<domain>: pictures of CelebA with an
attribute, as blond hair, in one folder and all others in another, cropped and
resized beforehand as the original does. The
discriminators have their last layers in common.

Not yet run.
"""

import ml_collections

from jaxgan.systems.unit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Norms in residual blocks only, and a shared discriminator."""
  config = default_config()
  config.num_train_steps = 2_000_000
  config.data.img_size = 128
  config.model.normalize = False
  config.model.d_kind = 'shared'
  return config
