"""Decoded images in a file, so that only the first start decodes them.

<directory>/<key>/ holds images.npy, uint8 [N, S, S, 3] in order of domains,
sizes.npy, int32 [N, 2], the width and height each was stored with, and
index.json, written last: without it there is nothing. The key is a sum of what
the images are made from. Every file appears whole or not at all.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from absl import logging

from jaxgan.data import preprocess, reading
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.runtime import files
from jaxgan.runtime.errors import UserError

_VERSION = 1  # of the files and of how images are decoded
_STALE_SECONDS = 3600


class Decoded(NamedTuple):
  """All readable images of a data set, domain after domain."""

  images: np.ndarray  # uint8 [N, S, S, 3], mapped from the file, read-only
  sizes: np.ndarray  # int32 [N, 2]: stored width and height
  counts: tuple[int, ...]  # images of each domain
  bad: tuple[UnreadableImage, ...]  # the images left out, and why
  unreadable_keys: tuple[tuple[int, int], ...]  # their domains and numbers


def load(
  images: Any, img_size: int, directory: str = '', skip_bad: bool = False
) -> Decoded:
  """Opens what an earlier call decoded, or decodes all images.

  Args:
    images: of `pictures.Images`.
    img_size: S.
    directory: a local folder; '' for that of `files.default_cache_dir`.
    skip_bad: leave unreadable images out.

  Raises:
    UserError: an image is unreadable and not to be skipped, or all of a domain
      are; or the file cannot be written.
  """
  directory = directory or files.default_cache_dir()
  if '://' in directory:
    raise UserError(
      f'config.data.cache_dir={directory} is no local folder: name one'
    )
  folder = pathlib.Path(directory) / f'images-{_key(images, img_size)}'
  decoded = _read(folder, images, img_size)
  if decoded is None:
    try:
      _write(folder, images, img_size, skip_bad)
    except OSError as error:
      gigabytes = sum(images.counts) * img_size**2 * 3 / 1e9
      raise UserError(
        f'cannot keep decoded images in {folder} ({error}): they take '
        f'{gigabytes:.3g} GB; make room or set config.data.cache_dir to '
        'another folder'
      ) from None
    decoded = _read(folder, images, img_size)
    if decoded is None:
      raise UserError(f'{folder} was damaged as it was written: start again')
  else:
    reading.check_unreadable(decoded.bad, sum(images.counts), skip_bad)
  return decoded


def _key(images: Any, img_size: int) -> str:
  content = [
    (name, images.digest(domain)) for domain, name in enumerate(images.domains)
  ]
  text = json.dumps([_VERSION, img_size, content])
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(folder: pathlib.Path, images: Any, img_size: int) -> Decoded | None:
  """What the folder holds; None if nothing, or if it is damaged."""
  if not (folder / 'index.json').exists():
    return None
  try:
    index = json.loads((folder / 'index.json').read_text())
    counts = tuple(index['counts'])
    bad = tuple(reading.read_each(images.picture, index['bad'], 'read again'))
    for error in bad:
      _check(isinstance(error, UnreadableImage), 'lacks a readable image')
    _check(
      all(isinstance(n, int) and n > 0 for n in counts), f'has counts {counts}'
    )
    _check(index['domains'] == list(images.domains), 'has other domains')
    _check(sum(counts) + len(bad) == sum(images.counts), 'has other counts')
    total = sum(counts)
    shape = (total, img_size, img_size, 3)
    pixels = _map(folder / 'images.npy', shape, np.uint8)
    sizes = _map(folder / 'sizes.npy', (total, 2), np.int32)
    unreadable = tuple((int(a), int(b)) for a, b in index['bad'])
    return Decoded(pixels, np.array(sizes), counts, bad, unreadable)
  except UserError:  # a file that does not answer
    raise
  except Exception as error:  # Damage can show as almost anything.
    reason = ' '.join(str(error).split())[:200]
    logging.warning('%s is damaged (%s) and is made anew', folder, reason)
    return None


def _map(path: pathlib.Path, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
  """The file as an array; ValueError if it is not exactly what it should be."""
  array = np.lib.format.open_memmap(path, mode='r')
  _check(array.shape == shape, f'{path.name} is {array.shape}, not {shape}')
  _check(array.dtype == dtype, f'{path.name} is {array.dtype}')
  whole = array.offset + array.nbytes
  _check(path.stat().st_size == whole, f'{path.name} has not {whole} bytes')
  return array


def _check(right: bool, message: str) -> None:
  if not right:
    raise ValueError(message)


def _write(
  folder: pathlib.Path, images: Any, img_size: int, skip_bad: bool
) -> None:
  """Decodes all images into `folder`; processes that do so at once may."""
  folder.mkdir(parents=True, exist_ok=True)
  _remove_stale(folder)
  keys = [
    (domain, index)
    for domain, count in enumerate(images.counts)
    for index in range(count)
  ]

  def read(domain: int, index: int) -> tuple[np.ndarray, tuple[int, int]]:
    picture = images.picture(domain, index)
    return preprocess.resize(picture, img_size), picture.size

  print(f'decoding {len(keys)} images into {folder}, once', flush=True)
  counts, sizes, bad = [0] * len(images.domains), [], {}
  shape = (img_size, img_size, 3)
  with _replacing(folder / 'images.npy') as f:
    # Written and not mapped: a mapped file kills the process on a full disk.
    _write_header(f, (len(keys), *shape))
    start = f.tell()
    results = reading.read_each(read, keys, 'decoded')
    for (domain, index), result in zip(keys, results, strict=True):
      if isinstance(result, UnreadableImage):
        bad[domain, index] = result
        continue
      pixels, size = result
      f.write(np.ascontiguousarray(pixels).data)
      counts[domain] += 1
      sizes.append(size)
    errors = list(bad.values())
    reading.check_unreadable(errors, len(keys), skip_bad)
    if 0 in counts:
      name = images.domains[counts.index(0)]
      raise UserError(f'domain {name!r} has no readable image: {errors[0]}')
    f.seek(0)
    _write_header(f, (sum(counts), *shape))
    # NumPy leaves room in the header for any number of rows.
    _check(f.tell() == start, 'the header of images.npy has changed its size')
  with _replacing(folder / 'sizes.npy') as f:
    np.save(f, np.array(sizes, np.int32))
  summary = {
    'domains': list(images.domains),
    'counts': counts,
    'img_size': img_size,
    'bad': list(bad),  # read again at every start: some errors pass
  }
  with _replacing(folder / 'index.json') as f:
    f.write(json.dumps(summary, indent=2).encode())


def _write_header(f: BinaryIO, shape: tuple[int, ...]) -> None:
  header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(f, header)


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A file under a name of its own that becomes `path` when it is whole."""
  partial = path.with_name(f'{path.name}.{uuid.uuid4().hex}.partial')
  try:
    with partial.open('wb') as f:
      yield f
      f.flush()
      os.fsync(f.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def _remove_stale(folder: pathlib.Path) -> None:
  """Removes what killed processes left; living ones write all the time."""
  for partial in folder.glob('*.partial'):
    with contextlib.suppress(FileNotFoundError):
      if time.time() > partial.stat().st_mtime + _STALE_SECONDS:
        partial.unlink()
