r"""UNIT between two kinds of animals at 216 px, as published.

  python train.py --config=configs/unit/animals.py --workdir=DIR \
    --config.data.root=DATA

DATA holds train/<kind> and test/<kind> of two kinds: cats and tigers, corgis
and huskies. The original makes pictures 1.2 times as large before it cuts; here
their shortest side becomes 256 pixels.

Not yet run.
"""

import ml_collections

from jaxgan.systems.unit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults."""
  config = default_config()
  config.data.load_size = 256
  return config
