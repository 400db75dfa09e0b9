import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors, sharding


def test_batch_must_divide_among_devices():
  with pytest.raises(errors.UserError, match='not divisible by the 2 devices'):
    sharding.create_mesh(3)


def test_what_is_on_every_device_is_not_copied():
  mesh = sharding.create_mesh(2)
  once = sharding.replicate({'a': np.arange(8), 'b': jnp.ones(3)}, mesh)
  assert all(x.sharding.is_fully_replicated for x in once.values())
  assert all(x.sharding.device_set == set(jax.devices()) for x in once.values())
  assert sharding.replicate(once, mesh)['a'] is once['a']
