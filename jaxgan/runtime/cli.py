"""What the command-line programs share: flags, and errors in one line."""

import itertools
import logging as python_logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from jaxgan.runtime import errors, output

T = TypeVar('T')

# Before anything imports TensorFlow, which is chatty.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')


def run(
  main: Callable[..., int | None],
  argv: list[str],
  positional: Sequence[str] = (),
  *,
  keeps_records: bool = False,
) -> None:
  """Parses the flags, runs `main`, and exits with its status.

  A mistake of the user's ends in one line on stderr and status 1 (or 2), never
  in a traceback.

  Args:
    main: the program.
    argv: its name and arguments.
    positional: names of the arguments without a flag, which `main` is called
      with.
    keeps_records: whether all that is printed is in files as well: then the
      status does not tell of output that is lost.
  """
  with output.tolerant():
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


def _without_traceback(record: Any) -> bool:
  """Keeps the line; libraries log the trace of an error that they raise."""
  record.exc_info = record.exc_text = None
  return True


def define_process_flags() -> Callable[[], tuple[str, int | None, int | None]]:
  """Defines flags; returns what gives their values to `processes.joined`."""
  coordinator = flags.DEFINE_string(
    'coordinator',
    '',
    'Address of process 0, host:port, where nothing tells it.',
  )
  count = flags.DEFINE_integer(
    'num_processes', None, 'With --coordinator: how many there are.', 1
  )
  number = flags.DEFINE_integer(
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
  # Not isdigit() alone: it takes a superscript for a digit, int() does not.
  if text != 'latest' and not (text.isascii() and text.isdigit()):
    raise errors.UsageError(f'--step={text} is neither a number nor "latest"')
  return None if text == 'latest' else int(text)


def _parse_flags(argv: Sequence[str], positional: Sequence[str]) -> list[str]:
  for flag, value in itertools.pairwise([*argv, '']):
    flag, _, path = flag.partition('=')
    path = (path or value).partition(':')[0]  # file.py:argument
    # ml_collections prints a traceback of its own.
    if flag in ('--config', '-config') and not os.path.isfile(path):
      raise errors.UserError(f'there is no config file {path}')
  try:
    rest = flags.FLAGS(argv)
  except (
    flags.Error,
    AttributeError,  # an unknown config key
    KeyError,
    TypeError,
    ValueError,
  ) as e:
    message = ' '.join(str(e.args[0] if e.args else e).split())
    if isinstance(e, AttributeError | KeyError):
      message = f'unknown config key {message}'
    raise errors.UsageError(message) from e
  given = len(rest) - 1
  if given > len(positional):
    odd = rest[1 + len(positional)]
    raise errors.UsageError(f'unknown argument {odd}: flags begin with --')
  if given < len(positional):
    raise errors.UsageError(f'{positional[given]} is missing: see --help')
  return rest
