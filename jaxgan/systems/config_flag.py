"""The flag --config: a named config, a file of one, or a run's config.json.

`--config.<setting>=<value>` changes a setting. Numbers may be written 100000,
100_000 or 1e5; names (data.domains) a,b or "a, b" or "('a', 'b')".
"""

import difflib
import importlib.machinery
import os
import re
import sys
import traceback
import types
from collections.abc import Iterable, Sequence

from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors
from jaxgan.systems import contract, named

flags.disclaim_key_flags()

_CHANGE = re.compile(r'--?(?:no)?config\.(.+)')


class _Names(tuple_parser.TupleParser):
  """All settings of several values are names."""

  def parse(self, argument: str | tuple[str, ...]) -> tuple[str, ...]:
    """Takes a text, or a default as it is."""
    if isinstance(argument, str):
      return tuple(cli.split_names(argument))
    return argument


for _kind, _parser in (
  (int, cli.Integer()),
  (float, cli.Float()),
  (tuple, _Names()),
):
  config_flags.register_flag_parser_for_type(_kind, _parser)


def define(
  help: str,
  *,
  required: bool = False,
  flag_values: flags.FlagValues = flags.FLAGS,
  argv: Sequence[str] | None = None,
) -> flags.FlagHolder:
  """Defines --config, whose value is a ConfigDict.

  Args:
    help: what --help says of it.
    required: whether it must be given.
    flag_values: where it is defined.
    argv: in which its changes are looked for; None for those of the program.
  """
  holder = config_flags.DEFINE_config_file(
    'config', None, help, flag_values, sys_argv=argv and list(argv)
  )
  flag_values['config'].parser = _Config(argv)
  if required:
    flags.mark_flag_as_required('config', flag_values)
  return holder


def read(arguments: Sequence[str]) -> ConfigDict:
  """The config of --config=... and its changes, as a program has it.

  Raises:
    UserError: there is no such config, or no such setting or value.
  """
  values, argv = flags.FlagValues(), ['', *arguments]
  define('', flag_values=values, argv=argv)
  try:
    values(argv)
  except flags.Error as e:
    raise errors.UsageError(' '.join(str(e).split())) from e
  return values['config'].value


class _Config(flags.ArgumentParser):
  """Reads a config; all that is wrong with it is a UserError."""

  def __init__(self, argv: Sequence[str] | None):
    self._argv = argv

  def parse(self, path: str) -> ConfigDict:
    """Takes a named config, `file.py` or `file.json`.

    After a config, `:argument` is given to its get_config. A file that there is
    goes before a config of the same name.
    """
    path = os.path.expanduser(path)
    file, *argument = [path] if os.path.exists(path) else path.split(':', 1)
    if not os.path.isfile(file):
      file = _find(file)
    if file.endswith('.json'):
      config = contract.read_config(epath.Path(file))
    else:
      config = _run(file, argument)
    argv = sys.argv if self._argv is None else self._argv
    _check_changes(argv, path, config)
    return config.lock()


def _find(given: str) -> str:
  """The file of a named config; raises UserError where there is none."""
  paths, name = named.paths(), named.name_of(given)
  if name in paths:
    return os.fspath(paths[name])
  if os.path.isdir(given):
    raise errors.UserError(
      f'{given} is a folder: give a config file, or the config.json of a run'
    )
  near = difflib.get_close_matches(name, paths, 3)
  cure = (
    f'did you mean {" or ".join(near)}?'
    if near
    else 'python -m jaxgan.tools.settings lists those that have a name'
  )
  raise errors.UserError(f'there is no config {given or "named"}: {cure}')


def _run(file: str, argument: list[str]) -> ConfigDict:
  loader = importlib.machinery.SourceFileLoader('config', file)
  module = types.ModuleType('config')
  module.__file__ = file
  try:
    loader.exec_module(module)
    config = module.get_config(*argument)
  # A config is a program: it may raise anything.
  except (Exception, SystemExit) as e:
    where = traceback.extract_tb(e.__traceback__)
    lines = [f':{frame.lineno}' for frame in where if frame.filename == file]
    reason = ' '.join(str(e).split())
    raise errors.UserError(
      f'{file}{lines[-1] if lines else ""} is no config: {type(e).__name__}: '
      f'{reason}'
    ) from e
  if not isinstance(config, ConfigDict):
    raise errors.UserError(
      f'{file} is no config: get_config() returns {type(config).__name__}, not '
      'a ConfigDict'
    )
  return config


def _check_changes(argv: Iterable[str], path: str, config: ConfigDict) -> None:
  """Raises UsageError for the first change of a setting that there is not."""
  known = workdir.flatten(config).keys()
  groups = {name.rpartition('.')[0] for name in known}
  for argument in argv:
    found = _CHANGE.fullmatch(argument.partition('=')[0])
    if found and found[1] in groups:
      raise errors.UsageError(
        f'config.{found[1]} is a group: change its settings one by one'
      )
    if found and found[1] not in known:
      where = f'python -m jaxgan.tools.settings --config={path} lists them'
      near = _near(found[1], known)
      raise errors.UsageError(
        f'there is no setting config.{found[1]}: {near or where}'
      )


def _near(name: str, known: Iterable[str]) -> str:
  """Asks for settings that a name may mean: of its last part, or alike."""
  known, last = sorted(known), name.rpartition('.')[2]
  by_last = {key.rpartition('.')[2]: key for key in known}
  near = (
    [key for key in known if key.rpartition('.')[2] == last]
    or difflib.get_close_matches(name, known, 1)
    or [by_last[key] for key in difflib.get_close_matches(last, by_last, 1)]
  )
  names = ' or '.join(f'config.{key}' for key in near)
  return f'did you mean {names}?' if near else ''
