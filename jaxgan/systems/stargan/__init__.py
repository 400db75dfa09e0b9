"""StarGAN (Choi et al. 2018): the names of `contract.System`."""

from jaxgan.systems.stargan.config import default_config, old_step_iterations
from jaxgan.systems.stargan.data import (
  create_datasets,
  create_eval_data,
  example_batch,
  requests,
)
from jaxgan.systems.stargan.evaluate import scores
from jaxgan.systems.stargan.labelled import view
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
  train_step,
  translate,
)

__all__ = [
  'COLLAPSE_SIGNS',
  'KINDS',
  'SEPARABLE',
  'check_config',
  'create_datasets',
  'create_eval_data',
  'create_model',
  'default_config',
  'example_batch',
  'export_official',
  'grids',
  'import_official',
  'init_state',
  'old_step_iterations',
  'phases_at',
  'requests',
  'scores',
  'train_step',
  'translate',
  'view',
]
