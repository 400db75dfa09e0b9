"""The files of the pretrained networks that metrics look through.

They are the user's, in one directory and under their public names; nothing is
downloaded.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from etils import epath

from jaxgan.metrics import inception, lpips
from jaxgan.pytorch import convert, torch_files, torch_params
from jaxgan.runtime import errors, files

ENVIRONMENT = 'JAXGAN_WEIGHTS'
Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """A file by its public names, the newest first; sums are SHA-256 openings."""

  names: tuple[str, ...]
  sums: tuple[str, ...]
  url: str


_TORCHVISION = 'https://download.pytorch.org/models'
INCEPTION = WeightFile(
  ('inception_v3_google-0cc3c7bd.pth', 'inception_v3_google-1a9a5a14.pth'),
  ('0cc3c7bd', '1a9a5a14'),
  f'{_TORCHVISION}/inception_v3_google-0cc3c7bd.pth',
)
INCEPTION_2015 = WeightFile(
  ('pt_inception-2015-12-05-6726825d.pth',),
  ('6726825d',),
  'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
  'pt_inception-2015-12-05-6726825d.pth',
)
ALEXNET = WeightFile(
  ('alexnet-owt-7be5be79.pth', 'alexnet-owt-4df8aa71.pth'),
  ('7be5be79', '4df8aa71'),
  f'{_TORCHVISION}/alexnet-owt-7be5be79.pth',
)
LPIPS = WeightFile(
  ('lpips_weights.ckpt',),
  ('8b641b3c',),
  'https://github.com/clovaai/stargan-v2/raw/master/metrics/lpips_weights.ckpt',
)


class MissingWeightsError(errors.UserError):
  """A file of weights is not where it should be."""


def load_inception(directory: str, *, fid_2015: bool) -> tuple[Params, str]:
  """Parameters of InceptionV3, and the label of their file.

  Args:
    directory: of the files; '' for that of the environment variable.
    fid_2015: the weights of 2015 instead of torchvision's.

  Raises:
    UserError: the file is missing, or is none of this network.
  """
  file = INCEPTION_2015 if fid_2015 else INCEPTION
  network = inception.InceptionV3(fid_2015)
  return _load(file, directory, network, (1, 299, 299, 3))


def load_lpips(directory: str) -> tuple[Params, str]:
  """Parameters of `lpips.distances`, and the labels of their two files."""
  _find((ALEXNET, LPIPS), directory)  # names both where both are missing
  alexnet, label = _load(ALEXNET, directory, lpips.AlexNet(), (1, 64, 64, 3))
  path, state_dict, linear_label = _read(LPIPS, directory)
  linear = []
  for i, width in enumerate(lpips.WIDTHS):
    key = f'lpips_weights.{i}.main.1.weight'
    if key not in state_dict or np.shape(state_dict[key]) != (1, width, 1, 1):
      raise errors.UserError(f'{path} has no tensor {key} of {width} weights')
    linear.append(jnp.asarray(state_dict[key][0, :, 0, 0]))
  return {'alexnet': alexnet, 'linear': linear}, f'{label}+{linear_label}'


def find_classifiers(directory: str) -> dict[str, str]:
  """The files of classifiers there are, `inception_<domain>.pth`.

  Args:
    directory: of the files; '' for that of the environment variable.

  Returns:
    {domain: opening of the SHA-256 of its file}.

  Raises:
    MissingWeightsError: no directory is named, or none is in it.
  """
  directory = _directory(directory)
  if not directory:
    raise MissingWeightsError(
      f'{_classifier_name("<domain>")} is needed for each domain: put them in '
      f'a directory and name that by --weights_dir or {ENVIRONMENT}'
    )
  prefix, suffix = _classifier_name('*').split('*')
  labels = {
    path.name.removeprefix(prefix).removesuffix(suffix): _digest(path)
    for path in files.matching(epath.Path(directory), _classifier_name('*'))
    if path.name not in INCEPTION.names and path.is_file()
  }
  if not labels:
    raise MissingWeightsError(
      f'{directory}/{_classifier_name("<domain>")} is missing for each domain'
    )
  return labels


def require_classifiers(directory: str, domains: Iterable[str]) -> None:
  """Raises MissingWeightsError, which names all that are not there."""
  missing = [
    domain
    for domain in domains
    if not _classifier_path(directory, domain).is_file()
  ]
  if missing:
    raise MissingWeightsError(
      '; '.join(
        f'{_classifier_path(directory, domain)} is missing: the state dict of '
        'an inception_v3 of torchvision, trained to tell the classes of '
        f'{domain!r}'
        for domain in missing
      )
    )


def load_classifier(directory: str, domain: str) -> Params:
  """Parameters of InceptionV3 that tells the classes of a domain.

  Args:
    directory: of the files; '' for that of the environment variable.
    domain: whose classes; the file is `inception_<domain>.pth`, a state dict of
      torchvision's inception_v3 with any number of classes.

  Returns:
    NumPy arrays.

  Raises:
    UserError: the file is missing, or is none of this network.
  """
  require_classifiers(directory, (domain,))
  path = _classifier_path(directory, domain)
  state_dict = _load_state_dict(path)
  shape = np.shape(state_dict.get('fc.weight', ()))
  if len(shape) != 2 or shape[1] != inception.WIDTH or not shape[0]:
    raise errors.UserError(
      f'{path} has no tensor fc.weight of {inception.WIDTH} weights a class'
    )
  network = inception.InceptionV3(num_classes=shape[0])
  return _convert(path, state_dict, network, (1, 299, 299, 3))


def _classifier_name(domain: str) -> str:
  return f'inception_{domain}.pth'


def _classifier_path(directory: str, domain: str) -> epath.Path:
  return epath.Path(_directory(directory)) / _classifier_name(domain)


def _directory(directory: str) -> str:
  """The directory of the files; '' if none is named.

  Raises:
    UserError: there is none of that name.
  """
  source = '--weights_dir' if directory else ENVIRONMENT
  directory = os.path.expanduser(directory or os.environ.get(ENVIRONMENT, ''))
  if directory and not epath.Path(directory).is_dir():
    what = 'is a file' if epath.Path(directory).exists() else 'does not exist'
    raise errors.UserError(
      f'{source}={directory} {what}: name the folder that holds the files of '
      'weights'
    )
  return directory


def _load(
  file: WeightFile, directory: str, network, shape: tuple[int, ...]
) -> tuple[Params, str]:
  path, state_dict, label = _read(file, directory)
  params = _convert(path, state_dict, network, shape)
  return jax.tree.map(jnp.asarray, params), label


def _convert(
  path: epath.Path,
  state_dict: Mapping[str, np.ndarray],
  network,
  shape: tuple[int, ...],
) -> Params:
  like = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))
  try:
    return torch_params.from_state_dict(state_dict, like['params'])
  except ValueError as e:
    raise errors.UserError(
      f'{path} holds no {type(network).__name__}: {e}'
    ) from e


def _read(
  file: WeightFile, directory: str
) -> tuple[epath.Path, Mapping[str, np.ndarray], str]:
  (path,) = _find((file,), directory)
  state_dict = _load_state_dict(path)
  label = digest = _digest(path)
  if digest not in file.sums:
    label = f'unverified:{digest}'
    logging.warning(
      '%s is not the public file (its SHA-256 begins with %s): numbers carry '
      'the label %s',
      path,
      digest,
      label,
    )
  return path, state_dict, label


def _digest(path: epath.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def _load_state_dict(path: epath.Path) -> Mapping[str, np.ndarray]:
  try:
    return convert.find_state_dict(torch_files.load(path))
  except ValueError as e:
    raise errors.UserError(f'{path} holds no state dict: {e}') from e


def _find(wanted: Sequence[WeightFile], directory: str) -> list[epath.Path]:
  """The paths of files; MissingWeightsError names all that are missing."""
  directory = _directory(directory)
  if not directory:
    names = ' and '.join(file.names[0] for file in wanted)
    are, them = ('are', 'them') if len(wanted) > 1 else ('is', 'it')
    commands = '; '.join(f'curl -LO {file.url}' for file in wanted)
    raise MissingWeightsError(
      f'{names} {are} needed: put {them} in a directory and name that by '
      f'--weights_dir or {ENVIRONMENT} ({commands})'
    )
  found, missing = [], []
  for file in wanted:
    paths = [epath.Path(directory) / name for name in file.names]
    there = [path for path in paths if path.is_file()]
    found += there[:1]
    if not there:
      missing.append(f'{paths[0]} is missing: curl -L -o {paths[0]} {file.url}')
  if missing:
    raise MissingWeightsError('; '.join(missing))
  return found
