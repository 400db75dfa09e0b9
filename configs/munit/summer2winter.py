r"""MUNIT between summer and winter in Yosemite at 256 px, as published.

  python train.py --config=configs/munit/summer2winter.py --workdir=DIR \
    --config.data.root=DATA

DATA holds trainA, trainB, testA and testB. Where domains have much in common,
the style-augmented cycle is added.

Not yet run.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults with the cycle."""
  config = default_config()
  config.data.name = 'unpaired'
  config.data.root = 'data/summer2winter_yosemite'
  config.hparams.lambda_cyc = 10.0
  return config
