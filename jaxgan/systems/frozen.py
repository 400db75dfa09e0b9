"""Networks that are never trained, whose weights are a file of the user."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax.numpy as jnp
from ml_collections import ConfigDict

Tree = Any


class Frozen(NamedTuple):
  """A network that is never trained.

  Attributes:
    name: of its parameters among the frozen ones.
    is_needed: whether a config asks for it.
    load: reads the parameters from the file that the config names; UserError
      if they cannot be read.
    check: raises UserError unless parameters that come back from a work
      directory are those of the network.
  """

  name: str
  is_needed: Callable[[ConfigDict], bool]
  load: Callable[[ConfigDict], Tree]
  check: Callable[[Tree], None]


def load(networks: Sequence[Frozen], config: ConfigDict) -> dict[str, Tree]:
  """{name: parameters} of those that a config needs; UserError as `Frozen`."""
  return {n.name: n.load(config) for n in networks if n.is_needed(config)}


def check(
  networks: Sequence[Frozen], frozen: Mapping[str, Tree], config: ConfigDict
) -> None:
  """Raises UserError unless all are there that a config needs."""
  for network in networks:
    if network.is_needed(config):
      network.check(frozen.get(network.name))


def same_shapes(params: Any, like: Any) -> bool:
  """Whether something is a tree of arrays with the names and shapes of like."""

  def shapes(tree: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    flat = flax.traverse_util.flatten_dict(tree)
    return {path: jnp.shape(value) for path, value in flat.items()}

  return isinstance(params, dict) and shapes(params) == shapes(like)
