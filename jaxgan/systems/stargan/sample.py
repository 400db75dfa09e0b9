"""Pictures of what the networks do: every source with every target, cycles."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.labels import FLIP, Labels
from jaxgan.inference.translator import Translator
from jaxgan.runtime import images
from jaxgan.systems.stargan import step

Array = jax.Array

NUM_SOURCES = 8
MAX_TARGETS = 12  # in a grid; of more, as many spread over all
_MAX_LINES = 4  # names above a source


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
    `cycle` (rows: source, translation to the last target, and back again), with
    the names of rows, and above columns the labels that sources have; of a
    second data set `joint_...`.
  """
  labels = translator.model.labels
  batch = val.batch(NUM_SOURCES)
  count = len(labels.names)
  names = images.name_all(labels.names, 'domain')
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
    above = [_list_names(names[labels.span(i)], own) for own in c]
    drawn[f'{prefix}targets'] = images.labelled_grid(
      [list(x), *map(list, fakes)],
      above,
      ['source', *(_name_target(labels, names, target) for target in shown)],
    )
    drawn[f'{prefix}cycle'] = images.labelled_grid(
      [list(x), list(fakes[-1]), list(back)],
      above,
      [
        'source',
        f'translation\n{_name_target(labels, names, shown[-1])}',
        'back again',
      ],
    )
  return drawn


def _list_names(names: Sequence[str], c: np.ndarray) -> str:
  """The names of a source's labels, a line each, of many the first."""
  own = [name for name, holds in zip(names, c, strict=True) if holds]
  if len(own) > _MAX_LINES:
    own[_MAX_LINES - 1 :] = [f'{len(own) - _MAX_LINES + 1} more']
  return '\n'.join(own)


def _name_target(labels: Labels, names: Sequence[str], target: int) -> str:
  """The name of a target; of an attribute, that it is turned over."""
  flips = labels.code(target)[target] == FLIP
  return names[target] + ('\nturned over' if flips else '')
