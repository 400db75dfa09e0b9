import functools

import jax
import numpy as np
import pytest

from jaxgan.runtime import errors, sharding


@pytest.mark.parametrize('y', [[1, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0]])
def test_rows_come_back_in_order_each_by_the_function_of_its_domain(y):
  y = np.array(y)
  x = np.arange(len(y) * 2.0, dtype=np.float32).reshape(-1, 2)
  more, asked = 10 * x[:, :1], []

  def fn_of(domain):
    asked.append(domain)
    return jax.jit(lambda a, b: (1 + 99 * domain) * a + b)

  mesh = sharding.create_local_mesh()
  got = sharding.map_by_domain(fn_of, y, x, np.tile(more, 2), mesh=mesh, size=2)
  np.testing.assert_array_equal(got, (1 + 99 * y[:, None]) * x + more)
  assert got.dtype == np.float32
  assert asked == sorted(set(y.tolist()))  # of domains that there are


def test_a_domain_may_be_rounded_and_not_mixed():
  x = np.zeros((2, 1), np.float32)
  mesh = sharding.create_local_mesh()

  def run(y):
    fn_of = functools.cache(lambda domain: jax.jit(lambda a: a + domain))
    return sharding.map_by_domain(fn_of, np.array(y), x, mesh=mesh, size=2)

  np.testing.assert_array_equal(run([1 - 1e-7, 1e-7]), [[1], [0]])
  with pytest.raises(errors.UserError, match='two domains were mixed'):
    run([0, 0.5])
