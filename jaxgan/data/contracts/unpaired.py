"""Batches of two domains whose images do not belong together.

A batch of B slots is a dict of

  x_a, x_b: float32 [B, S, S, 3] in [-1, 1]

an image of the first domain and one of the second. The images of a domain come
alike, with replacement, where the originals go through both domains in random
order and begin anew with the end of the shorter one.

An image is a random square: a picture is made `load_size` high or wide,
whichever is shorter, and S x S pixels of it are cut out and perhaps mirrored.
Validation sees the one in the middle.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxgan.data import crops, pictures, streams
from jaxgan.data.contracts import base
from jaxgan.data.feeding import Part
from jaxgan.data.streams import Stream
from jaxgan.runtime.errors import UserError

Array = jax.Array

KEYS = ('x_a', 'x_b')


class Picks(base.Picks):
  """An image of each of the two domains."""

  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """Domains and numbers of KEYS."""
    xp = streams.numpy_of(words)
    return xp.arange(len(KEYS), dtype='int32'), streams.below(words, counts)


class Data(base.DomainData):
  """Data of two domains."""

  images_per_slot = len(KEYS)

  def open(self, split: str) -> '_Ordered':
    """The whole pictures of a split, in the order that the config has."""
    base.load_size(self._config)
    return _Ordered(self._config, split)

  def part(self, images: pictures.Images) -> Part:
    """What a slot takes; drawn shapes are neither cut nor mirrored."""
    data = self._config.data
    crop: crops.Crop = crops.Whole()
    if data.name != 'shapes':
      crop = crops.Square(
        data.img_size, base.load_size(self._config), data.augment
      )
    return Picks(images, crop, Stream.BATCH, KEYS, num_words=len(KEYS))

  def view(self, picture: Image.Image) -> Image.Image:
    """The square in the middle.

    Training sees all of a picture, a square of that size at a time.
    """
    share = self._config.data.img_size / base.load_size(self._config)
    side = max(1, round(min(picture.size) * share))
    left, top = ((n - side) // 2 for n in picture.size)
    return picture.crop((left, top, left + side, top + side))

  def viewed(self, images: pictures.Images) -> pictures.Images:
    """Images through `view`; drawn shapes whole."""
    data = self._config.data
    if data.name == 'shapes':
      return images
    share = f'{data.img_size}/{base.load_size(self._config)}'
    note = f'the square in the middle, {share} of it'
    return pictures.Viewed(images, self.view, data.img_size, note)

  @staticmethod
  def requests(
    batch: Mapping[str, Array],
  ) -> tuple[Array, int, dict[str, Array]]:
    """Images of b as of a, in the styles of a's."""
    return batch['x_b'], 0, {'x_ref': batch['x_a']}

  def noise(self) -> dict[str, np.ndarray]:
    """A batch of noise that meets the contract."""
    rng = np.random.default_rng(self._config.seed)
    return base.noise_images(self._config, KEYS, rng)

  def check(self, train: pictures.Images, val: pictures.Images) -> None:
    """Raises UserError unless there are two domains, alike in both splits."""
    if len(train.domains) != len(KEYS):
      names = train.domains[:2] if train.domains[1:] else ('cat', 'dog')
      example = ','.join(map(repr, names))
      raise UserError(
        f'{self._config.data.train_split!r} has {len(train.domains)} domains '
        f'({", ".join(train.domains)[:200]}), and two are translated into each '
        f'other: name two with --config.data.domains="({example})"'
      )
    super().check(train, val)


class _Ordered:
  """A split of the data, its domains in the order that the config has.

  Sources have them in an order of their own. Here it matters: the first is the
  one that weights of a domain a are for.
  """

  def __init__(self, config: ConfigDict, split: str):
    images = pictures.open_images(config, split)
    wanted, found = tuple(config.data.domains), images.domains
    self._order = list(range(len(found)))
    if wanted:
      self._order.sort(key=lambda domain: wanted.index(found[domain]))
    self.domains = tuple(found[domain] for domain in self._order)
    self.counts = tuple(images.counts[domain] for domain in self._order)
    self.drawable = tuple(images.drawable[domain] for domain in self._order)
    self._images = images

  def get(self, domain: int, index: int) -> np.ndarray:
    return self._images.get(self._order[domain], index)

  def picture(self, domain: int, index: int) -> Image.Image:
    return self._images.picture(self._order[domain], index)

  original = picture

  def name(self, domain: int, index: int) -> str:
    return self._images.name(self._order[domain], index)

  def digest(self, domain: int) -> str:
    return self._images.digest(self._order[domain])

  def listing(self, domain: int) -> str:
    return self._images.listing(self._order[domain])
