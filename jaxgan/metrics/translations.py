"""Scores of translations: every ordered pair of domains, in one mode.

A score's name is <metric>/<mode>/<source>2<target>, or .../mean of all pairs.
"""

import dataclasses
import functools
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from etils import epath
from PIL import Image

from jaxgan import errors, files, images, sharding
from jaxgan.data import input_pipeline, preprocess
from jaxgan.metrics import features, fid, lpips, weights

BATCH = 32  # of the protocol: LPIPS is the mean of means over such batches
NUM_OUTPUTS = 10
METRICS = ('fid', 'lpips')
_NEIGHBOUR = 3  # of precision and recall
_ROLE = 5  # of random streams; 0 to 4 are those of the data
# Bars are on stderr; moved less often where that is no terminal.
_PROGRESS = {'mininterval': 0.5 if sys.stderr.isatty() else 15}

# (sources [N, S, S, 3] in [-1, 1], target domain, generator of the pair's
# random numbers) -> outputs [N, K, S, S, 3]
OutputsFn = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


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
  metrics: tuple[str, ...] = METRICS
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
    left_out: what cannot be measured, and why.
  """

  def __init__(self, options: Options):
    """Loads the weights. Where no directory of them is named, what needs them
    is left out; a file missing in one that is named is a UserError."""
    options.check()
    self.options, self.left_out = options, []
    self._inception = self._load(
      'fid', lambda d: features.Inception(options.protocol, d)
    )
    self._lpips = self._load('lpips', _Lpips)
    self._reals: dict[tuple[str, int], _Reals] = {}

  @property
  def labels(self) -> dict[str, str]:
    """{metric: label of the weights} of the networks there are."""
    networks = {'fid': self._inception, 'lpips': self._lpips}
    return {name: net.label for name, net in networks.items() if net}

  def score(
    self,
    mode: str,
    make_outputs: OutputsFn,
    train: input_pipeline.EvalData,
    val: input_pipeline.EvalData,
    *,
    seed: int,
    save_dir: epath.Path,
  ) -> list[Score]:
    """Translates every validation image into every other domain.

    Args:
      mode: how the target style is found; part of the names.
      make_outputs: translates a batch.
      train: the real images to compare with.
      val: the sources.
      seed: of the random numbers of `make_outputs`.
      save_dir: where to save the images, if the options say so.

    Raises:
      UserError: there are too few images.
    """
    pairs = _pairs(val.domains, self.options.domains)
    for _, target in pairs if self._inception else ():
      _check_enough(train.counts[target], train.domains[target])
    counts = {d: self._num_sources(val, d) for d, _ in pairs}
    by_pair = {}
    num_batches = sum(-(-counts[source] // BATCH) for source, _ in pairs)
    with tqdm.tqdm(
      desc=mode, total=num_batches, unit='batch', **_PROGRESS
    ) as bar:
      for source, target in pairs:
        name = f'{val.domains[source]}2{val.domains[target]}'
        bits = np.random.Philox(
          key=[seed, _ROLE],
          counter=[0, zlib.crc32(mode.encode()), source, target],
        )
        rng = np.random.Generator(bits)
        outputs = self._outputs(make_outputs, val, source, target, rng, bar)
        if self.options.save_images:
          outputs = _saved(outputs, save_dir / mode / name)
        by_pair[name] = self._score_pair(outputs, train, val, target)
    return _named(by_pair, mode)

  def _load(self, metric: str, load: Callable):
    options = self.options
    if metric not in options.metrics:
      return None
    try:
      return load(options.weights_dir)
    except weights.MissingWeightsError as e:
      if options.weights_dir or os.environ.get(weights.ENVIRONMENT):
        others = ','.join(name for name in options.metrics if name != metric)
        raise errors.UserError(f'{e}; or do without: --metrics={others}') from e
      self.left_out.append(f'{metric}: {e}')
      return None

  def _num_sources(self, val: input_pipeline.EvalData, domain: int) -> int:
    return min(
      val.counts[domain], self.options.num_sources or val.counts[domain]
    )

  def _outputs(
    self,
    make_outputs: OutputsFn,
    val: input_pipeline.EvalData,
    source: int,
    target: int,
    rng: np.random.Generator,
    bar: tqdm.tqdm,
  ) -> Iterator[np.ndarray]:
    """Batches of outputs [N, K, S, S, 3], the last one perhaps short."""
    x = itertools.islice(val.images(source), self._num_sources(val, source))
    batches = iter(lambda: list(itertools.islice(x, BATCH)), [])
    first = next(batches, None)
    if first is None:
      raise errors.UserError(
        f'no validation image of {val.domains[source]!r} can be read'
      )
    for batch in itertools.chain([first], batches):
      yield make_outputs(preprocess.to_float(np.stack(batch)), target, rng)
      bar.update()

  def _score_pair(
    self,
    outputs: Iterator[np.ndarray],
    train: input_pipeline.EvalData,
    val: input_pipeline.EvalData,
    target: int,
  ) -> list[Score]:
    """Scores of one pair, named by their metric alone."""
    fakes, lpips_means, pixel_means, n_fake = [], [], [], 0
    for x in outputs:
      n_fake += x.shape[0] * x.shape[1]
      pixel_means.append(_pixel_distances(x).mean())
      if self._lpips:
        lpips_means.append(self._lpips.distances(x).mean())
      if self._inception:
        pictures = map(
          Image.fromarray, images.to_uint8(x).reshape(-1, *x.shape[2:])
        )
        fakes.append(self._inception.compute(pictures, x.shape[2]))
    create = functools.partial(
      Score, protocol=self.options.label, n_fake=n_fake
    )
    scores = [create('pixel_distance', float(np.mean(pixel_means)))]
    if self._lpips:
      value = float(np.mean(lpips_means))
      scores.append(create('lpips', value, weights=self._lpips.label))
    if self._inception:
      features_of_fakes = np.concatenate(fakes)
      scores += self._compare(features_of_fakes, train, val, target, x.shape[2])
    return scores

  def _compare(
    self,
    fakes: np.ndarray,
    train: input_pipeline.EvalData,
    val: input_pipeline.EvalData,
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

  def _real(
    self, data: input_pipeline.EvalData, domain: int, img_size: int
  ) -> _Reals:
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


@jax.jit
def _pixel_distances(x: np.ndarray) -> jax.Array:
  """Mean absolute difference of every two outputs: [pairs, N]."""
  pairs = jnp.array(list(itertools.combinations(range(x.shape[1]), 2)))
  x = jnp.clip(x, -1, 1)
  return jax.lax.map(
    lambda p: jnp.mean(jnp.abs(x[:, p[0]] - x[:, p[1]]), axis=(1, 2, 3)), pairs
  )


def _pairs(
  domains: Sequence[str], wanted: Sequence[str]
) -> list[tuple[int, int]]:
  """(source, target) of different domains; a single domain with itself."""
  chosen = [i for i, d in enumerate(domains) if not wanted or d in wanted]
  if len(chosen) == 1:
    return [(chosen[0], chosen[0])]
  return [(s, t) for t in chosen for s in chosen if s != t]


def _saved(
  outputs: Iterator[np.ndarray], directory: epath.Path
) -> Iterator[np.ndarray]:
  """Passes the outputs on, and writes them under the original's names."""
  if directory.exists():
    directory.rmtree()  # there may be more of an earlier look
  directory.mkdir(parents=True, exist_ok=True)
  for start, x in zip(itertools.count(step=BATCH), outputs, strict=False):
    for i, group in enumerate(images.to_uint8(x), start + 1):
      for j, image in enumerate(group, 1):
        images.write_png(directory / f'{i:04}_{j:02}.png', image)
    yield x


def _check_enough(count: int, domain: str) -> None:
  if count < 2:
    raise errors.UserError(
      f'domain {domain!r} has {count} readable real images, and FID needs two '
      'or more: add some, leave it out of --domains, or take --metrics=lpips'
    )


def _shown(data: input_pipeline.EvalData, domain: int) -> Iterator[Image.Image]:
  """The pictures of a domain, with a bar from the first on."""
  yield from tqdm.tqdm(
    data.pictures(domain),
    f'real images of {data.domains[domain]}',
    data.counts[domain],
    unit='image',
    leave=False,
    **_PROGRESS,
  )


def _named(by_pair: dict[str, list[Score]], mode: str) -> list[Score]:
  """All scores under their full names, and their means over the pairs."""
  named = []
  for rows in zip(*by_pair.values(), strict=True):
    metric = rows[0].name
    values = [row.value for row in rows]
    mean = None if None in values else float(np.mean(values))
    for pair, row in zip(by_pair, rows, strict=True):
      named.append(dataclasses.replace(row, name=f'{metric}/{mode}/{pair}'))
    named.append(
      dataclasses.replace(
        rows[0],
        name=f'{metric}/{mode}/mean',
        value=mean,
        n_real=None if rows[0].n_real is None else sum(r.n_real for r in rows),
        n_fake=sum(row.n_fake for row in rows),
      )
    )
  return named
