r"""Makes a work directory of a checkpoint of the original PyTorch code.

python -m jaxgan.tools.import_checkpoint FILE --config=CONFIG --workdir=DIR \
    [--step=N]

FILE is 100000_nets_ema.ckpt, as released: averaged weights, to translate,
evaluate and start other runs with (train.py --init_from). Or it is
100000_nets.ckpt, with 100000_nets_ema.ckpt and 100000_optims.ckpt beside it: a
run for train.py to resume.
"""

import sys

from jaxgan.apps import import_export
from jaxgan.runtime import cli
from jaxgan.systems import config_flag

_CONFIG = config_flag.define(
  'Path of a config, with the settings of the checkpoint.', required=True
)
_WORKDIR = cli.define_path(
  'workdir', None, 'New directory for the run.', required=True
)
_STEP = cli.define_integer(
  'step', None, "Finished iterations; default: those in FILE's name.", 0
)


def main(file: str) -> None:
  """Hands the flags to the import."""
  import_export.import_run(
    file, _CONFIG.value, _WORKDIR.value, step=_STEP.value
  )


if __name__ == '__main__':
  cli.run(main, sys.argv, positional=('FILE',))
