r"""MUNIT between edges and photographs of shoes at 256 px, as published.

  python train.py --config=configs/munit/edges2shoes.py --workdir=DIR \
    --config.data.root=DATA

DATA holds trainA, trainB, testA and testB, as the original wants them; with
--config.data.name=folder train/<domain> and test/<domain>. Handbags are trained
with the same settings.

Not yet run.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults, on folders as the original has them."""
  config = default_config()
  config.data.name = 'unpaired'
  config.data.root = 'data/edges2shoes'
  return config
