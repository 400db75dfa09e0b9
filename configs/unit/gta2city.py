r"""UNIT between drawn and photographed streets, as its later code has it.

  python train.py --config=configs/unit/gta2city.py --workdir=DIR \
    --config.data.root=DATA --config.model.vgg_file=vgg16-397923af.pth

DATA holds trainA, trainB, testA and testB. The perceptual term needs the
weights of VGG-16, a file of PyTorch; it is kept in the work directory. Squares
of 256 px are cut of pictures that are as high.

Not yet run.
"""

import ml_collections

from jaxgan.systems.unit.config import unshared_config


def get_config() -> ml_collections.ConfigDict:
  """The settings of the later code, with the perceptual term."""
  config = unshared_config()
  config.data.name = 'unpaired'
  config.data.root = 'data/gta2city'
  config.hparams.lambda_vgg = 1.0
  return config
