"""Tests run on two virtual CPU devices, with JAX told to complain."""

import jax
import pytest

_CACHE_BYTES = 4 * 2**30

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 2)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Compiling is most of the time of a test: do less of it, and once.
jax.config.update('jax_disable_most_optimizations', True)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)
# With a limit, what is written is locked: workers share the folder.
jax.config.update('jax_compilation_cache_max_size', _CACHE_BYTES)


def pytest_configure(config):
  # One for all workers, targets and days: `pytest --cache-clear` empties it.
  folder = config.cache.mkdir('compiled')
  jax.config.update('jax_compilation_cache_dir', str(folder))


@pytest.fixture(scope='module', autouse=True)
def compiled_programs_go():
  """Drops the programs of a file: kept, two workers held 8.6 GB."""
  yield
  jax.clear_caches()
