"""Scores of a trained MUNIT."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from jaxgan.data.contracts import unpaired
from jaxgan.metrics import styles, translations
from jaxgan.metrics.translations import Score
from jaxgan.systems.munit import losses, networks
from jaxgan.systems.munit.sample import Translator

Tree = Any


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
    seed: draws references, latents, and the images of drawn data.
    save_dir: for the translations, if the scorer's options ask for them.
    nets: the modules.
    hp: not used.
    tx: not used.
    domains: not used.

  Returns:
    The scores of `styles.evaluate`.
  """
  del hp, tx, domains
  translator = Translator(params, frozen, nets=nets, chunk=translations.BATCH)
  return styles.evaluate(
    translator,
    config,
    scorer,
    *unpaired.create_eval_data(config),
    style_dim=config.model.latent_dim + 1,
    seed=seed,
    save_dir=save_dir,
  )
