"""What a reader is told of a system before anything else."""

from typing import NamedTuple


class About(NamedTuple):
  """A line of the table of systems."""

  title: str
  paper: str
  data: str  # that it needs
  output: str  # that it gives
