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
  """

  default: Value
  least: float = 0
  below: float = 2**32
  among: Sequence[str] = ()


Declared = dict[str, Setting]

_KINDS = {
  bool: 'True or False',
  int: 'a whole number',
  float: 'a number',
  str: 'a text',
  tuple: "names, as ('a', 'b')",
}

DTYPES = ('float32', 'bfloat16', 'float64')

_S = Setting
BASE: Declared = {
  'system': _S(''),
  'seed': _S(0),
  'batch_size': _S(8, least=1),  # of all devices together
  'micro_batches': _S(1, least=1),  # parts of it in memory at a time
  'shard_state': _S(False),  # divide parameters, optimisers, EMA among devices
  'num_train_steps': _S(100_000, below=2**31),  # counted in 32 bits
  'log_every_steps': _S(10, least=1),
  'sample_every_steps': _S(10_000, least=1),
  'checkpoint_every_steps': _S(10_000, least=1),
  # 'restore': go back, leave the step out, thrice.
  'on_nan': _S('stop', among=('stop', 'restore')),
  'keep': _S(3, least=1),  # the newest checkpoints
  'keep_every_steps': _S(0),  # and all at multiples of this; 0 for none
  # 'folder': <root>/<split>/<domain>/<images>; 'unpaired': <root>/<split>A
  # and <root>/<split>B, as UNIT and MUNIT have it; 'shapes'; 'tfds:<data set>'.
  # Of pix2pix alone 'paired': <root>/<split>/<images>, source beside target.
  'data.name': _S('folder'),
  'data.root': _S('data'),  # for TFDS its data_dir
  'data.train_split': _S('train'),
  'data.val_split': _S('val'),
  'data.domains': _S(()),  # names of those to use; () for all there are
  'data.img_size': _S(256, least=1),
  # A colour that alpha is blended with, as 'white' or '#808080'; '' drops alpha
  # and shows what is hidden under it, as the originals do.
  'data.background': _S(''),
  'data.augment': _S(True),  # random crops and flips
  'data.check_images': _S(True),  # decode every image once before training
  'data.skip_bad_images': _S(False),  # draw others, or leave out on_device
  'data.timeout': _S(300.0),  # seconds in which a file must have been read
  'data.on_device': _S(False),  # keep all images in device memory, draw there
  'data.cache_dir': _S(''),  # for on_device; '' for ~/.cache/jaxgan
  'model.num_domains': _S(0),  # 0: as many as the data has
  'model.dtype': _S('float32', among=DTYPES),  # of computation
}


def extend(base: Declared, changes: Mapping[str, Setting | Value]) -> Declared:
  """The settings of a system: others' with changes.

  Args:
    base: such as BASE.
    changes: {name: setting}, or a default alone, where bounds stay as they are.
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
