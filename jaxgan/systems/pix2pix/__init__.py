"""pix2pix (Isola et al. 2017): the names of `contract.System`."""

from jaxgan.data.contracts.paired import Data as create_data
from jaxgan.systems.about import About
from jaxgan.systems.pix2pix.config import (
  SETTINGS,
  check_config,
  default_config,
)
from jaxgan.systems.pix2pix.step import (
  COLLAPSE_SIGNS,
  DRAWS,
  KINDS,
  create_model,
  init_state,
  train_step,
  translate,
)
from jaxgan.systems.pix2pix.use import grids, scores

ABOUT = About(
  'pix2pix',
  'Isola et al. 2017, https://arxiv.org/abs/1611.07004',
  data='pairs: pictures of source and target, or two folders of equal names',
  output='one for a source',
)

__all__ = [
  'ABOUT',
  'COLLAPSE_SIGNS',
  'DRAWS',
  'KINDS',
  'SETTINGS',
  'check_config',
  'create_data',
  'create_model',
  'default_config',
  'grids',
  'init_state',
  'scores',
  'train_step',
  'translate',
]
