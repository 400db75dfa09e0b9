r"""Writes a checkpoint of a run as files that the original PyTorch code loads.

python -m jaxgan.tools.export_checkpoint --workdir=DIR --out=DIR [--step=N] \
    [--format=safetensors]

OUT receives 100000_nets.ckpt, 100000_nets_ema.ckpt and 100000_optims.ckpt; only
the second where no more than that was imported. Domain names are not in them.
As safetensors, which need no PyTorch, it receives 100000_nets.safetensors and
100000_nets_ema.safetensors, whose tensors are called `generator.KEY` and so on.
"""

import sys

from absl import flags

from jaxgan.apps import import_export
from jaxgan.runtime import cli

_WORKDIR = cli.define_path(
  'workdir', None, 'Work directory of the run.', required=True
)
_OUT = cli.define_path('out', None, 'Folder for the files.', required=True)
_FORMAT = flags.DEFINE_enum(
  'format',
  'pytorch',
  ['pytorch', 'safetensors'],
  "How the files are written: as PyTorch's, or weights alone as safetensors.",
)
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')


def main() -> None:
  """Hands the flags to the export."""
  step = cli.parse_step(_STEP.value)
  import_export.export_run(
    _WORKDIR.value,
    _OUT.value,
    step=step,
    safetensors=_FORMAT.value == 'safetensors',
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
