"""Errors that are the user's to mend: one line, no traceback."""


class UserError(Exception):
  """Names the thing that is wrong and the cure; the program exits with 1."""

  exit_status = 1


class UsageError(UserError):
  """The command line is not one of the program's; the program exits with 2."""

  exit_status = 2


class ConfigMismatchError(UserError):
  """The config contradicts the work directory; the program exits with 2."""

  exit_status = 2
