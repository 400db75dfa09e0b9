"""Images and labels for StarGAN, of one data set or of two.

A batch of B slots has, for the data set i of the config,

  x<i>: float32 [B, n_critic, S, S, 3] in [-1, 1]
  c<i>: float32 [B, n_critic, C], zeros and ones, one for each of its names

an image for each iteration of a step. What slot k of step n holds depends on
(seed, n, k) only. As in the original,
every image comes as often as every other one, not every domain.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ml_collections
import numpy as np
from etils import epath
from PIL import Image

from jaxgan import errors, files
from jaxgan.data import (
  feeding,
  input_pipeline,
  pictures,
  preprocess,
  shapes,
  sources,
)
from jaxgan.data.feeding import Batch, Slot
from jaxgan.stargan import config as config_lib
from jaxgan.stargan.labels import Labels, LabelSet

_ALL = 'all'  # the only domain of images that have attributes
_SPLIT_SEED = 1234  # of CelebA, as the original divides it
_ATTRIBUTE_FILE = 'list_attr_celeba.txt'
# Roles of random streams, one for each data set: after those of `pictures` and
# of evaluations.
_ROLES = (7, 8)


class LabelledImages(Protocol):
  """Images with labels."""

  labels: LabelSet
  images: pictures.Images  # by domain; of attributes all in one

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 [S, S, 3], perhaps mirrored, and its label [C]."""

  def label(self, domain: int, index: int) -> np.ndarray:
    """Label float32 [C] of an image of `images`."""


class _Cropped:
  """Images of which the square in the middle is seen."""

  def __init__(self, images: pictures.Images, crop_size: int, img_size: int):
    self.domains, self.counts = images.domains, images.counts
    self._images, self._crop_size = images, crop_size
    self._img_size = img_size

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    return self._images.draw(rng, domain, count)

  def get(self, domain: int, index: int) -> np.ndarray:
    return preprocess.resize(self.picture(domain, index), self._img_size)

  def picture(self, domain: int, index: int) -> Image.Image:
    picture = self._images.picture(domain, index)
    if not self._crop_size:
      return picture
    # Zeros around what is smaller, as torchvision's CenterCrop.
    left, top = (round((n - self._crop_size) / 2) for n in picture.size)
    size = self._crop_size
    return picture.crop((left, top, left + size, top + size))

  def digest(self, domain: int) -> str:
    return f'{self._images.digest(domain)} cropped to {self._crop_size}'


class FileSet:
  """Images in files: their labels are the domains, or given attributes."""

  def __init__(
    self,
    images: pictures.Images,
    labels: LabelSet,
    attributes: np.ndarray | None,
    img_size: int,
    mirror: bool,
  ):
    """Takes attributes float32 [N, C]; None for one-hot domains."""
    self.labels, self.images = labels, images
    self._attributes, self._mirror = attributes, mirror
    self._img_size = img_size
    self._ends = np.cumsum(images.counts)

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Any image alike, mirrored with probability 0.5."""
    number = int(rng.random() * self._ends[-1])
    domain = int(np.searchsorted(self._ends, number, side='right'))
    index = number - int(self._ends[domain - 1]) * (domain > 0)
    pixels = self.images.get(domain, index)
    if self._mirror and rng.random() < 0.5:
      pixels = pixels[:, ::-1]
    return pixels, self.label(domain, index)

  def label(self, domain: int, index: int) -> np.ndarray:
    """One-hot domain, or the attributes of the image."""
    if self._attributes is not None:
      return self._attributes[index]
    return np.eye(len(self.labels.names), dtype=np.float32)[domain]


class DrawnDomains:
  """Shapes, drawn when asked for; labels are their domains."""

  def __init__(self, images: pictures.Images):
    self.labels, self.images = LabelSet(images.domains, True), images

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A new image of any domain."""
    domain = int(rng.random() * len(self.labels.names))
    return self.images.draw(rng, domain, 1)[0], self.label(domain, 0)

  def label(self, domain: int, index: int) -> np.ndarray:
    """One-hot domain."""
    del index
    return np.eye(len(self.labels.names), dtype=np.float32)[domain]


class DrawnAttributes:
  """Shapes with attributes, drawn when asked for."""

  def __init__(self, config: ml_collections.ConfigDict, split: str, role: int):
    self.labels = LabelSet(shapes.ATTRIBUTES, False)
    self._img_size = config.data.img_size
    self._images = _AttributeImages(config, split, role)
    self.images: pictures.Images = self._images

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A new image."""
    factors = shapes.draw_attributes(rng, 1)
    (pixels,) = shapes.render(factors, self._img_size)
    return pixels, shapes.attributes_of(factors)[0]

  def label(self, domain: int, index: int) -> np.ndarray:
    """The attributes of an image of `images`."""
    del domain
    return shapes.attributes_of(self._images.factors(index))[0]


class _AttributeImages:
  """The shapes with attributes that are seen in order."""

  domains: tuple[str, ...] = (_ALL,)
  counts: tuple[int, ...] = (pictures.NUM_EVAL_SHAPES,)

  def __init__(self, config: ml_collections.ConfigDict, split: str, role: int):
    self._img_size, self._seed = config.data.img_size, config.seed
    # Apart from those trained on, and from each other.
    self._role = role + 10 * (1 + (split == config.data.val_split))

  def factors(self, index: int) -> shapes.Factors:
    rng = pictures.stream(self._seed, self._role, 0, index, 0)
    return shapes.draw_attributes(rng, 1)

  def draw(
    self, rng: np.random.Generator, domain: int, count: int
  ) -> np.ndarray:
    factors = shapes.draw_attributes(rng, count)
    return shapes.render(factors, self._img_size)

  def get(self, domain: int, index: int) -> np.ndarray:
    return shapes.render(self.factors(index), self._img_size)[0]

  def picture(self, domain: int, index: int) -> Image.Image:
    return Image.fromarray(self.get(domain, index))

  def digest(self, domain: int) -> str:
    return (
      f'shapes_attributes x {self.counts[0]}, seed {self._seed}, role '
      f'{self._role}, {self._img_size} px'
    )


class CelebaSource:
  """Encoded images of CelebA's layout, and attributes of each.

  <root>/images/<file> and <root>/list_attr_celeba.txt: a count, the names of
  all attributes, and a line for each file with 1 or -1 for each of them. The
  split is the original's: shuffled by a fixed seed, the first `num_test` lines
  are for testing.
  """

  domains: tuple[str, ...] = (_ALL,)
  counts: tuple[int, ...]
  ignored: tuple[str, ...] = ()

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
      )
    path = epath.Path(root) / _ATTRIBUTE_FILE
    self.names, lines = _read_attributes(path, wanted)
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
) -> tuple[tuple[str, ...], list[tuple[str, list[bool]]]]:
  """The names in use, and for each file whether it has them."""
  try:
    _, header, *rest = path.read_text().splitlines()
  except (OSError, ValueError) as e:
    raise errors.UserError(
      f'{path} is no list of attributes as CelebA has it '
      f'({" ".join(str(e).split())})'
    ) from e
  there = header.split()
  names = tuple(wanted) or tuple(there)
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
    if len(values) != len(there) or not files.is_name(name):
      raise errors.UserError(
        f'{path} line {number} is not a file and {len(there)} values'
      )
    lines.append((name, [values[i] == '1' for i in columns]))
  return names, lines


def create_datasets(
  config: ml_collections.ConfigDict, process_index: int, process_count: int
) -> tuple['TrainData', 'EvalData']:
  """Opens the training and the validation images; mistakes end here."""
  feeding.check_batch_size(config.batch_size, process_count)
  data = config.data
  train = _open_all(config, data.train_split, data.augment)
  val = _open_all(config, data.val_split, mirror=False)
  _check_names(config, train, val)
  if data.check_images:
    for opened in (*train, *val):
      if isinstance(opened, FileSet):
        pictures.check_images(
          opened.images, data.skip_bad_images, process_index, process_count
        )
  train_data = TrainData(config, train, process_index, process_count)
  return train_data, EvalData(val, data.skip_bad_images)


def create_eval_data(
  config: ml_collections.ConfigDict,
) -> tuple[input_pipeline.EvalData, input_pipeline.EvalData]:
  """The images of the first data set, by domain; of attributes in one."""
  skip = config.data.skip_bad_images
  train, val = (
    input_pipeline.EvalData(open_set(config, split, 0).images, skip)
    for split in (config.data.train_split, config.data.val_split)
  )
  return train, val


def open_set(
  config: ml_collections.ConfigDict, split: str, index: int, mirror=False
) -> LabelledImages:
  """Opens a split of the first or the second data set of a config."""
  data = config.data
  prefix = 'joint_' if index else ''
  name, root, crop_size, wanted = (
    data[prefix + key] for key in ('name', 'root', 'crop_size', 'domains')
  )
  img_size = data.img_size
  if name == 'shapes_attributes':
    opened = DrawnAttributes(config, split, _ROLES[index])
    if wanted and tuple(wanted) != opened.labels.names:
      raise errors.UserError(
        f'config.data.{prefix}domains must be () for shapes_attributes: '
        f'{tuple(wanted)}'
      )
    return opened
  if name == 'celeba':
    source = CelebaSource(root, wanted, split == data.val_split, data.num_test)
    images: pictures.Images = pictures.FileImages(
      source, img_size, augment=False, timeout=data.timeout
    )
    labels, attributes = LabelSet(source.names, False), source.attributes
  else:
    # With the names that `pictures` knows: those of one data set.
    own = config.copy_and_resolve_references()
    own.data.update({'name': name, 'root': root, 'domains': tuple(wanted)})
    images = pictures.open_images(own, split, augment=False)
    if name == 'shapes':
      return DrawnDomains(images)
    labels, attributes = LabelSet(images.domains, True), None
  cropped = _Cropped(images, crop_size, img_size)
  return FileSet(cropped, labels, attributes, img_size, mirror)


def _open_all(
  config: ml_collections.ConfigDict, split: str, mirror: bool
) -> list[LabelledImages]:
  count = 2 if config.data.joint_name else 1
  return [open_set(config, split, i, mirror) for i in range(count)]


def _check_names(
  config: ml_collections.ConfigDict,
  train: Sequence[LabelledImages],
  val: Sequence[LabelledImages],
) -> None:
  """Raises UserError unless both splits have the labels, each name once."""
  for a, b in zip(train, val, strict=True):
    if odd := set(a.labels.names) ^ set(b.labels.names):
      raise errors.UserError(
        f'domain {min(odd)!r} is in one of {config.data.train_split!r} and '
        f'{config.data.val_split!r} only: add it to the other, or name the '
        'domains to use in data.domains'
      )
  names = [name for opened in train for name in opened.labels.names]
  for name in names:
    if names.count(name) > 1:
      raise errors.UserError(
        f'both data sets have a label {name!r}: leave it out of '
        'config.data.joint_domains, or rename it in one of them'
      )
    if not files.is_name(name):
      raise errors.UserError(
        f'the label {name!r} cannot be part of the name of a file: rename it'
      )
  if len(names) < 2:
    raise errors.UserError(
      f'the data has one label ({names[0]}): StarGAN needs two or more'
    )
  wanted = config.model.num_domains
  if wanted and wanted != len(names):
    raise errors.UserError(
      f'model.num_domains is {wanted} but the data has {len(names)} labels'
      f' ({", ".join(names)}): set it to 0 to take it from the data'
    )


class TrainData:
  """The endless training batches, this process's slots of each."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    opened: Sequence[LabelledImages],
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Process p of P holds slots p * B / P up to (p + 1) * B / P."""
    self._opened = opened
    self._labels = Labels(tuple(o.labels for o in opened))
    self.domains = self._labels.names
    self._skips = pictures.Skips(config.data.skip_bad_images)
    self._seed = config.seed
    self._per_slot = config.hparams.n_critic
    shape = (self._per_slot, config.data.img_size, config.data.img_size, 3)
    like = [
      (
        np.zeros(shape, np.uint8),
        np.zeros((self._per_slot, len(o.labels.names)), np.float32),
      )
      for o in opened
    ]
    slots = feeding.SlotFeed(
      self._slot,
      _to_slot(like),
      config.batch_size,
      process_index,
      process_count,
    )
    self.feed, self.batches = slots.feed, slots.batches

  @property
  def facts(self) -> dict[str, Any]:
    """What the data decided, by the config's names for it."""
    facts: dict[str, Any] = {'model.num_domains': len(self.domains)}
    for i, labels in enumerate(self._labels.sets):
      facts[f'data.{"joint_" if i else ""}domains'] = labels.names
    return facts

  @property
  def skipped(self) -> int:
    """How many times an unreadable image was drawn and another one taken."""
    return self._skips.count

  def _slot(self, step: int, slot: int) -> Slot:
    """One slot of a batch: each array without its leading axis."""
    sets = range(len(self._opened))
    return _to_slot([self._draw(i, step, slot) for i in sets])

  def _draw(
    self, index: int, step: int, slot: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a data set."""
    opened = self._opened[index]

    def draw(
      rng: np.random.Generator, late: bool
    ) -> tuple[np.ndarray, np.ndarray]:
      del late
      drawn = [opened.draw(rng) for _ in range(self._per_slot)]
      x, c = zip(*drawn, strict=True)
      return np.stack(x), np.stack(c)

    return pictures.first_readable(
      draw,
      self._seed,
      _ROLES[index],
      slot,
      step,
      self._skips,
      ', '.join(opened.images.domains)[:80],
    )


def _to_slot(drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> Slot:
  slot: dict[str, Any] = {}
  for i, (pixels, label) in enumerate(drawn):
    slot |= {f'x{i}': preprocess.to_float(pixels), f'c{i}': label}
  return slot


class EvalData:
  """Validation images as they are, for the grids of a training."""

  def __init__(self, opened: Sequence[LabelledImages], skip_bad_images: bool):
    """Takes the images as they are."""
    self._opened = opened
    self._seen = [
      input_pipeline.EvalData(o.images, skip_bad_images) for o in opened
    ]

  def batch(self, num_slots: int) -> Batch:
    """The same images at every call, the domains in turn: x<i>, c<i>."""
    slots = [self._slot(number) for number in range(num_slots)]
    return {key: np.stack([slot[key] for slot in slots]) for key in slots[0]}

  def _slot(self, number: int) -> Slot:
    drawn = []
    for opened, seen in zip(self._opened, self._seen, strict=True):
      index, domain = divmod(number, len(seen.domains))
      index %= seen.counts[domain]
      drawn.append((seen.readable(domain, index), opened.label(domain, index)))
    return _to_slot(drawn)


def example_batch(config: ml_collections.ConfigDict) -> Mapping[str, Any]:
  """A batch of noise, with labels, that meets the contract."""
  rng = np.random.default_rng(config.seed)
  size = config.data.img_size
  shape = config.batch_size, config.hparams.n_critic
  batch: dict[str, Any] = {}
  for i, labels in enumerate(config_lib.find_labels(config).sets):
    x = rng.uniform(-1, 1, (*shape, size, size, 3)).astype(np.float32)
    num = len(labels.names)
    if labels.exclusive:
      c = np.eye(num, dtype=np.float32)[rng.integers(num, size=shape)]
    else:
      c = rng.integers(0, 2, (*shape, num)).astype(np.float32)
    batch |= {f'x{i}': x, f'c{i}': c}
  return batch
