"""Statistics of features in files, as pytorch-fid and clean-fid keep them.

An .npz file of `mu` [D] and `sigma` [D, D]. Those that are written here also
tell what they are of, which the others do not; readers of theirs leave it.
"""

import dataclasses
import io

import numpy as np
from etils import epath

from jaxgan.metrics import fid
from jaxgan.runtime import errors, files

SUFFIX = '.npz'
# Fields of `Statistics` that the files of other programs lack.
_TOLD = {'count': int, 'protocol': str, 'weights': str, 'img_size': int}


@dataclasses.dataclass(frozen=True)
class Statistics:
  """A normal distribution of features, and what they are of: None is untold.

  Attributes:
    gaussian: the distribution.
    count: number of pictures.
    protocol: how they were prepared.
    weights: label of the network's file.
    img_size: they were resized to first; 0 where the protocol does not.
  """

  gaussian: fid.Gaussian
  count: int | None = None
  protocol: str | None = None
  weights: str | None = None
  img_size: int | None = None


def is_file(path: str) -> bool:
  """Whether a path is of statistics, by its name."""
  return path.endswith(SUFFIX)


def load(path: epath.PathLike) -> Statistics:
  """Reads a file of this or of another program.

  Raises:
    UserError: it is missing, or is not one of those.
  """
  path = files.user_path(path)
  if not path.exists():
    raise errors.UserError(f'there is no file {path}')
  try:
    arrays = files.read_npz(path)
    mean, cov = (np.asarray(arrays[k], np.float64) for k in ('mu', 'sigma'))
    if mean.ndim != 1 or cov.shape != 2 * mean.shape:
      raise ValueError(f'mu is {mean.shape} and sigma {cov.shape}')
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
      raise ValueError('it has numbers that are NaN or infinite')
    told = {name: arrays[name].item() for name in _TOLD if name in arrays}
    if any(not isinstance(told[name], _TOLD[name]) for name in told):
      raise ValueError(f'{", ".join(told)} are of other types')
  except (KeyError, ValueError) as e:
    reason = f'it has no {e}' if isinstance(e, KeyError) else e
    raise errors.UserError(
      f'{path} holds no statistics of FID, mu and sigma ({reason})'
    ) from e
  return Statistics(fid.Gaussian(mean, cov), **told)


def save(path: epath.PathLike, statistics: Statistics) -> None:
  """Writes a file that `load` and the other programs read."""
  arrays = {
    'mu': statistics.gaussian.mean,
    'sigma': statistics.gaussian.cov,
  } | {
    name: value
    for name in _TOLD
    if (value := getattr(statistics, name)) is not None
  }
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  files.write_whole(files.user_path(path), buffer.getvalue())
