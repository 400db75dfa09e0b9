"""Inception features of pictures, prepared as a protocol wants them.

`stargan_v2` is what the original code does, `clean` what clean-fid (Parmar et
al. 2022) does. Numbers of one do not compare with numbers of the other.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxgan.data import preprocess
from jaxgan.metrics import inception, weights
from jaxgan.runtime import files, sharding

Array = Any

INPUT_SIZE = 299
_WIDTH = 2048
CHUNK = 32
_IMAGENET_MEAN = np.array([[[[0.485, 0.456, 0.406]]]], np.float32)
_IMAGENET_STD = np.array([[[[0.229, 0.224, 0.225]]]], np.float32)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How a picture becomes the network's input."""

  fid_2015: bool  # which weights
  # (picture, img_size) -> [299, 299, 3], on the host
  prepare: Callable[..., np.ndarray]
  normalize: Callable[[Array], Array]  # on the devices
  uses_img_size: bool


def _resize_twice(picture: Image.Image, img_size: int) -> np.ndarray:
  """To the image size and then to the network's, uint8 after each."""
  squeezed = Image.fromarray(preprocess.resize(picture, img_size))
  return preprocess.resize(squeezed, INPUT_SIZE)


def _normalize_imagenet(x: Array) -> Array:
  # Without torchvision's input transform: the original leaves it out.
  x = x.astype(np.float32) / np.float32(255)
  return (x - _IMAGENET_MEAN) / _IMAGENET_STD


def _resize_clean(picture: Image.Image, img_size: int) -> np.ndarray:
  """Bicubic in floating point, channel by channel, from the stored size."""
  del img_size
  pixels = np.asarray(picture, np.float32)
  size = (INPUT_SIZE, INPUT_SIZE)
  channels = [
    Image.fromarray(np.ascontiguousarray(pixels[..., i])).resize(
      size, Image.Resampling.BICUBIC
    )
    for i in range(3)
  ]
  return np.stack([np.asarray(c) for c in channels], -1).clip(0, 255)


def _normalize_2015(x: Array) -> Array:
  return (x - 128) / 128


PROTOCOLS = {
  'stargan_v2': Protocol(False, _resize_twice, _normalize_imagenet, True),
  'clean': Protocol(True, _resize_clean, _normalize_2015, False),
}


class Inception:
  """The feature network of a protocol, on all devices of this process."""

  def __init__(self, protocol: str, weights_dir: str):
    """Loads the weights; UserError if they are missing."""
    self.name, self._protocol = protocol, PROTOCOLS[protocol]
    self.uses_img_size = self._protocol.uses_img_size
    params, self.label = weights.load_inception(
      weights_dir, fid_2015=self._protocol.fid_2015
    )
    self._mesh = sharding.create_local_mesh()
    self._params = jax.device_put(params, sharding.replicated(self._mesh))

  def compute(
    self, pictures: Iterable[Image.Image], img_size: int
  ) -> np.ndarray:
    """Features [N, 2048] of N pictures, RGB of any size, one chunk in memory.

    Args:
      pictures: drawn a chunk at a time.
      img_size: of the translations; `clean` does not use it.
    """
    fn = functools.partial(_apply(self._protocol), self._params)
    prepare = functools.partial(self._protocol.prepare, img_size=img_size)
    parts = [
      sharding.map_chunks(fn, x, mesh=self._mesh, size=CHUNK)
      for x in _prepared(pictures, prepare)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, _WIDTH), np.float32)

  def compute_cached(
    self,
    pictures: Iterable[Image.Image],
    img_size: int,
    *,
    content: str,
    cache_dir: str,
  ) -> np.ndarray:
    """`compute`, or what an earlier run computed from the same content.

    Several processes compute a part each, and all get the whole of it; process
    0 reads and keeps it.

    Args:
      pictures: this process's part; only looked at if nothing is kept.
      img_size: as in `compute`.
      content: a sum of all that the pictures are made from.
      cache_dir: where features are kept.
    """
    key = {
      'content': content,
      'protocol': self.name,
      'weights': self.label,
      'img_size': img_size if self.uses_img_size else None,
    }
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = files.user_path(cache_dir) / f'{self.name}-{name}.npz'
    first = jax.process_index() == 0
    kept = _read_cache(path, key) if first else None
    (found,) = sharding.of_first([kept is not None])
    if not found:
      own = self.compute(pictures, img_size)
    elif kept is not None:
      own = kept
    else:
      own = np.zeros((0, _WIDTH), np.float32)
    features = sharding.gather(own)
    if first and not found:
      try:
        _write_cache(path, key, features)
      except OSError as e:
        logging.warning('features of real images are not kept: %s', e)
    return features


@functools.cache
def _apply(protocol: Protocol) -> Callable:
  network = inception.InceptionV3(protocol.fid_2015)

  @jax.jit
  def apply(params, x):
    # Scores are to be the same on all hardware: no TF32, no bfloat16.
    with jax.default_matmul_precision('highest'):
      return network.apply({'params': params}, protocol.normalize(x))

  return apply


def _prepared(
  pictures: Iterable[Image.Image], prepare: Callable
) -> Iterator[np.ndarray]:
  """Chunks of inputs; while one is looked at the next is prepared."""
  pictures, upcoming = iter(pictures), None
  with concurrent.futures.ThreadPoolExecutor() as pool:
    while chunk := list(itertools.islice(pictures, CHUNK)):
      current, upcoming = upcoming, pool.map(prepare, chunk)
      if current is not None:
        yield np.stack(list(current))
    if upcoming is not None:
      yield np.stack(list(upcoming))


def _read_cache(path: epath.Path, key: dict[str, Any]) -> np.ndarray | None:
  if not path.exists():
    return None
  try:
    archive = files.read_npz(path)
    if json.loads(str(archive['key'])) == key:
      return archive['features']
    reason = 'is of something else'
  except (OSError, ValueError, KeyError, RecursionError) as e:
    reason = f'is damaged ({e})'
  logging.warning('%s %s and is made anew', path, reason)
  return None


def _write_cache(
  path: epath.Path, key: dict[str, Any], features: np.ndarray
) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  buffer = io.BytesIO()
  np.savez(buffer, key=json.dumps(key), features=features)
  files.write_whole(path, buffer.getvalue())
