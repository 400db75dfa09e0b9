"""Tells from what is logged whether a training works, or has collapsed.

Losses do not show it: a generator may please the discriminator with one picture
for all styles, or with the source itself. A system logs a few values that are
low then, its signs, and says how low is bad. A sign changes when three of four
values in a window agree: one in four may be chance, on either side.

No sign means little while outputs are noise, or one picture for every source,
as they are in all trainings at first. So outputs are looked at now and then, in
every system (`inference.outputs`), and what they are changes when all of the
last looks agree.

What is said is a function of the logged lines alone. A resumed run reads those
it keeps, and then warns as one that never stopped; so can a report.
"""

import collections
import enum
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

MIN_WINDOW = 10
AGREEING = 3 / 4

# Of `inference.outputs`.
NOISE = 'outputs/noise'  # how rough they are, in units of real images
SPREAD = 'outputs/spread'  # how far outputs are apart, in units of sources
# Between healthy runs and broken ones (benchmarks/README.md).
MAX_NOISE = 4.5
MIN_SPREAD = 0.3
LIMITS = {NOISE: MAX_NOISE, SPREAD: MIN_SPREAD}
NUM_LOOKS = 3


class Sign(NamedTuple):
  """A logged value that is below `limit` where training has collapsed."""

  metric: str
  limit: float
  meaning: str
  cure: str


def is_number(value: Any) -> bool:
  """Whether a value of a record is finite; JSON knows any number of digits."""
  return isinstance(value, int | float) and abs(value) < 1e300


def window_size(config: ml_collections.ConfigDict) -> int:
  """Logged values in a tenth of the run, but not less than MIN_WINDOW."""
  steps = config.num_train_steps // 10
  return max(MIN_WINDOW, steps // config.log_every_steps)


class State(enum.Enum):
  """What is known of a run."""

  UNKNOWN = 'Too little is recorded to say whether the run works.'
  NOT_BEGUN = 'The run has not begun to work.'
  WELL = 'No sign of collapse: outputs are no noise, and differ by source.'
  COLLAPSED = 'There are signs of collapse.'


class Watcher:
  """Follows the signs and the outputs of a run from line to line.

  Args:
    signs: what to look at.
    window: number of logged values that a sign is judged by.
  """

  def __init__(self, signs: Sequence[Sign], window: int):
    self._followed = [_Followed(sign, window) for sign in signs]
    self._outputs = _Outputs()

  def update(self, record: Mapping[str, float]) -> list[str]:
    """What there is to say after a line of metrics.jsonl, mostly nothing.

    A sign is told once when it begins and once when it is over; outputs are
    told of when they begin to work, and when they cease to. A line that lacks a
    value, of an earlier version, says nothing about it.
    """
    lines = [self._outputs.update(record)]
    lines += [followed.update(record) for followed in self._followed]
    return [line for line in lines if line]

  def state(self) -> State:
    """What is known so far; a run is well only if there is ground for it."""
    state = self._outputs.state
    if state is State.NOT_BEGUN:
      return state
    if any(followed.shows for followed in self._followed):
      return State.COLLAPSED
    # In a long run outputs are known before its signs are.
    if state is State.WELL and any(f.is_filling() for f in self._followed):
      return State.UNKNOWN
    return state

  def last_look(self) -> str:
    """What outputs were like when they were last looked at."""
    return (
      self._outputs.last_look
      or 'Outputs of different sources were not looked at yet.'
    )


class _Outputs:
  """What outputs are like: it changes when the last looks agree."""

  def __init__(self) -> None:
    self._work: collections.deque[bool] = collections.deque(maxlen=NUM_LOOKS)
    self.state = State.UNKNOWN
    self.last_look = ''

  def update(self, record: Mapping[str, float]) -> str:
    if not all(is_number(record.get(key)) for key in (NOISE, SPREAD)):
      return ''
    noise, spread = record[NOISE], record[SPREAD]
    rough, apart = noise <= MAX_NOISE, spread >= MIN_SPREAD
    found = (
      f'outputs are {noise:.2f} times as rough as real images'
      + ('' if rough else f' (above {MAX_NOISE:g}: noise)')
      + f' and, of different sources, {spread:.2f} times as far apart'
      + ('' if apart else f' (below {MIN_SPREAD:g}: one picture for all)')
    )
    self.last_look = f'At step {record["step"]} {found}.'
    self._work.append(rough and apart)
    before, self.state = self.state, self._judge()
    if self.state is before:
      return ''
    step = f'step {record["step"]}'
    if self.state is State.WELL:
      return f'{step}: the run has begun to work: {found}'
    if self.state is State.NOT_BEGUN:
      return (
        f'{step}: the run has not begun to work: {found}; train on, and if it '
        'stays so look at samples and data, and try a lower config.optim.lr'
      )
    return (
      f'warning: {step}: the run no longer works: {found}; go on from an '
      'earlier checkpoint with a lower config.optim.lr'
    )

  def _judge(self) -> State:
    if len(self._work) < NUM_LOOKS:
      return self.state
    if all(self._work):
      return State.WELL
    # Not while the last look was good, and others before it were not.
    if self.state is State.UNKNOWN and not self._work[-1]:
      return State.NOT_BEGUN
    if self.state is State.WELL and not any(self._work):
      return State.COLLAPSED
    return self.state


class _Followed:
  """One sign and its last values."""

  def __init__(self, sign: Sign, window: int):
    self._sign = sign
    self._window = window
    self._values: collections.deque[float] = collections.deque(maxlen=window)
    self._num_low = 0
    self.shows = False

  def is_filling(self) -> bool:
    """Whether there are values, and too few of them to judge."""
    return 0 < len(self._values) < self._window

  def update(self, record: Mapping[str, float]) -> str:
    metric, limit, meaning, cure = self._sign
    if not is_number(record.get(metric)):
      return ''
    values, window = self._values, self._window
    if len(values) == window:
      self._num_low -= values[0] < limit
    values.append(record[metric])
    self._num_low += values[-1] < limit
    agreeing = self._num_low if not self.shows else window - self._num_low
    if len(values) < window or agreeing < AGREEING * window:
      return ''
    self.shows = not self.shows
    state = f'step {record["step"]}: {metric} {statistics.median(values):.2g}'
    if self.shows:
      low = f'below {limit:g} in {self._num_low} of the last {window} values'
      return f'warning: {state}, {low}: {meaning}; {cure}'
    return f'{state}, no longer below {limit:g}'
