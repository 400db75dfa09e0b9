"""Tells from what is logged when a training has collapsed.

Losses do not show it: a generator may please the discriminator with one picture
for all styles, or with the source itself. A system logs a few values that are
low then, its signs, and says how low is bad. A sign changes when three of four
values in a window agree: one in four may be chance, on either side.

What is said is a function of the logged lines alone. A resumed run reads those
it keeps, and then warns as one that never stopped; so can a report.
"""

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ml_collections

MIN_WINDOW = 10
AGREEING = 3 / 4


class Sign(NamedTuple):
  """A logged value that is below `limit` where training has collapsed."""

  metric: str
  limit: float
  meaning: str
  cure: str


def window_size(config: ml_collections.ConfigDict) -> int:
  """Logged values in a tenth of the run, but not less than MIN_WINDOW."""
  steps = config.num_train_steps // 10
  return max(MIN_WINDOW, steps // config.log_every_steps)


class Watcher:
  """Follows the signs of a run from line to line.

  Args:
    signs: what to look at.
    window: number of logged values that a sign is judged by.
  """

  def __init__(self, signs: Sequence[Sign], window: int):
    self._followed = [_Followed(sign, window) for sign in signs]

  def update(self, record: Mapping[str, float]) -> list[str]:
    """What there is to say after a line of metrics.jsonl, mostly nothing.

    A sign is told once when it begins and once when it is over. A line that
    lacks a sign, of an earlier version, says nothing about it.
    """
    lines = (followed.update(record) for followed in self._followed)
    return [line for line in lines if line]


class _Followed:
  """One sign and its last values."""

  def __init__(self, sign: Sign, window: int):
    self._sign = sign
    self._window = window
    self._values: collections.deque[float] = collections.deque(maxlen=window)
    self._num_low = 0
    self._shows = False

  def update(self, record: Mapping[str, float]) -> str:
    metric, limit, meaning, cure = self._sign
    if not isinstance(record.get(metric), int | float):
      return ''
    values, window = self._values, self._window
    if len(values) == window:
      self._num_low -= values[0] < limit
    values.append(record[metric])
    self._num_low += values[-1] < limit
    agreeing = self._num_low if not self._shows else window - self._num_low
    if len(values) < window or agreeing < AGREEING * window:
      return ''
    self._shows = not self._shows
    state = f'step {record["step"]}: {metric} {statistics.median(values):.2g}'
    if self._shows:
      low = f'below {limit:g} in {self._num_low} of the last {window} values'
      return f'warning: {state}, {low}: {meaning}; {cure}'
    return f'{state}, no longer below {limit:g}'
