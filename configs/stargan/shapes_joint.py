"""StarGAN on two drawn data sets together: three domains, three attributes.

  python train.py --config=configs/stargan/shapes_joint.py --workdir=DIR

Not yet run to its end.
"""

import ml_collections

from jaxgan.configs.stargan import shapes


def get_config() -> ml_collections.ConfigDict:
  """The net of `shapes`; images of the one have no labels of the other."""
  config = shapes.get_config()
  config.data.joint_name = 'shapes_attributes'
  return config
