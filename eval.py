"""Scores a checkpoint of a run.

python eval.py --workdir=DIR [--step=N] [--config=CONFIG]
"""

import sys

from absl import flags
from ml_collections import config_flags

from jaxgan import cli, errors, scores

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, "Path of a config; default: the run's own."
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
flags.mark_flags_as_required(['workdir'])


def main() -> None:
  """Hands the flags to the evaluation."""
  step = _STEP.value
  if step != 'latest' and not step.isdigit():
    raise errors.UserError(f'--step={step} is neither a number nor "latest"')
  scores.evaluate_run(
    _WORKDIR.value,
    step=None if step == 'latest' else int(step),
    config=_CONFIG.value,
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
