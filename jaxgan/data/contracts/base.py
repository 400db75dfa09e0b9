"""What all kinds of batches share: opening data, and feeding it."""

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from PIL import Image

from jaxgan.data import feeding, listing, pictures, sources
from jaxgan.data.crops import Crop
from jaxgan.data.eval_data import EvalData
from jaxgan.data.feeding import HostFeed, Part
from jaxgan.data.on_device import DeviceFeed
from jaxgan.data.streams import Stream
from jaxgan.runtime import processes
from jaxgan.runtime.errors import UserError

Array = jax.Array
Labels = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Picks(abc.ABC):
  """A `feeding.Part` without labels; a contract adds its own `pick`."""

  images: pictures.Images
  crop: Crop
  stream: Stream
  keys: tuple[str, ...]
  num_words: int

  apart: ClassVar[tuple[int, ...]] = ()
  together: ClassVar[bool] = False

  @property
  def words_per_slot(self) -> int:
    """Words that a slot takes, those of the crops among them."""
    crops = 1 if self.together else len(self.keys)
    return self.num_words + crops * self.crop.num_words

  @abc.abstractmethod
  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """Domains and numbers, int32 [n] each, of words and counts [K]."""

  def labels(self, domains: Any, rows: Any, table: Any) -> Labels:
    """Nothing beside the images."""
    del domains, rows, table
    return {}

  def table(self, rows: Sequence[tuple[int, int]]) -> Any:
    """Nothing that labels need."""
    del rows


class Training(NamedTuple):
  """The data of a training, opened and checked.

  Attributes:
    domains: names of what an image can be translated to.
    resolved: {config key: value} of what the config left to the data.
    images_per_step: sources in a step, to tell the speed by.
    contents: of what is trained on (`contents_of`).
    val: validation images, for the sample grids.
    in_order: validation images by domain; of two data sets those of the first.
    source: `feed(mesh, start_step, num_steps) -> (fed, to_batch)`: how to feed
      the steps after start_step. fed yields a tree on the devices for each: its
      batch, or always the same images that stay there. to_batch(tree, finished
      steps) -> batch is called inside the jitted step. `skipped` counts
      unreadable images that were drawn.
  """

  domains: tuple[str, ...]
  resolved: dict[str, Any]
  images_per_step: int
  contents: dict[str, Any]
  val: Any
  in_order: EvalData
  source: HostFeed | DeviceFeed


class Data(abc.ABC):
  """The data of a config; nothing is opened before it is asked for."""

  def __init__(self, config: ConfigDict):
    """Takes the settings."""
    self._config = config

  @abc.abstractmethod
  def view(self, picture: Image.Image) -> Image.Image:
    """The part of a picture that networks see where none is drawn at random."""

  @abc.abstractmethod
  def noise(self) -> dict[str, np.ndarray]:
    """A batch of noise that meets the contract."""

  @staticmethod
  @abc.abstractmethod
  def requests(
    batch: Mapping[str, Array],
  ) -> tuple[Any, Any, dict[str, Array]]:
    """Translations that a batch asks for: (x, y, source).

    Sources [B, ...], targets [B] or one for all, and what their styles come
    from, as a system's `style` takes it.
    """

  @abc.abstractmethod
  def evaluation(self) -> tuple[EvalData, EvalData]:
    """The images of training and validation, to be scored in order."""

  @abc.abstractmethod
  def training(self, process_index: int, process_count: int) -> Training:
    """Opens the data of a training; mistakes end here.

    Raises:
      UserError: the data cannot be trained on.
    """


class DomainData(Data):
  """Data of images by domain, of which a slot takes one part."""

  images_per_slot = 1  # sources, to tell the speed by

  @abc.abstractmethod
  def open(self, split: str) -> pictures.Images:
    """The whole pictures of a split; UserError if they cannot be opened."""

  @abc.abstractmethod
  def part(self, images: pictures.Images) -> Part:
    """What a slot takes of training images."""

  def viewed(self, images: pictures.Images) -> pictures.Images:
    """Images to be seen in order, each through `view`."""
    return images

  def evaluation(self) -> tuple[EvalData, EvalData]:
    """The images of training and validation, to be scored in order."""
    train, val = self._open_both()
    return self._in_order(train), self._in_order(val)

  def training(self, process_index: int, process_count: int) -> Training:
    """Opens the data of a training; mistakes end here."""
    config = self._config
    feeding.check_batch_size(config.batch_size, process_count)
    train, val = self._open_both()
    tell_of_unused(config)
    check_images(
      [val] if config.data.on_device else [train, val],
      config,
      process_index,
      process_count,
    )
    part, in_order = self.part(train), self._in_order(val)
    return Training(
      domains=train.domains,
      resolved={
        'data.domains': train.domains,
        'model.num_domains': len(train.domains),
      },
      images_per_step=self.images_per_slot * config.batch_size,
      contents=contents_of([part]),
      val=in_order,
      in_order=in_order,
      source=create_feed([part], config, process_index, process_count),
    )

  def check(self, train: pictures.Images, val: pictures.Images) -> None:
    """Raises UserError for data that cannot be trained on."""
    check_domains(self._config, train.domains, val.domains)

  def _open_both(self) -> tuple[pictures.Images, pictures.Images]:
    data = self._config.data
    train, val = (self.open(s) for s in (data.train_split, data.val_split))
    self.check(train, val)
    return train, val

  def _in_order(self, images: pictures.Images) -> EvalData:
    return EvalData(self.viewed(images), self._config.data.skip_bad_images)


def create_feed(
  parts: Sequence[Part],
  config: ConfigDict,
  process_index: int,
  process_count: int,
) -> HostFeed | DeviceFeed:
  """Feeds a training by host or by devices, as the config asks."""
  data = config.data
  create: Any = functools.partial(
    HostFeed, process_index=process_index, process_count=process_count
  )
  if data.on_device:
    create = functools.partial(DeviceFeed, cache_dir=data.cache_dir)
  return create(
    parts,
    seed=config.seed,
    batch_size=config.batch_size,
    img_size=data.img_size,
    skip_bad_images=data.skip_bad_images,
  )


def contents_of(parts: Sequence[Part]) -> dict[str, Any]:
  """What files hold, wherever they lie: {domain: {'images': n, 'sum': text}}.

  The sum is of their names, of labels, and of the first image of a domain, by
  which other data of the same names is told. Of drawn images settings tell all.
  """
  contents = {}
  for index, part in enumerate(parts):
    images = part.images
    if images.drawable != images.counts:
      continue
    for domain, name in enumerate(images.domains):
      count = images.counts[domain]
      labels = part.table([(domain, number) for number in range(count)])
      sum = hashlib.sha256(images.listing(domain).encode())
      sum.update(b'' if labels is None else labels.tobytes())
      key = f'joint {name}' if index else name
      contents[key] = {'images': count, 'sum': sum.hexdigest()[:16]}
  return contents


def check_images(
  opened: Sequence[pictures.Images],
  config: ConfigDict,
  process_index: int,
  process_count: int,
) -> None:
  """Decodes every image of files once, if the config asks for it."""
  data = config.data
  for images in opened if data.check_images else ():
    if images.drawable == images.counts:  # else they are drawn
      pictures.check_images(
        images, data.skip_bad_images, process_index, process_count
      )


def check_domains(
  config: ConfigDict, train: tuple[str, ...], val: tuple[str, ...]
) -> None:
  """Raises UserError unless both splits have the domains that are asked for."""
  for name in (*train, *val):
    if (name in train) != (name in val):
      there, missing = config.data.train_split, config.data.val_split
      if name in val:
        there, missing = missing, there
      raise UserError(
        f'domain {name!r} is in {there!r} but not in {missing!r}: add it there,'
        ' or name the domains to use in data.domains'
      )
  wanted = config.model.num_domains
  if wanted and wanted != len(train):
    raise UserError(
      f'model.num_domains is {wanted} but the data has {len(train)} domains'
      f' ({", ".join(train)}): set it to 0 to take it from the data'
    )


def tell_of_unused(config: ConfigDict, prefix: str = '') -> None:
  """Warns of what a data set has beside its splits, or if it is not read.

  Args:
    config: of the training.
    prefix: 'joint_' of the second of two data sets.
  """
  data = config.data
  name, root = data[f'{prefix}name'], data[f'{prefix}root']
  if not name or name.startswith('shapes'):
    if root and processes.is_first():
      key = f'config.data.{prefix}name'
      logging.warning('%s: not used: %s is %r', root, key, name)
  elif name != 'celeba':  # its list tells what is used
    splits = (data.train_split, data.val_split)
    listing.tell(root, sources.find_beside(name, root, splits))


def noise_images(
  config: ConfigDict, keys: Sequence[str], rng: np.random.Generator
) -> dict[str, np.ndarray]:
  """Images of noise: float32 [B, S, S, 3] in [-1, 1] for each key."""
  size = config.data.img_size
  shape = (config.batch_size, size, size, 3)
  return {key: rng.uniform(-1, 1, shape).astype(np.float32) for key in keys}


def load_size(config: ConfigDict) -> int:
  """What a side of a picture becomes before squares of it are cut out.

  Raises:
    UserError: it is too short.
  """
  wanted, img_size = config.data.load_size, config.data.img_size
  if wanted and wanted < img_size:
    raise UserError(
      f'config.data.load_size is {wanted}: squares of img_size ({img_size}) '
      'are cut out of pictures of that size; set it to as much or more, or to '
      '0 for img_size'
    )
  return wanted or img_size
