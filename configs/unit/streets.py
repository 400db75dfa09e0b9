r"""UNIT between drawn and photographed streets, as published.

  python train.py --config=configs/unit/streets.py --workdir=DIR \
    --config.data.root=DATA

The settings are those of the released branch version_02.

DATA holds train/<domain> and test/<domain>. Dropout in the residual blocks, and
discriminators at three scales. Differs from the original: squares of 512 pixels
where it has 480 x 640, and drawn pictures are not blurred beforehand.

Not yet run.
"""

import ml_collections

from jaxgan.systems.unit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """Norms in residual blocks only, dropout there, and three scales."""
  config = default_config()
  config.data.img_size = 512
  config.model.normalize = False
  config.model.dropout = 0.5
  config.model.d_kind = 'multiscale'
  config.model.d_layers = 4
  return config
