"""Scores of a trained UNIT."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from jaxgan.data.contracts import unpaired
from jaxgan.metrics import styles, translations
from jaxgan.metrics.translations import Score
from jaxgan.runtime import errors
from jaxgan.systems.unit import losses, networks
from jaxgan.systems.unit.sample import Translator

Tree = Any

_MODE = 'label'  # in the names of scores


def evaluate(
  params: Mapping[str, Tree],
  frozen: Tree,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  *,
  seed: int,
  save_dir: epath.Path,
  nets: networks.Networks,
  hp: losses.HParams | None = None,
  tx: Any = None,
  domains: Any = None,
) -> list[Score]:
  """Scores translations of the images of each domain into the other.

  Args:
    params: of `inference_params`.
    frozen: not used.
    config: of the run.
    scorer: what to measure, and the networks for it.
    seed: draws the images of drawn data; of several processes, each translates
      and measures a part.
    save_dir: for the translations, if the scorer's options ask for them.
    nets: the modules.
    hp: not used.
    tx: not used.
    domains: not used.

  Returns:
    shapes/label/<score> where the factors of the data are known, and what
    `translations` measures where there are networks for it.

  Raises:
    UsageError: nothing is to be measured, or saved.
  """
  del hp, tx, domains
  options, is_drawn = scorer.options, config.data.name == 'shapes'
  # Of one output of a source there are no distances.
  seen_through = scorer.labels.keys() - {'lpips'}
  if not (is_drawn or seen_through or options.save_images):
    reasons = ''.join(f' ({reason})' for reason in scorer.left_out)
    raise errors.UsageError(
      f'nothing can be measured{reasons}: ask for a classifier with '
      '--metrics=classification'
    )
  translator = Translator(params, frozen, nets=nets, chunk=translations.BATCH)
  scores: list[Score] = []
  if is_drawn:
    scores += styles.evaluate_label_shapes(
      translator,
      config.data.domains,
      mode=_MODE,
      img_size=config.data.img_size,
      seed=seed,
    )
  if seen_through or options.save_images:
    scores += scorer.score(
      _MODE,
      styles.LabelOutputs(translator),
      *unpaired.create_eval_data(config),
      img_size=config.data.img_size,
      seed=seed,
      save_dir=save_dir,
    )
  return scores
