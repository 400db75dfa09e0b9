"""Scores of translations: every ordered pair of domains, in one mode.

A score's name is <metric>/<mode>/<source>2<target>, or .../mean of all pairs.
"""

import dataclasses
import functools
import itertools
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from etils import epath
from jax.experimental import multihost_utils
from PIL import Image

from jaxgan.data import preprocess, streams
from jaxgan.data.eval_data import EvalData
from jaxgan.data.streams import Stream
from jaxgan.metrics import (
  classification,
  features,
  fid,
  inception_score,
  lpips,
  weights,
)
from jaxgan.runtime import errors, files, host, images, sharding

BATCH = 32  # of the protocol: LPIPS is the mean of means over such batches
NUM_OUTPUTS = 10
METRICS = ('fid', 'lpips', 'classification', 'inception_score')
DEFAULT_METRICS = METRICS[:2]
_NEIGHBOUR = 3  # of precision and recall
_HELD = 2**30  # bytes of images that a classifier is trained on


class Outputs(Protocol):
  """A way to translate a source into K outputs; 1 where nothing is drawn."""

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """What the styles of a pair's sources come from: [num_sources, K, ...].

    The same on all processes, which must call it together.
    """

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, K, S, S, 3] of N of the sources [N, S, S, 3] in [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class Score:
  """A number, and what it was measured with."""

  name: str
  value: float | None
  protocol: str = ''
  weights: str = ''  # of the networks it was seen through
  n_real: int | None = None
  n_fake: int | None = None


@dataclasses.dataclass(frozen=True)
class Options:
  """What to measure, and through what."""

  protocol: str = 'stargan_v2'
  metrics: tuple[str, ...] = DEFAULT_METRICS
  domains: tuple[str, ...] = ()  # () for all
  num_outputs: int = NUM_OUTPUTS  # of each source
  num_sources: int = 0  # of each domain; 0 for all
  weights_dir: str = ''
  cache_dir: str = ''
  save_images: bool = False

  def check(self) -> None:
    """Raises UserError for what cannot be measured."""
    if self.protocol not in features.PROTOCOLS:
      raise errors.UsageError(
        f'--protocol={self.protocol} is unknown: there is '
        f'{", ".join(features.PROTOCOLS)}'
      )
    for metric in self.metrics:
      if metric not in METRICS:
        raise errors.UsageError(
          f'--metrics names {metric!r}: there is {", ".join(METRICS)}'
        )
    if self.num_outputs < 2:
      raise errors.UsageError(
        f'--num_outputs={self.num_outputs}: 2 or more, to tell them apart'
      )
    if self.num_sources < 0:
      raise errors.UsageError(f'--num_sources={self.num_sources} is negative')

  def check_domains(self, domains: Sequence[str]) -> None:
    """Raises UsageError unless pairs of the run's domains are asked for."""
    for name in self.domains:
      if name not in domains:
        raise errors.UsageError(
          f'--domains names {name!r}, which the run does not know: it has '
          f'{", ".join(domains)}'
        )
    if len(set(self.domains)) == 1 < len(domains):
      raise errors.UsageError(
        f'--domains names {self.domains[0]} alone: name two or more'
      )

  @property
  def shortened(self) -> bool:
    """Whether this is less than the protocol asks for."""
    return bool(
      self.domains or self.num_sources or self.num_outputs != NUM_OUTPUTS
    )

  @property
  def label(self) -> str:
    """Of the protocol; a shortened look says so."""
    return f'{self.protocol} (shortened)' if self.shortened else self.protocol


@dataclasses.dataclass(frozen=True, eq=False)
class _Reals:
  """Real images of a domain, as the network sees them."""

  features: np.ndarray

  @functools.cached_property
  def gaussian(self) -> fid.Gaussian:
    return fid.Gaussian.of(self.features)


class Scorer:
  """The networks that metrics look through, loaded once.

  Attributes:
    unavailable: what cannot be measured, and why.
  """

  def __init__(self, options: Options):
    """Loads the weights. Where no directory of them is named, what needs them
    is left out; a file missing in one that is named is a UserError."""
    options.check()
    self.options = options
    self.unavailable: list[str] = []
    self._missing: dict[str, str] = {}  # the same where a directory is named
    self._inception = self._load(
      'fid', lambda d: features.Inception(options.protocol, d)
    )
    self._lpips = self._load('lpips', _Lpips)
    self._classifier = self._load(
      'classification', lambda _: _Classifier(options.cache_dir)
    )
    self._judges = self._load('inception_score', inception_score.Classifiers)
    if self._missing:
      raise self._do_without(self._missing)
    self._reals: dict[tuple[str, int], _Reals] = {}

  @property
  def labels(self) -> dict[str, str]:
    """{metric: label of the weights} of the networks there are."""
    networks = {
      'fid': self._inception,
      'lpips': self._lpips,
      'classification': self._classifier,
      'inception_score': self._judges,
    }
    return {name: net.label for name, net in networks.items() if net}

  def score(
    self,
    mode: str,
    outputs: Outputs,
    train: EvalData,
    val: EvalData,
    *,
    img_size: int,
    seed: int,
    save_dir: epath.Path,
    pairs: Sequence[tuple[int, int]] = (),
  ) -> list[Score]:
    """Translates every validation image into every other domain.

    Several processes translate and look at a part each, and all get the scores
    of the whole.

    Args:
      mode: how the target style is found; part of the names.
      outputs: how to translate.
      train: the real images to compare with.
      val: the sources.
      img_size: of the translations.
      seed: of the random numbers of `outputs.draw`.
      save_dir: where to save the images, if the options say so.
      pairs: (source, target) of the translations; () for all that the options
        ask for.

    Raises:
      UserError: there are too few images, or two pairs have one name.
    """
    pairs = pairs or domain_pairs(val.domains, self.options.domains)
    named = name_pairs(val.domains, pairs)
    for _, target in pairs if self._inception else ():
      _check_enough(train.counts[target], train.domains[target])
    if self._judges:
      names = [val.domains[target] for _, target in pairs]
      try:
        self._judges.prepare(names)
      except weights.MissingWeightsError as e:
        raise self._do_without({'inception_score': str(e)}) from e
    if self._classifier:
      self._classifier.prepare(train, img_size)
    own = {d: self._own_sources(val, d) for d, _ in pairs}
    by_pair = {}
    total = sum(len(own[source]) for source, _ in pairs)
    with tqdm.tqdm(
      desc=mode, total=total, unit='source', **host.progress()
    ) as bar:
      for name, (source, target) in named.items():
        rng = streams.generator(
          seed,
          Stream.OUTPUTS,
          attempt=zlib.crc32(mode.encode()),
          slot=source,
          step=target,
        )
        drawn = outputs.draw(self._num_sources(val, source), target, rng)
        batches: Iterator[tuple[list[int], np.ndarray]] = (
          (numbers, outputs.translate(x, drawn[numbers], target))
          for numbers, x in _batches(val, source, own[source])
        )
        if self.options.save_images:
          _clear(save_dir / mode / name)
          batches = _saved(batches, save_dir / mode / name)
        scores = self._score_pair(
          batches, drawn.shape[1], train, val, (source, target), img_size, bar
        )
        by_pair[name] = [
          dataclasses.replace(score, name=f'{score.name}/{mode}')
          for score in scores
        ]
    return add_means(by_pair)

  def _load(self, metric: str, load: Callable):
    options = self.options
    if metric not in options.metrics:
      return None
    try:
      return load(options.weights_dir)
    except weights.MissingWeightsError as e:
      if options.weights_dir or os.environ.get(weights.ENVIRONMENT):
        self._missing[metric] = str(e)
      else:
        self.unavailable.append(f'{metric}: {e}')
      return None

  def _do_without(self, missing: Mapping[str, str]) -> errors.UserError:
    """Says what is missing, by metric, and that there are other metrics."""
    others = ','.join(m for m in self.options.metrics if m not in missing)
    cure = f'; or do without: --metrics={others}' if others else ''
    return errors.UserError('; '.join(missing.values()) + cure)

  def _num_sources(self, val: EvalData, domain: int) -> int:
    return min(
      val.counts[domain], self.options.num_sources or val.counts[domain]
    )

  def _own_sources(self, val: EvalData, domain: int) -> range:
    count = self._num_sources(val, domain)
    return range(count)[sharding.own_part(count)]

  def _score_pair(
    self,
    batches: Iterator[tuple[list[int], np.ndarray]],
    count: int,
    train: EvalData,
    val: EvalData,
    pair: tuple[int, int],
    img_size: int,
    bar: tqdm.tqdm,
  ) -> list[Score]:
    """Scores of one pair, of `count` outputs each, named by metric alone."""
    source, target = pair
    # There may be nothing for this process to do.
    no_distances = np.zeros((0, count * (count - 1) // 2), np.float32)
    pixels, distances, fakes = [no_distances], [no_distances], []
    num_own, missed, logits = 0, [np.zeros(0, bool)], []
    for numbers, x in batches:
      if count > 1:
        pixels.append(np.asarray(_pixel_distances(x)))
      if count > 1 and self._lpips:
        distances.append(self._lpips.distances(x))
      if self._inception or self._classifier:
        rounded = images.to_uint8(x).reshape(-1, *x.shape[2:])
      if self._inception:
        pictures = map(Image.fromarray, rounded)
        fakes.append(self._inception.compute(pictures, img_size))
      if self._classifier:
        missed.append(self._classifier.misses(rounded, target))
      if self._judges:
        logits.append(self._judges.logits(x, val.domains[target]))
      num_own += len(numbers)
      bar.update(len(numbers))
    num_sources = int(sharding.gather(np.array([num_own])).sum())
    if not num_sources:
      raise errors.UserError(
        f'no validation image of {val.domains[source]!r} can be read'
      )
    create = functools.partial(
      Score, protocol=self.options.label, n_fake=num_sources * count
    )
    scores = []
    if count > 1:  # else there is nothing to tell apart
      gathered = sharding.gather(np.concatenate(pixels))
      scores.append(create('pixel_distance', _mean_of_batches(gathered)))
    if count > 1 and self._lpips:
      value = _mean_of_batches(sharding.gather(np.concatenate(distances)))
      scores.append(create('lpips', value, weights=self._lpips.label))
    if self._inception:
      fakes = fakes or [self._inception.compute((), img_size)]
      gathered = sharding.gather(np.concatenate(fakes))
      scores += self._compare(gathered, train, val, target, img_size)
    if self._classifier:
      label = self._classifier.label
      error = _share(sharding.gather(np.concatenate(missed)))
      floor = self._classifier.misses_real(val, target)
      scores += [
        create('classification_error', error, weights=label),
        create(
          'classification_floor',
          _share(floor),
          weights=label,
          n_fake=len(floor),
        ),
      ]
    if self._judges:
      name = val.domains[target]
      label = self._judges.labels[name]
      none = np.zeros((0, count, img_size, img_size, 3), np.float32)
      logits = logits or [self._judges.logits(none, name)]
      of_all, of_one = inception_score.compute_scores(
        sharding.gather(np.concatenate(logits))
      )
      scores.append(create('inception_score', of_all, weights=label))
      if count > 1:
        scores.append(
          create('conditional_inception_score', of_one, weights=label)
        )
    return scores

  def _compare(
    self,
    fakes: np.ndarray,
    train: EvalData,
    val: EvalData,
    target: int,
    img_size: int,
  ) -> list[Score]:
    """Scores of the features of the fakes [N, D] against real ones."""
    reals = self._real(train, target, img_size)
    create = functools.partial(
      Score,
      protocol=self.options.label,
      weights=self._inception.label,
      n_real=len(reals.features),
    )
    distance = fid.frechet_distance(reals.gaussian, fid.Gaussian.of(fakes))
    scores = [create('fid', distance, n_fake=len(fakes))]
    if self.options.protocol != 'clean':
      return scores

    create_all = functools.partial(create, n_fake=len(fakes))
    kid = fid.kernel_distance(reals.features, fakes)
    precision = recall = None
    if min(len(reals.features), len(fakes)) > _NEIGHBOUR:
      precision, recall = fid.precision_recall(
        reals.features, fakes, _NEIGHBOUR
      )
    scores += [
      create_all('kid', kid),
      create_all('precision', precision),
      create_all('recall', recall),
    ]
    # What the distance of real images is, at equal counts of both.
    floor = self._real(val, target, img_size).features
    count = min(len(floor), len(fakes))
    if count < 2:
      return scores
    for name, others in (('fid_equal', fakes), ('fid_floor', floor)):
      spread = others[np.arange(count) * len(others) // count]
      distance = fid.frechet_distance(reals.gaussian, fid.Gaussian.of(spread))
      scores.append(create(name, distance, n_fake=count))
    return scores

  def _real(self, data: EvalData, domain: int, img_size: int) -> _Reals:
    key = data.digest(domain), img_size
    if key not in self._reals:
      computed = self._inception.compute_cached(
        _shown(data, domain),
        img_size,
        content=key[0],
        cache_dir=self.options.cache_dir or files.default_cache_dir(),
      )
      _check_enough(len(computed), data.domains[domain])
      self._reals[key] = _Reals(computed)
    return self._reals[key]


class _Lpips:
  """LPIPS on all devices of this process."""

  _CHUNK = 4  # groups at a time: the feature maps of AlexNet are large

  def __init__(self, weights_dir: str):
    params, self.label = weights.load_lpips(weights_dir)
    self._mesh = sharding.create_local_mesh()
    self._params = jax.device_put(params, sharding.replicated(self._mesh))

  def distances(self, x: np.ndarray) -> np.ndarray:
    """[N, pairs] of outputs [N, K, S, S, 3]."""
    fn = functools.partial(jax.jit(lpips.distances), self._params)
    return sharding.map_chunks(fn, x, mesh=self._mesh, size=self._CHUNK)


class _Classifier:
  """Tells the domains apart, after the training images alone."""

  label = classification.LABEL

  def __init__(self, cache_dir: str):
    self._cache_dir = cache_dir or files.default_cache_dir()
    self._key: tuple[Any, ...] = ()
    self._params: classification.Params = {}
    self._real: dict[str, np.ndarray] = {}

  def prepare(self, train: EvalData, img_size: int) -> None:
    """Trains it, or reads what is kept; nothing if it is that already."""
    if len(train.domains) < 2:
      raise errors.UserError(
        '--metrics names classification, and the data has one domain: there is '
        'nothing to tell apart'
      )
    digests = [train.digest(domain) for domain in range(len(train.domains))]
    key = (*digests, img_size)
    if key == self._key:
      return
    self._params = classification.load_or_train(
      _LabelledDraws(train, img_size),
      len(digests),
      exclusive=True,
      img_size=img_size,
      content=json.dumps(digests),
      cache_dir=self._cache_dir,
    )
    self._key, self._real = key, {}

  def misses(self, x: np.ndarray, target: int) -> np.ndarray:
    """Which images, uint8 [N, S, S, 3], are not of the target to it: [N]."""
    return classification.predict(self._params, x).argmax(1) != target

  def misses_real(self, data: EvalData, domain: int) -> np.ndarray:
    """`misses` of all real images of a domain, of all processes."""
    key = data.digest(domain)
    if key not in self._real:
      missed = [np.zeros(0, bool)]
      count = data.counts[domain]
      own = data.images(domain, range(count)[sharding.own_part(count)])
      while batch := list(itertools.islice(own, BATCH)):
        missed.append(self.misses(np.stack([x for _, x in batch]), domain))
      self._real[key] = sharding.gather(np.concatenate(missed))
    return self._real[key]


class _LabelledDraws:
  """Training batches of all domains alike, from images in memory.

  All processes draw the same, so that each holds all images; where they are
  more than _HELD bytes, as many of each domain as there is room for.
  """

  def __init__(self, data: EvalData, img_size: int):
    self._data = data
    self._most = _HELD // (len(data.domains) * img_size**2 * 3)
    self._by_domain: list[list[np.ndarray]] = []

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [B, S, S, 3] and one-hot labels; the first call reads."""
    if not self._by_domain:
      self._by_domain = [self._read(i) for i in range(len(self._data.domains))]
    rng = streams.generator(0, Stream.CLASSIFIER, step=step)
    drawn = rng.random((classification.BATCH, 2))
    domains = (drawn[:, 0] * len(self._by_domain)).astype(int)
    x = []
    for domain, u in zip(domains, drawn[:, 1], strict=True):
      held = self._by_domain[domain]
      x.append(held[int(u * len(held))])
    return np.stack(x), np.eye(len(self._by_domain), dtype=np.float32)[domains]

  def _read(self, domain: int) -> list[np.ndarray]:
    """Images of a domain, uint8 [S, S, 3], evenly spread over all."""
    count, name = self._data.counts[domain], self._data.domains[domain]
    held = max(1, min(count, self._most))
    numbers = [i * count // held for i in range(held)]
    shown = tqdm.tqdm(
      self._data.images(domain, numbers),
      f'training images of {name}',
      held,
      unit='image',
      leave=False,
      **host.progress(),
    )
    pixels = [x for _, x in shown]
    if not pixels:
      raise errors.UserError(f'no training image of {name!r} can be read')
    return pixels


def _share(which: np.ndarray) -> float | None:
  return float(which.mean()) if len(which) else None


@jax.jit
def _pixel_distances(x: jax.Array) -> jax.Array:
  """Mean absolute difference of every two outputs: [N, pairs]."""
  pairs = jnp.array(list(itertools.combinations(range(x.shape[1]), 2)))
  x = jnp.clip(x, -1, 1)
  return jax.lax.map(
    lambda p: jnp.mean(jnp.abs(x[:, p[0]] - x[:, p[1]]), axis=(1, 2, 3)), pairs
  ).T


def _mean_of_batches(distances: np.ndarray) -> float:
  """Of [N, pairs]: the mean of the means over the protocol's batches."""
  means = [
    distances[i : i + BATCH].mean() for i in range(0, len(distances), BATCH)
  ]
  return float(np.mean(means))


def domain_pairs(
  domains: Sequence[str], wanted: Sequence[str]
) -> list[tuple[int, int]]:
  """(source, target) of different domains; a single domain with itself."""
  chosen = [i for i, d in enumerate(domains) if not wanted or d in wanted]
  if len(chosen) == 1:
    return [(chosen[0], chosen[0])]
  return [(s, t) for t in chosen for s in chosen if s != t]


def name_pairs(
  domains: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> dict[str, tuple[int, int]]:
  """The pairs by their names, of scores and of folders."""
  named: dict[str, tuple[int, int]] = {}
  for pair in pairs:
    name = '2'.join(domains[i] for i in pair)
    other = named.setdefault(name, pair)
    if other != pair:
      one, two = (' to '.join(domains[i] for i in p) for p in (other, pair))
      raise errors.UserError(
        f'{name} would be the name of {one} and of {two}: leave a domain out '
        'with --domains'
      )
  return named


def _batches(
  val: EvalData, domain: int, own: range
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Numbers and pixels [N, S, S, 3] of sources; the last are perhaps few."""
  sources = val.images(domain, own)
  while batch := list(itertools.islice(sources, BATCH)):
    numbers, x = zip(*batch, strict=True)
    yield list(numbers), preprocess.to_float(np.stack(x))


def _clear(directory: epath.Path) -> None:
  """An empty directory, where there may be images of an earlier look."""
  if jax.process_index() == 0:
    if directory.exists():
      directory.rmtree()
    directory.mkdir(parents=True)
  multihost_utils.sync_global_devices(f'{directory} is empty')


def _saved(
  batches: Iterator[tuple[list[int], np.ndarray]], directory: epath.Path
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Passes the outputs on, and writes them under the original's names."""
  for numbers, x in batches:
    for i, group in zip(numbers, images.to_uint8(x), strict=True):
      for j, image in enumerate(group, 1):
        images.write_png(directory / f'{i + 1:04}_{j:02}.png', image)
    yield numbers, x


def _check_enough(count: int, domain: str) -> None:
  if count < 2:
    raise errors.UserError(
      f'domain {domain!r} has {count} readable real images, and FID needs two '
      'or more: add some, leave it out of --domains, or take --metrics=lpips'
    )


def _shown(data: EvalData, domain: int) -> Iterator[Image.Image]:
  """This process's pictures of a domain, with a bar from the first on."""
  count = data.counts[domain]
  own = range(count)[sharding.own_part(count)]
  yield from tqdm.tqdm(
    data.pictures(domain, own),
    f'real images of {data.domains[domain]}',
    len(own),
    unit='image',
    leave=False,
    **host.progress(),
  )


def add_means(by_pair: Mapping[str, Sequence[Score]]) -> list[Score]:
  """Scores of pairs as <score>/<pair>, and <score>/mean of those that have it.

  Args:
    by_pair: scores by the names of pairs.
  """
  by_name: dict[str, dict[str, Score]] = {}
  for pair, scores in by_pair.items():
    for score in scores:
      by_name.setdefault(score.name, {})[pair] = score
  named = []
  for name, of_pairs in by_name.items():
    rows = list(of_pairs.values())
    values = [row.value for row in rows if row.value is not None]
    for pair, row in of_pairs.items():
      named.append(dataclasses.replace(row, name=f'{name}/{pair}'))
    named.append(
      dataclasses.replace(
        rows[0],
        name=f'{name}/mean',
        value=float(np.mean(values)) if len(values) == len(rows) else None,
        weights='+'.join(dict.fromkeys(row.weights for row in rows)),
        n_real=_sum(row.n_real for row in rows),
        n_fake=_sum(row.n_fake for row in rows),
      )
    )
  return named


def _sum(counts: Iterable[int | None]) -> int | None:
  known = [count for count in counts if count is not None]
  return sum(known) if known else None
