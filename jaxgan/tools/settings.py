r"""Prints the settings of a config: value, bounds and meaning of each.

python -m jaxgan.tools.settings --config=configs/stargan_v2/afhq.py \
    [--config.SETTING=VALUE] [--find=lambda]

Without --config it lists the systems and the named configs.
"""

import itertools
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from absl import flags

from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors
from jaxgan.systems import config_flag, contract, named, settings

_CONFIG = config_flag.define(
  'A named config, a file of one, or the config.json of a run.'
)
_FIND = flags.DEFINE_string(
  'find', '', 'Only settings with this in their name or meaning.'
)

_WIDTH = 100
_TEXT = 42  # where the meaning begins


def main() -> None:
  """Prints a table, or the systems and configs where no config is given."""
  config = _CONFIG.value
  if config is None:
    print(named.catalogue())
    return
  system = contract.get_system(config)
  contract.check_config(system, config)
  values, find = workdir.flatten(config), _FIND.value
  names = [
    name
    for name, setting in system.SETTINGS.items()
    if find.lower() in f'{name} {setting.about}'.lower()
  ]
  if not names:
    raise errors.UserError(f'no setting of {config.system} tells of {find}')
  # Within a group they keep the order of their declaration.
  for _, group in itertools.groupby(sorted(names, key=_group), key=_group):
    for name in group:
      print(*_describe(name, values[name], system.SETTINGS[name]), sep='\n')
    print()


def _group(name: str) -> str:
  return name.rpartition('.')[0]


def _describe(
  name: str, value: Any, setting: settings.Setting
) -> Iterator[str]:
  """Lines of a setting: name and value to the left, its meaning beside them."""
  notes = [_bounds(setting)]
  if value != setting.default:
    notes.append(f'default {_show(setting.default)}')
  about = f'{setting.about} ({"; ".join(filter(None, notes))})'
  left = f'{name:24} {_show(value)}'
  first, *rest = textwrap.wrap(
    about.removesuffix(' ()'), _WIDTH - _TEXT, break_long_words=False
  )
  if len(left) < _TEXT:
    yield f'{left:{_TEXT}}{first}'
  else:
    yield left
    yield f'{"":{_TEXT}}{first}'
  yield from (f'{"":{_TEXT}}{line}' for line in rest)


def _show(value: Any) -> str:
  """A value as it is written after the flag; two quotes for nothing."""
  if isinstance(value, list | tuple):
    value = ','.join(value) or '()'
  return str(value) or "''"


def _bounds(setting: settings.Setting) -> str:
  if setting.among:
    return ', '.join(map(_show, setting.among))
  if type(setting.default) not in (int, float):
    return ''
  above = f'{setting.least:g} or more'
  if setting.below >= 2**31:
    return above
  return f'{above}, less than {setting.below:g}'


def run() -> None:
  """The command jaxgan-settings."""
  cli.run(main, sys.argv)


if __name__ == '__main__':
  run()
