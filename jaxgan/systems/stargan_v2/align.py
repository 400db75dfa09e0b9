"""Turns, scales and moves a face to where the faces of the training set are.

Landmarks are (x, y) [98, 2] in pixels, in the numbering of the WFLW data set;
pictures are uint8 [S, S, 3].
"""

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from jaxgan.data import preprocess
from jaxgan.runtime import errors
from jaxgan.systems.stargan_v2 import wing

Tree = Any

REFERENCE_SIZE = 256  # of the picture in which reference landmarks are given

_LEFT_EYE = (*range(60, 68), 96)
_RIGHT_EYE = (*range(68, 76), 97)
_MOUTH_ENDS = (76, 82)
_STEADY = (96, 97, *_MOUTH_ENDS)  # pupils and mouth ends tell the scale


class NoFaceError(ValueError):
  """No face was found in a picture; the text says by what."""


def align_face(
  params: Tree,
  image: np.ndarray,
  reference: np.ndarray,
  min_peak: float = wing.MIN_HEAT,
) -> np.ndarray:
  """Aligns the face in a picture.

  Args:
    params: of the face network.
    image: uint8 [S, S, 3], S even.
    reference: landmarks [98, 2] of the mean face in a picture of 256 px.
    min_peak: every landmark's heat must reach it somewhere, else there is no
      face. By default what the masks take for a sign of a landmark.

  Returns:
    uint8 [S, S, 3].

  Raises:
    NoFaceError: there is none.
  """
  heatmaps = np.asarray(_heatmaps(params, preprocess.to_float(image)[None]))
  peak = heatmaps.max(axis=(1, 2)).min()
  if not peak >= min_peak:  # nor is NaN a face
    raise NoFaceError(
      f'no face found: the lowest landmark peak is {peak:.3f}, it must be '
      f'{min_peak:g}'
    )
  size = len(image)
  landmarks = wing.decode_landmarks(heatmaps)[0] * (size / wing.HEATMAP_SIZE)
  return warp_face(image, landmarks, reference * (size / REFERENCE_SIZE))


@jax.jit
def _heatmaps(params: Tree, x: jax.Array) -> jax.Array:
  with jax.default_matmul_precision('highest'):  # peaks tell faces apart
    return wing.compute_heatmaps(params, x)


def warp_face(
  image: np.ndarray, landmarks: np.ndarray, reference: np.ndarray
) -> np.ndarray:
  """Warps a picture [S, S, 3] so that its landmarks come to the reference's."""
  cv2 = import_cv2()
  height, width = image.shape[:2]
  padded = mirror_pad(image)
  landmarks = landmarks + np.array([width // 2, height // 2])
  matrix = align_matrix(landmarks, reference)
  if not np.isfinite(matrix).all():
    raise NoFaceError('no face found: its landmarks are in one place')
  warped = cv2.warpPerspective(
    padded, matrix, (width, height), flags=cv2.INTER_LANCZOS4
  )
  # Lanczos overshoots at edges.
  return np.clip(np.rint(warped), 0, 255).astype(np.uint8)


def align_matrix(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """The similarity [3, 3] that takes (x, y, 1) of a face to the reference.

  Not finite where the landmarks fall together.
  """
  centre, target = landmarks.mean(axis=0), reference.mean(axis=0)
  with np.errstate(divide='ignore', invalid='ignore'):
    (x, y), (x_ref, y_ref) = _face_axis(landmarks), _face_axis(reference)
    cos = np.clip(x * x_ref + y * y_ref, -1, 1)
    sin = np.sqrt(1 - cos**2) * np.sign(x * y_ref - y * x_ref)
    steady = list(_STEADY)
    distance = np.linalg.norm(landmarks[steady] - centre, axis=1)
    distance_ref = np.linalg.norm(reference[steady] - target, axis=1)
    scale = np.mean(distance_ref / distance)
  rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
  scaling = np.diag([scale, scale, 1])
  return _translation(target) @ scaling @ rotation @ _translation(-centre)


def _face_axis(landmarks: np.ndarray) -> np.ndarray:
  """Unit vector from the left of a face to its right, by eyes and mouth."""
  left = landmarks[list(_LEFT_EYE)].mean(axis=0)
  right = landmarks[list(_RIGHT_EYE)].mean(axis=0)
  mouth = landmarks[list(_MOUTH_ENDS)].mean(axis=0)
  up_x, up_y = (left + right) / 2 - mouth
  axis = right - left - np.array([up_y, -up_x])
  return axis / np.linalg.norm(axis)


def _translation(offset: np.ndarray) -> np.ndarray:
  matrix = np.eye(3)
  matrix[:2, 2] = offset
  return matrix


def mirror_pad(image: np.ndarray) -> np.ndarray:
  """Doubles a picture's size by reflection that blurs towards the border.

  Returns:
    float32 [2H, 2W, 3] in 0..255, the picture in the middle.
  """
  cv2 = import_cv2()
  height, width = image.shape[:2]
  margins = ((height // 2,) * 2, (width // 2,) * 2, (0, 0))
  padded = np.pad(image, margins, mode='reflect').astype(np.float32)

  # At half the size the blur is cheap.
  sigma = height // 100
  blurred = cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR)
  blurred = ndimage.gaussian_filter(blurred, (sigma, sigma, 0), mode='nearest')
  blurred = cv2.resize(
    blurred, padded.shape[1::-1], interpolation=cv2.INTER_LINEAR
  )

  # 1 in the picture, 0 at the border.
  ramp = functools.partial(_ramp, length=len(padded) // 4)
  rows, columns = map(ramp, padded.shape[:2])
  weight = np.minimum(rows[:, None], columns)[..., None] ** 4
  return padded * weight + blurred * (1 - weight)


def _ramp(size: int, length: int) -> np.ndarray:
  """[size] from 0 to 1 over `length` pixels, and at the other end back."""
  index = np.arange(size, dtype=np.float32)
  return np.clip(np.minimum(index, index[::-1]) / length, 0, 1)


def import_cv2() -> ModuleType:
  """OpenCV, an optional package; raises UserError if it is not installed."""
  try:
    import cv2
  except ImportError:
    raise errors.UserError(
      'aligning faces needs OpenCV, which is not installed: '
      'pip install opencv-python-headless'
    ) from None
  return cv2
