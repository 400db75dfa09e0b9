"""StarGAN (Choi et al. 2018): the names of `contract.System`."""

from jaxgan.data.contracts.labelled import Data as create_data
from jaxgan.systems.about import About
from jaxgan.systems.stargan.config import (
  SETTINGS,
  default_config,
  old_step_iterations,
)
from jaxgan.systems.stargan.evaluate import scores
from jaxgan.systems.stargan.official import export_official, import_official
from jaxgan.systems.stargan.sample import grids
from jaxgan.systems.stargan.step import (
  COLLAPSE_SIGNS,
  KINDS,
  SEPARABLE,
  check_config,
  create_model,
  init_state,
  phases_at,
  source_labels,
  train_step,
  translate,
  translate_known,
)

ABOUT = About(
  'StarGAN',
  'Choi et al. 2018, https://arxiv.org/abs/1711.09020',
  data='a folder of images for each domain, or images with attributes',
  output='one for a source and a domain or attribute',
)

__all__ = [
  'ABOUT',
  'COLLAPSE_SIGNS',
  'KINDS',
  'SEPARABLE',
  'SETTINGS',
  'check_config',
  'create_data',
  'create_model',
  'default_config',
  'export_official',
  'grids',
  'import_official',
  'init_state',
  'old_step_iterations',
  'phases_at',
  'scores',
  'source_labels',
  'train_step',
  'translate',
  'translate_known',
]
