"""Images of each domain as pixels: of files, or drawn when asked for."""

import contextlib
import hashlib
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Protocol

import ml_collections
import numpy as np
from absl import logging
from PIL import Image

from jaxgan.data import preprocess, reading, shapes, sources, streams
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.data.streams import Stream
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

NUM_EVAL_SHAPES = 1000  # of each domain and split
# Drawn images do not end: any of these can be asked for.
ENDLESS = 2**30  # the sum of two is still 32 bits


class Images(Protocol):
  """Images of each domain, as pixels: what files and drawn shapes share."""

  domains: tuple[str, ...]
  counts: tuple[int, ...]  # of each domain, to be seen in order

  @property
  def drawable(self) -> tuple[int, ...]:
    """Images of each domain that training draws from."""

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, not augmented: uint8 [S, S, 3]."""

  def picture(self, domain: int, index: int) -> Image.Image:
    """What is viewed of image `index` of a domain at its stored size, RGB."""

  def original(self, domain: int, index: int) -> Image.Image:
    """The whole of image `index` of a domain, as stored, mode RGB."""

  def name(self, domain: int, index: int) -> str:
    """Name of image `index` of a domain: the file's, without its ending.

    Images of two domains that show one item have one name.
    """

  def digest(self, domain: int) -> str:
    """A sum of all that the images of a domain are made from."""

  def listing(self, domain: int) -> str:
    """A sum of the names in a domain, and of its first image: quickly made.

    It is the same wherever the files lie.
    """


class FileImages:
  """The images of a source of files."""

  def __init__(
    self,
    source: sources.Source,
    img_size: int,
    timeout: float = 300,
    background: str = '',
  ):
    """Takes the files, and how they are read.

    Args:
      source: of the files.
      img_size: S.
      timeout: seconds in which a file must have been read.
      background: of see-through pixels, as `preprocess.decode` takes it.

    Raises:
      UserError: the timeout is no number of seconds.
    """
    if not 0 < timeout <= threading.TIMEOUT_MAX:
      raise UserError(
        f'config.data.timeout must be a number of seconds: {timeout}'
      )
    self.domains, self.counts = source.domains, source.counts
    self.drawable = self.counts
    self._source = source
    self._img_size = img_size
    self._timeout = timeout
    self._background = background

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, not augmented: uint8 [S, S, 3]."""
    return preprocess.resize(self.picture(domain, index), self._img_size)

  def describe(self, domain: int, index: int) -> str:
    """What to call an image in a message."""
    return self._source.describe(domain, index)

  def name(self, domain: int, index: int) -> str:
    """Name of the file, without folder and ending."""
    return sources.name_of(self._source, domain, index)

  def digest(self, domain: int) -> str:
    """A sum of all that the images of a domain are made from.

    Each process reads a part of them; all must call it together.
    """

    def digest_file(index: int) -> bytes:
      try:
        return hashlib.sha256(self._read(domain, index)).digest()
      except OSError:
        return bytes(32)  # named when the image is asked for

    count = self.counts[domain]
    with futures.ThreadPoolExecutor() as pool:
      own = b''.join(
        pool.map(digest_file, range(count)[sharding.own_part(count)])
      )
    parts = sharding.gather(np.frombuffer(own, np.uint8))
    sum = hashlib.sha256(parts.tobytes()).hexdigest()
    return f'{sum} on {self._background}' if self._background else sum

  def listing(self, domain: int) -> str:
    """A sum of the names in a domain, and of its first file."""
    paths = (self.describe(domain, i) for i in range(self.counts[domain]))
    sum = hashlib.sha256('/'.join(p.rpartition('/')[2] for p in paths).encode())
    with contextlib.suppress(OSError):  # named when the image is asked for
      sum.update(self._read(domain, 0))
    return sum.hexdigest()

  def picture(self, domain: int, index: int) -> Image.Image:
    """Image `index` at its stored size; UnreadableImage names the file."""
    stored = self.stored(domain, index)
    return preprocess.flatten(stored, self._background)

  original = picture

  def stored(self, domain: int, index: int) -> Image.Image:
    """The same before it is blended: mode RGB, or RGBA where it has alpha."""
    try:
      image = preprocess.open_image(self._read(domain, index))
      return preprocess.upright(image)
    except (UnreadableImage, OSError) as error:
      name = self._source.describe(domain, index)
      raise UnreadableImage(f'{name} cannot be read ({error})') from None

  def _read(self, domain: int, index: int) -> bytes:
    return reading.read_in_time(
      lambda: self._source.read(domain, index),
      self._timeout,
      lambda: self._source.describe(domain, index),
    )


class ShapesImages:
  """Shapes drawn when asked for; no files."""

  def __init__(self, config: ml_collections.ConfigDict, split: str):
    """Draws the shapes that data.domains names, or all of them."""
    self.domains = sources.select_domains(
      shapes.DOMAINS, config.data.domains, 'shapes'
    )
    self.counts = (NUM_EVAL_SHAPES,) * len(self.domains)
    self.drawable = (ENDLESS,) * len(self.domains)
    is_val = split == config.data.val_split
    self._stream = Stream.VALIDATION if is_val else Stream.REALS
    self._seed = config.seed
    self._img_size = config.data.img_size

  def get(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, as scored: uint8 [S, S, 3]."""
    rng = streams.generator(self._seed, self._stream, slot=index, step=domain)
    shape = shapes.DOMAINS.index(self.domains[domain])
    return shapes.draw_images(rng, shape, 1, self._img_size)[0]

  def picture(self, domain: int, index: int) -> Image.Image:
    """The same, mode RGB."""
    return Image.fromarray(self.get(domain, index))

  original = picture

  def name(self, domain: int, index: int) -> str:
    """One that no image of another domain has: each is drawn by itself."""
    return f'{self.domains[domain]} {index}'

  def digest(self, domain: int) -> str:
    """What the images of a domain are drawn from."""
    return (
      f'shapes {self.domains[domain]} x {self.counts[domain]}, seed '
      f'{self._seed}, role {self._stream:d}, {self._img_size} px'
    )

  listing = digest


class Viewed:
  """Images of which networks see a part: the system's view."""

  def __init__(
    self,
    images: Images,
    view: Callable[[Image.Image], Image.Image],
    img_size: int,
    note: str,
  ):
    """Takes the view of a picture, and a note that tells it from others."""
    self.domains, self.counts = images.domains, images.counts
    self.drawable = images.drawable
    self._images, self._view = images, view
    self._img_size, self._note = img_size, note

  def get(self, domain: int, index: int) -> np.ndarray:
    """The view of an image: uint8 [S, S, 3]."""
    return preprocess.resize(self.picture(domain, index), self._img_size)

  def picture(self, domain: int, index: int) -> Image.Image:
    """The same at its stored size, mode RGB."""
    return self._view(self._images.picture(domain, index))

  def original(self, domain: int, index: int) -> Image.Image:
    """The whole picture that the view is of."""
    return self._images.original(domain, index)

  def name(self, domain: int, index: int) -> str:
    """Name of the whole picture."""
    return self._images.name(domain, index)

  def digest(self, domain: int) -> str:
    """A sum of all that the images of a domain are made from."""
    return f'{self._images.digest(domain)} {self._note}'

  def listing(self, domain: int) -> str:
    """Of the whole pictures."""
    return self._images.listing(domain)


class Skips:
  """Decides what an unreadable image means: the end, or one more skipped."""

  def __init__(self, allowed: bool):
    self.count = 0
    self._allowed = allowed
    self._named: set[str] = set()
    self._lock = threading.Lock()

  def add(self, error: UnreadableImage) -> None:
    """Counts it, and names it once; UserError if none is to be skipped."""
    if not self._allowed:
      raise UserError(f'{error}: {reading.CURE}') from None
    with self._lock:
      self.count += 1
      is_new = str(error) not in self._named
      self._named.add(str(error))
    if is_new:
      logging.warning('Skipping %s', error)


def open_images(config: ml_collections.ConfigDict, split: str) -> Images:
  """Opens a split of the data of a config; UserError if it cannot be."""
  data = config.data
  if data.name == 'shapes':
    return ShapesImages(config, split)
  source = sources.create_source(data.name, data.root, split, data.domains)
  return FileImages(source, data.img_size, data.timeout, data.background)


def check_images(
  images: Images,
  skip_bad: bool,
  process_index: int = 0,
  process_count: int = 1,
) -> None:
  """Decodes this process's share of all images once, many at a time.

  Raises:
    UserError: an image is bad, and bad ones are not to be skipped; or a domain
      has no other ones.
  """
  share = [
    (domain, index)
    for domain, count in enumerate(images.counts)
    for index in range(process_index, count, process_count)
  ]

  def check(domain: int, index: int) -> None:
    images.picture(domain, index)

  bad, good = {}, [0] * len(images.domains)
  errors = reading.read_each(check, share, 'checked')
  for key, error in zip(share, errors, strict=True):
    if error:
      bad[key] = error
    good[key[0]] += not error
  # Of all processes: a domain is lost if none of them has a good image.
  good = sharding.gather(np.array([good])).sum(0)
  for (domain, _), error in bad.items():
    if not good[domain]:
      name = images.domains[domain]
      raise UserError(f'domain {name!r} has no readable image: {error}')
  reading.check_unreadable(list(bad.values()), len(share), skip_bad)
