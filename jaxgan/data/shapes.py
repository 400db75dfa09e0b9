"""The drawn data set: three shapes whose content and style are known.

Domain is the shape, content its centre and radius, style its hue, each drawn
independently of the others, so that a translation can be scored exactly.

The same world has binary attributes too, for what translates those: there the
shape and its centre are content, and hue, radius and outline follow from
attributes drawn independently of them and of each other.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np

DOMAINS = ('circle', 'square', 'triangle')
CENTRE_RANGE = (0.3, 0.7)  # of the side
RADIUS_RANGE = (0.16, 0.26)  # of the side
SATURATION, VALUE = 0.9, 0.95  # of every shape; only its hue varies
GROUND = 0.12  # grey level around the shape
INNER_RADIUS = 0.5  # of a ring, as a share of its outer radius

ATTRIBUTES = ('warm', 'large', 'outline')
WARM_HUES, COLD_HUES = (5 / 6, 7 / 6), (1 / 3, 2 / 3)  # in turns
# Even the thinnest ring, of the smallest triangle, is 2 pixels of 32 wide.
SMALL_RADII, LARGE_RADII = (0.165, 0.195), (0.225, 0.255)  # of the side

# Distance from centre to edge of a shape that has the area of the unit circle.
_APOTHEM = (1.0, math.sqrt(math.pi) / 2, math.sqrt(math.pi / math.sqrt(27)))


class Factors(NamedTuple):
  """What N images show, in units of the side; x points right and y down.

  The radius is that of the circle of the same area, whatever the domain.
  """

  domain: np.ndarray  # int [N], an index into DOMAINS
  centre: np.ndarray  # float [N, 2], (x, y) of the centroid
  radius: np.ndarray  # float [N]
  hue: np.ndarray  # float [N], in turns, [0, 1)
  outline: np.ndarray  # bool [N], drawn as a ring


class _Attributed(Protocol):
  """What attributes are read from: `Factors`, or what a metric measured."""

  @property
  def hue(self) -> np.ndarray: ...

  @property
  def radius(self) -> np.ndarray: ...

  @property
  def outline(self) -> np.ndarray: ...


def draw_factors(rng: np.random.Generator, domain: int, count: int) -> Factors:
  """Draws the factors of `count` images of one domain."""
  # `random` is the one stream that NumPy is unlikely ever to change, and an
  # image a row makes a longer draw start with the shorter one.
  x, y, radius, hue = rng.random((count, 4)).T
  return Factors(
    domain=np.full(count, domain),
    centre=_between(CENTRE_RANGE, np.stack([x, y], axis=-1)),
    radius=_between(RADIUS_RANGE, radius),
    hue=hue,
    outline=np.zeros(count, bool),
  )


def draw_attributes(rng: np.random.Generator, count: int) -> Factors:
  """Draws the factors of `count` images of any domain and attributes.

  Each domain has the same chance, and each attribute one half.
  """
  domain, x, y, radius, hue, *has = rng.random((count, 8)).T
  warm, large, outline = (u < 0.5 for u in has)
  return Factors(
    domain=(len(DOMAINS) * domain).astype(int),
    centre=_between(CENTRE_RANGE, np.stack([x, y], axis=-1)),
    radius=np.where(
      large, _between(LARGE_RADII, radius), _between(SMALL_RADII, radius)
    ),
    hue=np.where(warm, _between(WARM_HUES, hue), _between(COLD_HUES, hue)) % 1,
    outline=outline,
  )


def attributes_of(factors: _Attributed) -> np.ndarray:
  """Whether images have each of ATTRIBUTES, float32 [N, 3], 0 or 1.

  Warm is a hue nearer to red than to cyan, large a radius above the middle of
  the gap between the two ranges. Of an image in which nothing was detected the
  answer means nothing.
  """
  warm = abs(factors.hue % 1 - 0.5) > 0.25
  large = factors.radius > (SMALL_RADII[1] + LARGE_RADII[0]) / 2
  return np.stack([warm, large, factors.outline], axis=-1).astype(np.float32)


def coverage(
  domain: int,
  centre: np.ndarray,
  radius: np.ndarray,
  img_size: int,
  outline: bool = False,
  line: float = 0.0,
) -> np.ndarray:
  """Share of each pixel inside the shape, float32 [N, S, S] in [0, 1].

  Takes centre [N, 2] and radius [N], both in units of the side. An outline
  leaves out the same shape of INNER_RADIUS times the radius, a line all that is
  more than so many pixels from the edge.
  """
  if not 0 <= domain < len(DOMAINS):
    raise ValueError(f'domain must be in 0..{len(DOMAINS) - 1}, got {domain}')
  # x and y of the pixels' middles relative to the centre, in pixels, are kept
  # apart as [N, 1, S] and [N, S, 1]: most of the arithmetic is on lines.
  middles = np.arange(0.5, img_size)
  offset = (middles - img_size * centre[..., None]).astype(np.float32)
  x, y = offset[:, 0, None, :], offset[:, 1, :, None]
  match DOMAINS[domain]:
    case 'circle':
      distance = np.sqrt(x * x + y * y)
    case 'square':
      distance = np.maximum(abs(x), abs(y))
    case 'triangle':
      distance = np.maximum(math.sqrt(0.75) * abs(x) - 0.5 * y, y)
  edge = (img_size * _APOTHEM[domain] * radius).astype(np.float32)
  cover = _inside(edge, distance)
  if line:
    return cover - _inside(edge - np.float32(line), distance)
  return cover - _inside(INNER_RADIUS * edge, distance) if outline else cover


def render(factors: Factors, img_size: int, line: float = 0.0) -> np.ndarray:
  """Draws the images, uint8 [N, img_size, img_size, 3], edges antialiased.

  Args:
    factors: of the images.
    img_size: their side.
    line: draw contours of so many pixels alone; 0 for what `factors` says.
  """
  cover = np.empty((len(factors.domain), img_size, img_size), np.float32)
  kinds = set(
    zip(factors.domain.tolist(), factors.outline.tolist(), strict=True)
  )
  for domain, outline in kinds:
    of_kind = (factors.domain == domain) & (factors.outline == outline)
    cover[of_kind] = coverage(
      domain,
      factors.centre[of_kind],
      factors.radius[of_kind],
      img_size,
      outline,
      line,
    )
  contrast = 255 * (_hue_to_rgb(factors.hue) - GROUND).astype(np.float32)
  levels = cover[..., None] * contrast[:, None, None, :]
  return (levels + (255 * GROUND + 0.5)).astype(np.uint8)  # 0.5: to nearest


def draw_images(
  rng: np.random.Generator, domain: int, count: int, img_size: int
) -> np.ndarray:
  """Draws images of one domain, uint8 [count, img_size, img_size, 3]."""
  return render(draw_factors(rng, domain, count), img_size)


def _between(bounds: tuple[float, float], u: np.ndarray) -> np.ndarray:
  low, high = bounds
  return low + (high - low) * u


def _inside(edge: np.ndarray, distance: np.ndarray) -> np.ndarray:
  """Share of each pixel nearer to the centre than the edge, [N, S, S]."""
  return np.clip((edge + 0.5)[:, None, None] - distance, 0, 1)


def _hue_to_rgb(hue: np.ndarray) -> np.ndarray:
  """Turns hues [N] into RGB [N, 3] in [0, 1], at SATURATION and VALUE."""
  sixths = (6 * hue[:, None] + np.array([5, 3, 1])) % 6
  lack = np.clip(np.minimum(sixths, 4 - sixths), 0, 1)
  return VALUE * (1 - SATURATION * lack)
