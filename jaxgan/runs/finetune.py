"""Starting a run from the weights of another."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax.numpy as jnp

from jaxgan.runtime import errors

Tree = Any


def check_domains(
  params: Tree, old_domains: Sequence[str], new_domains: Sequence[str]
) -> None:
  """Raises UserError if domains differ and no parameter belongs to one alone.

  Such networks know a domain by its number.
  """
  paths = flax.traverse_util.flatten_dict(params)
  has_heads = any(part.startswith('heads') for path in paths for part in path)
  if not has_heads and tuple(old_domains) != tuple(new_domains):
    raise errors.UserError(
      f'--init_from has the domains {", ".join(old_domains)}, and this run has '
      f'{", ".join(new_domains)}: this system knows them by their order, take '
      'the same in the same one'
    )


def transfer(
  old: Mapping[str, Any],
  new: Mapping[str, Any],
  old_domains: Sequence[str],
  new_domains: Sequence[str],
) -> Tree:
  """Returns `new` with the values of `old`, domains matched by name.

  A parameter whose path has a component `heads...` has one row per domain on
  its leading axis; rows of domains that `old` does not know stay as in `new`.

  Args:
    old: parameters to take, nested dicts.
    new: freshly drawn parameters.
    old_domains: names of the rows in `old`.
    new_domains: names of the rows in `new`.

  Raises:
    UserError: the networks differ in more than their heads.
  """
  old = flax.traverse_util.flatten_dict(old)
  new = flax.traverse_util.flatten_dict(new)
  known = [d for d in new_domains if d in old_domains]
  rows = jnp.array([new_domains.index(d) for d in known], jnp.int32)
  old_rows = jnp.array([old_domains.index(d) for d in known], jnp.int32)
  result = {}
  for path, value in new.items():
    stacked = any(name.startswith('heads') for name in path)
    before = old.get(path)
    if before is None or before.shape[stacked:] != value.shape[stacked:]:
      raise errors.UserError(
        f'--init_from has no parameter {"/".join(path)} of shape '
        f'{value.shape}: both runs need the same config.model and img_size'
      )
    if stacked:
      before = value.at[rows].set(jnp.asarray(before)[old_rows])
    result[path] = jnp.asarray(before, value.dtype)
  return flax.traverse_util.unflatten_dict(result)
