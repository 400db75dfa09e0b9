"""FID of two sets of images, each a folder or a file of statistics.

python -m jaxgan.tools.fid REAL FAKE [--protocol=clean] [--weights_dir=DIR] \
    [--save_stats=FILE.npz]

REAL and FAKE are folders of images, or .npz files of `mu` and `sigma` as
pytorch-fid and clean-fid keep them; --save_stats keeps those of REAL.
"""

import json
import sys
from collections.abc import Iterator

from absl import flags, logging
from etils import epath
from PIL import Image

from jaxgan.data import preprocess, sources
from jaxgan.metrics import features, fid
from jaxgan.metrics import statistics as statistics_lib
from jaxgan.metrics.statistics import Statistics
from jaxgan.runtime import cli, errors, host

_PROTOCOL = flags.DEFINE_enum(
  'protocol',
  'stargan_v2',
  list(features.PROTOCOLS),
  'How pictures are resized, and which weights look at them.',
)
_WEIGHTS_DIR = cli.define_path(
  'weights_dir', '', 'Where the weights of metric networks are.'
)
_IMG_SIZE = cli.define_integer(
  'img_size', 256, 'Resize to this first; not of --protocol=clean.', 1
)
_SAVE_STATS = cli.define_path(
  'save_stats', '', 'New .npz file for the statistics of REAL.'
)


def main(real: str, fake: str) -> None:
  """Prints one line of JSON on stdout."""
  kept = _check_new(_SAVE_STATS.value)
  sides = [_open(real), _open(fake)]
  host.check_devices()
  a, b = _measure(sides)
  told = _compare((real, a), (fake, b))
  if kept:
    statistics_lib.save(kept, a)
  result = {
    'fid': fid.frechet_distance(a.gaussian, b.gaussian),
    'protocol': told['protocol'],
    'weights': told['weights'],
    'n_real': a.count,
    'n_fake': b.count,
    'img_size': told['img_size'] or None,
  }
  print(json.dumps(result), flush=True)


def _check_new(path: str) -> str:
  if path and not statistics_lib.is_file(path):
    raise errors.UsageError(
      f'--save_stats={path} does not end in {statistics_lib.SUFFIX}, by which '
      'programs know a file of statistics'
    )
  if path and epath.Path(path).exists():
    raise errors.UserError(f'{path} exists: take another --save_stats')
  return path


def _open(path: str) -> Statistics | list[epath.Path]:
  """The statistics of a file, or the pictures of a folder."""
  if statistics_lib.is_file(path):
    return statistics_lib.load(path)
  found = sources.find_images(path)
  if len(found) < 2:
    raise errors.UserError(f'{path} holds one image, and FID needs two or more')
  return found


def _measure(
  sides: list[Statistics | list[epath.Path]],
) -> list[Statistics]:
  """The statistics of all, with no network where all are known."""
  network, found = None, []
  for side in sides:
    if not isinstance(side, Statistics):
      network = network or features.Inception(
        _PROTOCOL.value, _WEIGHTS_DIR.value
      )
      side = Statistics(
        fid.Gaussian.of(network.compute(_read(side), _IMG_SIZE.value)),
        len(side),
        network.name,
        network.label,
        _IMG_SIZE.value if network.uses_img_size else 0,
      )
    found.append(side)
  return found


def _compare(*sides: tuple[str, Statistics]) -> dict[str, str | int | None]:
  """Facts that both sides have in common, as far as they tell.

  Args:
    *sides: path and statistics of each.

  Raises:
    UserError: they are of two networks, or prepared in two ways.
  """
  facts = {
    path: {
      'features': len(side.gaussian.mean),
      'protocol': side.protocol,
      'weights': side.weights,
      'img_size': side.img_size,
    }
    for path, side in sides
  }
  common: dict[str, str | int | None] = {}
  for path, values in facts.items():
    for name, value in values.items():
      known = common.setdefault(name, value)
      if known is None:
        common[name] = value
      elif value not in (known, None):
        raise errors.UserError(
          f'{sides[0][0]} is of {name}={known} and {path} of {value}: their '
          'FID means nothing'
        )
  for path in [p for p, values in facts.items() if values['protocol'] is None]:
    logging.warning(
      '%s does not tell which weights looked at its pictures, and how they '
      'were resized: the FID is right only if both are as on the other side',
      path,
    )
  return common


def _read(paths: list[epath.Path]) -> Iterator[Image.Image]:
  for path in paths:
    try:
      yield preprocess.decode(sources.read_file(path))
    except (preprocess.UnreadableImage, OSError) as e:
      raise errors.UserError(
        f'{path} cannot be read ({e}): remove it, so that the counts are true'
      ) from e


if __name__ == '__main__':
  cli.run(main, sys.argv, positional=('REAL', 'FAKE'))
