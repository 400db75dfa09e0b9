"""StarGAN on drawn shapes with attributes: warm, large, outline.

  python train.py --config=configs/stargan/shapes_attributes.py --workdir=DIR

One CPU core, 7,500 iterations in three minutes. Scores of seed 0: target
reached 0.991, other attributes kept 0.999, shape kept 0.934, position 0.22 px.
"""

import ml_collections

from jaxgan.configs.stargan import shapes


def get_config() -> ml_collections.ConfigDict:
  """The net of `shapes`."""
  config = shapes.get_config()
  config.data.name = 'shapes_attributes'
  return config
