"""Inception Score and its conditional form, as MUNIT has them.

An Inception v3 that tells the classes of the target domain, a file of the user,
looks at the translations (Huang et al. 2018, section 5.2).
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics import inception, weights
from jaxgan.runtime import sharding

Array = jax.Array

_INPUT_SIZE = 299
_CHUNK = 32
# torchvision's input transform, for images that ImageNet's mean and deviation
# normalised. The original passes images in [0, 1] through it.
_SCALE = np.array((0.229, 0.224, 0.225)) / 0.5
_OFFSET = (np.array((0.485, 0.456, 0.406)) - 0.5) / 0.5


class Classifiers:
  """The classifiers of domains, one on the devices of this process at a time.

  Attributes:
    labels: {domain: label of its file}, of all files there are.
  """

  def __init__(self, weights_dir: str):
    """Finds the files; MissingWeightsError where there are none."""
    self.labels = weights.find_classifiers(weights_dir)
    self._weights_dir = weights_dir
    self._mesh = sharding.create_local_mesh()
    self._whole: set[str] = set()
    self._placed: tuple[str, Any] = ('', None)

  @property
  def label(self) -> str:
    """Of all files."""
    return '+'.join(self.labels.values())

  def prepare(self, domains: Iterable[str]) -> None:
    """Raises UserError unless there is a whole file for each domain."""
    domains = tuple(domains)
    weights.require_classifiers(self._weights_dir, domains)
    for domain in domains:
      if domain not in self._whole:
        weights.load_classifier(self._weights_dir, domain)
        self._whole.add(domain)

  def logits(self, x: np.ndarray, domain: str) -> np.ndarray:
    """Logits [N, K, classes] of outputs [N, K, S, S, 3] by a domain's classes.

    Fast where the domain is that of the call before.
    """
    if self._placed[0] != domain:
      self._placed = ('', None)  # frees the memory
      params = weights.load_classifier(self._weights_dir, domain)
      where = sharding.replicated(self._mesh)
      self._placed = (domain, jax.device_put(params, where))
    params = self._placed[1]
    shape = (*x.shape[:2], len(params['fc']['bias']))
    if not len(x):
      return np.zeros(shape, np.float32)
    fn = functools.partial(_apply, params)
    flat = x.reshape(-1, *x.shape[2:])
    return sharding.map_chunks(fn, flat, mesh=self._mesh, size=_CHUNK).reshape(
      shape
    )


def compute_scores(logits: np.ndarray) -> tuple[float, float]:
  """Inception Score and conditional Inception Score.

  Each is the exponential of the mean Kullback-Leibler divergence of an output's
  classes from the mean: of all outputs, or of those of one source. 1 where all
  are alike, at most the number of classes.

  Args:
    logits: [N, K, classes] of K outputs of each of N sources.
  """
  log_p = logits.astype(np.float64)
  log_p = log_p - _log_sum_exp(log_p, (2,))

  def score(axes: tuple[int, ...]) -> float:
    count = np.prod([log_p.shape[axis] for axis in axes])
    log_mean = _log_sum_exp(log_p, axes) - np.log(count)
    divergence = np.sum(np.exp(log_p) * (log_p - log_mean), axis=2)
    return float(np.exp(divergence.mean()))

  return score((0, 1)), score((1,))


def prepare(x: Array) -> Array:
  """Images [B, S, S, 3] in [-1, 1] as input of Inception, [B, 299, 299, 3]."""
  x = (jnp.clip(x, -1, 1) + 1) / 2
  shape = (len(x), _INPUT_SIZE, _INPUT_SIZE, x.shape[-1])
  x = jax.image.resize(x, shape, 'linear', antialias=False)
  scale, offset = (jnp.asarray(v, x.dtype) for v in (_SCALE, _OFFSET))
  return x * scale[None, None, None] + offset[None, None, None]


def _log_sum_exp(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
  most = x.max(axes, keepdims=True)
  return most + np.log(np.exp(x - most).sum(axes, keepdims=True))


@jax.jit
def _apply(params: Any, x: Array) -> Any:
  network = inception.InceptionV3(num_classes=len(params['fc']['bias']))
  # Scores are to be the same on all hardware: no TF32, no bfloat16.
  with jax.default_matmul_precision('highest'):
    return network.apply({'params': params}, prepare(x.astype(jnp.float32)))
