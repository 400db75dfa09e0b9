"""Files in, files out: translations, their labelled grid, and a video."""

import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model, translate_videos
from jaxgan.apps.trained_model import Opened
from jaxgan.data import sources as sources_lib
from jaxgan.data import videos
from jaxgan.runtime import errors, files, host, images

GRID_SIDE = 16  # sources, and styles, that grid.png shows at most
VIDEO_WIDTH = 4096  # pixels; H.264 decoders need not know wider pictures
_CELL = (128, 256)  # least and greatest side of an image in grid.png
# Read, and translated, at a time: memory does not grow with their number.
_SOURCES, _RESULTS = 8, 64
# Bytes of a source, a domain and a style in a name that would be too long.
_MAX_PART = (files.MAX_NAME - len('_to__.png')) // 3


class Source(NamedTuple):
  """A picture or a video, and what it is called."""

  path: epath.Path
  name: str  # with the folders that it is in, below the one that was given


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


class Options(NamedTuple):
  """What results are like."""

  keep_size: bool = False  # as `trained_model.Model.open` takes it
  alpha: bool = True  # see-through where their sources are
  source_label: Sequence[str] | None = None  # of every source


_USUAL = Options()


def find_sources(paths: Sequence[str]) -> list[Source]:
  """The files, and all images of the folders and of those in them, in order.

  Raises:
    UserError: there is no such file or folder, or no image in it.
  """
  return [
    Source(found, os.fspath(_below(path, found).parent / found.stem))
    for path in paths
    for found in sources_lib.find_images(path)
  ]


def _below(path: str, found: epath.Path) -> epath.Path:
  """Where an image lies in the folder that was given; of a file its name."""
  given = files.user_path(path)
  return epath.Path(found.name) if found == given else found.relative_to(given)


def find(paths: Sequence[str]) -> list[epath.Path]:
  """The files, and all images of the folders and of those in them, in order.

  Raises:
    UserError: there is no such file or folder, or no image in it.
  """
  return [source.path for source in find_sources(paths)]


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
  sources: Sequence[Source],
  styles: Sequence[Style],
  out: epath.PathLike,
  video: Video | None = None,
  options: Options = _USUAL,
) -> bool:
  """Writes every source in every style to a folder, and says what it wrote.

  A source that cannot be read is named on stderr and left out.

  Args:
    model: of the run.
    sources: pictures and videos.
    styles: to translate to.
    out: folder for `<source>_to_<domain>_<style>.png`, of videos `.mp4` (of a
      label without `_<style>`; in a name that is too long, parts are
      `files.shortened`); of pictures also `grid.png`, with the first GRID_SIDE
      sources and styles, and `video.mp4`; made if missing.
    video: write one, in which the style moves through all of them and back to
      the first; with two or more styles of one domain.
    options: what results are like.

  Returns:
    Whether all sources could be read.

  Raises:
    UserError: a file would be overwritten, or the video cannot be.
  """
  out = files.user_path(out)
  pictures, clips = (
    [source for source in sources if videos.is_video(source.path) == wanted]
    for wanted in (False, True)
  )
  extra = ['grid.png', *(['video.mp4'] if video else [])] if pictures else []
  _check_targets(out, sources, styles, extra)
  _tell_of_long_names(sources, styles)
  if video:
    _check_video(model, pictures, styles)
  facts = _check_clips(clips)
  try:
    for folder in {out, *(out / os.path.dirname(x.name) for x in sources)}:
      folder.mkdir(parents=True, exist_ok=True)
    done = _translate_pictures(model, pictures, styles, out, video, options)
    _translate_clips(model, facts, styles, out, options)
  except OSError as e:
    raise errors.UserError(f'cannot write to {out} ({e})') from e
  return len(done) + len(facts) == len(sources)


def _translate_pictures(
  model: trained_model.Model,
  sources: Sequence[Source],
  styles: Sequence[Style],
  out: epath.Path,
  video: Video | None,
  options: Options,
) -> list[Source]:
  """Returns those that could be read."""
  done, columns = _write_images(model, sources, styles, out, options)
  if not done:
    return done
  images.write_png(out / 'grid.png', _draw_grid(model, columns, styles))
  if video:
    frames = _draw_frames(model, done, styles, video.frames, options)
    images.write_video(out / 'video.mp4', frames, video.fps)
  count, also = len(done) * len(styles), ', video.mp4' if video else ''
  print(f'{out}: {count} translations, grid.png{also}')
  if max(len(done), len(styles)) > GRID_SIDE:
    print(
      f'grid.png shows the first {min(len(done), GRID_SIDE)} of {len(done)} '
      f'sources and {min(len(styles), GRID_SIDE)} of {len(styles)} styles'
    )
  return done


def _check_clips(clips: Sequence[Source]) -> dict[Source, videos.Facts]:
  """What each video is; those that cannot be read are named on stderr."""
  facts = {}
  for clip in clips:
    try:
      facts[clip] = videos.check(clip.path)
    except errors.UserError as e:
      print(f'error: {e}', file=sys.stderr)
    else:
      print(f'{clip.path}: {facts[clip]}', flush=True)
  return facts


def _translate_clips(
  model: trained_model.Model,
  facts: Mapping[Source, videos.Facts],
  styles: Sequence[Style],
  out: epath.Path,
  options: Options,
) -> None:
  for (clip, found), style in itertools.product(facts.items(), styles):
    path = out / _target(clip, style)
    target = translate_videos.Target(
      style.domain, style.code, options.source_label
    )
    translate_videos.translate(
      model, clip.path, found, target, path, keep_size=options.keep_size
    )
    print(f'{path}: {found.frames} frames', flush=True)


def _target(source: Source, style: Style) -> str:
  """The path of a result in the folder of results.

  In a name that is too long, parts are shorter.
  """
  name = _whole_target(source, style)
  if files.num_bytes(os.path.basename(name)) <= files.MAX_NAME:
    return name
  folder, stem = os.path.split(source.name)
  short = (files.shortened(x, _MAX_PART) for x in (stem, *style[:2]))
  return os.path.join(folder, _join(*short) + _ending(source))


def _whole_target(source: Source, style: Style) -> str:
  return _join(source.name, style.domain, style.name) + _ending(source)


def _join(source: str, domain: str, style: str) -> str:
  return '_'.join(filter(None, (source, 'to', domain, style)))


def _ending(source: Source) -> str:
  return '.mp4' if videos.is_video(source.path) else '.png'


def _check_targets(
  out: epath.Path,
  sources: Sequence[Source],
  styles: Sequence[Style],
  extra: Sequence[str],
) -> None:
  """Raises UserError if a result would overwrite another, or a file."""
  made = [
    (
      out / _target(source, style),
      f'{source.path} with {style.reference or style.name or style.domain}',
    )
    for style, source in itertools.product(styles, sources)
  ]
  files.check_new([*made, *((out / name, name) for name in extra)], '--out')


def _tell_of_long_names(
  sources: Sequence[Source], styles: Sequence[Style]
) -> None:
  short = [
    name
    for style, source in itertools.product(styles, sources)
    if (name := _target(source, style)) != _whole_target(source, style)
  ]
  if short:
    print(
      f'{len(short)} names would be too long for a file and are shortened, the '
      f'first to {errors.printable(short[0])}'
    )


def _check_video(
  model: trained_model.Model,
  pictures: Sequence[Source],
  styles: Sequence[Style],
) -> None:
  domains = sorted({style.domain for style in styles})
  if len(styles) < 2 or len(domains) > 1:
    # Between codes of two domains lies no style of either.
    raise errors.UserError(
      'a video moves between two or more styles of one domain, and there are '
      f'{len(styles)}, of: {", ".join(domains)}'
    )
  if not pictures:
    raise errors.UserError(
      '--video moves the style of pictures, and all sources are videos: leave '
      'it out'
    )
  most = VIDEO_WIDTH // (model.img_size + 2) - 1
  if len(pictures) > most:
    raise errors.UserError(
      f'a video has room for {most} sources of {model.img_size} pixels, and '
      f'there are {len(pictures)}: name fewer, or leave out --video'
    )


def _write_images(
  model: trained_model.Model,
  sources: Sequence[Source],
  styles: Sequence[Style],
  out: epath.Path,
  options: Options,
) -> tuple[list[Source], dict[Source, list[np.ndarray]]]:
  """Returns the sources that could be read, and the columns of the grid."""
  if len(styles) > 1:
    print(
      f'{len(sources) * len(styles):,} translations: each of {len(sources)} '
      f'sources in each of {len(styles)} styles',
      flush=True,
    )
  done: list[Source] = []
  columns: dict[Source, list[np.ndarray]] = {}
  in_part, example = 0, ''
  with tqdm.tqdm(
    total=len(sources),
    unit='source',
    leave=False,
    delay=5,
    **host.progress(),
  ) as bar:
    for chunk in _chunks(sources, _SOURCES):
      bar.update(len(chunk))
      opened = _open(model, chunk, options)
      if not opened:
        continue
      done += opened
      for source, x in opened.items():
        if options.keep_size and x.size != x.whole:
          in_part += 1
          example = example or f'{source.path}: {_by(x.size)} of {_by(x.whole)}'
        if len(columns) < GRID_SIDE:
          columns[source] = [_to_cell(x.on_white(Image.fromarray(x.pixels)))]
      rows = _translate(
        model, list(opened.values()), styles, options.source_label
      )
      for style, row in zip(styles, rows, strict=True):
        for (source, x), image in zip(opened.items(), row, strict=True):
          path = out / _target(source, style)
          images.write_png(path, np.asarray(x.finish(image)))
          if source in columns and len(columns[source]) <= GRID_SIDE:
            columns[source].append(_to_cell(x.on_white(image)))
  if in_part:
    print(
      f'{in_part} of {len(done)} sources were seen in part, their middle, and '
      'results show that part alone (the first, '
      f'{errors.printable(example)} pixels)'
    )
  return done, columns


def _by(size: tuple[int, int]) -> str:
  return f'{size[0]} x {size[1]}'


def _open(
  model: trained_model.Model, sources: Sequence[Source], options: Options
) -> dict[Source, Opened]:
  """Those that can be read; the others are named on stderr."""
  opened = {}
  for source in sources:
    try:
      x = model.open(source.path, keep_size=options.keep_size)
    except errors.UserError as e:
      print(f'error: {e}', file=sys.stderr)
    else:
      opened[source] = x if options.alpha else x.opaque()
  return opened


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
  columns: Mapping[Source, Sequence[np.ndarray]],
  styles: Sequence[Style],
) -> np.ndarray:
  """Sources above, styles to the left."""
  styles = styles[:GRID_SIDE]
  rows = [list(row) for row in zip(*columns.values(), strict=True)]
  top = images.name_all([source.name for source in columns], 'source')
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
  sources: Sequence[Source],
  styles: Sequence[Style],
  count: int,
  options: Options,
) -> Iterator[np.ndarray]:
  """Sources above, translations below, to the left the nearer reference."""
  opened = list(
    _open(model, sources, options._replace(keep_size=False)).values()
  )
  above = [np.asarray(x.on_white(Image.fromarray(x.pixels))) for x in opened]
  for a, b in zip(styles, [*styles[1:], styles[0]], strict=True):
    assert a.code is not None and b.code is not None  # as a video's are
    codes = trained_model.interpolate(a.code, b.code, count)
    references = [
      model.read(style.reference) if style.reference else None
      for style in (a, b)
    ]
    between = [Style(a.domain, '', code) for code in codes]
    for i, row in enumerate(_translate(model, opened, between, None)):
      below = [
        np.asarray(x.on_white(image))
        for x, image in zip(opened, row, strict=True)
      ]
      rows: Sequence[Sequence[np.ndarray | None]] = [above, below]
      nearer = references[2 * i >= count]
      if nearer is not None:
        rows = [[None, *rows[0]], [nearer, *rows[1]]]
      yield images.grid(rows)


def _translate(
  model: trained_model.Model,
  opened: Sequence[Opened],
  styles: Sequence[Style],
  source_label: Sequence[str] | None,
) -> Iterator[list[Image.Image]]:
  """A row for each style, a few of a domain at a time."""
  pixels = [x.pixels for x in opened]
  labels = None if source_label is None else [source_label] * len(pixels)
  for domain, group in itertools.groupby(styles, key=lambda s: s.domain):
    for chunk in _chunks(list(group), max(1, _RESULTS // len(pixels))):
      codes = [style.code for style in chunk if style.code is not None]
      yield from model.translate(
        pixels,
        domain,
        np.stack(codes) if codes else None,
        source_labels=labels,
      )


def _chunks(items: Any, size: int) -> Iterator[Any]:
  for start in range(0, len(items), size):
    yield items[start : start + size]
