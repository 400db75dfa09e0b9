"""Sources and references: the batches of systems with many domains.

A batch of B slots is a dict of

  x_src, x_ref, x_ref2: float32 [B, S, S, 3] in [-1, 1]
  y_src, y_ref: int32 [B]

where x_src is of domain y_src, and x_ref and x_ref2 are two images of domain
y_ref. Domains come alike, and images alike within them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from PIL import Image

from jaxgan.data import crops, pictures, streams
from jaxgan.data.contracts import base
from jaxgan.data.feeding import Part
from jaxgan.data.streams import Stream

Array = jax.Array

KEYS = ('x_src', 'x_ref', 'x_ref2')


class Picks(base.Picks):
  """A source of any domain, and two references of any domain."""

  apart = (1, 2)

  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """Domains and numbers of KEYS; two references, where there are two."""
    xp = streams.numpy_of(words)
    y_src, y_ref = (streams.below(words[i], len(counts)) for i in range(2))
    source = streams.below(words[2], counts[y_src])
    count = counts[y_ref]
    first = streams.below(words[3], count)
    # Any image but the first; the first again where there is no other.
    other = streams.below(words[4], xp.maximum(count - 1, 1))
    # Less `count`, as the sum of two numbers may not be one of int32.
    second = (first - count + 1 + other) % count
    domains = xp.stack([y_src, y_ref, y_ref])
    return domains, xp.stack([source, first, second]).astype('int32')

  def labels(self, domains: Any, rows: Any, table: Any) -> base.Labels:
    """The domains of the source and of the references."""
    del rows, table
    return {'y_src': domains[..., 0], 'y_ref': domains[..., 1]}


class Data(base.DomainData):
  """Data of a domain a folder."""

  def open(self, split: str) -> pictures.Images:
    """The pictures of a split; UserError if they cannot be opened."""
    return pictures.open_images(self._config, split)

  def part(self, images: pictures.Images) -> Part:
    """What a slot takes; drawn shapes are not augmented."""
    data = self._config.data
    for name, count in zip(images.domains, images.counts, strict=True):
      if count == 1:
        logging.warning('Domain %r has one image: x_ref2 repeats x_ref', name)
    crop: crops.Crop = crops.Whole()
    if data.augment and data.name != 'shapes':
      crop = crops.ResizedCrop()
    return Picks(images, crop, Stream.BATCH, KEYS, num_words=5)

  def view(self, picture: Image.Image) -> Image.Image:
    """All of it."""
    return picture

  @staticmethod
  def requests(
    batch: Mapping[str, Array],
  ) -> tuple[Array, Array, dict[str, Array]]:
    """The sources, in the styles of the references."""
    return batch['x_src'], batch['y_ref'], {'x_ref': batch['x_ref']}

  def noise(self) -> dict[str, np.ndarray]:
    """A batch of noise that meets the contract."""
    config = self._config
    rng = np.random.default_rng(config.seed)
    images = base.noise_images(config, KEYS, rng)
    labels = {
      key: rng.integers(
        config.model.num_domains, size=config.batch_size, dtype=np.int32
      )
      for key in ('y_src', 'y_ref')
    }
    return {**images, **labels}
