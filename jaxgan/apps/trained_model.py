"""A trained run as a function of pictures; `jaxgan.load` is `load` of here."""

import difflib
import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath
from jax import export
from PIL import Image

from jaxgan.apps import onnx_programs
from jaxgan.data import preprocess, sources
from jaxgan.data.preprocess import Pixels
from jaxgan.inference.translator import PROGRAM_INPUTS, Translator
from jaxgan.runtime import errors, files, images, sharding
from jaxgan.systems import contract

Picture = str | os.PathLike | Image.Image | np.ndarray

PLATFORMS = ('cpu', 'cuda', 'tpu')  # that an exported program runs on


def load(
  workdir: epath.PathLike,
  step: int | None = None,
  *,
  crop: bool = False,
  chunk: int = 8,
) -> 'Model':
  """Opens a run, to translate with; nothing there is changed.

  Args:
    workdir: the run's work directory, or its place on the Hugging Face hub:
      hf://user/name or hf://user/name@revision.
    step: of the checkpoint; None for the newest good one.
    crop: of a picture that is no square take the largest square in its middle;
      otherwise the part that the system sees, all of it or what its data
      settings say, is squeezed into a square.
    chunk: images that are computed at a time; fewer are filled up to so many.

  Raises:
    UserError: there is no such run, or no good checkpoint.
  """
  placement = sharding.replicated(sharding.create_local_mesh())
  run = contract.open_run(workdir, placement, step)
  return Model(run.translator(chunk), run.config, run.step, crop)


def style_kinds(workdir: epath.PathLike) -> tuple[str, ...]:
  """What a style of a run can come from: `latent` and `reference`, or `label`.

  Raises:
    UserError: there is no such run.
  """
  return contract.system_of(workdir).KINDS


class Opened(NamedTuple):
  """A picture as networks see it, and the form that its results get.

  Attributes:
    pixels: what networks see.
    mask: its transparency there, mode L; None where it has none.
    size: width and height of a finished result.
    box: the part of a result that shows the picture, and nothing around it:
      left, top, right and bottom in pixels.
    alpha: the transparency of a finished result.
    whole: width and height of the picture, upright.
  """

  pixels: Pixels
  mask: Image.Image | None
  size: tuple[int, int]
  box: tuple[float, float, float, float]
  alpha: Image.Image | None
  whole: tuple[int, int]

  def finish(self, image: Image.Image) -> Image.Image:
    """A result in its size and shape, RGBA where the source has alpha."""
    image = image.resize(self.size, Image.Resampling.BICUBIC, box=self.box)
    if self.alpha:
      image.putalpha(self.alpha)
    return image

  def opaque(self) -> 'Opened':
    """The same without transparency."""
    return self._replace(mask=None, alpha=None)

  def on_white(self, image: Image.Image) -> Image.Image:
    """What networks see, or a result, with white where the source is clear."""
    if not self.mask:
      return image
    return Image.composite(
      image, Image.new('RGB', image.size, 'white'), self.mask
    )


class Model:
  """A run at a step, made by `load`.

  A picture is a path of a file, as `preprocess.decode` reads it, a PIL image,
  or a uint8 array [H, W, 3] or [H, W], of any size. `read` makes pixels of it,
  once: the networks take pixels alone; `open` also keeps what gives results the
  picture's own size, shape and transparency. A style code is a row of a float32
  array [N, style_dim], of one domain.

  Attributes:
    domains: names, in the order of the run.
    kinds: what a style can come from (`style_kinds`).
    sources: what a picture has to be of: 'any' domain, or, where there are two,
      the 'other' one than the target.
    psi: the usual truncation of latent styles: 0 is the mean style, 1 is none.
    img_size: width and height of the results.
    latent_dim: numbers in a latent code; 0 where there are none.
    source_labels: attributes of a picture that its translations depend on,
      which the run's classifier tells unless `translate` is told.
    step: finished iterations.
    dtype: of the computation.
  """

  def __init__(
    self,
    translator: Translator,
    config: ml_collections.ConfigDict,
    step: int,
    crop: bool,
  ):
    self._translator, self._config = translator, config
    system = translator.system
    self._part = _central_square if crop else system.create_data(config).view
    self._background = config.data.background
    self.domains = contract.domain_names(config)
    self.kinds = system.KINDS
    self.sources = system.SOURCES
    self.psi = system.PSI
    self.img_size = config.data.img_size
    self.latent_dim = config.model.get('latent_dim', 0)
    labels = system.source_labels
    self.source_labels = labels(translator.model) if labels else ()
    self.step = step
    self.dtype = config.model.dtype

  def read(self, picture: Picture) -> Pixels:
    """The pixels [img_size, img_size, 3] that the networks see of a picture.

    Raises:
      UserError: it cannot be read.
    """
    return self.open(picture).pixels

  def open(self, picture: Picture, *, keep_size: bool = False) -> Opened:
    """The pixels that the networks see, and the form of results.

    Args:
      picture: of any size.
      keep_size: whether a finished result has the size and shape of the
        picture, or of the part of it that is seen, and not of `img_size`.

    Raises:
      UserError: it cannot be read.
    """
    image = _open(picture)
    seen = self._part(preprocess.flatten(image, self._background))
    side = self.img_size
    mask = alpha = None
    clear = image.getchannel('A') if image.mode == 'RGBA' else None
    if clear and clear.getextrema() != (255, 255):
      alpha = self._part(clear)
      mask = Image.fromarray(preprocess.resize(alpha, side))
    opened = Opened(
      preprocess.resize(seen, side),
      mask,
      size=(side, side),
      box=(0, 0, side, side),
      alpha=mask,
      whole=image.size,
    )
    return self._keep_size(opened, alpha) if keep_size else opened

  def _keep_size(self, opened: Opened, alpha: Image.Image | None) -> Opened:
    # Around a picture that is smaller than the part, there is black.
    picture = self._part(Image.new('L', opened.whole, 255))
    inside = picture.getbbox()
    assert inside  # the part is the middle
    left, top, right, bottom = inside
    x, y = (self.img_size / side for side in picture.size)
    return opened._replace(
      size=(right - left, bottom - top),
      box=(left * x, top * y, right * x, bottom * y),
      alpha=alpha and alpha.crop(inside),
    )

  def domain_of(self, path: epath.PathLike) -> str:
    """The domain in whose folder a file lies, as in the training data.

    Raises:
      UserError: the folder has the name of no domain.
    """
    name = files.user_path(path).resolve().parent.name
    if name not in self.domains:
      raise errors.UserError(
        f'{path} lies in no folder of a domain ({", ".join(self.domains)}): '
        'give its domain (--domain)'
      )
    return name

  def reference_styles(
    self, pixels: Sequence[Pixels], domain: str
  ) -> np.ndarray:
    """Style codes of images of one domain, [N, style_dim].

    Raises:
      UserError: there is no such domain, or an image is no pixels of `read`.
    """
    y = np.full(len(pixels), self._index(domain))
    return self._translator.style(y, x_ref=self._to_float(pixels))

  def latent_styles(
    self,
    domain: str,
    count: int,
    *,
    seed: int = 0,
    psi: float | None = None,
  ) -> np.ndarray:
    """Drawn style codes of a domain, [count, style_dim].

    Args:
      domain: the target.
      count: how many; the first are the same whatever the count.
      seed: of the latents.
      psi: truncation: 0 is the mean style of the domain, 1 is none; None for
        the usual one.

    Raises:
      UserError: there is no such domain, or psi is no such number.
    """
    y = self._index(domain)
    z = _draw_latents(seed, count, self.latent_dim)
    psi = self.psi if psi is None else psi
    if not 0 <= psi < math.inf:  # nor NaN, which would give black images
      raise errors.UserError(f'psi must be 0 or more: {psi}')
    return self._translator.truncated_style(y, z, psi)

  def translate(
    self,
    pixels: Sequence[Pixels],
    domain: str,
    styles: np.ndarray | None = None,
    *,
    source_labels: Sequence[Collection[str]] | None = None,
  ) -> list[list[Image.Image]]:
    """Every source as of a domain, in every style.

    Memory grows with the number of results: give thousands in parts.

    Args:
      pixels: the sources.
      domain: the target.
      styles: of that domain, [R, ...]; None where kinds are ('label',): a
        domain has one output there.
      source_labels: of each source the attributes that it has, of
        `Model.source_labels`; it has no others. None: the classifier tells.

    Returns:
      A list per style, of an image of img_size per source.

    Raises:
      UserError: there is no such domain or attribute, or a source is no pixels
        of `read`.
    """
    y, x = self._index(domain), self._to_float(pixels)
    if source_labels is None:
      rows = self._translator.translate_all(x, y, styles)
    else:
      rows = self._translate_known(x, y, source_labels)[None]
    return [[Image.fromarray(x) for x in row] for row in images.to_uint8(rows)]

  def export(self) -> dict[str, bytes]:
    """Programs of `jax.export`, weights and all: {name: serialized}.

    `reference` maps x, x_ref [B, S, S, 3] and y [B], the domain of x_ref;
    `latent` maps x, z [B, latent_dim] and y, the target; `label` x and y: all
    to float32 images like x. Images are in [-1, 1], y is int32, the batch may
    be of any size.
    """
    serialized = {}
    for name, (program, arguments) in self._programs().items():
      exported = export.export(jax.jit(program), platforms=PLATFORMS)
      serialized[name] = bytes(exported(*arguments.values()).serialize())
    return serialized

  def export_onnx(self) -> dict[str, onnx_programs.Converted]:
    """The programs of `export` as ONNX: {name: program}.

    Raises:
      UserError: jax2onnx is missing or cannot convert them, or ONNX Runtime
        gives other images.
    """
    if self._translator.system.DRAWS:
      raise errors.UserError(
        'jax2onnx cannot convert the run, whose networks draw random numbers '
        'when they are used: leave out --onnx'
      )
    programs = self._programs(self._plain_model())
    return {
      name: onnx_programs.convert(program, arguments, len(self.domains))
      for name, (program, arguments) in programs.items()
    }

  def _plain_model(self) -> Any:
    """The networks in the one form of resampling that jax2onnx converts."""
    config = self._config.copy_and_resolve_references()
    config.model.resample = 'plain'
    return self._translator.system.create_model(config)

  def _programs(
    self, model: Any = None
  ) -> dict[str, tuple[Callable, dict[str, jax.ShapeDtypeStruct]]]:
    """{name: (program, what it takes)}."""
    b, *_ = export.symbolic_shape('b')
    x = jax.ShapeDtypeStruct((b, self.img_size, self.img_size, 3), 'float32')
    z = jax.ShapeDtypeStruct((b, self.latent_dim), 'float32')
    y = jax.ShapeDtypeStruct((b,), 'int32')
    arguments = {'x': x, 'x_ref': x, 'z': z, 'y': y}
    programs = self._translator.programs(len(self.domains), model)
    return {
      name: (program, {key: arguments[key] for key in PROGRAM_INPUTS[name]})
      for name, program in programs.items()
    }

  def check_domain(self, domain: str) -> None:
    """Raises UserError unless the run has such a domain."""
    if domain not in self.domains:
      near = difflib.get_close_matches(domain, self.domains, 1)
      meant = f' (did you mean {near[0]!r}?)' if near else ''
      raise errors.UserError(
        f'the run has no domain {domain!r}{meant}, but: '
        f'{", ".join(self.domains)}'
      )

  def check_source_label(self, names: Collection[str]) -> None:
    """Raises UserError unless a source can be said to have these attributes."""
    if not self.source_labels:
      raise errors.UserError(
        'the label of a source is for runs of StarGAN with attributes: in this '
        'run nothing depends on it'
      )
    for name in names:
      if name not in self.source_labels:
        raise errors.UserError(
          f'the run has no attribute {name!r} of sources, but: '
          f'{", ".join(self.source_labels)}'
        )

  def _translate_known(
    self, x: np.ndarray, y: int, labels: Sequence[Collection[str]]
  ) -> np.ndarray:
    """Sources of known attributes as of domain y, float32 [N, S, S, 3]."""
    if len(labels) != len(x):
      raise errors.UserError(
        f'source_labels are of {len(labels)} sources, and there are {len(x)}'
      )
    for names in labels:
      self.check_source_label(names)
    c = [[name in names for name in self.domains] for names in labels]
    return self._translator.apply(
      self._translator.system.translate_known,
      np.full(len(x), y, np.int32),
      x,
      np.array(c, np.float32),
    )

  def _index(self, domain: str) -> int:
    self.check_domain(domain)
    return self.domains.index(domain)

  def _to_float(self, pixels: Sequence[Pixels]) -> np.ndarray:
    shape = (self.img_size, self.img_size, 3)
    for x in pixels:
      # A picture that is not viewed yet must not pass for one that is.
      if getattr(x, 'dtype', None) != np.uint8 or x.shape != shape:
        raise errors.UserError(
          f'{errors.printable(str(x))[:80]} is no uint8 array {list(shape)}: '
          "give the pixels that the model's `read` makes of a picture"
        )
    return preprocess.to_float(np.stack(pixels))


def interpolate(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
  """Styles [count, style_dim] from a, with a soft start and end, up to b.

  b itself is left to the next transition.
  """
  t = np.arange(count, dtype=np.float32)[:, None] / count
  alpha = t * t * (3 - 2 * t)
  return (1 - alpha) * a[None] + alpha * b[None]


def _central_square(image: Image.Image) -> Image.Image:
  side = min(image.size)
  left, top = (image.width - side) // 2, (image.height - side) // 2
  return image.crop((left, top, left + side, top + side))


def _open(picture: Picture) -> Image.Image:
  """A picture of mode RGB or RGBA; UserError names what cannot be read."""
  name = picture
  try:
    if isinstance(picture, np.ndarray):
      name = f'an array {picture.dtype} {list(picture.shape)}'
      if picture.dtype != np.uint8 or picture.ndim < 2 or not picture.size:
        raise ValueError('not uint8 [H, W, 3] or [H, W]')
      picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
      name = getattr(picture, 'filename', '') or 'an image'
      return preprocess.upright(picture)
    name = files.user_path(picture)
    return preprocess.upright(preprocess.open_image(sources.read_file(name)))
  except OSError as e:
    raise errors.UserError(f'{name}: {e.strerror or e}') from e
  except (TypeError, ValueError) as e:  # UnreadableImage among them
    raise errors.UserError(f'{name}: {e}') from e


def _draw_latents(seed: int, count: int, latent_dim: int) -> np.ndarray:
  """Latent n of a seed, for n < count: [count, latent_dim]."""
  keys = jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), jnp.arange(count)
  )
  draw = jax.vmap(lambda key: jax.random.normal(key, (latent_dim,), 'float32'))
  return np.asarray(draw(keys))
