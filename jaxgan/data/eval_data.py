"""Images to be seen in order: the validation and the evaluation of a run."""

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.runtime.errors import UserError


class EvalData:
  """Images as they are, by domain and number."""

  def __init__(self, images: pictures.Images, skip_bad_images: bool):
    """Takes the images as they are."""
    self.domains = images.domains
    self.counts = images.counts
    # A sum of all that the images of a domain are made from; reads them all, a
    # part on each process.
    self.digest = functools.cache(images.digest)
    self.name = images.name
    self._images = images
    self._skips = pictures.Skips(skip_bad_images)

  def images(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[tuple[int, np.ndarray]]:
    """Index and image, uint8 [S, S, 3], of those of a domain."""
    for index in indices:
      try:
        yield index, self._images.get(domain, index)
      except UnreadableImage as error:
        self._skips.add(error)

  def pictures(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[Image.Image]:
    """What is viewed of those images of a domain, at their stored sizes."""
    return self._readable(self._images.picture, domain, indices)

  def originals(
    self, domain: int, indices: Iterable[int]
  ) -> Iterator[Image.Image]:
    """Those images of a domain whole, as stored."""
    return self._readable(self._images.original, domain, indices)

  def _readable(
    self,
    read: Callable[[int, int], Image.Image],
    domain: int,
    indices: Iterable[int],
  ) -> Iterator[Image.Image]:
    for index in indices:
      try:
        yield read(domain, index)
      except UnreadableImage as error:
        self._skips.add(error)

  def readable(self, domain: int, index: int) -> np.ndarray:
    """Image `index`, counted round the domain, or the next readable one."""
    count = self.counts[domain]
    for attempt in range(count):
      try:
        return self._images.get(domain, (index + attempt) % count)
      except UnreadableImage as error:
        self._skips.add(error)
    raise UserError(f'no readable validation image of {self.domains[domain]!r}')
