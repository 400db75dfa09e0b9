"""The state of PyTorch's Adam, as its optimisers save it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from absl import logging

StateDict = dict[str, np.ndarray]

_MOMENTS = {'exp_avg': 'mu', 'exp_avg_sq': 'nu'}  # PyTorch's and optax's names


class Adam(NamedTuple):
  """By optax's names: moments are {key of a parameter: tensor}."""

  steps: np.ndarray  # int32
  mu: StateDict
  nu: StateDict


def read(saved: Mapping[str, Any], keys: Sequence[str]) -> Adam:
  """Reads what `state_dict` of an optimiser of one group has given.

  Args:
    saved: {'state': {number: entry}, 'param_groups': [settings]}.
    keys: of the parameters it steps, in order; of those that were never
      trained there is nothing.

  Raises:
    AttributeError, LookupError, TypeError, ValueError: it is not whole.
  """
  (group,) = saved['param_groups']
  # Addresses in memory until 2020, since then 0, 1, ...
  numbers = group['params']
  if len(numbers) != len(keys):
    raise ValueError(
      f'{len(numbers)} parameters, of {len(keys)} in the network'
    )
  named = {keys[numbers.index(n)]: entry for n, entry in saved['state'].items()}
  for key, entry in named.items():
    if entry.keys() != {'step', *_MOMENTS}:
      raise ValueError(f'{key} has {", ".join(entry)}')
  steps = sorted({int(entry['step']) for entry in named.values()})
  if len(steps) != 1:
    raise ValueError(f'its parameters have made {steps} steps')
  moments = {
    ours: {key: entry[theirs] for key, entry in named.items()}
    for theirs, ours in _MOMENTS.items()
  }
  return Adam(np.array(steps[0], np.int32), **moments)


def write(
  adam: Adam, keys: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
  """The way back of `read`; keys without moments are left out.

  Args:
    adam: the state.
    keys: of the parameters, in order.
    settings: of `settings`.
  """
  step = np.array(adam.steps, np.float32)
  state = {
    number: {'step': step}
    | {
      theirs: np.ascontiguousarray(getattr(adam, ours)[key], np.float32)
      for theirs, ours in _MOMENTS.items()
    }
    for number, key in enumerate(keys)
    if key in adam.mu
  }
  return {
    'state': state,
    'param_groups': [dict(settings) | {'params': list(range(len(keys)))}],
  }


def settings(optim: ml_collections.ConfigDict, lr: float) -> dict[str, Any]:
  """By PyTorch's names for them.

  Args:
    optim: beta1, beta2 and weight_decay.
    lr: the rate.
  """
  return {
    'lr': lr,
    'betas': (optim.beta1, optim.beta2),
    'eps': 1e-8,
    'weight_decay': optim.weight_decay,
    'amsgrad': False,
  }


def warn_of_settings(
  where: str, saved: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
  """Says where a file has other settings than the config.

  Args:
    where: the file, and what of it.
    saved: as of `read`.
    expected: of `settings`.
  """
  group = saved['param_groups'][0]
  for key, value in expected.items():
    if not np.array_equal(group.get(key, value), value):
      logging.warning(
        '%s: %s was %s and will be %s, as the config has it',
        *(where, key, group[key], value),
      )
