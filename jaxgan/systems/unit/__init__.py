"""UNIT (Liu et al. 2017): the names of `contract.System`."""

from jaxgan.data.contracts.unpaired import (
  create_datasets,
  create_eval_data,
  example_batch,
  requests,
  view,
)
from jaxgan.systems.two_domains import FROZEN, inference_params, init_state
from jaxgan.systems.unit.config import default_config
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

__all__ = [
  'BY_DOMAIN',
  'COLLAPSE_SIGNS',
  'FROZEN',
  'KINDS',
  'SEPARABLE',
  'SOURCES',
  'check_config',
  'create_datasets',
  'create_eval_data',
  'create_model',
  'default_config',
  'example_batch',
  'export_official',
  'import_official',
  'inference_params',
  'init_state',
  'reconstruct',
  'requests',
  'train_step',
  'translate',
  'view',
]
