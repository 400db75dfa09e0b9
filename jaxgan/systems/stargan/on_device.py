"""Images and labels for StarGAN that stay in device memory."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.data import cache, feeding, on_device
from jaxgan.runtime import sharding
from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import labelled
from jaxgan.systems.stargan.labelled import LabelledImages
from jaxgan.systems.stargan.labels import Labels

Array = jax.Array


class OnDeviceData:
  """Training images that are drawn, and mirrored, on the devices.

  What can be read is decoded once and kept in a file, drawn shapes those that
  are seen in order. No host work is left in a step, and nothing asks for
  TensorFlow.
  """

  skipped = 0  # Unreadable images are left out beforehand, and never drawn.

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    opened: Sequence[LabelledImages],
  ):
    """Decodes the images, or opens what an earlier start has decoded.

    Args:
      config: of the run.
      opened: a data set, or two.

    Raises:
      UserError: they do not fit, or cannot be read or kept.
    """
    data = config.data
    on_device.check_fits(
      sum(sum(o.images.counts) for o in opened), data.img_size
    )
    self._labels = Labels(tuple(o.labels for o in opened))
    self.domains = self._labels.names
    self.images_per_step = config_lib.images_per_step(config)
    self._held = [
      _decode(o, data.img_size, data.cache_dir, data.skip_bad_images)
      for o in opened
    ]
    self._settings = {
      'seed': config.seed,
      'batch_size': config.batch_size,
      'mirrors': tuple(o.mirrors for o in opened),
    }

  @property
  def facts(self) -> dict[str, Any]:
    """What the data decided, by the config's names for it."""
    return config_lib.facts(self._labels)

  def feed(
    self, mesh: jax.sharding.Mesh, start_step: int, num_steps: int
  ) -> feeding.Feed:
    """The resident images at every step; a step draws its batch by number."""
    del start_step
    resident = []
    for decoded, labels in self._held:
      placed = on_device.place(
        decoded.images, decoded.sizes, decoded.counts, mesh
      )
      resident.append((placed, sharding.replicate(labels, mesh)))
    to_batch = functools.partial(_batch, mesh=mesh, **self._settings)
    return itertools.repeat(resident, num_steps), to_batch


def _decode(
  opened: LabelledImages, img_size: int, cache_dir: str, skip_bad: bool
) -> tuple[cache.Decoded, np.ndarray]:
  """Images, and the labels float32 [N, C] of those that can be read."""
  decoded = cache.load(opened.images, img_size, cache_dir, skip_bad)
  left_out = set(decoded.left_out)
  labels = [
    opened.label(domain, index)
    for domain, count in enumerate(opened.images.counts)
    for index in range(count)
    if (domain, index) not in left_out
  ]
  return decoded, np.stack(labels)


def _batch(
  resident: Sequence[tuple[on_device.Resident, Array]],
  step: Array,
  *,
  seed: int,
  batch_size: int,
  mirrors: tuple[bool, ...],
  mesh: jax.sharding.Mesh,
) -> dict[str, Array]:
  """Draws the batch of a step, that `data` describes, to be jitted."""
  batch = {}
  slots = jnp.arange(batch_size, dtype=jnp.int32)
  for k, (held, labels) in enumerate(resident):

    def words(slot, role=labelled.ROLES[k]):
      return on_device.words_of(seed, role, step, slot, 2)

    drawn = jax.vmap(words)(slots)
    rows = on_device.below(drawn[:, 0], len(labels))
    pixels = on_device.gather(held.images, rows, mesh)
    if mirrors[k]:
      flips = on_device.heads(drawn[:, 1])[:, None, None, None]
      pixels = jnp.where(flips, pixels[:, :, ::-1], pixels)
    batch[f'x{k}'] = pixels.astype(jnp.float32) / 127.5 - 1
    batch[f'c{k}'] = labels[rows]
  return jax.lax.with_sharding_constraint(batch, sharding.batch_sharding(mesh))
