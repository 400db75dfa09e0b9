"""StarGAN v2 (Choi et al. 2020): the names of `contract.System`."""

from jaxgan.data.contracts.domains_ref import Data as create_data
from jaxgan.systems.about import About
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

ABOUT = About(
  'StarGAN v2',
  'Choi et al. 2020, https://arxiv.org/abs/1912.01865',
  data='a folder of images for each domain, two or more',
  output='many for a source and a domain: styles of references or of latents',
)

__all__ = [
  'ABOUT',
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
