"""How arrays lie on the devices of all processes."""

import collections
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.runtime import errors, host

Tree = Any


def create_mesh(batch_size: int, micro_batches: int = 1) -> Mesh:
  """A mesh of all devices with one axis, 'data', that divides each part."""
  count = jax.device_count() * micro_batches
  if batch_size % count:
    parts = f' in {micro_batches} micro_batches' if micro_batches > 1 else ''
    raise errors.UserError(
      f'batch_size {batch_size}{parts} is not divisible by the '
      f'{jax.device_count()} devices: set --config.batch_size to a multiple of '
      f'{count}'
    )
  return jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )


def create_local_mesh() -> Mesh:
  """A mesh of this process's devices with one axis, 'data'.

  Raises:
    UserError: there is no device of the kind that JAX was asked for.
  """
  host.check_devices()
  return jax.make_mesh(
    (jax.local_device_count(),),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.local_devices(),
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds the whole array."""
  return NamedSharding(mesh, PartitionSpec())


def abstract(shapes: Tree, shardings: Tree) -> Tree:
  """What a state is and where it lies, without a single number of it."""
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )


def place(tree: Tree, shardings: Tree) -> Tree:
  """Copies arrays to where they shall lie; all processes must call it.

  Args:
    tree: arrays of this process, the same on all, or of all processes.
    shardings: one for all, or one for each.
  """
  # Not device_put: it refuses random keys where there are several processes.
  return jax.jit(lambda x: x, out_shardings=shardings)(tree)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
  """Copies arrays to every device, unless all of them are there."""
  target, leaves = replicated(mesh), jax.tree.leaves(tree)
  if all(isinstance(x, jax.Array) and x.sharding == target for x in leaves):
    return tree
  return place(tree, target)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis is divided among the devices."""
  return NamedSharding(mesh, PartitionSpec('data'))


def state_shardings(state: Tree, mesh: Mesh, divided: bool = False) -> Tree:
  """A sharding per leaf of the state: replicated, or divided where it can be.

  Divided, each device holds its part of the longest axis that all devices
  divide; XLA gathers parameters where a step needs them.
  """

  def choose(x) -> NamedSharding:
    axes = [i for i, size in enumerate(x.shape) if size % mesh.size == 0]
    if not divided or not axes:
      return replicated(mesh)
    axis = max(axes, key=lambda i: x.shape[i])
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'data'))

  return jax.tree.map(choose, state)


def prefetch_to_devices(
  batches: Iterable[Mapping[str, np.ndarray]], mesh: Mesh, size: int = 2
) -> Iterator[dict[str, jax.Array]]:
  """Yields global batches, copied to the devices `size` batches ahead.

  Args:
    batches: this process's slots of each global batch.
    mesh: of `create_mesh`.
    size: batches on the devices beside the one in use.
  """
  sharding = batch_sharding(mesh)

  def put(batch):
    return {
      key: jax.make_array_from_process_local_data(sharding, value)
      for key, value in batch.items()
    }

  batches = iter(batches)
  queue = collections.deque(map(put, itertools.islice(batches, size)))
  while queue:
    queue.extend(map(put, itertools.islice(batches, 1)))
    yield queue.popleft()


def map_chunks(
  fn: Callable[..., jax.Array],
  *arrays: Tree,
  mesh: Mesh,
  size: int,
) -> np.ndarray:
  """fn(*arrays) in chunks of one size, each divided among the devices.

  Args:
    fn: jitted; maps trees of arrays of equal leading axes to an array of it.
    *arrays: trees of [N, ...], N at least 1; the last chunk is filled up.
    mesh: of this process's devices.
    size: of a chunk, rounded up to a multiple of the number of devices.

  Returns:
    [N, ...], float32. Devices hold no more than three chunks at a time.
  """
  size = -(-size // mesh.size) * mesh.size
  sharding = batch_sharding(mesh)
  pending: collections.deque[tuple[jax.Array, int]] = collections.deque()
  outputs = []
  count = len(jax.tree.leaves(arrays)[0])
  for start in range(0, count, size):
    parts = _rows(arrays, start, size)
    length = min(size, count - start)
    pending.append((fn(*jax.device_put(parts, sharding)), length))
    if len(pending) > 2:
      out, length = pending.popleft()
      outputs.append(np.asarray(out, np.float32)[:length])
  outputs += [np.asarray(out, np.float32)[:length] for out, length in pending]
  return np.concatenate(outputs)


def _rows(arrays: Tree, start: int, size: int) -> Tree:
  """`size` rows of arrays [N, ...]; where they end, the first is repeated."""

  def cut(a: np.ndarray) -> np.ndarray:
    part = a[start : start + size]
    missing = size - len(part)
    return (
      np.concatenate([part, part[:1].repeat(missing, 0)]) if missing else part
    )

  return jax.tree.map(cut, arrays)


def local_copy(tree: Tree) -> Tree:
  """Replicated arrays as arrays of this process alone."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def own_part(count: int) -> slice:
  """Which of `count` things in a row are this process's share of the work."""
  i, processes = jax.process_index(), jax.process_count()
  return slice(count * i // processes, count * (i + 1) // processes)


def gather(rows: np.ndarray) -> np.ndarray:
  """The rows of all processes, in their order; all must call it together.

  Args:
    rows: [N, ...]; processes may differ in N, and in nothing else.
  """
  if jax.process_count() == 1:
    return rows
  size = math.prod(rows.shape[1:])
  # As bytes: of 64 bits, JAX would leave 32.
  own = np.ascontiguousarray(rows).reshape(len(rows), size).view(np.uint8)
  # 32 bits: processes may not agree yet on whether JAX computes with 64.
  counts = multihost_utils.process_allgather(np.array(len(own), np.int32))
  # Filled up to the longest.
  filled = np.zeros((counts.max(), size * rows.itemsize), np.uint8)
  filled[: len(own)] = own
  parts = multihost_utils.process_allgather(filled)
  gathered = [part[:n] for part, n in zip(parts, counts, strict=True)]
  return (
    np.concatenate(gathered)
    .view(rows.dtype)
    .reshape(counts.sum(), *rows.shape[1:])
  )


def of_first(numbers: Sequence[int]) -> list[int]:
  """What process 0 has given; all must call it together."""
  own = numbers if jax.process_index() == 0 else ()
  return gather(np.array(own, np.int64)).tolist()


def check_same(settings: Mapping[str, Any]) -> None:
  """Compares what the processes were started with; all must call it together.

  Args:
    settings: by the names that a user knows them by; of values the text counts.

  Raises:
    UserError: a process has others than process 0, on all processes.
  """
  texts = {key: str(value) for key, value in settings.items()}
  own = f'{json.dumps(texts)}\n'.encode()
  lines = gather(np.frombuffer(own, np.uint8)).tobytes().splitlines()
  first, *others = map(json.loads, lines)
  for i, other in enumerate(others, 1):
    for key in sorted(first.keys() | other.keys()):
      here, there = first.get(key), other.get(key)
      if here != there:
        raise errors.UserError(
          f'{key} is {there} in process {i} and {here} in process 0: start all '
          'processes with the same flags and files'
        )
