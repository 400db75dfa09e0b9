"""Checks of settings that several systems have."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax.numpy as jnp
import ml_collections

from jaxgan.losses import adversarial
from jaxgan.nets import convolutions, vgg
from jaxgan.runtime import errors

_DTYPES = ('float32', 'bfloat16', 'float64')


def check_computation(
  config: ml_collections.ConfigDict, resample_forms: Sequence[str]
) -> None:
  """Raises UserError for a way to compute that there is not.

  Args:
    config: of which `model.dtype`, `model.resample` and `micro_batches` are
      looked at.
    resample_forms: of the system, beside `auto`.
  """
  model = config.model
  if model.dtype not in _DTYPES:
    raise errors.UserError(
      'config.model.dtype must be float32, bfloat16 or float64: '
      f'{model.dtype!r}'
    )
  forms = ('auto', *resample_forms)
  if model.resample not in forms:
    raise errors.UserError(
      f'config.model.resample must be one of {", ".join(forms)}: '
      f'{model.resample!r}'
    )
  parts, batch_size = config.micro_batches, config.batch_size
  if parts < 1 or batch_size % parts:
    raise errors.UserError(
      f'config.micro_batches must divide batch_size {batch_size}: {parts}'
    )


def check_least(
  config: ml_collections.ConfigDict, least: Mapping[str, float]
) -> None:
  """Raises UserError where a setting is less than it may be.

  Args:
    config: of the run.
    least: {setting, as in 'model.dim': the least it may be}.
  """
  for key, bound in least.items():
    group, name = key.split('.')
    if config[group][name] < bound:
      raise errors.UserError(
        f'config.{key} must be {bound:g} or more: {config[group][name]}'
      )


def check_two_domains(config: ml_collections.ConfigDict, official: str) -> None:
  """Raises UserError for settings of UNIT and MUNIT that cannot be.

  Args:
    config: all settings; those of the networks are not looked at.
    official: the value of config.parity beside ''.
  """
  check_computation(config, convolutions.RESAMPLE_FORMS)
  if config.parity not in ('', official):
    raise errors.UserError(
      f"config.parity must be '' or {official!r}: {config.parity!r}"
    )
  gan_types = tuple(adversarial.GAN_TYPES)
  if config.hparams.gan_type not in gan_types:
    raise errors.UserError(
      f'config.hparams.gan_type must be one of {", ".join(gan_types)}: '
      f'{config.hparams.gan_type!r}'
    )
  if config.model.num_domains not in (0, 2):
    raise errors.UserError(
      'config.model.num_domains must be 2, or 0 to take it from the data: '
      f'{config.model.num_domains}'
    )
  positive = ('lr', 'step_size', 'gamma', 'beta1', 'beta2', 'weight_decay')
  least = {f'optim.{key}': 0.0 for key in positive}
  least |= {
    f'hparams.{key}': 0.0 for key in config.hparams if key.startswith('lambda')
  }
  check_least(config, {**least, 'data.load_size': 0})
  for key in ('beta1', 'beta2'):
    if config.optim[key] >= 1:
      raise errors.UserError(
        f'config.optim.{key} must be less than 1: {config.optim[key]}'
      )
  if config.hparams.lambda_vgg > 0:
    vgg.check_size(config.data.img_size, fourth_pool=True)


def same_shapes(params: Any, like: Any) -> bool:
  """Whether something is a tree of arrays with the names and shapes of like."""

  def shapes(tree: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    flat = flax.traverse_util.flatten_dict(tree)
    return {path: jnp.shape(value) for path, value in flat.items()}

  return isinstance(params, dict) and shapes(params) == shapes(like)
