"""Scores a checkpoint of a run, or all of them as they come.

python eval.py --workdir=DIR [--step=N] [--protocol=clean] [--weights_dir=DIR]

Installed, it is jaxgan-eval --workdir=DIR.
"""

import sys

from absl import flags

from jaxgan import evaluation
from jaxgan.metrics.translations import Options
from jaxgan.runtime import cli, errors, processes
from jaxgan.systems import config_flag

_CONFIG = config_flag.define("Path of a config; default: the run's own.")
_WORKDIR = cli.define_path(
  'workdir', None, 'Work directory of the run.', required=True
)
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_PROTOCOL = flags.DEFINE_string(
  'protocol', Options.protocol, 'stargan_v2, as the original, or clean.'
)
_METRICS = cli.define_names(
  'metrics',
  list(Options.metrics),
  'Those that need a network: fid, lpips, classification, inception_score.',
)
_WEIGHTS_DIR = cli.define_path(
  'weights_dir', '', 'Where the weights of metric networks are.'
)
_CACHE_DIR = cli.define_path(
  'cache_dir', '', 'Where features of real images are kept.'
)
_SEEDS = cli.define_integer(
  'seeds', 1, 'Evaluations, for mean and deviation.', lower_bound=1
)
_DOMAINS = cli.define_names('domains', [], 'A shorter look: these domains.')
_NUM_OUTPUTS = cli.define_integer(
  'num_outputs', Options.num_outputs, 'A shorter look: outputs of a source.'
)
_NUM_SOURCES = cli.define_integer(
  'num_sources', 0, 'A shorter look: sources of a domain; 0 for all.'
)
_SAVE_IMAGES = flags.DEFINE_bool(
  'save_images', False, 'Write the translations to <workdir>/eval/images.'
)
_KEEP_BEST = flags.DEFINE_string(
  'keep_best', '', 'Score that decides what <workdir>/best holds.'
)
_FOLLOW = flags.DEFINE_bool(
  'follow', False, 'Score each checkpoint of a running training as it comes.'
)
_FOLLOW_TIMEOUT = cli.define_float(
  'follow_timeout',
  3600,
  'Seconds without a new checkpoint to give up after.',
  lower_bound=0,
)
_given_processes = cli.define_process_flags()


def main() -> int:
  """Joins the other processes and hands the flags to the evaluation."""
  step = cli.parse_step(_STEP.value)
  what = {
    'config': _CONFIG.value,
    'options': Options(
      protocol=_PROTOCOL.value,
      metrics=tuple(_METRICS.value),
      domains=tuple(_DOMAINS.value),
      num_outputs=_NUM_OUTPUTS.value,
      num_sources=_NUM_SOURCES.value,
      weights_dir=_WEIGHTS_DIR.value,
      cache_dir=_CACHE_DIR.value,
      save_images=_SAVE_IMAGES.value,
    ),
    'seeds': _SEEDS.value,
    'keep_best': _KEEP_BEST.value,
  }
  if _FOLLOW.value and step is not None:
    raise errors.UsageError('--follow scores every step: leave out --step')
  with processes.joined(*_given_processes()):
    if _FOLLOW.value:
      timeout = _FOLLOW_TIMEOUT.value
      done = evaluation.follow_run(_WORKDIR.value, timeout=timeout, **what)
      return int(not done)
    evaluation.evaluate_run(_WORKDIR.value, step=step, **what)
  return 0


def run() -> None:
  """The command jaxgan-eval."""
  cli.run(main, sys.argv, keeps_records=True)


if __name__ == '__main__':
  run()
