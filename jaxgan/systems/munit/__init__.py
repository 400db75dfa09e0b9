"""MUNIT (Huang et al. 2018): the names of `contract.System`."""

from jaxgan.data.contracts.unpaired import (
  create_datasets,
  create_eval_data,
  example_batch,
  requests,
  view,
)
from jaxgan.systems.munit.config import default_config
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

__all__ = [
  'BY_DOMAIN',
  'COLLAPSE_SIGNS',
  'FROZEN',
  'KINDS',
  'PSI',
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
  'mean_style',
  'reconstruct',
  'requests',
  'style',
  'train_step',
  'translate',
  'view',
]
