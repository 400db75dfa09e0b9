"""Data sets whose images have labels: files, or drawn when asked for."""

import functools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import ml_collections
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxgan.data import listing, pictures, shapes, sources, streams
from jaxgan.data.labels import LabelSet
from jaxgan.data.streams import Stream
from jaxgan.runtime import errors, files, processes

_ALL = 'all'  # the only domain of images that have attributes
_SPLIT_SEED = 1234  # of CelebA, as the original divides it
_ATTRIBUTE_FILE = 'list_attr_celeba.txt'
# Of drawn images with attributes: by data set, training's and validation's.
_STREAMS = (
  (Stream.ATTRIBUTES, Stream.ATTRIBUTES_VALIDATION),
  (Stream.JOINT_ATTRIBUTES, Stream.JOINT_ATTRIBUTES_VALIDATION),
)


class LabelledImages(Protocol):
  """Images with labels."""

  labels: LabelSet
  images: pictures.Images  # by domain; of attributes all in one
  mirrors: bool  # whether training may mirror them

  def label(self, domain: int, index: int) -> np.ndarray:
    """Label float32 [C] of an image of `images`."""


def crop(picture: Image.Image, size: int) -> Image.Image:
  """The square of `size` in the middle of a picture; 0 for all of it."""
  if not size:
    return picture
  # As torchvision's CenterCrop: zeros around what is smaller, where a half is
  # not rounded to even.
  left, top = (
    round((n - size) / 2) if n > size else -((size - n) // 2)
    for n in picture.size
  )
  return picture.crop((left, top, left + size, top + size))


class FileSet:
  """Images in files: their labels are the domains, or given attributes."""

  mirrors = True

  def __init__(
    self,
    images: pictures.Images,
    labels: LabelSet,
    attributes: np.ndarray | None,
  ):
    """Takes attributes float32 [N, C]; None for one-hot domains."""
    self.labels, self.images = labels, images
    self._attributes = attributes

  def label(self, domain: int, index: int) -> np.ndarray:
    """One-hot domain, or the attributes of the image."""
    if self._attributes is not None:
      return self._attributes[index]
    return np.eye(len(self.labels.names), dtype=np.float32)[domain]


class DrawnDomains:
  """Shapes, drawn when asked for; labels are their domains."""

  mirrors = False

  def __init__(self, images: pictures.Images):
    self.labels, self.images = LabelSet(images.domains, True), images

  def label(self, domain: int, index: int) -> np.ndarray:
    """One-hot domain."""
    del index
    return np.eye(len(self.labels.names), dtype=np.float32)[domain]


class DrawnAttributes:
  """Shapes with attributes, drawn when asked for."""

  mirrors = False

  def __init__(self, config: ml_collections.ConfigDict, stream: Stream):
    self.labels = LabelSet(shapes.ATTRIBUTES, False)
    self._images = _AttributeImages(config, stream)
    self.images: pictures.Images = self._images

  def label(self, domain: int, index: int) -> np.ndarray:
    """The attributes of an image of `images`."""
    del domain
    return shapes.attributes_of(self._images.factors(index))[0]


class _AttributeImages:
  """The images of drawn shapes with attributes."""

  domains: tuple[str, ...] = (_ALL,)
  counts: tuple[int, ...] = (pictures.NUM_EVAL_SHAPES,)
  drawable: tuple[int, ...] = (pictures.ENDLESS,)

  def __init__(self, config: ml_collections.ConfigDict, stream: Stream):
    self._img_size, self._seed = config.data.img_size, config.seed
    self._stream = stream

  def factors(self, index: int) -> shapes.Factors:
    rng = streams.generator(self._seed, self._stream, slot=index)
    return shapes.draw_attributes(rng, 1)

  def get(self, domain: int, index: int) -> np.ndarray:
    return shapes.render(self.factors(index), self._img_size)[0]

  def picture(self, domain: int, index: int) -> Image.Image:
    return Image.fromarray(self.get(domain, index))

  original = picture

  def name(self, domain: int, index: int) -> str:
    del domain
    return str(index)

  def digest(self, domain: int) -> str:
    return (
      f'shapes_attributes x {self.counts[0]}, seed {self._seed}, role '
      f'{self._stream:d}, {self._img_size} px'
    )

  listing = digest


class CelebaSource:
  """Encoded images of CelebA's layout, and attributes of each.

  <root>/images/<file> and <root>/list_attr_celeba.txt: a count, the names of
  all attributes, and a line for each file with 1 or -1 for each of them. The
  split is the original's: shuffled by a fixed seed, the first `num_test` lines
  are for testing. `miscount` tells of a count that is not that of the lines.
  """

  domains: tuple[str, ...] = (_ALL,)
  counts: tuple[int, ...]

  def __init__(
    self,
    root: str,
    wanted: Sequence[str],
    is_test: bool,
    num_test: int,
  ):
    """Reads the list; raises UserError if it is not as it should be."""
    self._folder = epath.Path(root) / 'images'
    if not self._folder.is_dir():
      raise errors.UserError(
        f'{self._folder} is missing: put the images of CelebA there, and '
        f'{_ATTRIBUTE_FILE} beside it'
        f'{listing.there(epath.Path(root)) if root else ""}'
      )
    path = epath.Path(root) / _ATTRIBUTE_FILE
    self.names, lines, count = _read_attributes(path, wanted)
    self.unused: listing.Unused = {}
    self.miscount = _miscount(count, len(lines))
    if not is_test:  # once: the list is of both
      self.unused = _find_unused(self._folder, [name for name, _ in lines])
      listing.tell(str(path), self.unused)
      if self.miscount and processes.is_first():
        logging.warning('%s: %s: is it whole?', path, self.miscount)
    random.Random(_SPLIT_SEED).shuffle(lines)
    chosen = lines[:num_test] if is_test else lines[num_test:]
    if not chosen:
      raise errors.UserError(
        f'{path} has {len(lines)} lines, and {num_test} of them are for '
        'testing: see config.data.num_test'
      )
    self._files = [name for name, _ in chosen]
    self.attributes = np.array([values for _, values in chosen], np.float32)
    self.counts = (len(chosen),)

  def read(self, domain: int, index: int) -> bytes:
    """The bytes of a file."""
    del domain
    return sources.read_file(self._folder / self._files[index])

  def describe(self, domain: int, index: int) -> str:
    """The path of a file."""
    del domain
    return errors.printable(str(self._folder / self._files[index]))


def _read_attributes(
  path: epath.Path, wanted: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[str, list[bool]]], str]:
  """The names in use, for each file whether it has them, and the count."""
  try:
    count, header, *rest = path.read_text().splitlines()
  except (OSError, ValueError) as e:
    raise errors.UserError(
      f'{path} is no list of attributes as CelebA has it '
      f'({" ".join(str(e).split())})'
    ) from e
  there = header.split()
  if not there:
    raise errors.UserError(
      f'{path} has no names of attributes in its second line'
    )
  names = tuple(dict.fromkeys(wanted or there))
  for name in names:
    if name not in there:
      raise errors.UserError(
        f'data.domains names {name!r}, which is not in {path} (there: '
        f'{", ".join(there)[:200]})'
      )
  columns = [there.index(name) for name in names]
  lines = []
  for number, line in enumerate(rest, 3):
    if not line.strip():
      continue
    name, *values = line.split()
    if (
      len(values) != len(there)
      or not files.is_name(name)
      or not set(values) <= {'1', '-1', '0'}
    ):
      raise errors.UserError(
        f'{path} line {number} is not a file and {len(there)} times 1 or -1'
      )
    lines.append((name, [values[i] == '1' for i in columns]))
  return names, lines, count.strip()


def _miscount(count: str, num_lines: int) -> str:
  """How the count in the first line differs from that of the lines, or ''."""
  number = count.lstrip('\ufeff').replace(',', '')
  if not number.isdecimal():
    return f'its first line is no count of images: {count[:40]!r}'
  if int(number) == num_lines:
    return ''
  return f'its first line says {count} images, and it names {num_lines}'


def _find_unused(folder: epath.Path, names: Sequence[str]) -> listing.Unused:
  """Images without a line in the list, lines without one, and other files."""
  listed = Counter(names)
  there = {entry.name: entry for entry in listing.entries(folder)}
  others = [entry for name, entry in there.items() if name not in listed]
  unused = listing.by_kind(others)
  unused[listing.NOT_LISTED] = unused.pop(listing.OUTSIDE, [])
  unused[listing.NO_IMAGE] = [name for name in listed if name not in there]
  unused[listing.TWICE] = [name for name, n in listed.items() if n > 1]
  return {kind: found for kind, found in unused.items() if found}


def check_names(names: Sequence[str]) -> None:
  """Raises UserError unless labels can be told apart and be in names."""
  for name in names:
    if names.count(name) > 1:
      raise errors.UserError(
        f'both data sets have a label {name!r}: leave it out of '
        'config.data.joint_domains, or rename it in one of them'
      )
    files.check_part(name, 'the data has a label')
  if len(names) < 2:
    raise errors.UserError(
      f'the data has one label ({names[0]}): StarGAN needs two or more'
    )


def open_set(
  config: ml_collections.ConfigDict, split: str, index: int
) -> LabelledImages:
  """Opens a split of the first (0) or the second (1) data set of a config.

  Raises:
    UserError: it is not there, or not as it should be.
  """
  if not index:
    return _open_set(config, split, 0)
  try:
    return _open_set(config, split, 1)
  except errors.UserError as e:
    raise errors.UserError(
      f'of the second data set, config.data.joint_...: {e}'
    ) from e


def _open_set(
  config: ml_collections.ConfigDict, split: str, index: int
) -> LabelledImages:
  data = config.data
  prefix = 'joint_' if index else ''
  name, root, crop_size, wanted = (
    data[prefix + key] for key in ('name', 'root', 'crop_size', 'domains')
  )
  img_size = data.img_size
  if name == 'shapes_attributes':
    is_val = split == data.val_split
    opened = DrawnAttributes(config, _STREAMS[index][is_val])
    if wanted and tuple(wanted) != opened.labels.names:
      raise errors.UserError(
        f'config.data.{prefix}domains must be () for shapes_attributes: '
        f'{tuple(wanted)}'
      )
    return opened
  if name == 'celeba':
    if data.train_split == data.val_split:
      raise errors.UserError(
        'config.data.train_split and val_split must differ for celeba: '
        f'{data.val_split!r}'
      )
    source = CelebaSource(root, wanted, split == data.val_split, data.num_test)
    images: pictures.Images = pictures.FileImages(
      source, img_size, data.timeout, data.background
    )
    labels, attributes = LabelSet(source.names, False), source.attributes
  else:
    if not name.startswith(('folder', 'unpaired', 'tfds:', 'shapes')):
      raise errors.UserError(
        f'data.name {name!r} is unknown (known: folder, unpaired, '
        'tfds:<data set>, celeba, shapes, shapes_attributes)'
      )
    # With the names that `pictures` knows: those of one data set.
    own = config.copy_and_resolve_references()
    own.data.update({'name': name, 'root': root, 'domains': tuple(wanted)})
    images = pictures.open_images(own, split)
    if name == 'shapes':
      return DrawnDomains(images)
    labels, attributes = LabelSet(images.domains, True), None
  cropped = pictures.Viewed(
    images,
    functools.partial(crop, size=crop_size),
    img_size,
    f'cropped to {crop_size}',
  )
  return FileSet(cropped, labels, attributes)
