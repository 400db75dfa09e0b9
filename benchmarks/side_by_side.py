"""Puts runs of several systems on the same data next to each other.

  python -m benchmarks.side_by_side --workdirs=RUN1,RUN2 --out=grid.png

prints a table of the factors of each (`eval.py` has to have been there), and
draws the same validation images, translated to every domain: a row for a system
that has one output, NUM_LATENTS random ones for a system that has styles. Where
a system translates between two domains, sources of the target stay as they are.
"""

import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from PIL import Image

from benchmarks import common
from jaxgan.apps import trained_model
from jaxgan.runs import workdir
from jaxgan.runtime import cli, errors, files, images
from jaxgan.systems import contract

_WORKDIRS = flags.DEFINE_list('workdirs', None, 'Of the runs.', required=True)
_OUT = flags.DEFINE_string('out', None, 'The PNG to write.', required=True)

NUM_LATENTS = 3
_NUM_SOURCES = 8
_CELL = 64  # px, at least


def main() -> None:
  """Prints the table and writes the grid."""
  common.print_records(_scores(_WORKDIRS.value))
  images.write_png(epath.Path(_OUT.value), draw(_WORKDIRS.value))


def _scores(directories: Sequence[str]) -> Iterator[dict[str, Any]]:
  """A record for each run and mode, all with the same keys."""
  found = {}
  for directory in directories:
    path = pathlib.Path(directory) / 'eval'
    evaluated = sorted(path.glob('*.json'), key=lambda p: p.stat().st_mtime)
    if not evaluated:
      raise errors.UserError(f'{directory} has no scores: run eval.py first')
    config = workdir.require_config(epath.Path(directory))
    for record in _read(evaluated[-1]):
      name, *mode, score = record['name'].split('/')
      if name == 'shapes' and mode != ['real']:
        key = path.parent.name, config.system, '/'.join(mode)
        row = found.setdefault(key, {})
        row[score] = record['value'] and round(record['value'], 4)
  keys = list(dict.fromkeys(key for row in found.values() for key in row))
  for (name, system, mode), row in found.items():
    yield {
      'run': name,
      'system': system,
      'mode': mode,
      **{key: row.get(key) for key in keys},
    }


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
  try:
    return files.read_json(epath.Path(path))['scores']
  except (ValueError, LookupError, TypeError) as e:
    raise errors.UserError(f'{path} is damaged: run eval.py again') from e


def draw(directories: Sequence[str]) -> np.ndarray:
  """The labelled grid, uint8 [H, W, 3]."""
  config = workdir.require_config(epath.Path(directories[0]))
  _, val = contract.get_system(config).create_eval_data(config)
  sources, of_domain = [], []
  for i in range(_NUM_SOURCES):
    domain, numbers = _position(i, len(val.domains))
    for _, pixels in val.images(domain, numbers):
      sources.append(pixels)
      of_domain.append(val.domains[domain])
  pictures = list(map(Image.fromarray, sources))
  rows, left = [list(map(_to_cell, pictures))], ['source']
  models = {
    directory: trained_model.load(directory) for directory in directories
  }
  for domain in models[directories[0]].domains:
    for directory, model in models.items():
      system = workdir.require_config(epath.Path(directory)).system
      if 'label' in model.kinds:
        styles = model.label_styles(domain)
      else:
        styles = model.latent_styles(domain, NUM_LATENTS, psi=1.0)
      # Between two domains a source of the target has nothing to become.
      stays = [model.sources == 'other' and own == domain for own in of_domain]
      for row in model.translate(sources, styles):
        shown = zip(row, pictures, stays, strict=True)
        rows.append([_to_cell(src if kept else x) for x, src, kept in shown])
        left.append(f'{domain}\n{system}')
  return images.labelled_grid(rows, [''] * len(sources), left)


def _position(i: int, num_domains: int) -> tuple[int, list[int]]:
  """Domain and number of source i: the domains in turn."""
  number, domain = divmod(i, num_domains)
  return domain, [number]


def _to_cell(picture: Image.Image) -> np.ndarray:
  size = max(_CELL, picture.width)
  return np.asarray(picture.resize((size, size), Image.Resampling.NEAREST))


if __name__ == '__main__':
  cli.run(main, sys.argv)
