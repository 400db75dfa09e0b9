"""Settings declared with what they may be; those that every system has."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxgan.runs import workdir
from jaxgan.runtime import errors

Value = bool | int | float | str | tuple


class Setting(NamedTuple):
  """A default, and what is allowed beside it.

  Attributes:
    default: the value, whose type any other has; several are names.
    least: the least that a number may be.
    below: a number has to be less than this. NaN and infinity never are.
    among: the values there are; () for any.
    about: what it means, a line for the reader.
  """

  default: Value
  least: float = 0
  below: float = 2**32
  among: Sequence[str] = ()
  about: str = ''


Declared = dict[str, Setting]

_KINDS = {
  bool: 'True or False',
  int: 'a whole number',
  float: 'a number',
  str: 'a text',
  tuple: "names, as ('a', 'b')",
}

DTYPES = ('float32', 'bfloat16', 'float64')

BASE: Declared = {
  'system': Setting('', about='Name of the system.'),
  'seed': Setting(0, about='Decides first weights, batches and latents.'),
  'batch_size': Setting(8, least=1, about='Images of all devices together.'),
  'micro_batches': Setting(
    1, least=1, about='Parts of a batch that are in memory one after another.'
  ),
  'shard_state': Setting(
    False,
    about='Divide parameters, optimisers and averages among the devices.',
  ),
  'num_train_steps': Setting(
    100_000,
    below=2**31,  # counted in 32 bits
    about='Length of the run.',
  ),
  'log_every_steps': Setting(
    10, least=1, about='Steps between two lines of losses.'
  ),
  'sample_every_steps': Setting(
    10_000, least=1, about='Steps between sample grids.'
  ),
  'checkpoint_every_steps': Setting(
    10_000, least=1, about='Steps between checkpoints.'
  ),
  'on_nan': Setting(
    'stop',
    among=('stop', 'restore'),
    about='After NaN: stop; or go back and leave the step out, thrice at most.',
  ),
  'keep': Setting(3, least=1, about='How many of the newest checkpoints stay.'),
  'keep_every_steps': Setting(
    0, about='Checkpoints at multiples of this stay as well; 0: none.'
  ),
  'data.name': Setting(
    'folder',
    about='folder: <root>/<split>/<domain>/<images>; unpaired: <root>/<split>A '
    'and <root>/<split>B; shapes: drawn; tfds:<data set>.',
  ),
  'data.root': Setting(
    'data', about='Folder of the data; for tfds its data_dir.'
  ),
  'data.train_split': Setting('train', about='Split that is trained on.'),
  'data.val_split': Setting('val', about='Split for samples and scores.'),
  'data.domains': Setting(
    (), about='Names of the domains to use; () for all there are.'
  ),
  'data.img_size': Setting(
    256, least=1, about='Width and height of images, in pixels.'
  ),
  'data.augment': Setting(True, about='Random crops and flips.'),
  'data.background': Setting(
    '',
    about='Colour that alpha is blended with, as white; empty: it is dropped.',
  ),
  'data.paired_names': Setting(
    False,
    about='Files of one name in two domains show one item: evaluation compares '
    'translations with their true counterparts.',
  ),
  'data.check_images': Setting(
    True, about='Decode every image once before training.'
  ),
  'data.skip_bad_images': Setting(
    False, about='Train without images that cannot be read.'
  ),
  'data.timeout': Setting(
    300.0, about='Seconds in which a file must have been read.'
  ),
  'data.on_device': Setting(
    False, about='Keep all images in device memory, and draw batches there.'
  ),
  'data.cache_dir': Setting(
    '', about='Decoded images, for on_device; empty for ~/.cache/jaxgan.'
  ),
  'model.num_domains': Setting(0, about='0: as many as the data has.'),
  'model.dtype': Setting(
    'float32', among=DTYPES, about='Precision of the computation.'
  ),
}


def extend(base: Declared, changes: Mapping[str, Setting | Value]) -> Declared:
  """The settings of a system: others' with changes.

  Args:
    base: such as BASE.
    changes: {name: setting}, or a default alone, where all else stays as it is.
  """
  declared = dict(base)
  for name, change in changes.items():
    if not isinstance(change, Setting):
      change = declared[name]._replace(default=change)
    declared[name] = change
  return declared


def create(declared: Declared) -> ConfigDict:
  """A config of the defaults, nested by the dots in the names."""
  config = ConfigDict()
  for name, setting in declared.items():
    group, _, key = name.rpartition('.')
    if group and group not in config:
      config[group] = ConfigDict()
    (config[group] if group else config)[key] = setting.default
  return config


def settle(config: ConfigDict, declared: Declared) -> None:
  """Makes of each value what people mean by it, in place.

  A whole number is one of a setting of other numbers too; numbers among names
  are names, of folders; `~` in a path is the user's home.
  """
  values = workdir.flatten(config)
  for name in values.keys() & declared.keys():
    value, default = values[name], declared[name].default
    if isinstance(default, float) and type(value) is int:
      value = float(value)
    elif isinstance(default, tuple) and isinstance(value, list | tuple):
      value = tuple(str(x) if type(x) is int else x for x in value)
    elif name in workdir.PLACES and isinstance(value, str):
      value = os.path.expanduser(value)
    with config.ignore_type():  # a whole number for another
      config.update_from_flattened_dict({name: value})


def check(config: ConfigDict, declared: Declared) -> None:
  """Raises UserError for the first setting that cannot be."""
  values = workdir.flatten(config)
  for name in sorted(values.keys() - declared.keys()):
    raise errors.UserError(f'there is no setting config.{name}: remove it')
  for name, setting in declared.items():
    if name not in values:
      raise errors.UserError(
        f"config.{name} is missing: begin with the system's default_config()"
      )
    _check_one(f'config.{name}', values[name], setting)


def _check_one(name: str, value: Any, setting: Setting) -> None:
  if not _is_like(value, setting.default):
    kind = _KINDS[type(setting.default)]
    raise errors.UserError(f'{name} must be {kind}: {repr(value)[:80]}')
  if isinstance(value, list | tuple) and len(set(value)) < len(value):
    raise errors.UserError(f'{name} has a name twice: {repr(value)[:80]}')
  if setting.among and value not in setting.among:
    raise errors.UserError(
      f'{name} must be one of {", ".join(map(repr, setting.among))}: {value!r}'
    )
  if isinstance(value, int | float) and not isinstance(value, bool):
    # Written so that NaN fails.
    if not value >= setting.least:
      raise errors.UserError(
        f'{name} must be {setting.least:g} or more: {str(value)[:40]}'
      )
    if not value < setting.below:
      raise errors.UserError(
        f'{name} must be less than {setting.below:.10g}: {str(value)[:40]}'
      )


def _is_like(value: Any, default: Value) -> bool:
  if isinstance(default, tuple):
    return isinstance(value, list | tuple) and all(
      isinstance(item, str) for item in value
    )
  alike = isinstance(value, bool) == isinstance(default, bool)
  return alike and isinstance(value, type(default))
