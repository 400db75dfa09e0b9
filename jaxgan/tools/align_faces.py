r"""Aligns the faces of pictures as those of CelebA-HQ are aligned.

python -m jaxgan.tools.align_faces IN OUT --wing=wing.ckpt \
    --landmarks=celeba_lm_mean.npz [--img_size=256] [--min_peak=0.1]

IN is a picture, or a folder of pictures, also nested; each becomes a PNG of the
same name under OUT. Pictures are squeezed to a square first: crop those of
another shape. One that cannot be read, or in which no face is found, is named
and left out, and the exit status is 1.
"""

import sys
from typing import Any

import numpy as np
from etils import epath

from jaxgan.data import preprocess, sources
from jaxgan.pytorch import torch_files
from jaxgan.runtime import cli, errors, files, host, images
from jaxgan.systems.stargan_v2 import align, wing

Tree = Any

_WING = cli.define_path(
  'wing',
  None,
  'The face network: wing.ckpt, or a StarGAN v2 checkpoint that has it.',
)
_LANDMARKS = cli.define_path(
  'landmarks', None, 'Landmarks of the mean face: celeba_lm_mean.npz.'
)
_IMG_SIZE = cli.define_integer(
  'img_size', 256, 'Width and height of the result: a power of two.'
)
_MIN_PEAK = cli.define_float(
  'min_peak',
  wing.MIN_HEAT,
  'No face is found where a landmark has less heat than this everywhere. The '
  'network was trained to give 1; the face masks take less than the default '
  'for none.',
)


def main(in_: str, out: str) -> int:
  """Aligns every picture of `in_`; returns the exit status."""
  wing_file, landmarks_file = cli.required(_WING), cli.required(_LANDMARKS)
  size = _IMG_SIZE.value
  if size < 32 or size & (size - 1):
    raise errors.UsageError(
      f'--img_size must be a power of two, 32 or more: {size}'
    )
  align.import_cv2()
  targets = _plan(epath.Path(in_), epath.Path(out))
  host.check_devices()
  params = _load_wing(wing_file)
  reference = _load_landmarks(landmarks_file)

  written = 0
  for path, target in targets.items():
    try:
      picture = preprocess.decode(sources.read_file(path))
      image = preprocess.resize(picture, size)
      face = align.align_face(params, image, reference, _MIN_PEAK.value)
    except (preprocess.UnreadableImage, align.NoFaceError, OSError) as e:
      line = errors.printable(f'error: {path}: {e}')
      print(line, file=sys.stderr)
      continue
    _write(target, face)
    written += 1
  print(f'{written} of {len(targets)} pictures aligned, in {out}')
  return int(written < len(targets))


def _plan(in_: epath.Path, out: epath.Path) -> dict[epath.Path, epath.Path]:
  """{picture: where its aligned face goes}."""
  pictures = sources.find_images(in_)
  root = in_ if in_.is_dir() else in_.parent
  if in_.is_dir() and out.resolve().is_relative_to(in_.resolve()):
    raise errors.UserError(f'OUT {out} must lie outside IN {in_}')
  targets = {
    path: out / path.parent.relative_to(root) / _name(path) for path in pictures
  }
  files.check_new([(y, str(x)) for x, y in targets.items()], 'OUT')
  short = [y for x, y in targets.items() if y.stem != x.stem]
  if short:
    print(
      f'{len(short)} names would be too long for a file and are shortened, the '
      f'first to {errors.printable(short[0].name)}'
    )
  return targets


def _name(picture: epath.Path) -> str:
  return files.shortened(picture.stem, files.MAX_NAME - len('.png')) + '.png'


def _load_wing(path: str) -> Tree:
  try:
    return wing.from_checkpoint(torch_files.load(path))
  except (errors.UserError, ValueError) as e:
    raise errors.UserError(f'--wing={path}: {e}') from e


def _load_landmarks(path: str) -> np.ndarray:
  try:
    mean = files.read_npz(epath.Path(path))['mean']
  except OSError as e:
    raise errors.UserError(f'--landmarks={path}: {e.strerror or e}') from e
  except (KeyError, ValueError) as e:
    raise errors.UserError(
      f'--landmarks={path} is no whole .npz file with an array `mean` ({e})'
    ) from e
  if mean.shape != (wing.NUM_LANDMARKS, 2) or mean.dtype.kind != 'f':
    raise errors.UserError(
      f'--landmarks={path}: `mean` is {mean.dtype} {mean.shape}, not '
      f'({wing.NUM_LANDMARKS}, 2) coordinates'
    )
  return mean


def _write(target: epath.Path, face: np.ndarray) -> None:
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    images.write_png(target, face)
  except OSError as e:
    raise errors.UserError(f'cannot write {target} ({e})') from e


if __name__ == '__main__':
  cli.run(main, sys.argv, positional=('IN', 'OUT'))
