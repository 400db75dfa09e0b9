"""Distances between two sets of features; float64, on the host."""

import dataclasses
import functools

import numpy as np
import scipy.linalg


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian:
  """The normal distribution that FID puts in the place of a set of features."""

  mean: np.ndarray  # [D]
  cov: np.ndarray  # [D, D]

  @classmethod
  def of(cls, features: np.ndarray) -> 'Gaussian':
    """Fits features [N, D], N at least 2."""
    features = np.asarray(features, np.float64)
    return cls(features.mean(axis=0), np.cov(features, rowvar=False))

  @functools.cached_property
  def root(self) -> np.ndarray:
    """The symmetric square root of the covariance."""
    values, vectors = scipy.linalg.eigh(self.cov)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
  """|m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017, eq. 6).

  The trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), a symmetric
  matrix: faster than a general square root, and sound where a covariance is
  singular, which it is with no more images than features. The root of `a` is
  computed once.
  """
  product = a.root @ b.cov @ a.root
  values = scipy.linalg.eigvalsh((product + product.T) / 2)
  trace = np.sqrt(np.maximum(values, 0)).sum()
  difference = a.mean - b.mean
  return float(
    difference @ difference + np.trace(a.cov) + np.trace(b.cov) - 2 * trace
  )


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
  """KID (Binkowski et al. 2018): unbiased squared MMD, cubic kernel.

  Args:
    a: features [N, D], N at least 2; all are used, not subsets.
    b: features [M, D], M at least 2.
  """
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  n, m = len(a), len(b)
  within_a = (_kernel_sum(a, a) - _kernel_diagonal(a)) / (n * (n - 1))
  within_b = (_kernel_sum(b, b) - _kernel_diagonal(b)) / (m * (m - 1))
  return float(within_a + within_b - 2 * _kernel_sum(a, b) / (n * m))


def _kernel_sum(a: np.ndarray, b: np.ndarray, block: int = 1024) -> float:
  """Sum of (x . y / D + 1)^3 over all pairs, a block of rows at a time."""
  total = 0.0
  for start in range(0, len(a), block):
    total += ((a[start : start + block] @ b.T / a.shape[1] + 1) ** 3).sum()
  return total


def _kernel_diagonal(a: np.ndarray) -> float:
  return (((a**2).sum(axis=1) / a.shape[1] + 1) ** 3).sum()


def precision_recall(
  real: np.ndarray, fake: np.ndarray, k: int = 3
) -> tuple[float, float]:
  """Improved precision and recall (Kynkaanniemi et al. 2019).

  Precision is the share of fakes that lie within the real manifold, recall the
  share of reals within the fake one; a manifold is the union of balls round its
  features that reach to the k-th nearest neighbour.

  Args:
    real: features [N, D], N more than k.
    fake: features [M, D], M more than k.
    k: neighbour.
  """
  real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
  return _covered(fake, real, k), _covered(real, fake, k)


def _covered(
  points: np.ndarray, manifold: np.ndarray, k: int, block: int = 1024
) -> float:
  """Share of points [N, D] within the manifold of features [M, D]."""
  radii = np.concatenate(
    [
      np.partition(_squared_distances(manifold[i : i + block], manifold), k)[
        :, k
      ]  # the nearest of all is the point itself
      for i in range(0, len(manifold), block)
    ]
  )
  inside = [
    (_squared_distances(points[i : i + block], manifold) <= radii).any(axis=1)
    for i in range(0, len(points), block)
  ]
  return float(np.concatenate(inside).mean())


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
  return np.maximum(squares - 2 * a @ b.T, 0)
