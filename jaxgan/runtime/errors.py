"""Errors that are the user's to mend: one line, no traceback."""


def printable(text: str) -> str:
  """The text in one line, without codes that a terminal would obey.

  File names may hold line breaks, escape sequences, and bytes of no encoding.
  """
  return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class UserError(Exception):
  """Names the thing that is wrong and the cure; the program exits with 1."""

  exit_status = 1

  def __str__(self) -> str:
    """One line, whatever names of files are in it."""
    return printable(super().__str__())


class UsageError(UserError):
  """The command line is not one of the program's; the program exits with 2."""

  exit_status = 2


class ConfigMismatchError(UserError):
  """The config contradicts the work directory; the program exits with 2."""

  exit_status = 2
