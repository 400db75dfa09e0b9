"""Images and labels for StarGAN, of one data set or of two.

A batch of B slots has, for the data set i of the config,

  x<i>: float32 [B, S, S, 3] in [-1, 1]
  c<i>: float32 [B, C], zeros and ones, one for each of its names

What slot k of step n holds depends on (seed, n, k) only. As in the original,
every image comes as often as every other one, not every domain.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.data import feeding, pictures, preprocess
from jaxgan.data.contracts import domains_ref
from jaxgan.data.feeding import Batch, Slot
from jaxgan.runtime import errors
from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import labelled
from jaxgan.systems.stargan.labelled import LabelledImages
from jaxgan.systems.stargan.labels import Labels
from jaxgan.systems.stargan.on_device import OnDeviceData

Array = jax.Array


def create_datasets(
  config: ml_collections.ConfigDict, process_index: int, process_count: int
) -> tuple['TrainData | OnDeviceData', 'EvalData']:
  """Opens the training and the validation images; mistakes end here."""
  feeding.check_batch_size(config.batch_size, process_count)
  data = config.data
  train = _open_all(config, data.train_split, data.augment)
  val = _open_all(config, data.val_split, mirror=False)
  _check_names(config, train, val)
  if data.check_images:
    # Images that are kept on the devices are decoded anyway.
    for opened in val if data.on_device else (*train, *val):
      if isinstance(opened, labelled.FileSet):
        pictures.check_images(
          opened.images, data.skip_bad_images, process_index, process_count
        )
  train_data: TrainData | OnDeviceData
  if data.on_device:
    train_data = OnDeviceData(config, train)
  else:
    train_data = TrainData(config, train, process_index, process_count)
  return train_data, EvalData(val, data.skip_bad_images)


def create_eval_data(
  config: ml_collections.ConfigDict, index: int = 0
) -> tuple[domains_ref.EvalData, domains_ref.EvalData]:
  """The images of a data set, by domain; of attributes in one."""
  skip = config.data.skip_bad_images
  train, val = (
    domains_ref.EvalData(labelled.open_set(config, split, index).images, skip)
    for split in (config.data.train_split, config.data.val_split)
  )
  return train, val


def _open_all(
  config: ml_collections.ConfigDict, split: str, mirror: bool
) -> list[LabelledImages]:
  count = 2 if config.data.joint_name else 1
  return [labelled.open_set(config, split, i, mirror) for i in range(count)]


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
  labelled.check_names(names)
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
    self.images_per_step = config_lib.images_per_step(config)
    self._skips = pictures.Skips(config.data.skip_bad_images)
    self._seed = config.seed
    pixels = np.zeros((config.data.img_size, config.data.img_size, 3), np.uint8)
    like = [(pixels, np.zeros(len(o.labels.names), np.float32)) for o in opened]
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
    return config_lib.facts(self._labels)

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
    """An image uint8 [S, S, 3] of a data set, and its label [C]."""
    opened = self._opened[index]

    def draw(
      rng: np.random.Generator, late: bool
    ) -> tuple[np.ndarray, np.ndarray]:
      del late
      return opened.draw(rng)

    return pictures.first_readable(
      draw,
      self._seed,
      labelled.ROLES[index],
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
      domains_ref.EvalData(o.images, skip_bad_images) for o in opened
    ]

  def batch(self, num_slots: int) -> Batch:
    """The same images at every call, the domains in turn: x<i>, c<i>."""
    slots = [self._slot(number) for number in range(num_slots)]
    return {key: np.stack([slot[key] for slot in slots]) for key in slots[0]}

  def _slot(self, number: int) -> Slot:
    drawn = []
    for opened, seen in zip(self._opened, self._seen, strict=True):
      index, domain = divmod(number, len(seen.domains))
      count = seen.counts[domain]
      # Counted round the domain, or the next readable one, with its own label.
      order = ((index + i) % count for i in range(count))
      found = next(seen.images(domain, order), None)
      if found is None:
        raise errors.UserError(
          f'no readable validation image of {seen.domains[domain]!r}'
        )
      drawn.append((found[1], opened.label(domain, found[0])))
    return _to_slot(drawn)


def example_batch(
  config: ml_collections.ConfigDict,
) -> dict[str, np.ndarray]:
  """A batch of noise, with labels, that meets the contract."""
  rng = np.random.default_rng(config.seed)
  size = config.data.img_size
  count = config.batch_size
  batch: dict[str, np.ndarray] = {}
  for i, labels in enumerate(config_lib.find_labels(config).sets):
    x = rng.uniform(-1, 1, (count, size, size, 3)).astype(np.float32)
    num = len(labels.names)
    if labels.exclusive:
      c = np.eye(num, dtype=np.float32)[rng.integers(num, size=count)]
    else:
      c = rng.integers(0, 2, (count, num)).astype(np.float32)
    batch |= {f'x{i}': x, f'c{i}': c}
  return batch


def requests(
  batch: Mapping[str, Array],
) -> tuple[Array, Array, dict[str, Array]]:
  """Translations to ask for: the sources, each as the next label in turn.

  Of two data sets, sources and labels of the first.
  """
  x, num_labels = batch['x0'], batch['c0'].shape[1]
  return x, jnp.arange(len(x)) % num_labels, {}
