"""Images in device memory, of which the step itself draws its batch.

The images lie as uint8, divided among the devices. What slot i of step n holds
is a function of (seed, n, i) alone, whatever the number of slots and devices.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxgan.data import cache, feeding, streams
from jaxgan.data.feeding import Feed, Part
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

Array = jax.Array
Tree = Any


class Resident(NamedTuple):
  """A data set in device memory; the images of a domain follow each other."""

  images: Array  # uint8 [N, S, S, 3], rows divided among the devices
  sizes: Array  # int32 [N, 2]: width and height each was stored with
  starts: Array  # int32 [K]: row of the first image of each domain
  counts: Array  # int32 [K]: images of each domain
  table: Tree  # of each row, what `Part.table` says


class DeviceFeed:
  """Feeds a training from device memory; no host work is left in a step.

  What can be read is decoded once and kept in a file (`cache`). Pictures lie
  squeezed into S x S pixels: crops of them are less sharp than the host's.
  """

  skipped = 0  # Unreadable images are left out beforehand, and never drawn.

  def __init__(
    self,
    parts: Sequence[Part],
    *,
    seed: int,
    batch_size: int,
    img_size: int,
    cache_dir: str,
    skip_bad_images: bool,
  ):
    """Decodes the images, or opens what an earlier start has decoded.

    Raises:
      UserError: they do not fit, or cannot be read or kept.
    """
    check_fits(sum(sum(part.images.counts) for part in parts), img_size)
    self._held = []
    for part in parts:
      decoded = cache.load(part.images, img_size, cache_dir, skip_bad_images)
      kept = _kept(decoded, part)
      if part.together:
        _check_whole(kept, part)
      self._held.append((decoded, part.table(kept)))
    self._to_batch = functools.partial(
      batch, tuple(parts), seed=seed, batch_size=batch_size
    )

  def feed(self, mesh: Mesh, start_step: int, num_steps: int) -> Feed:
    """The resident images at every step; a step draws its batch by number."""
    del start_step
    resident = []
    for decoded, table in self._held:
      images, sizes, counts, *_ = decoded
      resident.append(place(images, sizes, counts, mesh, table))
    to_batch = functools.partial(self._to_batch, mesh=mesh)
    return itertools.repeat(resident, num_steps), to_batch


def _kept(decoded: cache.Decoded, part: Part) -> list[tuple[int, int]]:
  """Domain and number of the image in each row."""
  unreadable = set(decoded.unreadable_keys)
  return [
    (domain, index)
    for domain, count in enumerate(part.images.counts)
    for index in range(count)
    if (domain, index) not in unreadable
  ]


def _check_whole(kept: Sequence[tuple[int, int]], part: Part) -> None:
  """Raises UserError where a part of an item was left out, and not the rest."""
  domains = range(len(part.images.counts))
  by_domain = [{n for domain, n in kept if domain == d} for d in domains]
  some, all_of_it = set[int]().union(*by_domain), by_domain[0].intersection
  if broken := some - all_of_it(*by_domain):
    raise UserError(
      f'{len(broken)} pairs have an unreadable image (the first is number '
      f'{min(broken)}): remove both images of each, or set '
      'config.data.on_device=False, where such pairs are skipped'
    )


def check_fits(num_images: int, img_size: int) -> None:
  """Raises UserError if a device is known to have too little memory left."""
  rows = -(-num_images // jax.device_count())
  needed = rows * img_size**2 * 3
  stats = _memory_stats()
  if 'bytes_limit' not in stats:
    return
  free = stats['bytes_limit'] - stats.get('bytes_in_use', 0)
  if needed > free:
    raise UserError(
      f'{num_images} images at {img_size} px take {needed / 1e9:.3g} GB on '
      f'each device, which has {free / 1e9:.3g} GB left: set '
      'config.data.on_device=False'
    )


def _memory_stats() -> dict[str, int]:
  return jax.local_devices()[0].memory_stats() or {}


def place(
  images: np.ndarray,
  sizes: np.ndarray,
  counts: Sequence[int],
  mesh: Mesh,
  table: Tree = None,
) -> Resident:
  """Copies the images to the devices, each its share of the rows.

  Args:
    images: uint8 [N, S, S, 3]; may be mapped from a file. Rows of zeros, never
      drawn, fill up the last share.
    sizes: int32 [N, 2], width and height each was stored with.
    counts: images of each domain, which follow each other.
    mesh: of `sharding.create_mesh`.
    table: arrays [N, ...] beside the images.
  """
  total, *shape = images.shape
  rows = -(-total // mesh.size)

  def share(index: Any) -> np.ndarray:  # a slice for each axis
    start, stop, _ = index[0].indices(rows * mesh.size)
    part = images[start:stop]
    missing = stop - start - len(part)
    if missing:
      part = np.concatenate([part, np.zeros((missing, *shape), np.uint8)])
    return part

  placed = jax.make_array_from_callback(
    (rows * mesh.size, *shape), sharding.batch_sharding(mesh), share
  )
  lengths = np.array(counts, np.int32)
  starts = np.cumsum(lengths, dtype=np.int32) - lengths
  beside = sharding.replicate((sizes, starts, lengths, table), mesh)
  return Resident(placed, *beside)


def batch(
  parts: Sequence[Part],
  resident: Sequence[Resident],
  step: Array,
  *,
  seed: int,
  batch_size: int,
  mesh: Mesh,
) -> dict[str, Array]:
  """Draws the batch of a step, to be jitted.

  Args:
    parts: what a slot takes.
    resident: the images of each part.
    step: int32, finished steps.
    seed: of the run.
    batch_size: B, of all devices together.
    mesh: the one of `place`.

  Returns:
    The batch of the contract, divided among the devices.
  """
  slots = jnp.arange(batch_size, dtype=jnp.int32)
  made: dict[str, Array] = {}
  for part, held in zip(parts, resident, strict=True):

    def draw(slot: Array, part: Part = part) -> Array:
      return streams.device_words(
        seed, part.stream, step, slot, part.words_per_slot
      )

    made |= _take(part, held, jax.vmap(draw)(slots), mesh)
  return jax.lax.with_sharding_constraint(made, sharding.batch_sharding(mesh))


def _take(
  part: Part, held: Resident, words: Array, mesh: Mesh
) -> dict[str, Array]:
  """What a part gives of words [B, words_per_slot]."""
  domains, indices = jax.vmap(part.pick, (0, None))(
    words[:, : part.num_words], held.counts
  )
  rows = held.starts[domains] + indices  # [B, n]
  pixels = gather(held.images, rows, mesh)
  crop = jax.vmap(jax.vmap(part.crop.on_device))
  pixels = crop(feeding.crop_words(part, words), pixels, held.sizes[rows])
  x = pixels.astype(jnp.float32) / 127.5 - 1
  images = {key: x[:, i] for i, key in enumerate(part.keys)}
  return {**images, **part.labels(domains, rows, held.table)}


def gather(images: Array, rows: Array, mesh: Mesh) -> Array:
  """images[rows]: [N, ...] and [B, n] to [B, n, ...], both divided by rows.

  Each device picks what it holds; the sum hands every slot to its device. No
  device ever holds the images of another.
  """

  def pick(held, rows):
    first = jax.lax.axis_index('data') * len(held)
    mine = (rows >= first) & (rows < first + len(held))
    picked = held[jnp.clip(rows - first, 0, len(held) - 1)]
    picked = jnp.where(mine[..., None, None, None], picked, 0)
    return jax.lax.psum_scatter(picked, 'data', tiled=True)

  divided = PartitionSpec('data')
  return jax.shard_map(
    pick,
    mesh=mesh,
    in_specs=(divided, PartitionSpec()),
    out_specs=divided,
  )(images, rows)
