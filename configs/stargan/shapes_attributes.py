"""StarGAN on drawn shapes with attributes: warm, large, outline.

python train.py --config=configs/stargan/shapes_attributes.py --workdir=DIR
"""

import ml_collections

from configs.stargan import shapes


def get_config() -> ml_collections.ConfigDict:
  """The net of `shapes`."""
  config = shapes.get_config()
  config.data.name = 'shapes_attributes'
  return config
