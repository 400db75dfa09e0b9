"""Scores a training of the leaderboard, of an original after it has run it.

  python -m benchmarks.leaderboard_entry --config=... --record=FILE.json \\
    --pair=noto2twemoji (--workdir=RUN | --peer=CHECKOUT)

benchmarks.leaderboard runs it, in a process for each training. It completes the
record, and writes what the grid shows beside it, FILE.npz.
"""

import importlib.metadata
import io
import platform
import sys
import time
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags
from etils import epath
from ml_collections import ConfigDict

import jaxgan
from benchmarks import common, leaderboard_rows
from benchmarks import peer as peer_lib
from jaxgan.data import preprocess
from jaxgan.data.contracts.base import Data
from jaxgan.metrics import evaluate, paired
from jaxgan.metrics.translations import BATCH, Options, Scorer
from jaxgan.runtime import cli, files, host, images, sharding
from jaxgan.systems import config_flag, contract

NUM_SHOWN = 8
_SEED = 0  # of references and latents: the same for all rows

_CONFIG = config_flag.define('The config of the training.', required=True)
_RECORD = cli.define_path('record', None, 'Its record.', required=True)
_PAIR = flags.DEFINE_string('pair', None, 'SOURCE2TARGET.', required=True)
_WORKDIR = cli.define_path('workdir', None, 'The run.')
_PEER = cli.define_path('peer', None, 'Checkout of the original.')


def main() -> None:
  """Trains, if it is an original; scores; writes."""
  config, path = _CONFIG.value, epath.Path(_RECORD.value)
  record = leaderboard_rows.read_record(path) or {}
  if _PEER.value:
    start = time.perf_counter()
    translator = _train_original(config, _PEER.value)
    record['seconds'] = time.perf_counter() - start
  else:
    run = contract.open_run(
      cli.required(_WORKDIR),
      sharding.replicated(sharding.create_local_mesh()),
    )
    run.config.data.root = config.data.root  # it may have been moved
    config, translator = run.config, run.translator(chunk=BATCH)
  start = time.perf_counter()
  data = translator.system.create_data(config)
  scores = translator.system.scores(
    translator,
    config,
    Scorer(Options(metrics=())),
    data,
    seed=_SEED,
    save_dir=path.parent,
  )
  names, shown = _show(translator, config, data, _PAIR.value)
  record |= {
    'step': config.num_train_steps,
    'scores': {score.name: score.value for score in scores},
    'scoring_seconds': time.perf_counter() - start,
    'shown': names,
    'versions': _versions(),
  }
  buffer = io.BytesIO()
  np.savez(buffer, **shown)
  files.write_whole(path.with_suffix('.npz'), buffer.getvalue())
  leaderboard_rows.write_record(path, record)


def _train_original(config: ConfigDict, directory: str) -> '_Original':
  """Trains networks of the config on its images, slot for slot as ours."""
  common.make_room_for_torch()
  system = contract.get_system(config)
  contract.check_config(system, config)
  config.data.on_device = False
  opened = common.open_data(config)
  config.update_from_flattened_dict(opened.resolved)
  original = peer_lib.create(directory, config, jax.default_backend())
  common.check_same_size(common.count_params(config), original.num_params())
  steps = config.num_train_steps
  batches = opened.source.batches()
  bar = tqdm.tqdm(batches, 'original', steps, unit='step', **host.progress())
  original.learn(bar, steps)
  return _Original(system, system.create_model(config), original)


class _Original:
  """A trained original, as `evaluate.Translator`."""

  def __init__(self, system: Any, model: Any, original: peer_lib.Peer):
    self.system, self.model, self._original = system, model, original

  def style(self, y: np.ndarray, **source: np.ndarray) -> np.ndarray:
    return self._original.style(int(y[0]), **source)

  def translate(
    self, x: np.ndarray, y: np.ndarray, s: np.ndarray | None = None
  ) -> np.ndarray:
    return self._original.translate(x, int(y[0]), s)


def _show(
  translator: evaluate.Translator, config: ConfigDict, data: Data, pair: str
) -> tuple[list[str], dict[str, np.ndarray]]:
  """Names of held-out emoji, evenly spread, and images uint8 [N, S, S, 3].

  They are `source`, `reference`, a training image that the seed draws, `truth`,
  and `by <mode>`, one output of each mode.
  """
  train, val = data.evaluation()
  source, target = map(val.domains.index, leaderboard_rows.parse_pair(pair))
  matches = paired.match(val, (source, target))
  count = min(NUM_SHOWN, len(matches))
  chosen = [matches[i * len(matches) // count] for i in range(count)]
  rng = np.random.default_rng(_SEED)
  numbers = rng.integers(train.counts[target], size=count)
  shown = {
    'source': [val.readable(source, number) for number, _ in chosen],
    'reference': [train.readable(target, int(number)) for number in numbers],
    'truth': [val.readable(target, number) for _, number in chosen],
  }
  shown = {name: np.stack(pictures) for name, pictures in shown.items()}
  x, x_ref = map(preprocess.to_float, (shown['source'], shown['reference']))
  # Of pairs a run has one domain, that of the targets.
  label = contract.domain_names(config).index(val.domains[target])
  y = np.full(count, label)
  for mode in evaluate.paired_modes(translator.system):
    s = None
    if mode == evaluate.OWN_STYLE:
      s = translator.style(y, x_ref=x)
    elif mode == 'reference':
      s = translator.style(y, x_ref=x_ref)
    elif mode == 'latent':
      shape = count, translator.model.latent_dim
      s = translator.style(y, z=rng.standard_normal(shape, np.float32))
    shown[f'by {mode}'] = images.to_uint8(translator.translate(x, y, s))
  return [val.name(source, number) for number, _ in chosen], shown


def _versions() -> dict[str, str]:
  names = ['jax', 'flax', 'numpy', *(['torch'] if _PEER.value else [])]
  return {
    'python': platform.python_version(),
    'jaxgan': jaxgan.__version__,
    **{name: importlib.metadata.version(name) for name in names},
  }


if __name__ == '__main__':
  cli.run(main, sys.argv)
