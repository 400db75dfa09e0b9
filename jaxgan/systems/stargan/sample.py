"""Pictures of what the networks do: every source with every target, cycles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.inference.translator import Translator
from jaxgan.runtime import images
from jaxgan.systems.stargan import step

Array = jax.Array

NUM_SOURCES = 8
MAX_TARGETS = 12  # in a grid; of more, as many spread over all


def known_labels(
  translator: Translator, index: int, x: np.ndarray, c: np.ndarray
) -> np.ndarray:
  """The labels [N, names] of sources; where no data tell, the classifier does.

  Args:
    translator: of the run.
    index: of the data set that the sources are of.
    x: the sources [N, S, S, 3].
    c: their labels in that data set [N, C].
  """
  labels = translator.model.labels
  if len(labels.sets) == 1:
    return c
  unused = np.zeros(len(x), np.int32)
  known = translator.apply(step.estimate, unused, x)
  known[:, labels.span(index)] = c
  return known


def grids(
  translator: Translator, val: Any, rng: Array
) -> dict[str, np.ndarray]:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    translator: of the state.
    val: validation data; `val.batch(n)` gives sources and their labels.
    rng: not used: nothing is drawn.

  Returns:
    uint8 [H, W, 3]: `targets` (sources above, a row for each target) and
    `cycle` (rows: source, translation to the last target, and back again); of
    a second data set `joint_...`.
  """
  labels = translator.model.labels
  batch = val.batch(NUM_SOURCES)
  count = len(labels.names)
  shown = np.linspace(0, count - 1, min(count, MAX_TARGETS)).astype(int)
  drawn = {}
  for i, prefix in zip(range(len(labels.sets)), ('', 'joint_'), strict=False):
    x, c = batch[f'x{i}'], batch[f'c{i}']
    known = known_labels(translator, i, x, c)
    fakes = [
      translator.apply(
        step.translate_known, np.full(len(x), target, np.int32), x, known
      )
      for target in shown
    ]
    c_org = np.asarray(labels.complete(i, jnp.asarray(c)))
    unused = np.zeros(len(x), np.int32)
    back = translator.apply(step.generate, unused, fakes[-1], c_org)
    drawn[f'{prefix}targets'] = images.grid([list(x), *map(list, fakes)])
    drawn[f'{prefix}cycle'] = images.grid(
      [list(x), list(fakes[-1]), list(back)]
    )
  return drawn
