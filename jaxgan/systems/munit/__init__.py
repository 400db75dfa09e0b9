"""MUNIT (Huang et al. 2018): the names of `contract.System`."""

from jaxgan.data.contracts.unpaired import Data as create_data
from jaxgan.systems.about import About
from jaxgan.systems.munit.config import SETTINGS, default_config
from jaxgan.systems.munit.official import export_official, import_official
from jaxgan.systems.munit.step import (
  BY_DOMAIN,
  COLLAPSE_SIGNS,
  KINDS,
  PSI,
  SEPARABLE,
  SOURCES,
  check_config,
  create_model,
  mean_style,
  reconstruct,
  style,
  train_step,
  translate,
)
from jaxgan.systems.two_domains import FROZEN, inference_params, init_state

ABOUT = About(
  'MUNIT',
  'Huang et al. 2018, https://arxiv.org/abs/1804.04732',
  data='two folders of images that do not belong together',
  output='many for a source: styles of references or drawn',
)

__all__ = [
  'ABOUT',
  'BY_DOMAIN',
  'COLLAPSE_SIGNS',
  'FROZEN',
  'KINDS',
  'PSI',
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
  'mean_style',
  'reconstruct',
  'style',
  'train_step',
  'translate',
]
