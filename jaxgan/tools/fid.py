"""FID of two folders of images.

python -m jaxgan.tools.fid REAL_DIR FAKE_DIR [--protocol=clean] [--weights_dir=]
"""

import json
import sys
from collections.abc import Iterator

from absl import flags
from etils import epath
from PIL import Image

from jaxgan.data import preprocess, sources
from jaxgan.metrics import features, fid
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


def main(real: str, fake: str) -> None:
  """Prints one line of JSON on stdout."""
  paths = [_list_images(real), _list_images(fake)]
  host.check_devices()
  network = features.Inception(_PROTOCOL.value, _WEIGHTS_DIR.value)
  gaussians = [
    fid.Gaussian.of(network.compute(_read(files), _IMG_SIZE.value))
    for files in paths
  ]
  result = {
    'fid': fid.frechet_distance(*gaussians),
    'protocol': network.name,
    'weights': network.label,
    'n_real': len(paths[0]),
    'n_fake': len(paths[1]),
    'img_size': _IMG_SIZE.value if network.uses_img_size else None,
  }
  print(json.dumps(result), flush=True)


def _list_images(directory: str) -> list[epath.Path]:
  found = sources.find_images(directory)
  if len(found) < 2:
    raise errors.UserError(
      f'{directory} holds one image, and FID needs two or more'
    )
  return found


def _read(paths: list[epath.Path]) -> Iterator[Image.Image]:
  for path in paths:
    try:
      yield preprocess.decode(sources.read_file(path))
    except (preprocess.UnreadableImage, OSError) as e:
      raise errors.UserError(
        f'{path} cannot be read ({e}): remove it, so that the counts are true'
      ) from e


if __name__ == '__main__':
  cli.run(main, sys.argv, positional=('REAL_DIR', 'FAKE_DIR'))
