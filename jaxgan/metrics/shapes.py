"""Measures what images of the drawn data set show, and scores translations.

Works from the images alone: segments the shape from its ground, fits every
template to it by least squares, and keeps the one that explains it best.
"""

import itertools
from typing import NamedTuple

import numpy as np

from jaxgan.data import shapes

# A shape is undetected where the foreground fills less or more of the image
# than this (whole shapes fill 0.08 to 0.21, and rings 0.06 to 0.16),
AREA_LIMITS = (0.02, 0.42)
# or where the best template leaves more than this share of the foreground's
# energy: its own template leaves nothing of a sharp shape and 0.16 of one
# blurred by 2 pixels of 32, another template 0.08 to 0.3, noise more than 1.
# Rings, being mostly edge, leave 0.13 when blurred by 1 pixel.
RESIDUAL_LIMIT = 0.25

_ITERATIONS = 8  # each leaves about a fifth of the error
_DAMPING = 1e-3  # of the curvature that an edge as long as the side gives
_MAX_STEP_PX = 2.0
_RADIUS_LIMITS = (0.05, 0.4)  # of the side
_PIXELS_AT_ONCE = 2**16  # working arrays then stay in a core's cache


class Measured(NamedTuple):
  """What N images show; -1, 0, 0, -1 and False where no shape was detected."""

  domain: np.ndarray  # int [N], an index into shapes.DOMAINS, or -1
  centre: np.ndarray  # float [N, 2], (x, y) in units of the side
  radius: np.ndarray  # float [N], in units of the side
  hue: np.ndarray  # float [N], in turns, [0, 1), or -1
  outline: np.ndarray  # bool [N], a ring; False where not looked for


def measure(images: np.ndarray, outlines: bool = False) -> Measured:
  """Measures images, uint8 [N, S, S, 3], each by itself.

  With `outlines`, it looks for rings as well as for filled shapes; without, a
  ring is undetected.
  """
  if images.dtype != np.uint8:
    raise ValueError(f'images must be uint8, got {images.dtype}')
  at_once = max(1, _PIXELS_AT_ONCE // images.shape[1] ** 2)
  chunks = [
    _measure_chunk(images[i : i + at_once], outlines)
    for i in range(0, len(images), at_once)
  ]
  return Measured(*map(np.concatenate, zip(*chunks, strict=True)))


def compute_scores(
  measured: Measured,
  *,
  domain: np.ndarray,
  content: shapes.Factors | Measured,
  hue: np.ndarray | None = None,
  img_size: int,
) -> dict[str, float | None]:
  """Scores translated images against what they were asked to show.

  Errors are medians over the images in which a shape was detected, None if
  there is none.

  Args:
    measured: what the N translated images show.
    domain: the domains asked for, int [N].
    content: what the N source images show; its centre and radius count.
    hue: the hues asked for, float [N] in turns; None leaves out their error.
    img_size: the side in pixels.

  Returns:
    domain_accuracy (over all images, undetected ones being wrong),
    position_error_px, size_error (relative to the source's radius) and
    colour_error (in turns, 0 to 0.5).
  """
  detected = measured.domain >= 0
  shift = np.linalg.norm(measured.centre - content.centre, axis=-1)
  errors = {
    'position_error_px': img_size * shift,
    'size_error': abs(measured.radius / content.radius - 1),
  }
  if hue is not None:
    turns = (measured.hue - hue) % 1
    errors['colour_error'] = np.minimum(turns, 1 - turns)
  return {'domain_accuracy': float(np.mean(measured.domain == domain))} | {
    name: float(np.median(error[detected])) if detected.any() else None
    for name, error in errors.items()
  }


def compute_attribute_scores(
  measured: Measured,
  *,
  target: np.ndarray,
  attributes: np.ndarray,
  content: shapes.Factors | Measured,
  img_size: int,
) -> dict[str, float | None]:
  """Scores translated images against the attributes they were asked to have.

  Args:
    measured: what the N translated images show, rings looked for.
    target: which of shapes.ATTRIBUTES was to change, int [N].
    attributes: all that were asked for, float [N, 3], 0 or 1: the target as it
      was to become, the others as in the source.
    content: what the N source images show; its shape and centre count.
    img_size: the side in pixels.

  Returns:
    Shares of the images, undetected ones being wrong: target_accuracy (the
    target is as asked), kept_accuracy (all others are) and shape_accuracy (the
    shape is the source's). And position_error_px, the median over the images
    in which a shape was detected, None if there is none.
  """
  detected = measured.domain >= 0
  right = shapes.attributes_of(measured) == attributes
  is_target = np.arange(len(shapes.ATTRIBUTES)) == target[:, None]
  changed = (right | ~is_target).all(axis=1)
  kept = (right | is_target).all(axis=1)
  same_shape = measured.domain == content.domain
  shift = np.linalg.norm(measured.centre - content.centre, axis=-1)
  return {
    'target_accuracy': float(np.mean(detected & changed)),
    'kept_accuracy': float(np.mean(detected & kept)),
    'shape_accuracy': float(np.mean(detected & same_shape)),
    'position_error_px': (
      float(img_size * np.median(shift[detected])) if detected.any() else None
    ),
  }


def hue_diversity(hue: np.ndarray) -> float:
  """Spread of the hues [M, L] within the M groups, from 0 (one hue) to 1.

  The spread is 1 - R, R the length of the mean of e^(2 pi i hue). The mean of
  L draws is longer than that of their distribution: even for uniform hues,
  with L = 10, about 0.28 and not 0. So R^2 is estimated without bias,
  (L |mean|^2 - 1) / (L - 1), and averaged over the groups.

  Undetected images, of hue -1, are left out; a group with fewer than two
  others counts as one hue.
  """
  detected = hue >= 0
  count = detected.sum(axis=1)
  resultant = np.where(detected, np.exp(2j * np.pi * hue), 0).sum(axis=1)
  pairs = np.maximum(count * (count - 1), 1)
  squared = (abs(resultant) ** 2 - count) / pairs
  squared = np.where(count < 2, 1, squared)
  return float(1 - np.sqrt(np.clip(np.mean(squared), 0, 1)))


def _measure_chunk(images: np.ndarray, outlines: bool) -> Measured:
  count = len(images)
  measured = Measured(
    domain=np.full(count, -1),
    centre=np.zeros((count, 2)),
    radius=np.zeros(count),
    hue=np.full(count, -1.0),
    outline=np.zeros(count, bool),
  )
  cover = _segment(images)
  area = np.mean(cover > 0.5, axis=(1, 2))
  plausible = np.flatnonzero(
    (area >= AREA_LIMITS[0]) & (area <= AREA_LIMITS[1])
  )

  domains = range(len(shapes.DOMAINS))
  templates = list(
    itertools.product(domains, (False, True) if outlines else (False,))
  )
  fits = [_fit(*template, cover[plausible]) for template in templates]
  centre, radius, residual = map(np.stack, zip(*fits, strict=True))
  fitted = np.flatnonzero(residual.min(axis=0) <= RESIDUAL_LIMIT)
  best = residual.argmin(axis=0)[fitted]

  detected = plausible[fitted]
  domain, outline = np.array(templates).T[:, best]
  measured.domain[detected] = domain
  measured.outline[detected] = outline
  measured.centre[detected] = centre[best, fitted]
  measured.radius[detected] = radius[best, fitted]
  measured.hue[detected] = _mean_hue(images[detected], cover[detected])
  return measured


def _segment(images: np.ndarray) -> np.ndarray:
  """Estimates the coverage, float32 [N, S, S] in [0, 1]."""
  # Across an edge the largest channel rises linearly from ground to value,
  # whatever the hue.
  brightness = images.max(axis=-1).astype(np.float32) / 255
  contrast = shapes.VALUE - shapes.GROUND
  return np.clip((brightness - shapes.GROUND) / contrast, 0, 1)


def _fit(
  domain: int, outline: bool, cover: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Fits a template to coverages [N, S, S] by damped Gauss-Newton.

  Returns centre [N, 2] and radius [N] in units of the side, and the residual
  [N]: the squared error as a share of the coverage's energy.
  """
  img_size = cover.shape[-1]
  low = np.array([0, 0, _RADIUS_LIMITS[0]])
  high = np.array([1, 1, _RADIUS_LIMITS[1]])
  max_step = _MAX_STEP_PX / img_size
  params = np.clip(_moments(outline, cover), low, high)  # [N, 3]: x, y, radius
  for _ in range(_ITERATIONS):
    error, jacobian = _linearize(domain, outline, params, cover)
    normal = jacobian @ jacobian.swapaxes(1, 2)
    normal += _DAMPING * img_size**3 * np.eye(3)
    step = np.linalg.solve(normal, jacobian @ error)[..., 0]
    params = np.clip(params + np.clip(step, -max_step, max_step), low, high)
  centre, radius = params[:, :2], params[:, 2]
  error = cover - shapes.coverage(domain, centre, radius, img_size, outline)
  energy = np.square(cover).sum(axis=(1, 2))
  return centre, radius, np.square(error).sum(axis=(1, 2)) / energy


def _linearize(
  domain: int, outline: bool, params: np.ndarray, cover: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the error [N, P, 1] and the template's Jacobian [N, 3, P]."""
  count, img_size, _ = cover.shape
  centre, radius = params[:, :2], params[:, 2]
  template = shapes.coverage(domain, centre, radius, img_size, outline)
  # To move a shape is to move its picture, and to enlarge it is to move every
  # point away from the centre: the spatial gradient holds the whole Jacobian.
  # By differences it is wider than the edge itself, so a fit that starts a
  # pixel off still feels where to go.
  slope_y, slope_x = np.gradient(template, 1 / img_size, axis=(1, 2))
  middles = (np.arange(img_size) + 0.5) / img_size
  x, y = np.moveaxis(middles - centre[..., None], 1, 0).astype(np.float32)
  outward = x[:, None, :] * slope_x + y[:, :, None] * slope_y
  outward /= radius[:, None, None].astype(np.float32)
  jacobian = -np.stack([slope_x, slope_y, outward], axis=1)
  error = cover - template
  pixels = img_size**2  # spelt out, as -1 does not work for no images
  return error.reshape(count, pixels, 1), jacobian.reshape(count, 3, pixels)


def _moments(outline: bool, cover: np.ndarray) -> np.ndarray:
  """Returns centroid and radius, [N, 3], of what is more than half covered."""
  mask = cover > 0.5  # leaves out a weak ground, however far it extends
  img_size = mask.shape[-1]
  middles = (np.arange(img_size) + 0.5) / img_size
  pixels = mask.sum(axis=(1, 2))
  x = mask.sum(axis=1) @ middles / pixels
  y = mask.sum(axis=2) @ middles / pixels
  share = 1 - shapes.INNER_RADIUS**2 if outline else 1  # of the disc, covered
  radius = np.sqrt(pixels / (share * np.pi)) / img_size
  return np.stack([x, y, radius], axis=-1)


def _mean_hue(images: np.ndarray, cover: np.ndarray) -> np.ndarray:
  """HSV hue [N] of the confident foreground's mean colour; 0 if grey."""
  # The ground mixed into an edge adds as much to each channel, so that the
  # hue does not feel it.
  weight = np.where(cover > 0.5, cover, 0)
  rgb = np.einsum('nhw,nhwc->nc', weight, images)
  r, g, b = rgb.T
  top = rgb.max(axis=-1)
  chroma = np.maximum(top - rgb.min(axis=-1), np.finfo(np.float32).tiny)
  sixths = np.select(
    [top == r, top == g],
    [(g - b) / chroma, (b - r) / chroma + 2],
    (r - g) / chroma + 4,
  )
  return sixths / 6 % 1
