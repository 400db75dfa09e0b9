"""StarGAN v2 (Choi et al. 2020): the names of `contract.System`."""

from jaxgan.data.contracts.domains_ref import Data as create_data
from jaxgan.systems.stargan_v2.config import SETTINGS, default_config
from jaxgan.systems.stargan_v2.official import export_official, import_official
from jaxgan.systems.stargan_v2.step import (
  COLLAPSE_SIGNS,
  FROZEN,
  KINDS,
  PSI,
  SEPARABLE,
  check_config,
  create_model,
  init_state,
  style,
  train_step,
  translate,
)

__all__ = [
  'COLLAPSE_SIGNS',
  'FROZEN',
  'KINDS',
  'PSI',
  'SEPARABLE',
  'SETTINGS',
  'check_config',
  'create_data',
  'create_model',
  'default_config',
  'export_official',
  'import_official',
  'init_state',
  'style',
  'train_step',
  'translate',
]
