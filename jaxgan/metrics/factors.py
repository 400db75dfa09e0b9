"""Scores of translations of drawn data, from the images alone.

Every source is translated to every other domain. A score is named
shapes/<mode>/<score>.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxgan.data import preprocess, shapes
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.runtime import images, sharding

MIN_PAIRS = 1000  # of a source and another domain


class Pairs(NamedTuple):
  """Drawn sources, each with each of the domains it is to become."""

  x: np.ndarray  # float32 [P, S, S, 3] in [-1, 1]
  y_trg: np.ndarray  # int [P], an index into the names of the run
  target: np.ndarray  # int [P], an index into shapes.DOMAINS
  content: shapes.Factors  # of the sources, [P]


def draw_pairs(
  rng: np.random.Generator, names: Sequence[str], img_size: int
) -> tuple[Pairs, list[Score]]:
  """The pairs, and the scores of the sources, that tell how exact these are.

  Args:
    rng: of the sources.
    names: of shapes.DOMAINS, in the order of the run.
    img_size: S.
  """
  domains = [shapes.DOMAINS.index(name) for name in names]
  per_domain = -(-MIN_PAIRS // (len(names) * max(1, len(names) - 1)))
  sources = draw(rng, np.repeat(domains, per_domain))
  x_src = shapes.render(sources, img_size)
  real = score(
    'real',
    shapes_metrics.measure(x_src),
    sources.domain,
    sources,
    sources.hue,
    img_size,
  )
  # Every source with every other domain; with the only one if it is alone.
  y_src = np.repeat(np.arange(len(names)), per_domain)
  pairs = [
    (i, y)
    for i in range(len(x_src))
    for y in range(len(names))
    if y != y_src[i] or len(names) == 1
  ]
  source, y_trg = np.array(pairs).T
  content = jax.tree.map(lambda f: f[source], sources)
  x = preprocess.to_float(x_src[source])
  return Pairs(x, y_trg, np.array(domains)[y_trg], content), real


def draw(rng: np.random.Generator, domains: np.ndarray) -> shapes.Factors:
  """Factors of one image per entry of `domains` [N]."""
  drawn = [shapes.draw_factors(rng, int(domain), 1) for domain in domains]
  return shapes.Factors(*(np.concatenate(f) for f in zip(*drawn, strict=True)))


def measure(
  fake: np.ndarray, outlines: bool = False
) -> shapes_metrics.Measured:
  """What the outputs [N, S, S, 3] of all processes show, those of one given."""
  measured = shapes_metrics.measure(images.to_uint8(fake), outlines)
  return shapes_metrics.Measured(*map(sharding.gather, measured))


def score(
  mode: str,
  measured: shapes_metrics.Measured,
  target: np.ndarray,
  content: shapes.Factors,
  hue: np.ndarray | None,
  img_size: int,
) -> list[Score]:
  """The scores of `metrics.shapes.compute_scores`, named."""
  scores = shapes_metrics.compute_scores(
    measured, domain=target, content=content, hue=hue, img_size=img_size
  )
  return [
    name_score(f'{mode}/{name}', value, len(target))
    for name, value in scores.items()
  ]


def name_score(name: str, value: float | None, count: int) -> Score:
  """shapes/<name>, of `count` images."""
  return Score(f'shapes/{name}', value, protocol='factors', n_fake=count)
