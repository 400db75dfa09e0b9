"""UNIT (Liu et al. 2017): the names of `contract.System`."""

from jaxgan.data.contracts.unpaired import Data as create_data
from jaxgan.systems.about import About
from jaxgan.systems.two_domains import FROZEN, inference_params, init_state
from jaxgan.systems.unit.config import SETTINGS, default_config
from jaxgan.systems.unit.official import export_official, import_official
from jaxgan.systems.unit.step import (
  BY_DOMAIN,
  COLLAPSE_SIGNS,
  KINDS,
  SEPARABLE,
  SOURCES,
  check_config,
  create_model,
  reconstruct,
  train_step,
  translate,
)

ABOUT = About(
  'UNIT',
  'Liu et al. 2017, https://arxiv.org/abs/1703.00848',
  data='two folders of images that do not belong together',
  output='one for a source',
)

__all__ = [
  'ABOUT',
  'BY_DOMAIN',
  'COLLAPSE_SIGNS',
  'FROZEN',
  'KINDS',
  'SEPARABLE',
  'SETTINGS',
  'SOURCES',
  'check_config',
  'create_data',
  'create_model',
  'default_config',
  'export_official',
  'import_official',
  'inference_params',
  'init_state',
  'reconstruct',
  'train_step',
  'translate',
]
