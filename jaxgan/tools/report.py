"""Makes the report of a run anew, from what lies in its work directory.

python -m jaxgan.tools.report --workdir=DIR

Training and evaluation do so by themselves; this is for runs of earlier
versions, and where they could not. It may be called while a run is trained.
"""

import sys

from etils import epath

from jaxgan.runs import report
from jaxgan.runtime import cli
from jaxgan.systems import contract

_WORKDIR = cli.define_path(
  'workdir', None, 'Work directory of the run.', required=True
)


def main() -> None:
  """Writes the page and says where it is."""
  system = contract.system_of(_WORKDIR.value)
  config = contract.read_config(epath.Path(_WORKDIR.value) / 'config.json')
  contract.check_config(system, config)  # settings that cannot be, in a line
  print(report.write(_WORKDIR.value, system.COLLAPSE_SIGNS))


if __name__ == '__main__':
  cli.run(main, sys.argv)
