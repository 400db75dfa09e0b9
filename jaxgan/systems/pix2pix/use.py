"""Pictures of what pix2pix does, and how near it is to the known targets."""

import itertools
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgan.data import preprocess
from jaxgan.data.contracts.base import Data
from jaxgan.inference.translator import Translator
from jaxgan.metrics import evaluate, paired, translations
from jaxgan.metrics.translations import Score
from jaxgan.runtime import errors, images

NUM_SHOWN = 8
_PAIR = (0, 1)  # domains of sources and of targets


def grids(
  translator: Translator, val: Any, rng: jax.Array
) -> dict[str, np.ndarray]:
  """Draws the grid of a training run, always of the same pairs.

  Args:
    translator: of the state.
    val: validation images, sources and targets.
    rng: not used: what networks draw is of the translator's seed.

  Returns:
    {'<source>2<target>': uint8 [H, W, 3]}, rows of sources, outputs and
    targets, with their names.
  """
  del rng
  matches = paired.match(val, _PAIR)
  pairs = itertools.islice(paired.read_pairs(val, _PAIR, matches), NUM_SHOWN)
  sides = [(source, target) for _, source, target in pairs]
  if not sides:
    raise errors.UserError(paired.NO_PAIR)
  x, y = preprocess.to_float(np.stack(sides, axis=1))
  fake = translator.translate(x, np.zeros(len(x), np.int32))
  source, target = images.name_all(val.domains, 'domain')
  grid = images.labelled_grid(
    [list(x), list(fake), list(y)],
    [''] * len(x),
    [f'source\n{source}', f'output\n{target}', f'target\n{target}'],
  )
  return {f'{val.domains[0]}2{val.domains[1]}': grid}


def scores(
  translator: Translator,
  config: ConfigDict,
  scorer: translations.Scorer,
  data: Data,
  *,
  seed: int,
  save_dir: epath.Path,
) -> list[Score]:
  """paired/label/..., and what `translations` measures of all outputs."""
  train, val = data.evaluation()
  options, img_size = scorer.options, config.data.img_size
  # The run's only domain, 0, is that of the targets: 1 of the data.
  outputs = evaluate.LabelOutputs(translator, first=-1)
  measured = []
  if config.data.paired_names:
    measured += paired.evaluate(
      {'label': outputs},
      train,
      val,
      options,
      img_size=img_size,
      seed=seed,
      pairs=[_PAIR],
    )
  # Of one output of a source there are no distances.
  if options.save_images or scorer.labels.keys() - {'lpips'}:
    measured += scorer.score(
      'label',
      outputs,
      train,
      val,
      img_size=img_size,
      seed=seed,
      save_dir=save_dir,
      pairs=[_PAIR],
    )
  if not measured and not options.save_images:
    raise evaluate.nothing_measured(scorer.unavailable)
  return measured
