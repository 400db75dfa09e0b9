"""Batches of sources and the targets that they are to become.

A batch of B slots is a dict of

  x_a, x_b: float32 [B, S, S, 3] in [-1, 1]

a source and its target, cropped and mirrored alike. Pairs come alike, with
replacement, where the original goes through all of them in random order.

A pair is a picture of both side by side, or a file of the same name in each of
two folders. Both are squeezed into squares of `load_size`, of which S x S
pixels are cut out and perhaps mirrored. Validation sees all of a picture.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxgan.data import crops, pictures, preprocess, shapes, sources, streams
from jaxgan.data.contracts import base
from jaxgan.data.feeding import Part
from jaxgan.data.streams import Stream
from jaxgan.runtime.errors import UserError

Array = jax.Array

KEYS = ('x_a', 'x_b')
SIDES = ('A', 'B')  # the left and the right half of a picture
DRAWN = ('contour', 'filled')  # the two sides of drawn shapes
LINE = 1.5  # pixels of a contour


class Picks(base.Picks):
  """A source and its target: one item of two images."""

  together = True

  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """Domains and numbers of KEYS."""
    xp = streams.numpy_of(words)
    number = streams.below(words[:1], xp.asarray(counts)[:1])
    return xp.arange(len(KEYS), dtype='int32'), xp.concatenate([number] * 2)


class Data(base.DomainData):
  """Data of pairs; a run has one domain, that of the targets."""

  def open(self, split: str) -> pictures.Images:
    """The pairs of a split: sources are domain 0, targets 1."""
    base.load_size(self._config)
    return open_pairs(self._config, split)

  def part(self, images: pictures.Images) -> Part:
    """What a slot takes; drawn shapes are neither cut nor mirrored."""
    data = self._config.data
    crop: crops.Crop = crops.Whole()
    if data.name != 'shapes' and data.augment:
      crop = crops.Square(
        data.img_size, base.load_size(self._config), squeeze=True
      )
    return Picks(images, crop, Stream.BATCH, KEYS, num_words=1)

  def view(self, picture: Image.Image) -> Image.Image:
    """All of a source."""
    return picture

  @staticmethod
  def requests(
    batch: Mapping[str, Array],
  ) -> tuple[Array, int, dict[str, Array]]:
    """Every source as its target."""
    return batch['x_a'], 0, {}

  def noise(self) -> dict[str, np.ndarray]:
    """A batch of noise that meets the contract."""
    rng = np.random.default_rng(self._config.seed)
    return base.noise_images(self._config, KEYS, rng)

  def training(self, process_index: int, process_count: int) -> base.Training:
    """Opens the data of a training; mistakes end here."""
    opened = super().training(process_index, process_count)
    targets = opened.domains[1:]
    resolved = {'data.domains': targets, 'model.num_domains': len(targets)}
    return opened._replace(domains=targets, resolved=resolved)

  def check(self, train: pictures.Images, val: pictures.Images) -> None:
    """Nothing more: pairs are checked as they are opened."""


def open_pairs(config: ConfigDict, split: str) -> pictures.Images:
  """Opens pairs of images by the config's `data.pair`: domains 0 and 1.

  Raises:
    UserError: they cannot be opened, or an image has no partner.
  """
  data = config.data
  if data.name == 'shapes':
    return _DrawnPairs(config, split)
  source = open_source(config, split)
  images = pictures.FileImages(
    source, data.img_size, data.timeout, data.background
  )
  if data.name == 'paired':
    return Halves(images, check_pair(config), data.img_size)
  return images


def open_source(config: ConfigDict, split: str) -> sources.Source:
  """The files of pairs: of both sides as one domain, or of each of the two.

  Raises:
    UserError: they cannot be opened, or an image has no partner.
  """
  data = config.data
  pair = check_pair(config)
  if data.name.startswith('tfds:'):
    raise UserError(
      f'data.name {data.name!r} has no pairs: known are paired, folder, shapes'
    )
  if data.name == 'paired':
    return sources.SideBySideSource(data.root, split)
  try:
    source = sources.create_source(data.name, data.root, split, pair)
  except UserError as error:  # Sources know no pairs.
    message = str(error).replace('data.domains names', 'data.pair names')
    raise UserError(message) from None
  return Matched(source, pair)


def check_pair(config: ConfigDict) -> tuple[str, str]:
  """The names of source and target; UserError if they cannot be."""
  data = config.data
  pair = tuple(data.pair)
  sides = {'shapes': DRAWN, 'paired': SIDES}.get(data.name)
  are_names = all(isinstance(name, str) for name in pair)
  if (
    not are_names
    or len(set(pair)) != 2
    or len(pair) != 2
    or (sides and set(pair) != set(sides))
  ):
    names = f'{sides[0]!r} and {sides[1]!r}' if sides else 'two names'
    raise UserError(
      f'config.data.pair must be {names}, the source first, for data.name '
      f'{data.name!r}: {pair}'
    )
  if tuple(data.domains) not in ((), pair[1:]):
    raise UserError(
      f'config.data.domains must be () or {pair[1]!r}, the target of the pair: '
      f'{tuple(data.domains)}'
    )
  return pair


class Matched:
  """A source of two folders, whose images of equal names have equal numbers."""

  def __init__(self, source: sources.Source, pair: tuple[str, str]):
    """Raises UserError for an image that has no partner."""
    self.domains: tuple[str, ...] = pair
    self.unused = source.unused
    self._source = source
    self._order = [source.domains.index(name) for name in pair]
    by_name = [_by_name(source, domain) for domain in self._order]
    for here, there, name in ((0, 1, pair[1]), (1, 0, pair[0])):
      alone = sorted(by_name[here].keys() - by_name[there].keys())
      if alone:
        domain = self._order[here]
        first = source.describe(domain, by_name[here][alone[0]])
        raise UserError(
          f'{first} and {len(alone) - 1} others have no partner of the same '
          f'name in {name!r}: add the partners, or remove the images'
        )
    names = sorted(by_name[0])
    self._numbers = [[own[name] for name in names] for own in by_name]
    self.counts: tuple[int, ...] = (len(names),) * 2

  def read(self, domain: int, index: int) -> bytes:
    """The encoded image; raises OSError where it cannot be read."""
    return self._source.read(*self._find(domain, index))

  def describe(self, domain: int, index: int) -> str:
    """What to call that image in a message."""
    return self._source.describe(*self._find(domain, index))

  def _find(self, domain: int, index: int) -> tuple[int, int]:
    return self._order[domain], self._numbers[domain][index]


def _by_name(source: sources.Source, domain: int) -> dict[str, int]:
  """{name without its ending: number}; UserError if two have one name."""
  numbers = range(source.counts[domain])
  names = [sources.name_of(source, domain, index) for index in numbers]
  (name, count), *_ = Counter(names).most_common(1)
  if count > 1:
    first = source.describe(domain, names.index(name))
    raise UserError(
      f'{first} is one of {count} images named {name!r}: '
      'keep one, as names tell which images are pairs'
    )
  return {name: index for index, name in enumerate(names)}


class Halves:
  """Pictures of which the left half is A and the right one is B."""

  def __init__(
    self, images: pictures.FileImages, pair: Sequence[str], img_size: int
  ):
    self.domains = tuple(pair)
    self.counts = self.drawable = images.counts * 2
    self._images, self._img_size = images, img_size

  def get(self, domain: int, index: int) -> np.ndarray:
    """A half, not augmented: uint8 [S, S, 3]."""
    return preprocess.resize(self.picture(domain, index), self._img_size)

  def picture(self, domain: int, index: int) -> Image.Image:
    """A half at its stored size; UnreadableImage names the file."""
    whole = self._images.picture(0, index)
    width, height = whole.size
    if width < 2:
      raise preprocess.UnreadableImage(
        f'{self._images.describe(0, index)} is {width} pixel wide: there are '
        'no two halves'
      )
    middle = width // 2
    if self.domains[domain] == SIDES[0]:
      return whole.crop((0, 0, middle, height))
    return whole.crop((middle, 0, width, height))

  original = picture

  def name(self, domain: int, index: int) -> str:
    """Name of the whole picture."""
    del domain
    return self._images.name(0, index)

  def digest(self, domain: int) -> str:
    """A sum of all that the halves are made from."""
    return f'{self._images.digest(0)} {self.domains[domain]}'

  def listing(self, domain: int) -> str:
    """Of the whole pictures, and the side."""
    return f'{self._images.listing(0)} {self.domains[domain]}'


class _DrawnPairs:
  """Contours of drawn shapes, in their colours, and the shapes filled."""

  def __init__(self, config: ConfigDict, split: str):
    self.domains: tuple[str, ...] = check_pair(config)
    self.counts: tuple[int, ...] = (pictures.NUM_EVAL_SHAPES,) * 2
    self.drawable: tuple[int, ...] = (pictures.ENDLESS,) * 2
    is_val = split == config.data.val_split
    self._stream = Stream.VALIDATION if is_val else Stream.REALS
    self._seed, self._img_size = config.seed, config.data.img_size

  def get(self, domain: int, index: int) -> np.ndarray:
    rng = streams.generator(self._seed, self._stream, slot=index)
    shape = int(rng.integers(len(shapes.DOMAINS)))
    factors = shapes.draw_factors(rng, shape, 1)
    line = LINE if self.domains[domain] == DRAWN[0] else 0
    return shapes.render(factors, self._img_size, line)[0]

  def picture(self, domain: int, index: int) -> Image.Image:
    return Image.fromarray(self.get(domain, index))

  original = picture

  def name(self, domain: int, index: int) -> str:
    del domain
    return str(index)

  def digest(self, domain: int) -> str:
    return (
      f'paired shapes {self.domains[domain]} x {self.counts[domain]}, seed '
      f'{self._seed}, role {self._stream:d}, {self._img_size} px'
    )

  listing = digest
