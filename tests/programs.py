"""Programs as modules, for their functions."""

import importlib
from types import ModuleType

from absl import flags


def load(name: str) -> ModuleType:
  """Imports a program without its flags, which another one may have too."""
  module = importlib.import_module(name)
  for flag in list(flags.FLAGS.flags_by_module_dict().get(name, ())):
    delattr(flags.FLAGS, flag.name)
  return module
