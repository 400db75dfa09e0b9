"""Scores of a trained StarGAN v2."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from jaxgan.data.contracts import domains_ref
from jaxgan.metrics import styles, translations
from jaxgan.metrics.translations import Score
from jaxgan.systems.stargan_v2 import losses, networks
from jaxgan.systems.stargan_v2.sample import Translator

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
  masks_fn: Any = None,
  tx: Any = None,
) -> list[Score]:
  """Scores translations of every source into every other domain.

  Args:
    params: of `inference_params`.
    frozen: parameters of frozen networks.
    config: of the run.
    scorer: what to measure, and the networks for it.
    seed: draws references, latents, and the images of drawn data.
    save_dir: for the translations, if the scorer's options ask for them.
    nets: the modules.
    hp: not used.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
    tx: not used.

  Returns:
    The scores of `styles.evaluate`.
  """
  del hp, tx
  translator = Translator(
    params, frozen, nets=nets, masks_fn=masks_fn, chunk=translations.BATCH
  )
  return styles.evaluate(
    translator,
    config,
    scorer,
    *domains_ref.create_eval_data(config),
    style_dim=nets.style_encoder.style_dim,
    seed=seed,
    save_dir=save_dir,
  )
