"""Trains a system; run again with the same workdir it resumes.

python train.py --config=configs/stargan_v2/afhq.py --workdir=DIR

Installed, it is jaxgan-train --config=stargan_v2/afhq --workdir=DIR.
"""

import sys

import jax
from absl import flags

from jaxgan import loop
from jaxgan.runtime import cli, errors, processes
from jaxgan.systems import config_flag, named

_CONFIG = config_flag.define(
  'A named config, a file of one, or the config.json of a run.', required=True
)
_WORKDIR = cli.define_path(
  'workdir', None, 'Where the run is kept.', required=True
)
_INIT_FROM = cli.define_path(
  'init_from', '', 'Work directory of a run to take the weights from.'
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
  'allow_config_change', False, 'Resume although settings differ.'
)
_COMPILATION_CACHE = cli.define_path(
  'compilation_cache', '', 'Directory to keep compiled programs in.'
)
_PROFILE = flags.DEFINE_string(
  'profile', '', 'Steps a:b to profile into <workdir>/profile.'
)
_WANDB = flags.DEFINE_string(
  'wandb', '', 'Project of Weights & Biases to send metrics and samples to.'
)
_given_processes = cli.define_process_flags()


def main() -> None:
  """Joins the other processes and hands the flags to the loop."""
  if _COMPILATION_CACHE.value:
    jax.config.update('jax_compilation_cache_dir', _COMPILATION_CACHE.value)
  profile = _parse_range(_PROFILE.value) if _PROFILE.value else None
  with processes.joined(*_given_processes()):
    loop.train(
      _CONFIG.value,
      _WORKDIR.value,
      init_from=_INIT_FROM.value,
      allow_config_change=_ALLOW_CONFIG_CHANGE.value,
      profile=profile,
      wandb=_WANDB.value,
    )


def _parse_range(text: str) -> tuple[int, int]:
  try:
    first, last = map(cli.parse_integer, text.split(':'))
  except ValueError:
    first, last = 0, 0
  if not 1 <= first <= last:
    raise errors.UserError(f'--profile={text} is not of the form 100:120')
  return first, last


def run() -> None:
  """The command jaxgan-train."""
  cli.run(main, sys.argv, keeps_records=True, epilog=named.catalogue)


if __name__ == '__main__':
  run()
