import types

import jax
import numpy as np
import pytest

from jaxgan.systems.stargan_v2.sample import latent_styles


def _translator(num_domains):
  """One whose styles are the numbers of their domains."""
  mean = np.arange(num_domains, dtype=np.float32)[:, None]
  return types.SimpleNamespace(
    mean_styles=lambda rng, latent_dim: mean,
    map_truncated=lambda z, mean, psi: np.stack([mean] * len(z)),
  )


@pytest.mark.parametrize(
  'num_domains, shown',
  [
    (1, [0]),
    (10, range(10)),
    (11, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
    (100, range(0, 100, 11)),
  ],
)
def test_of_many_domains_the_grids_show_some(num_domains, shown):
  styles = latent_styles(_translator(num_domains), jax.random.key(0), 2)
  assert list(styles) == [0.5, 0.7, 1.0]
  for of_psi in styles.values():
    np.testing.assert_array_equal(of_psi[:, 0], np.repeat(shown, 3))
