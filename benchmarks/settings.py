"""Trains runs in which one setting differs, and shows what comes out.

  python -m benchmarks.settings --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--change=hparams.lambda_ds=0,batch_size=4] [--config.x=...]

trains a run of the config, and one of each change, in DIR/<change>; a change of
several settings joins them by +. Each is scored at its last step on the same
images, without weights of metric networks. The same command goes on where it
was stopped.

A Markdown table of the scores is printed; its last line is the same as JSON. A
run that ends by an error, as by NaN, has a row without scores.
DIR/settings.png has a row of translations for each run: the same sources in the
styles of the same references, and of the same latents.
"""

import json
import signal
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from ml_collections import config_flags
from PIL import Image

from benchmarks import common
from jaxgan.apps import trained_model
from jaxgan.data.contracts import domains_ref
from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors, files, images

BASE = 'base'
# Of `shapes`: those of the page on choosing hyper-parameters.
_CHANGES = (
  'seed=1',
  'seed=2',
  'hparams.lambda_ds=0',
  'hparams.lambda_ds=4',
  'hparams.lambda_ds=20',
  'hparams.lambda_sty=0',
  'hparams.lambda_cyc=0',
  'hparams.lambda_cyc=10',
  'hparams.lambda_cyc=100',
  'hparams.lambda_reg=0',
  'hparams.lambda_reg=10',
  'optim.lr=1e-4',
  'batch_size=2',
  'batch_size=4',
  'batch_size=16',
  'num_train_steps=500+hparams.ds_iter=500',
  'num_train_steps=1000+hparams.ds_iter=1000',
  'num_train_steps=5000+hparams.ds_iter=5000',
  'data.img_size=64+model.channel_base=1024',
)
_NUM_LATENTS = 5
_CELL = 128  # side of a picture in settings.png

_CONFIG = config_flags.DEFINE_config_file('config', None, 'A config.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the runs are kept.')
_CHANGE = flags.DEFINE_list(
  'change', list(_CHANGES), 'Settings, key=value, of a run each.'
)
flags.mark_flags_as_required(['config', 'workdir'])


def main() -> None:
  """Trains, scores, prints and draws."""
  known = workdir.flatten(_CONFIG.value)
  runs = {BASE: {}, **{name: parse(name, known) for name in _CHANGE.value}}
  directory = epath.Path(_WORKDIR.value)
  workdir.prepare(directory)
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  done = []
  common.print_records(_finish_all(directory, runs, done))
  images.write_png(directory / 'settings.png', draw(directory, done))


def parse(change: str, known: Container[str]) -> dict[str, str]:
  """The settings of a change.

  Raises:
    UsageError: it is not key=value, or several of them joined by +, or a key is
      not known.
  """
  pairs = [setting.partition('=') for setting in change.split('+')]
  if not all(key and sign and value for key, sign, value in pairs):
    raise errors.UsageError(f'--change={change} must be key=value[+key=value]')
  for key, _, _ in pairs:
    if key not in known:
      raise errors.UsageError(f'--change={change}: there is no setting {key}')
  return {key: value for key, _, value in pairs}


def _finish_all(
  directory: epath.Path,
  runs: Mapping[str, Mapping[str, str]],
  done: list[str],
) -> Iterator[dict[str, Any]]:
  """A row for each run; the names of those that ended well go to `done`."""
  scores: dict[str, Any] = {}
  for name, settings in runs.items():
    try:
      scores = _finish(directory / name, settings)
      done.append(name)
    except errors.UserError as e:
      if name == BASE:
        raise
      print(e, file=sys.stderr, flush=True)  # a change may well ruin a run
      scores = dict.fromkeys(scores)
    yield {'run': name, **scores}


def _finish(path: epath.Path, settings: Mapping[str, str]) -> dict[str, Any]:
  """Does what is left of a run, and gives its scores."""
  common.run_script('train.py', path, settings)
  kept = path / 'settings_scores.json'
  if not kept.exists():
    same_images = {'seed': _CONFIG.value.seed}
    common.run_script(
      'eval.py', path, {**settings, **same_images}, '--metrics='
    )
    step = workdir.load_config(path).num_train_steps
    found = json.loads((path / f'eval/{step}_stargan_v2.json').read_text())
    scores = {
      record['name'].removeprefix('shapes/'): _rounded(record['value'])
      for record in found['scores']
      if '/real/' not in record['name']
    }
    files.write_whole(kept, json.dumps(scores))
  return json.loads(kept.read_text())


def _rounded(value: float | None) -> float | None:
  return None if value is None else round(value, 4)


def draw(directory: epath.Path, names: Sequence[str]) -> np.ndarray:
  """A row of pictures for each run below the sources and references, uint8."""
  config = workdir.load_config(directory / BASE)
  _, val = domains_ref.create_eval_data(config)
  sources = [x for _, x in val.images(0, [0, val.counts[0] - 1])]
  count = len(val.domains)
  domains = range(min(1, count - 1), min(3, count))
  references = [(val.domains[y], val.readable(y, 0)) for y in domains]
  pairs = [(x, ref) for ref in references for x in sources]
  blank = [None] * (_NUM_LATENTS - 1)
  rows = [
    [*(x for x, _ in pairs), sources[0], *blank],
    [*(pixels for _, (_, pixels) in pairs), None, *blank],
  ]
  target = references[-1][0]
  for name in names:
    model = trained_model.load(directory / name)
    latents = model.latent_styles(target, _NUM_LATENTS, psi=1.0)
    styles = [
      model.reference_styles([pixels], domain) for domain, pixels in references
    ]
    outputs = model.translate(sources, np.concatenate([*styles, latents]))
    by_reference = [x for row in outputs[: len(styles)] for x in row]
    by_latent = [row[0] for row in outputs[len(styles) :]]
    rows.append(list(map(np.asarray, [*by_reference, *by_latent])))
  top = [f'to {domain}' for _, (domain, _) in pairs]
  top += [f'latent {i + 1}' for i in range(_NUM_LATENTS)]
  return images.labelled_grid(
    [[None if x is None else _to_cell(x) for x in row] for row in rows],
    top,
    ['sources', 'references', *(_label(name) for name in names)],
  )


def _to_cell(pixels: np.ndarray) -> np.ndarray:
  # Pixels are to be seen as they are.
  image = Image.fromarray(pixels)
  return np.asarray(image.resize((_CELL, _CELL), Image.Resampling.NEAREST))


def _label(name: str) -> str:
  """Each setting in a line, without the part of the config it is in."""
  lines = (setting.partition('=') for setting in name.split('+'))
  return '\n'.join(
    f'{key.rpartition(".")[-1]}{sign}{value}' for key, sign, value in lines
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
