r"""UNIT between edges and photographs at 256 px, as its later code has it.

  python train.py --config=configs/unit/edges2shoes.py --workdir=DIR \
    --config.data.root=DATA

DATA holds trainA, trainB, testA and testB. No blocks are shared between the
domains; those of MUNIT are used. With --config.parity=mingyuliutw/UNIT it is
computed as that code has it, and its released weights were made so.

Not yet run.
"""

import ml_collections

from jaxgan.systems.unit.config import unshared_config


def get_config() -> ml_collections.ConfigDict:
  """The settings of the later code, on folders as it has them."""
  config = unshared_config()
  config.data.name = 'unpaired'
  config.data.root = 'data/edges2shoes'
  return config
