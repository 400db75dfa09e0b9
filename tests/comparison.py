"""Reads reference files: errors of our numbers, and their limits."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.pytorch import convert

Settings = Mapping[str, Any]

LIMITS = {
  'forward': 1e-8,
  'loss': 1e-8,
  'grad': 1e-8,
  'lambda_ds': 1e-8,
  'lr': 1e-8,
  'after': 1e-5,
  'forward_256': 2e-4,
  'landmarks': 0.0,
  'matrix': 1e-6,
  'preprocess': 0.0,
  'features': 1e-4,
  'lpips': 1e-5,
  'fid': 1e-6,
}


ONE_BY_ONE = -1  # as many micro-batches as images


class UnknownFileError(ValueError):
  """The file is not one of the kinds that can be compared."""


@dataclasses.dataclass
class Comparison:
  """Errors by array, and what became of every array of a file."""

  reference: Mapping[str, np.ndarray]
  errors: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  read: set[str] = dataclasses.field(default_factory=set)  # weights and inputs
  skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # reasons

  def check(
    self, group: str, key: str, value: np.ndarray, scale: float | None = None
  ) -> None:
    """Notes max|value - reference| / scale, by default max|reference|."""
    expected = self.reference[key]
    value = np.asarray(value)
    if value.shape != expected.shape:
      error = np.inf
    else:
      scale = np.max(np.abs(expected)) if scale is None else scale
      error = np.max(np.abs(value - expected)) / (scale or 1.0)
    # A NaN is an error beyond any limit, not one that compares as fine.
    error = float(error) if np.isfinite(error) else np.inf
    errors = self.errors.setdefault(group, {})
    # Of what is compared twice, the worse.
    errors[key] = max(error, errors.get(key, 0.0))

  def check_grads(self, prefix: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Checks gradients, relative to the largest that the file has of them."""
    scale = max(np.max(np.abs(self.reference[prefix + key])) for key in tensors)
    for key, value in tensors.items():
      self.check('grad', prefix + key, value, scale)

  def check_after(
    self, prefix: str, init: str, tensors: Mapping[str, np.ndarray]
  ) -> None:
    """Checks trained weights, relative to how far each tensor has moved."""
    for key, value in tensors.items():
      change = self.reference[prefix + key] - self.reference[init + key]
      scale = np.max(np.abs(change))
      self.check('after', prefix + key, value, scale)

  def params(self, prefix: str, places: convert.Places, like: Any) -> Any:
    """The file's weights of a prefix as float64 parameters like `like`."""
    tensors = {
      key.removeprefix(prefix): self.reference[key] for key in self.keys(prefix)
    }
    tree, _ = convert.from_tensors(places, tensors, like)
    self.read.update(prefix + key for key in places)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)

  def take(self, prefix: str) -> dict[str, np.ndarray]:
    """The file's arrays of a prefix, to start or feed the run with."""
    keys = self.keys(prefix)
    self.read.update(keys)
    return {key.removeprefix(prefix): self.reference[key] for key in keys}

  def keys(self, prefix: str) -> list[str]:
    """Names of the file's arrays of a prefix."""
    return [key for key in self.reference if key.startswith(prefix)]

  def not_compared(self) -> list[str]:
    """Arrays of the file that were neither compared nor fed to the run."""
    done = self.read.union(*self.errors.values(), self.skipped, {'config'})
    return [key for key in self.reference if key not in done]

  def report(self) -> bool:
    """Prints a row per group; true if everything is within the limits."""
    passed = True
    for group, errors in self.errors.items():
      worst = max(errors, key=errors.get)
      fine = errors[worst] <= LIMITS[group]
      passed &= fine
      print(
        f'  {group:<12} {len(errors):4d} arrays  worst {errors[worst]:.1e}  '
        f'limit {LIMITS[group]:.0e}  {"ok  " if fine else "OVER"}  {worst}'
      )
    for reason in dict.fromkeys(self.skipped.values()):
      keys = [key for key, value in self.skipped.items() if value == reason]
      print(f'  {reason}: {", ".join(keys)}')
    if missing := self.not_compared():
      print(f'  NOT COMPARED: {", ".join(missing)}')
    return passed and not missing


def floats(x: np.ndarray) -> jax.Array:
  """In float64 where that is enabled, else float32."""
  return jnp.asarray(x, jnp.result_type(float))


def nhwc(x: np.ndarray) -> jax.Array:
  """PyTorch's layout as ours."""
  return floats(x.transpose(0, 2, 3, 1))


def nchw(x: jax.Array) -> np.ndarray:
  """Our layout as PyTorch's."""
  return np.asarray(x).transpose(0, 3, 1, 2)


def compare_ways(
  reference: Mapping[str, np.ndarray],
  settings: Settings,
  ways: Mapping[str, Settings],
  create_config: Callable[[Settings], ml_collections.ConfigDict],
  run: Callable[[Comparison, ml_collections.ConfigDict, Settings], None],
) -> dict[str, Comparison]:
  """Compares a training file in every way there is through a system's code.

  Args:
    reference: the arrays of the file.
    settings: of the file.
    ways: {name: settings beside the file's}; `ONE_BY_ONE` as micro_batches.
    create_config: (settings) -> the config of the file.
    run: does the iterations of the file, in float64.
  """
  comparisons = {}
  for name, way in ways.items():
    config = create_config(settings)
    config.update_from_flattened_dict(way)
    if config.micro_batches == ONE_BY_ONE:
      config.micro_batches = settings['batch']
      if settings['batch'] == 1:
        print(f'  {name}: left out, a batch is one image')
        continue
    comparisons[name] = comparison = Comparison(reference)
    with jax.enable_x64(True):
      run(comparison, config, settings)
  return comparisons
