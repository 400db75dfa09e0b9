"""Translations held beside their true counterparts, where these are known.

Images of one name in two domains show one item: the counterpart of a held-out
source is the held-out image of its name in the target domain. No network is
needed. A score's name is paired/<mode>/<score>/<source>2<target>, and .../mean
is that of all pairs of domains. The scores are

  retrieval: share of sources whose output is nearer to the true counterpart
    than to any other held-out image of the target; a tie is a miss.
  style: share of outputs whose nearest training image, of both domains, is one
    of the target; a tie is a miss.
  l1, psnr, ssim: distance to the counterpart, in levels of 255, in dB (100 at
    most) and in similarity. They reward a grey mean; do not rank by them.

`retrieval` and `style` are by `features`. Where there are several outputs of a
source, scores are means over them, and <score>_best counts the best of them.
The modes `source`, `mean_picture`, `nearest_pair` and `chance` are floors: what
no translation at all would score.
"""

import dataclasses
import functools
import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import logging

from jaxgan.data import preprocess, streams
from jaxgan.data.eval_data import EvalData
from jaxgan.data.streams import Stream
from jaxgan.metrics import translations
from jaxgan.metrics.translations import BATCH, Score
from jaxgan.runtime import errors, host, images, processes, sharding

MAX_TRAINING = 5000  # images of a domain that outputs are held beside
NO_PAIR = (
  'no pair of validation images can be read: repair both images of one, or add'
  ' a pair'
)
_NAMES = ('retrieval', 'style', 'l1', 'psnr', 'ssim')
_LOWER_IS_BETTER = np.array([False, False, True, False, False])
_COLOUR_SIZE, _EDGE_SIZE = 16, 32  # px
_LEAST_DEVIATION = 0.02  # of features
_TIE = 1e-6
_SSIM_WINDOW = 11  # px
_COMPARED = 2**20  # pixels at a time
_MOST_PSNR = 100.0  # dB, of equal images


def match(val: EvalData, pair: tuple[int, int]) -> list[tuple[int, int]]:
  """Numbers of the images of a name in both domains, in the first's order.

  Raises:
    UserError: two images of a domain have one name.
  """
  sources, targets = (_by_name(val, domain) for domain in pair)
  return [(n, targets[name]) for name, n in sources.items() if name in targets]


def _by_name(data: EvalData, domain: int) -> dict[str, int]:
  """{name: number of the image}."""
  by_name: dict[str, int] = {}
  for number in range(data.counts[domain]):
    name = data.name(domain, number)
    if by_name.setdefault(name, number) != number:
      raise errors.UserError(
        f'two images of {data.domains[domain]!r} are named {name!r}: keep one, '
        'as names tell which images show one item'
      )
  return by_name


def read_pairs(
  val: EvalData,
  pair: tuple[int, int],
  matches: Sequence[tuple[int, int]],
  rows: range | None = None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Sources and their counterparts, where both can be read.

  Args:
    val: held-out images.
    pair: domains of the source and of the target.
    matches: answer of `match`.
    rows: of the matches; None for all.

  Yields:
    Row; source and counterpart, uint8 [S, S, 3] each.
  """
  for row in range(len(matches)) if rows is None else rows:
    sides = [
      x
      for domain, number in zip(pair, matches[row], strict=True)
      for _, x in val.images(domain, [number])
    ]
    if len(sides) == 2:
      yield row, sides[0], sides[1]


def evaluate(
  ways: Mapping[str, translations.Outputs],
  train: EvalData,
  val: EvalData,
  options: translations.Options,
  *,
  img_size: int,
  seed: int,
  pairs: Sequence[tuple[int, int]] = (),
) -> list[Score]:
  """Scores of translations, and floors, of all pairs with known counterparts.

  Several processes translate and measure a part each, and all get the scores.

  Args:
    ways: how to translate, by mode.
    train: training images.
    val: held-out images: sources and their counterparts.
    options: which domains, and how many sources.
    img_size: S.
    seed: of the random numbers of `Outputs.draw`.
    pairs: (source, target) domains; () for all that the options ask for.
  """
  pairs = pairs or translations.domain_pairs(val.domains, options.domains)
  read = functools.cache(
    lambda domain: _read_domain(train, val, domain, img_size)
  )
  label = 'paired (shortened)' if options.shortened else 'paired'
  by_pair = {}
  for name, pair in translations.name_pairs(val.domains, pairs).items():
    if pair[0] == pair[1]:
      continue  # a single domain is its own target
    matches = match(val, pair)
    _tell_of_unmatched(val, pair, len(matches))
    if matches:
      judge = _Judge(train, read(pair[0]), read(pair[1]))
      chosen = matches[: options.num_sources or len(matches)]
      scores = _score_pair(ways, judge, val, chosen, seed)
      by_pair[name] = [dataclasses.replace(s, protocol=label) for s in scores]
  return translations.add_means(by_pair)


def _tell_of_unmatched(
  val: EvalData, pair: tuple[int, int], count: int
) -> None:
  """Warns of sources without a counterpart, once of all processes."""
  source, target = pair
  if count < val.counts[source] and processes.is_first():
    logging.warning(
      '%d of %d images of %r have no image of their name in %r: paired scores '
      'leave them out',
      val.counts[source] - count,
      val.counts[source],
      val.domains[source],
      val.domains[target],
    )


def _score_pair(
  ways: Mapping[str, translations.Outputs],
  judge: '_Judge',
  val: EvalData,
  matches: Sequence[tuple[int, int]],
  seed: int,
) -> list[Score]:
  """Scores of a pair of domains, named paired/<mode>/<score>."""
  pair = judge.source.number, judge.target.number
  answers = judge.floors()
  for mode, way in ways.items():
    answers[mode] = _create_answer(mode, way, pair, len(matches), seed)
  own = range(len(matches))[sharding.own_part(len(matches))]
  # There may be nothing for this process to do.
  found = {
    m: [np.zeros((0, a.num_outputs, len(_NAMES)))] for m, a in answers.items()
  }
  sources = read_pairs(val, pair, matches, own)
  with tqdm.tqdm(
    desc='paired', total=len(own), unit='source', **host.progress()
  ) as bar:
    while batch := list(itertools.islice(sources, BATCH)):
      rows, x, truths = zip(*batch, strict=True)
      numbers = [matches[row][1] for row in rows]
      for mode, answer in answers.items():
        fakes = answer.make(np.stack(x), list(rows))
        found[mode].append(judge.score(fakes, truths, numbers))
      bar.update(len(batch))
  gathered = {m: sharding.gather(np.concatenate(f)) for m, f in found.items()}
  if not len(gathered['source']):
    raise errors.UserError(NO_PAIR)
  num_real = len(judge.target.held_out)
  scores = [
    dataclasses.replace(score, n_real=num_real)
    for mode, rows in gathered.items()
    for score in _summarize(mode, rows)
  ]
  chance = Score('paired/chance/retrieval', 1 / num_real, n_real=num_real)
  return [*scores, chance]


def _summarize(mode: str, rows: np.ndarray) -> list[Score]:
  """Means of scores [N, K, 5], and of the best of K."""
  ways = {'': rows.mean(axis=1)}
  if rows.shape[1] > 1:
    best = np.where(_LOWER_IS_BETTER, rows.min(axis=1), rows.max(axis=1))
    ways['_best'] = best
  return [
    Score(
      f'paired/{mode}/{name}{suffix}',
      None if np.isnan(value) else float(value),
      n_fake=rows.shape[0] * rows.shape[1],
    )
    for suffix, of_sources in ways.items()
    for name, value in zip(_NAMES, of_sources.mean(axis=0), strict=True)
  ]


class _Answer(NamedTuple):
  """A way to answer a source with K outputs."""

  num_outputs: int
  # (sources uint8 [N, S, S, 3], their rows) -> uint8 [N, K, S, S, 3]
  make: Callable[[np.ndarray, list[int]], np.ndarray]


def _create_answer(
  mode: str,
  way: translations.Outputs,
  pair: tuple[int, int],
  num_sources: int,
  seed: int,
) -> _Answer:
  source, target = pair
  rng = streams.generator(
    seed,
    Stream.OUTPUTS,
    attempt=zlib.crc32(f'paired {mode}'.encode()),
    slot=source,
    step=target,
  )
  drawn = way.draw(num_sources, target, rng)

  def translate(x: np.ndarray, rows: list[int]) -> np.ndarray:
    fakes = way.translate(preprocess.to_float(x), drawn[rows], target)
    if not np.isfinite(fakes).all():
      raise errors.UserError(
        'outputs are not finite numbers: score an earlier checkpoint (--step)'
      )
    return images.to_uint8(fakes)

  return _Answer(drawn.shape[1], translate)


def features(x: np.ndarray) -> np.ndarray:
  """What images are compared by: colours at 16 px, and edges at 32 px.

  Luma and two colour differences (BT.601, of [0, 1]), area-averaged, and the
  differences of the luma of neighbouring pixels.

  Args:
    x: uint8 [N, S, S, 3].

  Returns:
    float32 [N, 2752].
  """
  rgb = x.astype(np.float32) / 255
  luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
  channels = (
    luma,
    (rgb[..., 2] - luma) / 1.772,
    (rgb[..., 0] - luma) / 1.402,
  )
  colours = [_averaged(channel, _COLOUR_SIZE) for channel in channels]
  shown = _averaged(luma, _EDGE_SIZE)
  edges = [np.diff(shown, axis=axis) for axis in (1, 2)]
  parts = [
    part.reshape(len(x), math.prod(part.shape[1:]))
    for part in (*colours, *edges)
  ]
  return np.concatenate(parts, axis=1)


def _averaged(x: np.ndarray, size: int) -> np.ndarray:
  """Images [N, S, S] at `size`: means over the area of each pixel."""
  weights = _area_weights(x.shape[1], size)
  return np.einsum('ah,nhw,bw->nab', weights, x, weights, optimize=True)


@functools.cache
def _area_weights(old: int, new: int) -> np.ndarray:
  """[new, old], the share of each old pixel in a new one."""
  edges = np.arange(new + 1) * old / new
  first, last = edges[:-1, None], edges[1:, None]
  pixel = np.arange(old)
  overlap = np.minimum(last, pixel + 1) - np.maximum(first, pixel)
  return (np.maximum(overlap, 0) * new / old).astype(np.float32)


class _Domain(NamedTuple):
  """Images of a domain that can be read, as scores see them.

  Attributes:
    number: of the domain.
    training: numbers of training images, at most MAX_TRAINING, evenly spread.
    training_features: of these, [N, D].
    mean_picture: of these, uint8 [S, S, 3].
    held_out: numbers of held-out images.
    held_out_features: of these, [M, D].
  """

  number: int
  training: np.ndarray
  training_features: np.ndarray
  mean_picture: np.ndarray
  held_out: np.ndarray
  held_out_features: np.ndarray


def _read_domain(
  train: EvalData, val: EvalData, domain: int, img_size: int
) -> _Domain:
  """Reads a domain; each process takes a part of it."""
  count = train.counts[domain]
  taken = min(count, MAX_TRAINING)
  spread = [i * count // taken for i in range(taken)]
  training, seen, mean = _read(train, domain, spread, img_size)
  every = range(val.counts[domain])
  held_out, held_out_seen, _ = _read(val, domain, every, img_size)
  mean_picture = np.rint(mean).astype(np.uint8)
  return _Domain(domain, training, seen, mean_picture, held_out, held_out_seen)


def _read(
  data: EvalData, domain: int, numbers: Sequence[int], img_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Numbers [N], features [N, D], and mean [S, S, 3] of readable images."""
  own = numbers[sharding.own_part(len(numbers))]
  # One iterator: each batch would start the bar anew.
  shown = iter(
    tqdm.tqdm(
      data.images(domain, own),
      f'images of {data.domains[domain]}',
      len(own),
      unit='image',
      leave=False,
      **host.progress(),
    )
  )
  # There may be nothing for this process to read.
  none = np.zeros((0, img_size, img_size, 3), np.uint8)
  found, seen = [np.zeros(0, np.int64)], [features(none)]
  total = np.zeros((1, img_size, img_size, 3))
  while batch := list(itertools.islice(shown, BATCH)):
    index, x = zip(*batch, strict=True)
    found.append(np.array(index))
    seen.append(features(np.stack(x)))
    total += np.sum(x, axis=0)
  gathered = sharding.gather(np.concatenate(found))
  if not len(gathered):
    raise errors.UserError(f'no image of {data.domains[domain]!r} can be read')
  return (
    gathered,
    sharding.gather(np.concatenate(seen)),
    sharding.gather(total).sum(axis=0) / len(gathered),
  )


class _Space:
  """Features in units of their deviation over some images."""

  def __init__(self, known: np.ndarray):
    """Takes features [N, D]."""
    known = known.astype(np.float64)
    self._mean = known.mean(axis=0)
    self._deviation = known.std(axis=0) + _LEAST_DEVIATION

  def __call__(self, seen: np.ndarray) -> np.ndarray:
    """Features [N, D], scaled."""
    return (seen - self._mean) / self._deviation


class _Judge:
  """Scores images as translations from one domain to another."""

  def __init__(self, train: EvalData, source: _Domain, target: _Domain):
    self.source, self.target = source, target
    self._train = train
    self._space = _Space(target.training_features)
    self._held_out = self._space(target.held_out_features)
    self._row_of = {n: row for row, n in enumerate(target.held_out.tolist())}
    self._training = [
      self._space(domain.training_features) for domain in (target, source)
    ]

  def score(
    self,
    fakes: np.ndarray,
    truths: Sequence[np.ndarray],
    numbers: Sequence[int],
  ) -> np.ndarray:
    """All scores of all outputs of some sources, float64 [N, K, 5].

    Args:
      fakes: outputs, uint8 [N, K, S, S, 3].
      truths: counterparts of the N sources, uint8 [S, S, 3] each.
      numbers: of these in the target domain.
    """
    flat = fakes.reshape(-1, *fakes.shape[2:])
    count = fakes.shape[1]
    seen = self._space(features(flat))
    away = _distances(seen, self._held_out)
    rows = np.repeat([self._row_of[n] for n in numbers], count)[:, None]
    true = np.take_along_axis(away, rows, axis=1)[:, 0]
    np.put_along_axis(away, rows, np.inf, axis=1)
    found = [
      _is_less(true, away.min(axis=1)),
      _is_less(*(_distances(seen, k).min(axis=1) for k in self._training)),
    ]
    compared = _compare(flat, np.repeat(truths, count, axis=0))
    return np.stack([*found, *compared], axis=1).reshape(-1, count, len(_NAMES))

  def floors(self) -> dict[str, _Answer]:
    """Answers without a translation, by the names of their modes."""
    mean = self.target.mean_picture[None]
    floors = {
      'source': _Answer(1, lambda x, rows: x[:, None]),
      'mean_picture': _Answer(1, lambda x, rows: np.stack([mean] * len(x))),
    }
    pair = self.source.number, self.target.number
    partner_of = dict(match(self._train, pair))
    rows = [i for i, s in enumerate(self.source.training) if s in partner_of]
    if rows:
      floors['nearest_pair'] = _Answer(1, self._nearest_pairs(rows, partner_of))
    return floors

  def _nearest_pairs(
    self, rows: list[int], partner_of: Mapping[int, int]
  ) -> Callable[[np.ndarray, list[int]], np.ndarray]:
    """Answers with the partner of the training source that is nearest."""
    space = _Space(self.source.training_features)
    known = space(self.source.training_features[rows])
    partners = [partner_of[n] for n in self.source.training[rows].tolist()]

    def answer(x: np.ndarray, _: list[int]) -> np.ndarray:
      nearest = _distances(space(features(x)), known).argmin(axis=1)
      found = [
        self._train.readable(self.target.number, partners[i]) for i in nearest
      ]
      return np.stack(found)[:, None]

    return answer


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Squared distances of features [N, D] and [M, D]: [N, M]."""
  squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
  return squares - 2 * a @ b.T


def _is_less(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Whether distances are less, and not equal but for rounding."""
  return a < b * (1 - _TIE) - _TIE


def _compare(fakes: np.ndarray, truths: np.ndarray) -> np.ndarray:
  """L1, PSNR and SSIM [3, N] of images uint8 [N, S, S, 3]."""
  # A part at a time: SSIM keeps ten images of 64 bits for each.
  size = max(1, _COMPARED // fakes[0, ..., 0].size)
  # In 32 bits SSIM is off by 5e-5 where images are white.
  with jax.enable_x64(True):
    parts = [
      _compare_exactly(fakes[i : i + size], truths[i : i + size])
      for i in range(0, len(fakes), size)
    ]
    return np.concatenate(parts, axis=1)


@jax.jit
def _compare_exactly(fakes: Any, truths: Any) -> jax.Array:
  x, y = (side.astype(jnp.float64) / 255 for side in (fakes, truths))
  l1 = jnp.abs(x - y).mean(axis=(1, 2, 3)) * 255
  psnr = jnp.minimum(dm_pix.psnr(x, y), _MOST_PSNR)
  fits = x.shape[1] >= _SSIM_WINDOW
  ssim = dm_pix.ssim(x, y) if fits else jnp.full_like(l1, jnp.nan)
  return jnp.stack([l1, psnr, ssim])
