"""Checks of settings that all systems have."""

from collections.abc import Sequence

import ml_collections

from jaxgan import errors

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
