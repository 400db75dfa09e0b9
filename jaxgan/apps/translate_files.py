"""Files in, files out: translations, their labelled grid, and a video."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model
from jaxgan.data import sources as sources_lib
from jaxgan.data.preprocess import Pixels
from jaxgan.runtime import errors, files, images

GRID_SIDE = 16  # sources, and styles, that grid.png shows at most
VIDEO_WIDTH = 4096  # pixels; H.264 decoders need not know wider pictures
_CELL = (128, 256)  # least and greatest side of an image in grid.png
# Read, and translated, at a time: memory does not grow with their number.
_SOURCES, _RESULTS = 8, 64
# Bytes of a source, a domain and a style in a name that would be too long.
_MAX_PART = (files.MAX_NAME - len('_to__.png')) // 3


class Style(NamedTuple):
  """A style code, and what it is called."""

  domain: str
  name: str  # unlike that of every other style of the domain; '' of a label
  code: np.ndarray | None  # [style_dim]; None where a domain has one output
  reference: epath.Path | None = None


class Video(NamedTuple):
  """How fast a video is."""

  fps: int = 30
  frames: int = 60  # from one style to the next


def find(paths: Sequence[str]) -> list[epath.Path]:
  """The files, and all images of the folders and of those in them, in order.

  Raises:
    UserError: there is no such file or folder, or no image in it.
  """
  return [found for path in paths for found in sources_lib.find_images(path)]


def reference_styles(
  model: trained_model.Model, paths: Sequence[epath.Path], domain: str | None
) -> list[Style]:
  """Encodes references of a domain; None: each of its folder's.

  Raises:
    UserError: one of them cannot be read, or its domain is not known.
  """
  domains = [domain or model.domain_of(path) for path in paths]
  styles = []
  pairs = zip(domains, paths, strict=True)
  for name, of_domain in itertools.groupby(pairs, key=lambda pair: pair[0]):
    for chunk in _chunks([path for _, path in of_domain], _SOURCES):
      codes = model.reference_styles(list(map(model.read, chunk)), name)
      styles += [
        Style(name, path.stem, code, path)
        for path, code in zip(chunk, codes, strict=True)
      ]
  return styles


def latent_styles(
  model: trained_model.Model,
  domain: str,
  count: int,
  *,
  seed: int,
  psi: float | None,
) -> list[Style]:
  """Draws styles of a domain, as `trained_model.Model.latent_styles`."""
  codes = model.latent_styles(domain, count, seed=seed, psi=psi)
  return [
    Style(domain, f'seed{seed}_{n}', code) for n, code in enumerate(codes)
  ]


def label_styles(
  model: trained_model.Model, domains: Sequence[str]
) -> list[Style]:
  """These domains as targets, each of which has one output.

  Raises:
    UserError: there is no such domain.
  """
  for domain in domains:
    model.check_domain(domain)
  return [Style(domain, '', None) for domain in domains]


def translate(
  model: trained_model.Model,
  paths: Sequence[epath.Path],
  styles: Sequence[Style],
  out: epath.PathLike,
  video: Video | None = None,
) -> bool:
  """Writes every source in every style to a folder, and says what it wrote.

  A source that cannot be read is named on stderr and left out.

  Args:
    model: of the run.
    paths: of the sources.
    styles: to translate to.
    out: folder for `<source>_to_<domain>_<style>.png` (of a label without
      `_<style>`; in a name that is too long, parts are `files.shortened`),
      `grid.png` with the first GRID_SIDE sources and styles, and `video.mp4`;
      made if missing.
    video: write one, in which the style moves through all of them and back to
      the first; with two or more styles of one domain.

  Returns:
    Whether all sources could be read.

  Raises:
    UserError: a file would be overwritten, or the video cannot be.
  """
  out = files.user_path(out)
  extra = ['grid.png', *(['video.mp4'] if video else [])]
  _check_targets(out, paths, styles, extra)
  _tell_of_long_names(paths, styles)
  if video:
    _check_video(model, paths, styles)
  try:
    out.mkdir(parents=True, exist_ok=True)
    done, columns = _write_images(model, paths, styles, out)
    if not done:
      return False
    images.write_png(out / 'grid.png', _draw_grid(model, columns, styles))
    if video:
      frames = _draw_frames(model, done, styles, video.frames)
      images.write_video(out / 'video.mp4', frames, video.fps)
  except OSError as e:
    raise errors.UserError(f'cannot write to {out} ({e})') from e

  count = len(done) * len(styles)
  print(f'{out}: {count} translations, {", ".join(extra)}')
  if max(len(done), len(styles)) > GRID_SIDE:
    print(
      f'grid.png shows the first {min(len(done), GRID_SIDE)} of {len(done)} '
      f'sources and {min(len(styles), GRID_SIDE)} of {len(styles)} styles'
    )
  return len(done) == len(paths)


def _target(path: epath.Path, style: Style) -> str:
  """The name of a translation; in one that is too long, parts are shorter."""
  name = _whole_target(path, style)
  if files.num_bytes(name) <= files.MAX_NAME:
    return name
  parts = (files.shortened(x, _MAX_PART) for x in (path.stem, *style[:2]))
  return _join(*parts)


def _whole_target(path: epath.Path, style: Style) -> str:
  return _join(path.stem, style.domain, style.name)


def _join(source: str, domain: str, style: str) -> str:
  return '_'.join(filter(None, (source, 'to', domain, style))) + '.png'


def _check_targets(
  out: epath.Path,
  paths: Sequence[epath.Path],
  styles: Sequence[Style],
  extra: Sequence[str],
) -> None:
  """Raises UserError if a result would overwrite another, or a file."""
  made = [
    (
      out / _target(path, style),
      f'{path} with {style.reference or style.name or style.domain}',
    )
    for style, path in itertools.product(styles, paths)
  ]
  files.check_new([*made, *((out / name, name) for name in extra)], '--out')


def _tell_of_long_names(
  paths: Sequence[epath.Path], styles: Sequence[Style]
) -> None:
  short = [
    name
    for style, path in itertools.product(styles, paths)
    if (name := _target(path, style)) != _whole_target(path, style)
  ]
  if short:
    print(
      f'{len(short)} names would be too long for a file and are shortened, the '
      f'first to {errors.printable(short[0])}'
    )


def _check_video(
  model: trained_model.Model,
  paths: Sequence[epath.Path],
  styles: Sequence[Style],
) -> None:
  domains = sorted({style.domain for style in styles})
  if len(styles) < 2 or len(domains) > 1:
    # Between codes of two domains lies no style of either.
    raise errors.UserError(
      'a video moves between two or more styles of one domain, and there are '
      f'{len(styles)}, of: {", ".join(domains)}'
    )
  most = VIDEO_WIDTH // (model.img_size + 2) - 1
  if len(paths) > most:
    raise errors.UserError(
      f'a video has room for {most} sources of {model.img_size} pixels, and '
      f'there are {len(paths)}'
    )


def _write_images(
  model: trained_model.Model,
  paths: Sequence[epath.Path],
  styles: Sequence[Style],
  out: epath.Path,
) -> tuple[list[epath.Path], dict[epath.Path, list[np.ndarray]]]:
  """Returns the sources that could be read, and the columns of the grid."""
  done: list[epath.Path] = []
  columns: dict[epath.Path, list[np.ndarray]] = {}
  for chunk in _chunks(paths, _SOURCES):
    pixels = _read(model, chunk)
    if not pixels:
      continue
    done += pixels
    for path, x in pixels.items():
      if len(columns) < GRID_SIDE:
        columns[path] = [_to_cell(Image.fromarray(x))]
    rows = _translate(model, list(pixels.values()), styles)
    for style, row in zip(styles, rows, strict=True):
      for path, image in zip(pixels, row, strict=True):
        images.write_png(out / _target(path, style), np.asarray(image))
        if path in columns and len(columns[path]) <= GRID_SIDE:
          columns[path].append(_to_cell(image))
  return done, columns


def _read(
  model: trained_model.Model, paths: Sequence[epath.Path]
) -> dict[epath.Path, Pixels]:
  """Those that can be read; the others are named on stderr."""
  pixels = {}
  for path in paths:
    try:
      pixels[path] = model.read(path)
    except errors.UserError as e:
      print(f'error: {e}', file=sys.stderr)
  return pixels


def _to_cell(image: Image.Image) -> np.ndarray:
  """An image as large as a label needs, and no larger than a grid bears."""
  least, most = _CELL
  if image.width < least:
    image = image.resize((least, least), Image.Resampling.NEAREST)
  elif image.width > most:
    image = image.resize((most, most), Image.Resampling.BILINEAR)
  return np.asarray(image)


def _draw_grid(
  model: trained_model.Model,
  columns: Mapping[epath.Path, Sequence[np.ndarray]],
  styles: Sequence[Style],
) -> np.ndarray:
  """Sources above, styles to the left."""
  styles = styles[:GRID_SIDE]
  rows = [list(row) for row in zip(*columns.values(), strict=True)]
  top = images.name_all([path.stem for path in columns], 'source')
  domains = images.name_all(model.domains, 'domain')
  names = images.name_all([style.name for style in styles], 'style')
  left = ['']
  for style, name in zip(styles, names, strict=True):
    domain = domains[model.domains.index(style.domain)]
    left.append(f'{domain}\n{name}'.rstrip())
  references = [style.reference for style in styles if style.reference]
  if references:  # then of every style
    cells = [_to_cell(Image.fromarray(model.read(p))) for p in references]
    rows = [[x, *row] for x, row in zip([None, *cells], rows, strict=True)]
    top = ['', *top]
  return images.labelled_grid(rows, top, left)


def _draw_frames(
  model: trained_model.Model,
  paths: Sequence[epath.Path],
  styles: Sequence[Style],
  count: int,
) -> Iterator[np.ndarray]:
  """Sources above, translations below, to the left the nearer reference."""
  sources = [model.read(path) for path in paths]
  for a, b in zip(styles, [*styles[1:], styles[0]], strict=True):
    assert a.code is not None and b.code is not None  # as a video's are
    codes = trained_model.interpolate(a.code, b.code, count)
    references = [
      model.read(style.reference) if style.reference else None
      for style in (a, b)
    ]
    between = [Style(a.domain, '', code) for code in codes]
    for i, row in enumerate(_translate(model, sources, between)):
      rows: Sequence[Sequence[np.ndarray | None]]
      rows = [sources, [np.asarray(image) for image in row]]
      nearer = references[2 * i >= count]
      if nearer is not None:
        rows = [[None, *rows[0]], [nearer, *rows[1]]]
      yield images.grid(rows)


def _translate(
  model: trained_model.Model,
  pixels: Sequence[Pixels],
  styles: Sequence[Style],
) -> Iterator[list[Image.Image]]:
  """A row for each style, a few of a domain at a time."""
  for domain, group in itertools.groupby(styles, key=lambda s: s.domain):
    for chunk in _chunks(list(group), max(1, _RESULTS // len(pixels))):
      codes = [style.code for style in chunk if style.code is not None]
      yield from model.translate(
        pixels, domain, np.stack(codes) if codes else None
      )


def _chunks(items: Any, size: int) -> Iterator[Any]:
  for start in range(0, len(items), size):
    yield items[start : start + size]
