import numpy as np
import pytest

from jaxgan.metrics import fid


def test_distance_of_known_gaussians():
  # Diagonal covariances: |m - n|^2 + sum (s_i - t_i)^2 of the deviations.
  a = fid.Gaussian(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
  b = fid.Gaussian(np.array([0.0, 4.0]), np.diag([1.0, 25.0]))
  assert fid.frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 4, rel=1e-12)


def test_of_a_set_with_itself_is_zero_also_if_singular():
  features = np.random.default_rng(0).standard_normal((10, 40))
  gaussian = fid.Gaussian.of(features)
  assert abs(fid.frechet_distance(gaussian, gaussian)) < 1e-5


def test_gaussian_counts_in_float64():
  features = np.float32([[1e4 + 0.001], [1e4 + 0.003]])
  gaussian = fid.Gaussian.of(features)
  expected = np.var(features.astype(np.float64), ddof=1)
  assert gaussian.cov == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_by_hand():
  a, b = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
  # k(x, y) = (xy + 1)^3: within a 27, within b 1, across 1, 64, 1, 343.
  expected = 27 + 1 - 2 * (1 + 64 + 1 + 343) / 4
  assert fid.kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_unbiased():
  rng = np.random.default_rng(0)
  values = [
    fid.kernel_distance(*rng.standard_normal((2, 20, 4))) for _ in range(400)
  ]
  assert abs(np.mean(values)) < 4 * np.std(values) / 20


def test_precision_and_recall_by_hand():
  real = np.array([[0.0], [1.0], [2.0], [3.0]])
  fake = np.array([[0.5], [1.5], [10.0], [11.0]])
  # First neighbours: real balls have radius 1; fake ones 1, 1, 1, 1.
  assert fid.precision_recall(real, fake, k=1) == (0.5, 0.75)
  # In blocks, as sets larger than one are taken.
  assert fid._covered(fake, real, 1, block=1) == 0.5
  assert fid._kernel_sum(real, fake, block=1) == fid._kernel_sum(real, fake)
