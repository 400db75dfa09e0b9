"""The studio: a page in a browser that translates with a trained run."""

import functools
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gradio as gr
import ml_collections
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model
from jaxgan.data.preprocess import Pixels
from jaxgan.runtime import errors, images
from jaxgan.systems import contract

NUM_LATENTS = 6  # in the row to choose from
NUM_SAMPLES = 4  # of each domain, where the run's data is here
VIDEO_FRAMES, VIDEO_FPS = 60, 30  # from one style to the other
LATENT, REFERENCE = 'random', 'reference image'
_KEPT_SECONDS = 3600  # of what was uploaded or made
_MAX_RADIO = 8  # domains; more are in a menu
_PROGRESS = gr.Progress()  # as a default, Gradio sees that it is asked for
# Fonts of the browser: the page asks for nothing outside of this machine.
THEME = gr.themes.Default(
  font=['system-ui', 'sans-serif'], font_mono=['monospace']
)
# Small pictures as large as there is room, galleries no wider than the page;
# what Gradio lays over a picture hides no name, and none of the first in a row.
CSS = """
#source img, #result img, #grid img, [id$=_reference] img {
  width: 100%; height: 100%; object-fit: contain; }
#source img, #result img, [id$=_reference] img { image-rendering: pixelated; }
#grid img { box-sizing: border-box; padding-top: 40px; }
.caption-label { max-width: 100% !important; padding: 0 4px !important; }
.grid-wrap { padding-top: 32px !important; }
.grid-container { min-width: 0;
  grid-template-columns: repeat(6, minmax(0, 1fr)) !important; }
"""


def upload_image(value: str | None, **settings: Any) -> gr.Image:
  """A component to drop an image in, which gives the path of its file.

  Gradio would open the file first, in any format, and take a picture from a
  `data:` URL, which knows no limit of size.
  """
  image = gr.Image(
    value,
    type='filepath',
    image_mode=None,
    sources=['upload', 'clipboard'],
    **settings,
  )
  # Not a class of our own: Gradio would write a file beside this one for it.
  vars(image)['preprocess'] = _path_of_upload
  return image


def _path_of_upload(payload: Any) -> str | None:
  if payload is None:
    return None
  if not payload.path or (payload.url or '').startswith('data:'):
    raise gr.Error('an image has to be uploaded', print_exception=False)
  return payload.path


class Sample(NamedTuple):
  """A validation image of the run's data, as a file."""

  domain: str
  path: str


class Style(NamedTuple):
  """Where a style is taken from."""

  kind: str  # LATENT or REFERENCE
  number: int  # of the latent in the row
  reference: str | None  # path of an image


class Studio:
  """What the page does, as functions of what is chosen on it.

  Args:
    model: of the run; best with a chunk of 1, for images come one at a time.
    directory: where files for the browser are written.
  """

  def __init__(self, model: trained_model.Model, directory: pathlib.Path):
    self.model, self._directory = model, directory
    # By path: those of uploads are named by their content.
    self._open = functools.lru_cache(maxsize=64)(model.open)
    # Few: their transparency is as large as they are.
    self._open_whole = functools.lru_cache(maxsize=4)(
      functools.partial(model.open, keep_size=True)
    )
    self._encode = functools.lru_cache(maxsize=256)(
      lambda path, domain: model.reference_styles(
        [self._open(path).pixels], domain
      )[0]
    )
    self._latents = functools.lru_cache(maxsize=256)(
      lambda domain, seed, psi: model.latent_styles(
        domain, NUM_LATENTS, seed=seed, psi=psi
      )
    )

  def warm_up(self) -> None:
    """Compiles all that the page computes."""
    size = self.model.img_size
    black = Pixels(np.zeros((size, size, 3), np.uint8))
    if self.has_labels:
      for domain in self.model.domains:
        self.model.translate([black], domain)
      return
    for domain in self.model.domains:
      self.model.latent_styles(domain, NUM_LATENTS)
      codes = self.model.reference_styles([black], domain)
      self.model.translate([black], domain, codes)

  @property
  def has_labels(self) -> bool:
    """Whether a domain has one style, and there is none to choose."""
    return 'label' in self.model.kinds

  def translate_to(
    self, source: str, domain: str, keep_size: bool = False
  ) -> Image.Image:
    """The source in the one style of a domain; else as `translate`."""
    return self._finish(source, keep_size, *self._translate(source, domain))

  def label_grid(self, source: str) -> np.ndarray:
    """The source in every domain, uint8 [H, W, 3]."""
    row = [self._on_white(source, d)[0] for d in self.model.domains]
    return images.labelled_grid(
      [[self._look(source), *map(np.asarray, row)]],
      top=['source', *images.name_all(self.model.domains, 'domain')],
      left=[''],
    )

  def row(
    self, source: str, domain: str, seed: int, psi: float
  ) -> list[Image.Image]:
    """The source in each of the random styles; UserError as `translate`."""
    _check_numbers(seed, psi)
    return self._on_white(source, domain, self._latents(domain, seed, psi))

  def translate(
    self,
    source: str,
    domain: str,
    seed: int,
    psi: float,
    styles: Sequence[Style],
    mix: float,
    keep_size: bool = False,
  ) -> Image.Image:
    """The source in a style between two, as far from the first as `mix` is.

    It is see-through where the source is, and as `trained_model.Model.open`
    takes keep_size.

    Raises:
      UserError: an image cannot be read, no reference is chosen, or a number is
        none that can be chosen.
    """
    _check_numbers(seed, psi, mix)
    # Of one that is not looked at, no reference need be there.
    code = sum(
      weight * self._code(style, domain, seed, psi)
      for style, weight in zip(styles, (1 - mix, mix), strict=True)
      if weight
    )
    return self._finish(
      source,
      keep_size,
      *self._translate(source, domain, np.asarray(code)[None]),
    )

  def grid(self, source: str, seed: int, psi: float) -> np.ndarray:
    """The source in the random styles of every domain, uint8 [H, W, 3]."""
    rows = [
      [np.asarray(image) for image in self.row(source, domain, seed, psi)]
      for domain in self.model.domains
    ]
    first = [self._look(source), *[None] * (NUM_LATENTS - 1)]
    return images.labelled_grid(
      [first, *rows],
      top=[f'style {n}' for n in range(1, 1 + NUM_LATENTS)],
      left=['source', *images.name_all(self.model.domains, 'domain')],
    )

  def video(
    self,
    source: str,
    domain: str,
    seed: int,
    psi: float,
    styles: Sequence[Style],
    progress: Callable[[float], None],
  ) -> str:
    """Path of a video in which the style moves to the second and back."""
    _check_numbers(seed, psi)
    codes = [self._code(style, domain, seed, psi) for style in styles]
    above = self._look(source)

    def frames() -> Iterator[np.ndarray]:
      for i, (a, b) in enumerate((codes, codes[::-1])):
        path = trained_model.interpolate(a, b, VIDEO_FRAMES)
        for j, code in enumerate(path):
          (image,) = self._on_white(source, domain, code[None])
          progress((i + j / VIDEO_FRAMES) / 2)
          yield images.grid([[above, np.asarray(image)]])

    # Gradio copies what it serves, and forgets that: so do these.
    for old in self._directory.glob('video_*'):
      if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
        shutil.rmtree(old)
    folder = tempfile.mkdtemp(prefix='video_', dir=self._directory)
    path = epath.Path(folder) / 'video.mp4'
    images.write_video(path, frames(), VIDEO_FPS)
    return str(path)

  def _translate(
    self, source: str, domain: str, codes: np.ndarray | None = None
  ) -> list[Image.Image]:
    pixels = [self._open(source).pixels]
    rows = self.model.translate(pixels, domain, codes)
    return [row[0] for row in rows]

  def _on_white(
    self, source: str, domain: str, codes: np.ndarray | None = None
  ) -> list[Image.Image]:
    """As `_translate`, to be shown beside others."""
    opened = self._open(source)
    return [
      opened.on_white(image) for image in self._translate(source, domain, codes)
    ]

  def _look(self, source: str) -> np.ndarray:
    """What networks see of a source, to be shown beside others."""
    opened = self._open(source)
    return np.asarray(opened.on_white(Image.fromarray(opened.pixels)))

  def _finish(
    self, source: str, keep_size: bool, image: Image.Image
  ) -> Image.Image:
    opened = self._open_whole(source) if keep_size else self._open(source)
    return opened.finish(image)

  def _code(
    self, style: Style, domain: str, seed: int, psi: float
  ) -> np.ndarray:
    if style.kind == LATENT:
      if style.number not in range(NUM_LATENTS):
        raise errors.UserError(f'choose a style of 1 to {NUM_LATENTS}')
      return self._latents(domain, seed, psi)[int(style.number)]
    if style.reference is None:
      raise errors.UserError('choose a reference image, or a random style')
    return self._encode(style.reference, domain)


def _check_numbers(seed: Any, psi: Any, mix: Any = 0) -> None:
  """Raises UserError for what the page would not send by itself."""
  if not (isinstance(seed, int) and 0 <= seed < 2**32):
    raise errors.UserError('the seed is a whole number from 0 to 2**32 - 1')
  for name, value in (('psi', psi), ('the mix', mix)):
    if not (isinstance(value, int | float) and 0 <= value <= 1):
      raise errors.UserError(f'{name} is a number from 0 to 1')


def load_samples(
  config: ml_collections.ConfigDict, directory: pathlib.Path
) -> list[Sample]:
  """Writes validation images of the run's data as files to choose from.

  None where the data is not here, as of an imported run: that is told.
  """
  config = config.copy_and_resolve_references()
  config.data.skip_bad_images = True
  samples = []
  try:
    _, val = contract.get_system(config).create_data(config).evaluation()
    for i, domain in enumerate(val.domains):
      numbers = range(min(NUM_SAMPLES, val.counts[i]))
      # Whole: as of an upload, a part of it is taken when it is read.
      for j, picture in enumerate(val.originals(i, numbers)):
        path = directory / f'sample_{i}_{j}.png'
        picture.save(path)
        samples.append(Sample(domain, str(path)))
  except (errors.UserError, OSError) as e:
    logging.warning('no samples to choose from: %s', e)
  return samples


def _shown(fn: Callable) -> Callable:
  """The function, with what the user can mend shown on the page."""

  @functools.wraps(fn)
  def run(*args):
    try:
      return fn(*args)
    except errors.UserError as e:
      # Of the path, which is the server's, the name alone.
      raise gr.Error(os.path.basename(str(e)), print_exception=False) from e

  return run


def build(studio: Studio, samples: Sequence[Sample], title: str) -> gr.Blocks:
  """The page; each of its users has choices of their own."""
  if studio.has_labels:
    return _build_for_labels(studio, samples, title)
  domains = list(studio.model.domains)
  paths = [sample.path for sample in samples]
  start = {
    domain: next((s.path for s in samples if s.domain == domain), None)
    for domain in domains
  }
  first_domain = _first_target(domains, samples)

  # Gradio looks every ten minutes.
  with gr.Blocks(
    title=title, analytics_enabled=False, delete_cache=(600, _KEPT_SECONDS)
  ) as page:
    gr.Markdown(f'## {title}')
    with gr.Row():
      source, source_samples = _source_column(samples)
      with gr.Column():
        result, keep_size, domain = _result_and_domain(domains, first_domain)
        mix = gr.Slider(
          0,
          1,
          0,
          step=0.01,
          label='Mix: 0 first style, 1 second',
          elem_id='mix',
        )
    with gr.Row():
      panels = [
        _style_panel(label, i, samples, start[first_domain])
        for i, label in enumerate(('First style', 'Second style'))
      ]
    with gr.Row(equal_height=True):
      psi = gr.Slider(
        0,
        1,
        studio.model.psi,
        step=0.05,
        label='psi of random styles: 0 the mean style, 1 as varied as they are',
        elem_id='psi',
      )
      seed = gr.Number(0, precision=0, minimum=0, label='Seed', elem_id='seed')
      other = gr.Button('Other random styles', elem_id='other')
    with gr.Row():
      with gr.Column():
        draw_grid = gr.Button('Draw a grid of all domains', elem_id='draw_grid')
        grid = _grid_image()
      with gr.Column():
        make_video = gr.Button(
          'Make a video from the first style to the second',
          elem_id='make_video',
        )
        video = gr.Video(
          label='Video',
          interactive=False,
          buttons=['download'],
          elem_id='video',
        )

    looks = [source, domain, seed, psi]
    choices = [part for panel in panels for part in panel[:3]]

    def styles(chosen) -> list[Style]:
      return [Style(*chosen[:3]), Style(*chosen[3:6])]

    @_shown
    def render(path, domain, seed, psi, mix, keep_size, *chosen):
      if path is None:
        return None
      return studio.translate(
        path, domain, seed, psi, styles(chosen), mix, bool(keep_size)
      )

    @_shown
    def draw_rows(path, domain, seed, psi, *numbers):
      row = studio.row(path, domain, seed, psi) if path else []
      return [gr.Gallery(row, selected_index=int(n)) for n in numbers]

    @_shown
    def render_grid(path, _, seed, psi):
      _check_source(path)
      return studio.grid(path, seed, psi)

    @_shown
    def render_video(path, domain, seed, psi, progress=_PROGRESS, *chosen):
      _check_source(path)
      return studio.video(path, domain, seed, psi, styles(chosen), progress)

    # One at a time, whoever asks; the others queue.
    computed: dict[str, Any] = {
      'concurrency_limit': 1,
      'concurrency_id': 'device',
    }
    changed = [part.change for part in (*looks, *choices)]
    gr.on(
      [page.load, mix.change, keep_size.change, *changed],
      render,
      [*looks, mix, keep_size, *choices],
      result,
      trigger_mode='always_last',
      show_progress='minimal',
      **computed,
    )
    gr.on(
      [page.load, *(part.change for part in looks)],
      draw_rows,
      [*looks, *(panel.number for panel in panels)],
      [panel.row for panel in panels],
      trigger_mode='always_last',
      show_progress='hidden',
      **computed,
    )
    draw_grid.click(render_grid, looks, grid, **computed)
    make_video.click(render_video, [*looks, *choices], video, **computed)
    other.click(lambda seed: seed + 1, seed, seed)
    _take_chosen(source_samples, paths, source)
    for panel in panels:
      panel.row.select(_chosen_number, None, panel.number)
      _take_chosen(panel.samples, paths, panel.reference)
  return page


def _build_for_labels(
  studio: Studio, samples: Sequence[Sample], title: str
) -> gr.Blocks:
  """The page of a system that has one output for a source and a domain."""
  domains = list(studio.model.domains)
  with gr.Blocks(
    title=title, analytics_enabled=False, delete_cache=(600, _KEPT_SECONDS)
  ) as page:
    gr.Markdown(f'## {title}')
    with gr.Row():
      source, source_samples = _source_column(samples)
      with gr.Column():
        result, keep_size, domain = _result_and_domain(
          domains, _first_target(domains, samples)
        )
    draw_grid = gr.Button('Draw a grid of all domains', elem_id='draw_grid')
    grid = _grid_image()

    @_shown
    def render(path, domain, keep_size):
      if path is None:
        return None
      return studio.translate_to(path, domain, bool(keep_size))

    @_shown
    def render_grid(path):
      _check_source(path)
      return studio.label_grid(path)

    computed: dict[str, Any] = {
      'concurrency_limit': 1,
      'concurrency_id': 'device',
    }
    gr.on(
      [page.load, source.change, domain.change, keep_size.change],
      render,
      [source, domain, keep_size],
      result,
      trigger_mode='always_last',
      show_progress='minimal',
      **computed,
    )
    draw_grid.click(render_grid, source, grid, **computed)
    _take_chosen(source_samples, [sample.path for sample in samples], source)
  return page


def _first_target(domains: Sequence[str], samples: Sequence[Sample]) -> str:
  """Another domain than that of the first sample, if there is one."""
  return next(
    (d for d in domains if not samples or d != samples[0].domain), domains[0]
  )


def _source_column(samples: Sequence[Sample]) -> tuple[gr.Image, gr.Gallery]:
  with gr.Column():
    source = upload_image(
      samples[0].path if samples else None,
      label='Source: drop an image',
      height=320,
      elem_id='source',
    )
    return source, _sample_gallery(samples, 'samples')


def _result_and_domain(
  domains: Sequence[str], first_domain: str
) -> tuple[gr.Image, gr.Checkbox, gr.Radio | gr.Dropdown]:
  result = gr.Image(
    label='Translation',
    format='png',
    interactive=False,
    height=320,
    buttons=['download', 'fullscreen'],
    elem_id='result',
  )
  keep_size = gr.Checkbox(
    False, label='As large as the source, and of its shape', elem_id='keep_size'
  )
  menu = gr.Radio if len(domains) <= _MAX_RADIO else gr.Dropdown
  domain = menu(domains, value=first_domain, label='Domain', elem_id='domain')
  return result, keep_size, domain


def _grid_image() -> gr.Image:
  return gr.Image(
    label='Grid',
    format='png',
    interactive=False,
    buttons=['download', 'fullscreen'],
    elem_id='grid',
  )


class _Panel(NamedTuple):
  """The components of a style; the first three make a `Style`."""

  kind: gr.Radio
  number: gr.Number
  reference: gr.Image
  row: gr.Gallery
  samples: gr.Gallery


def _style_panel(
  label: str, number: int, samples: Sequence[Sample], reference: str | None
) -> _Panel:
  name = f'style{number + 1}'
  with gr.Column():
    kind = gr.Radio(
      [LATENT, REFERENCE], value=LATENT, label=label, elem_id=f'{name}_kind'
    )
    chosen = gr.Number(number, visible=False)
    with gr.Column() as if_latent:
      row = gr.Gallery(
        label='Choose one',
        columns=NUM_LATENTS,
        height=154,
        allow_preview=False,
        selected_index=number,
        format='png',
        buttons=[],
        elem_id=f'{name}_row',
      )
    with gr.Column(visible=False) as if_reference:
      image = upload_image(
        reference,
        label='An image of the domain',
        height=200,
        elem_id=f'{name}_reference',
      )
      gallery = _sample_gallery(samples, f'{name}_samples')
  kind.change(
    lambda kind: [gr.Column(visible=kind == k) for k in (LATENT, REFERENCE)],
    kind,
    [if_latent, if_reference],
    queue=False,
  )
  return _Panel(kind, chosen, image, row, gallery)


def _sample_gallery(samples: Sequence[Sample], name: str) -> gr.Gallery:
  return gr.Gallery(
    [(sample.path, sample.domain) for sample in samples],
    label='or one of these',
    columns=NUM_LATENTS,
    height=254,
    allow_preview=False,
    interactive=False,
    visible=bool(samples),
    buttons=[],
    elem_id=name,
  )


def _take_chosen(
  gallery: gr.Gallery, paths: Sequence[str], image: gr.Image
) -> None:
  """What is chosen in a gallery of samples becomes the image."""

  def take(event: gr.SelectData):
    return paths[event.index]

  gallery.select(take, None, image)


def _chosen_number(event: gr.SelectData) -> int:
  return event.index


def _check_source(path: str | None) -> None:
  if path is None:
    raise errors.UserError('choose a source first')
