"""Images and labels of one data set, or of two trained together.

A batch of B slots has, for the data set i of the config,

  x<i>: float32 [B, S, S, 3] in [-1, 1]
  c<i>: float32 [B, C], zeros and ones, one for each of its names

Every image comes as often as every other one, not every domain.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.data import crops, feeding, labelled, preprocess, streams
from jaxgan.data.contracts import base
from jaxgan.data.eval_data import EvalData
from jaxgan.data.feeding import Batch, Slot
from jaxgan.data.labelled import LabelledImages
from jaxgan.data.labels import Labels, find_labels
from jaxgan.data.streams import Stream
from jaxgan.runtime.errors import UserError

Array = jax.Array

_STREAMS = (Stream.BATCH, Stream.JOINT_BATCH)  # of the data sets


@dataclasses.dataclass(frozen=True, eq=False)
class Picks(base.Picks):
  """Any image of a data set alike, with its label."""

  label: Callable[[int, int], np.ndarray]  # (domain, number) -> float32 [C]
  name: str  # of the labels in the batch

  def pick(self, words: Any, counts: Any) -> tuple[Any, Any]:
    """A domain, as often as it has images, and a number in it."""
    xp = streams.numpy_of(words)
    ends = xp.cumsum(xp.asarray(counts).astype('float32'))
    share = streams.uniform(words[0]) * ends[-1]
    found = xp.searchsorted(ends, share, side='right')
    domain = xp.minimum(found, len(counts) - 1)
    number = streams.below(words[1], counts[domain])
    return xp.stack([domain]).astype('int32'), xp.stack([number])

  def labels(self, domains: Any, rows: Any, table: Any) -> base.Labels:
    """The label of the image: of the table, on the host of the data set."""
    if table is None:
      return {self.name: self.label(int(domains[0]), int(rows[0]))}
    return {self.name: table[rows[..., 0]]}

  def table(self, rows: Sequence[tuple[int, int]]) -> np.ndarray:
    """The labels [N, C] of the rows."""
    return np.stack([self.label(*row) for row in rows])


class Data(base.Data):
  """Data of images with labels, of one set or two."""

  def view(self, picture: Image.Image) -> Image.Image:
    """The square in the middle, of the first data set's crop_size."""
    return labelled.crop(picture, self._config.data.crop_size)

  @staticmethod
  def requests(
    batch: Mapping[str, Array],
  ) -> tuple[Array, Array, dict[str, Array]]:
    """The images of the first data set, as of its labels in turn."""
    x, c = batch['x0'], batch['c0']
    return x, jnp.arange(len(x), dtype=jnp.int32) % c.shape[1], {}

  def noise(self) -> dict[str, np.ndarray]:
    """A batch of noise, with labels, that meets the contract."""
    rng = np.random.default_rng(self._config.seed)
    size = self._config.batch_size
    batch: dict[str, np.ndarray] = {}
    for i, labels in enumerate(find_labels(self._config).sets):
      batch |= base.noise_images(self._config, [f'x{i}'], rng)
      count = len(labels.names)
      if labels.exclusive:
        c = np.eye(count)[rng.integers(count, size=size)]
      else:
        c = rng.integers(0, 2, (size, count))
      batch[f'c{i}'] = c.astype(np.float32)
    return batch

  def evaluation(self, index: int = 0) -> tuple[EvalData, EvalData]:
    """The images of a data set, by domain; of attributes in one."""
    data = self._config.data
    opened = (self.open(s)[index] for s in (data.train_split, data.val_split))
    train, val = (EvalData(o.images, data.skip_bad_images) for o in opened)
    return train, val

  def open(self, split: str) -> list[LabelledImages]:
    """The data sets of a split; UserError if they cannot be opened."""
    sets = range(2 if self._config.data.joint_name else 1)
    return [labelled.open_set(self._config, split, i) for i in sets]

  def training(self, process_index: int, process_count: int) -> base.Training:
    """Opens the data of a training; mistakes end here.

    Raises:
      UserError: the data cannot be trained on.
    """
    config, data = self._config, self._config.data
    feeding.check_batch_size(config.batch_size, process_count)
    train, val = (self.open(s) for s in (data.train_split, data.val_split))
    self._check_names(train, val)
    for prefix in ('', 'joint_'):
      base.tell_of_unused(config, prefix)
    base.check_images(
      [o.images for o in (val if data.on_device else [*train, *val])],
      config,
      process_index,
      process_count,
    )
    labels = Labels(tuple(o.labels for o in train))
    parts = [self._part(i, opened) for i, opened in enumerate(train)]
    return base.Training(
      domains=labels.names,
      resolved=labels.resolved,
      images_per_step=config.batch_size * len(parts),
      contents=base.contents_of(parts),
      val=Validation(val, data.skip_bad_images),
      in_order=EvalData(val[0].images, data.skip_bad_images),
      source=base.create_feed(parts, config, process_index, process_count),
    )

  def _part(self, index: int, opened: LabelledImages) -> Picks:
    mirrors = opened.mirrors and self._config.data.augment
    return Picks(
      opened.images,
      crops.Whole(mirrors),
      _STREAMS[index],
      (f'x{index}',),
      2,
      opened.label,
      f'c{index}',
    )

  def _check_names(
    self, train: Sequence[LabelledImages], val: Sequence[LabelledImages]
  ) -> None:
    """Raises UserError unless both splits have the labels, each name once."""
    data = self._config.data
    for a, b in zip(train, val, strict=True):
      if odd := set(a.labels.names) ^ set(b.labels.names):
        raise UserError(
          f'domain {min(odd)!r} is in one of {data.train_split!r} and '
          f'{data.val_split!r} only: add it to the other, or name the domains '
          'to use in data.domains'
        )
    names = [name for opened in train for name in opened.labels.names]
    labelled.check_names(names)
    wanted = self._config.model.num_domains
    if wanted and wanted != len(names):
      raise UserError(
        f'model.num_domains is {wanted} but the data has {len(names)} labels'
        f' ({", ".join(names)}): set it to 0 to take it from the data'
      )


class Validation:
  """Validation images and their labels, for the grids of a training."""

  def __init__(self, opened: Sequence[LabelledImages], skip_bad_images: bool):
    """Takes the data sets as they are."""
    self._opened = opened
    self._in_order = [EvalData(o.images, skip_bad_images) for o in opened]

  def batch(self, num_slots: int) -> Batch:
    """The same images at every call, the domains in turn: x<i>, c<i>."""
    slots = [self._slot(number) for number in range(num_slots)]
    return {key: np.stack([slot[key] for slot in slots]) for key in slots[0]}

  def _slot(self, number: int) -> Slot:
    slot: Slot = {}
    for i, images in enumerate(self._in_order):
      index, domain = divmod(number, len(images.domains))
      count = images.counts[domain]
      # Counted round the domain, or the next readable one, with its own label.
      order = ((index + k) % count for k in range(count))
      found = next(images.images(domain, order), None)
      if found is None:
        raise UserError(
          f'no readable validation image of {images.domains[domain]!r}'
        )
      slot[f'x{i}'] = preprocess.to_float(found[1])
      slot[f'c{i}'] = self._opened[i].label(domain, found[0])
    return slot
