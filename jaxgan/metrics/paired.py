"""How far translations are from their targets, where these are known."""

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from jaxgan.data import preprocess
from jaxgan.data.eval_data import EvalData
from jaxgan.metrics.translations import BATCH, Score
from jaxgan.runtime import errors, images, sharding

NO_PAIR = (
  'no pair of validation images can be read: repair both images of one, or add'
  ' a pair'
)


class Translator(Protocol):
  """`inference.translator.Translator`, of which this is asked."""

  def translate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Images x [N, S, S, 3] as of domains y [N]."""


def read_pairs(
  val: EvalData, numbers: range | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Sources and targets, uint8 [S, S, 3] each, where both can be read.

  Args:
    val: sources are domain 0, their targets domain 1.
    numbers: of the pairs; None for all.
  """
  for number in range(val.counts[0]) if numbers is None else numbers:
    sides = [x for side in (0, 1) for _, x in val.images(side, [number])]
    if len(sides) == 2:
      yield sides[0], sides[1]


def evaluate(
  translator: Translator, val: EvalData, num_sources: int = 0
) -> list[Score]:
  """Mean absolute differences from the targets, in levels of 255.

  Several processes translate and measure a part each, and all get the scores.

  Args:
    translator: of the run; it has one domain.
    val: sources are domain 0, their targets domain 1.
    num_sources: how many; 0 for all.

  Returns:
    paired/label/l1/<source>2<target>, and paired/source/l1/..., the same of the
    sources themselves: what doing nothing gives.

  Raises:
    UserError: no pair can be read.
  """
  count = min(val.counts[0], num_sources or val.counts[0])
  pairs = read_pairs(val, range(count)[sharding.own_part(count)])
  distances = [np.zeros((0, 2))]
  while batch := list(itertools.islice(pairs, BATCH)):
    x, target = (np.stack(side) for side in zip(*batch, strict=True))
    y = np.zeros(len(x), np.int32)
    fake = images.to_uint8(translator.translate(preprocess.to_float(x), y))
    distances.append(np.stack([_l1(fake, target), _l1(x, target)], axis=1))
  measured = sharding.gather(np.concatenate(distances))
  if not len(measured):
    raise errors.UserError(NO_PAIR)
  name = f'{val.domains[0]}2{val.domains[1]}'
  protocol = 'paired' if count == val.counts[0] else 'paired (shortened)'
  means: Any = measured.mean(axis=0).tolist()
  return [
    Score(
      f'paired/{of}/l1/{name}', mean, protocol=protocol, n_fake=len(measured)
    )
    for of, mean in zip(('label', 'source'), means, strict=True)
  ]


def _l1(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Mean absolute difference of each two images: [N]."""
  return np.abs(a.astype(np.float32) - b).mean(axis=(1, 2, 3))
