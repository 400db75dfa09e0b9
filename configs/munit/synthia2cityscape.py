r"""MUNIT between drawn and photographed streets at 512 px, as published.

  python train.py --config=configs/munit/synthia2cityscape.py --workdir=DIR \
    --config.data.root=DATA --config.model.vgg_file=vgg16-397923af.pth

DATA holds trainA, trainB, testA and testB. The perceptual term needs the
weights of VGG-16, a file of PyTorch; it is kept in the work directory.

Not yet run.
"""

import ml_collections

from jaxgan.systems.munit.config import default_config


def get_config() -> ml_collections.ConfigDict:
  """The defaults with the cycle and the perceptual term."""
  config = default_config()
  config.data.name = 'unpaired'
  config.data.root = 'data/synthia2cityscape'
  config.data.img_size = 512
  config.hparams.lambda_cyc = 10.0
  config.hparams.lambda_vgg = 1.0
  return config
