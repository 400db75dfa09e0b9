"""What the command-line programs share: flags, and errors in one line."""

import argparse
import contextlib
import inspect
import itertools
import logging as python_logging
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from jaxgan.runtime import errors, files, output

T = TypeVar('T')

# Before anything imports TensorFlow, which is chatty.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

# What is defined here are flags of the program that calls for it.
flags.disclaim_key_flags()

_HELP = {'--help', '-help', '-h', '-?'}
_THOUSANDS = re.compile(r'[+-]?\d{1,3}(,\d{3})+')
# Of names between commas: in quotes of either kind, or without.
_NAME = re.compile(r"""\s*(?:'([^']*)'|"([^"]*)"|([^,]*?))\s*(?:,|$)""")
_NO_VALUE = re.compile(r'flag (--\w+)=None: Flag .* other than None\.')
_SETTING = re.compile(r"flag '((?:data|hparams|model|optim)\.\w+)'")
_NO_SWITCH = re.compile(r"\('Non-boolean argument to boolean flag', .*\)$")


def run(
  main: Callable[..., int | None],
  argv: list[str],
  positional: Sequence[str] = (),
  *,
  keeps_records: bool = False,
  epilog: Callable[[], str] = str,
) -> None:
  """Parses the flags, runs `main`, and exits with its status.

  With --help it prints the docstring of the module of `main`, and its flags. A
  mistake of the user's ends in one line on stderr and status 1 (or 2), never
  in a traceback.

  Args:
    main: the program.
    argv: its name and arguments.
    positional: names of the arguments without a flag, all of them paths, which
      `main` is called with.
    keeps_records: whether all that is printed is in files as well: then the
      status does not tell of output that is lost.
    epilog: gives what --help tells below the flags.
  """
  # Before: absl tells its first handler, which it replaces, by the stream.
  logging.use_absl_handler()
  with output.tolerant():
    if _HELP.intersection(argv[1:]):
      print(_help(main, epilog()))
      sys.exit()
    _run(main, argv, positional, keeps_records)


def _run(
  main: Callable[..., int | None],
  argv: list[str],
  positional: Sequence[str],
  keeps_records: bool,
) -> None:
  def run_main(args):
    if not flags.FLAGS['verbosity'].present:
      logging.set_verbosity(logging.WARNING)  # --verbosity=0 tells all
      logging.get_absl_logger().addFilter(_without_traceback)
      # What a library has not waited for, told when all is over.
      python_logging.getLogger('asyncio').setLevel(python_logging.CRITICAL)
    status = main(*args[1:])
    if not keeps_records and (lost := output.failure()):
      raise errors.UserError(f'standard output cannot be written ({lost})')
    return status

  try:
    app.run(
      run_main,
      argv=argv,
      flags_parser=lambda argv: _parse_flags(argv, positional),
    )
  except errors.UserError as e:
    print(f'error: {e}', file=sys.stderr)
    sys.exit(e.exit_status)
  except OSError as e:  # a full disk, a folder that may not be written to
    print(f'error: {e}', file=sys.stderr)
    sys.exit(1)
  except KeyboardInterrupt:
    print('error: interrupted', file=sys.stderr)
    sys.exit(130)


def _help(main: Callable[..., Any], epilog: str) -> str:
  """What a program does, and its flags: of the module that `main` is in."""
  parser = argparse.ArgumentParser(
    usage=argparse.SUPPRESS,
    description=inspect.getdoc(inspect.getmodule(main)),
    epilog=epilog,
    add_help=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  group = parser.add_argument_group('flags')
  for flag in flags.FLAGS.get_key_flags_for_module(main.__module__):
    default = f' (default {flag.default_as_str})' if flag.default else ''
    group.add_argument(
      f'--{"[no]" if flag.boolean else ""}{flag.name}',
      action='store_true',
      help=f'{flag.help}{default}'.replace('%', '%%'),
    )
  return parser.format_help()


def _without_traceback(record: Any) -> bool:
  """Keeps the line; libraries log the trace of an error that they raise."""
  record.exc_info = record.exc_text = None
  return True


def define_path(
  name: str, default: str | None, help: str, *, required: bool = False
) -> flags.FlagHolder:
  """Defines a flag for a path; `~` in it is the user's home."""
  return flags.DEFINE(_Path(required), name, default, help, required=required)


def define_paths(
  name: str, default: list[str] | None, help: str
) -> flags.FlagHolder:
  """Defines a flag for paths, repeated or with commas (`split_paths`)."""
  flag = _List(_Words(split_paths), None, name, default, help)
  return flags.DEFINE_flag(flag)


def define_names(
  name: str, default: list[str] | None, help: str
) -> flags.FlagHolder:
  """Defines a flag for names, repeated or with commas (`split_names`)."""
  flag = _List(_Words(split_names), None, name, default, help)
  return flags.DEFINE_flag(flag)


def define_integer(
  name: str,
  default: int | None,
  help: str,
  lower_bound: int | None = None,
  upper_bound: int | None = None,
) -> flags.FlagHolder:
  """Defines a flag for a whole number (`parse_integer`) within bounds."""
  parser = Integer(lower_bound, upper_bound)
  return flags.DEFINE(parser, name, default, help)


def define_float(
  name: str,
  default: float | None,
  help: str,
  lower_bound: float | None = None,
) -> flags.FlagHolder:
  """Defines a flag for a finite number."""
  return flags.DEFINE(Float(lower_bound), name, default, help)


class Integer(flags.IntegerParser):
  """Whole numbers as people write them."""

  def convert(self, argument: int | str) -> int:
    """Raises ValueError for what is none."""
    return parse_integer(str(argument))


class Float(flags.FloatParser):
  """Finite numbers: NaN is within all bounds."""

  def convert(self, argument: float | str) -> float:
    """Raises ValueError for what is none."""
    return _parse_float(str(argument))


class _Path(flags.ArgumentParser):
  def __init__(self, required: bool):
    self._required = required

  def parse(self, argument: str) -> str:
    if self._required and not argument:
      raise ValueError('no path is given')
    if argument.startswith('hf://'):  # no path: see `runs.hub`
      return argument
    try:
      return os.fspath(files.user_path(argument)) if argument else ''
    except errors.UserError as e:
      raise ValueError(str(e)) from e


class _Words(flags.ArgumentParser):
  def __init__(self, split: Callable[[str], list[str]]):
    self._split = split

  def parse(self, argument: str) -> list[str]:
    return self._split(argument)


class _List(flags.MultiFlag):
  """A flag whose every occurrence adds several values."""

  def _parse(self, arguments: Any) -> list[str]:
    return list(itertools.chain(*super()._parse(arguments)))


def parse_integer(text: str) -> int:
  """The number in 100000, 100_000, 100,000 or 1e5; ValueError for others."""
  if _THOUSANDS.fullmatch(text.strip()):
    text = text.replace(',', '')
  number = _parse_float(text)
  if not number.is_integer():
    raise ValueError('not a whole number')
  with contextlib.suppress(ValueError):
    return int(text)  # of more digits than a float has
  return int(number)


def _parse_float(text: str) -> float:
  try:
    number = float(text.encode('ascii'))  # other digits look like others
  except ValueError:
    raise ValueError('not a number') from None
  if not math.isfinite(number):
    raise ValueError('not a finite number')
  return number


def split_names(text: str) -> list[str]:
  """Names between commas: a,b or "a, b" or ('a', 'b').

  Quotes around a name keep commas, spaces and brackets in it.
  """
  text = text.strip()
  if text[:1] + text[-1:] in ('()', '[]'):
    text = text[1:-1]
  return [name for found in _NAME.findall(text) for name in found if name]


def split_paths(text: str) -> list[str]:
  """Paths between commas; of one that exists commas are a part."""
  pieces, paths = text.split(','), []
  while pieces:
    for count in range(len(pieces), 0, -1):
      path = os.path.expanduser(','.join(pieces[:count]).strip())
      if os.path.exists(path):
        break
    paths.append(path)
    del pieces[:count]
  return [path for path in paths if path]


def define_process_flags() -> Callable[[], tuple[str, int | None, int | None]]:
  """Defines flags; returns what gives their values to `processes.joined`."""
  coordinator = flags.DEFINE_string(
    'coordinator',
    '',
    'Address of process 0, host:port, where nothing tells it.',
  )
  count = define_integer(
    'num_processes', None, 'With --coordinator: how many there are.', 1
  )
  number = define_integer(
    'process_id', None, 'With --coordinator: which of them this one is.', 0
  )
  return lambda: (coordinator.value, count.value, number.value)


def required(flag: flags.FlagHolder[T | None]) -> T:
  """The value of a flag; raises UsageError where it is missing or empty."""
  if not flag.value:
    raise errors.UsageError(f'--{flag.name} is missing: see --help')
  return flag.value


def parse_step(text: str) -> int | None:
  """The number of --step=N; None for --step=latest."""
  if text == 'latest':
    return None
  try:
    step = parse_integer(text)
  except ValueError:
    step = -1
  if step < 0:
    raise errors.UsageError(f'--step={text} is neither a number nor "latest"')
  return step


def _parse_flags(argv: Sequence[str], positional: Sequence[str]) -> list[str]:
  try:
    rest = flags.FLAGS(argv)
  except (flags.Error, KeyError, TypeError, ValueError) as e:
    message = ' '.join(str(e.args[0] if e.args else e).split())
    # Absl's own words for a switch come as a Python tuple.
    message = _NO_SWITCH.sub('neither True nor False', message)
    message = _NO_VALUE.sub(r'\1 is missing: see --help', message)
    # These flags are there only after a config.
    if "flag 'config." in message and 'config' in flags.FLAGS:
      message += ': give the config before it, with --config'
    elif found := _SETTING.search(message):
      message += f': did you mean --config.{found[1]}?'
    raise errors.UsageError(message) from e
  given = len(rest) - 1
  if given > len(positional):
    odd = rest[1 + len(positional)]
    raise errors.UsageError(f'unknown argument {odd}: flags begin with --')
  if given < len(positional):
    raise errors.UsageError(f'{positional[given]} is missing: see --help')
  return [rest[0], *map(os.path.expanduser, rest[1:])]
