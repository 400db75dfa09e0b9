"""Batches drawn and augmented on the devices, inside the jitted step.

The images lie as uint8 in device memory, divided among the devices. What slot i
of step n holds is a function of (seed, n, i) alone, whatever the number of
slots and devices. Crops and flips are distributed as in `preprocess.augment`;
the pixels of a crop come from the image already resized to the image size, by
Pillow's bilinear filter, rounded to 8 bits after each direction as it does.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxgan.data import preprocess
from jaxgan.runtime import sharding
from jaxgan.runtime.errors import UserError

Array = jax.Array

_ATTEMPTS = 10  # of preprocess.augment, to draw a box that fits
BOX_WORDS = 2 * _ATTEMPTS + 2
AUGMENT_WORDS = BOX_WORDS + 2
_SOURCE, _REFERENCE = 0, 1  # the roles: one stream each
_STREAM = 0x64617461  # keeps the streams apart from the loop's, of one seed


class Resident(NamedTuple):
  """A data set in device memory; the images of a domain follow each other."""

  images: Array  # uint8 [N, S, S, 3], rows divided among the devices
  sizes: Array  # int32 [N, 2]: width and height each was stored with
  starts: Array  # int32 [K]: row of the first image of each domain
  counts: Array  # int32 [K]: images of each domain


class Draw(NamedTuple):
  """What a slot holds."""

  rows: Array  # int32 [3]: of x_src, x_ref, x_ref2
  words: Array  # uint32 [3, AUGMENT_WORDS]: for their augmentation
  y_src: Array  # int32
  y_ref: Array  # int32


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
  images: np.ndarray, sizes: np.ndarray, counts: Sequence[int], mesh: Mesh
) -> Resident:
  """Copies the images to the devices, each its share of the rows.

  Args:
    images: uint8 [N, S, S, 3]; may be mapped from a file. Rows of zeros, never
      drawn, fill up the last share.
    sizes: int32 [N, 2], width and height each was stored with.
    counts: images of each domain, which follow each other.
    mesh: of `sharding.create_mesh`.
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
  return Resident(placed, *sharding.replicate((sizes, starts, lengths), mesh))


def batch(
  data: Resident,
  step: Array,
  *,
  seed: int,
  batch_size: int,
  augment: bool,
  mesh: Mesh,
) -> dict[str, Array]:
  """Draws the batch of a step, to be jitted.

  Args:
    data: of `place`.
    step: int32, finished steps.
    seed: of the run.
    batch_size: B, of all devices together.
    augment: crop and mirror at random.
    mesh: the one of `place`.

  Returns:
    The batch that `domains_ref` describes, divided among the devices.
  """

  def draw_slot(slot):
    return draw(seed, step, slot, data.starts, data.counts)

  draws = jax.vmap(draw_slot)(jnp.arange(batch_size, dtype=jnp.int32))
  pixels = gather(data.images, draws.rows, mesh)
  if augment:
    sizes = data.sizes[draws.rows]
    pixels = jax.vmap(jax.vmap(augment_image))(draws.words, pixels, sizes)
  x = pixels.astype(jnp.float32) / 127.5 - 1
  values = {
    'x_src': x[:, 0],
    'y_src': draws.y_src,
    'x_ref': x[:, 1],
    'x_ref2': x[:, 2],
    'y_ref': draws.y_ref,
  }
  return jax.lax.with_sharding_constraint(values, sharding.batch_sharding(mesh))


def draw(
  seed: int, step: Array, slot: Array, starts: Array, counts: Array
) -> Draw:
  """Draws domains evenly, and images evenly within them.

  Args:
    seed: of the run.
    step: int32.
    slot: int32.
    starts: int32 [K], first row of each domain.
    counts: int32 [K], rows of each domain.

  Returns:
    Two different references, where their domain has two images.
  """
  src = words_of(seed, _SOURCE, step, slot, 2 + AUGMENT_WORDS)
  ref = words_of(seed, _REFERENCE, step, slot, 3 + 2 * AUGMENT_WORDS)
  y_src, y_ref = below(src[0], len(counts)), below(ref[0], len(counts))
  source = below(src[1], counts[y_src])
  count = counts[y_ref]
  first = below(ref[1], count)
  # Any image but the first; the first again where there is no other.
  second = (first + 1 + below(ref[2], jnp.maximum(count - 1, 1))) % count
  rows = jnp.stack(
    [starts[y_src] + source, starts[y_ref] + first, starts[y_ref] + second]
  )
  words = jnp.concatenate([src[2:], ref[3:]]).reshape(3, AUGMENT_WORDS)
  return Draw(rows, words, y_src, y_ref)


def augment_image(words: Array, pixels: Array, size: Array) -> Array:
  """Crops with probability 0.5 and mirrors with 0.5.

  Args:
    words: uint32 [AUGMENT_WORDS], random bits.
    pixels: uint8 [S, S, 3].
    size: int32 [2], width and height the image was stored with: boxes are drawn
      in those pixels, as where the stored image is cropped.

  Returns:
    float32 [S, S, 3], whole numbers from 0 to 255.
  """
  whole = jnp.concatenate([jnp.zeros_like(size), size])
  box = jnp.where(heads(words[0]), random_box(words[2:], size), whole)
  return resample(pixels, box, size, heads(words[1]))


def random_box(words: Array, size: Array) -> Array:
  """Left, top, width, height, int32 [4], as `preprocess.augment` draws them.

  Args:
    words: uint32 [BOX_WORDS], random bits.
    size: int32 [2], width and height.
  """
  u = _uniform(words[2:]).reshape(_ATTEMPTS, 2)
  (low, high), (narrow, wide) = preprocess.SCALE, preprocess.RATIO
  area = jnp.prod(size.astype(jnp.float32)) * (low + (high - low) * u[:, 0])
  log_ratio = math.log(narrow) + math.log(wide / narrow) * u[:, 1]
  sides = jnp.sqrt(area[:, None] * jnp.exp(log_ratio[:, None] * _SIGNS))
  sides = jnp.round(sides).astype(jnp.int32)
  fits = jnp.all((sides > 0) & (sides <= size[None]), axis=1)
  drawn = sides[jnp.argmax(fits)]
  # Not drawn above what there is, so that the draw is defined without a fit.
  room = jnp.maximum(size - drawn, 0) + 1
  corner = jnp.stack([below(words[0], room[0]), below(words[1], room[1])])
  # The largest box in the middle whose ratio is in RATIO.
  limits = np.array([wide, 1 / narrow], np.float32)
  bounds = size[::-1].astype(jnp.float32) * limits
  largest = jnp.maximum(jnp.round(bounds).astype(jnp.int32), 1)
  central = jnp.minimum(size, largest)
  return jnp.where(
    jnp.any(fits),
    jnp.concatenate([corner, drawn]),
    jnp.concatenate([(size - central) // 2, central]),
  )


_SIGNS = np.array([[1, -1]], np.float32)


def resample(pixels: Array, box: Array, size: Array, mirror: Array) -> Array:
  """Enlarges a box to the whole image, bilinearly, as Pillow does.

  Args:
    pixels: [S, S, 3], 0 to 255, an image resized from `size`.
    box: int32 [4], left, top, width, height in pixels of `size`.
    size: int32 [2], width and height.
    mirror: whether left and right change places.

  Returns:
    float32 [S, S, 3], whole numbers. For a box of whole pixels of an S that is
    a power of two, bit for bit what Pillow gives for the crop.
  """
  side = len(pixels)
  columns = _weights(box[0], box[2], size[0], side)
  columns = jnp.where(mirror, columns[::-1], columns)
  rows = _weights(box[1], box[3], size[1], side)
  x = pixels.astype(jnp.float32)
  x = _round(jnp.einsum('vw,hwc->hvc', columns, x, precision='highest'))
  return _round(jnp.einsum('uh,hvc->uvc', rows, x, precision='highest'))


def _weights(start: Array, length: Array, extent: Array, side: int) -> Array:
  """Weights [side, side] of pixels (columns) in those of the result (rows).

  The result shows `length` of `extent` units from `start` on: never a
  reduction, so that the bilinear filter is one pixel wide.
  """
  start, length, extent = (
    value.astype(jnp.float32) for value in (start, length, extent)
  )
  middles = np.arange(0.5, side, dtype=np.float32)
  left, scale = start * side / extent, length / extent
  distance = (left + middles * scale)[:, None] - middles[None]
  weights = jnp.maximum(0, 1 - jnp.abs(distance))
  # What lies outside of the box is cut off before.
  inside = (middles > left) & (middles < left + scale * side)
  inside |= ~jnp.any(inside)  # a box thinner than a pixel
  weights = jnp.where(inside[None], weights, 0)
  return weights / weights.sum(axis=1, keepdims=True)


def _round(x: Array) -> Array:
  return jnp.floor(x + 0.5)  # Half up, as Pillow's fixed point.


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


def words_of(
  seed: int, role: int, step: Array, slot: Array, count: int
) -> Array:
  """Random bits, uint32 [count]: all that a role of a slot needs at once."""
  # Named, whatever JAX's default is: other kinds of keys may draw other numbers
  # under vmap than outside of it.
  key = jax.random.key(seed, impl='threefry2x32')
  for part in (_STREAM, role, step, slot):
    key = jax.random.fold_in(key, part)
  return jax.random.bits(key, (count,), jnp.uint32)


def below(word: Array, stop: Array | int) -> Array:
  """A whole number from 0 to `stop` - 1, int32; uneven by stop / 2**32."""
  return (word % jnp.asarray(stop, jnp.uint32)).astype(jnp.int32)


def _uniform(words: Array) -> Array:
  """float32 in [0, 1)."""
  return (words >> 8).astype(jnp.float32) * np.float32(2**-24)


def heads(word: Array) -> Array:
  """True with probability 0.5, of a word of random bits."""
  return word >= jnp.uint32(2**31)
