"""Tests run on two virtual CPU devices, with JAX told to complain."""

import collections
import os
import time

import jax
import pytest

_CACHE_BYTES = 4 * 2**30
# Of the process, threads that compile among them: a quick test that takes more
# keeps everybody waiting.
_MOST_SECONDS = 20.0
_CPU_SECONDS = 'cpu_seconds'

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
  start = time.process_time()
  try:
    return (yield)
  finally:
    # A property of the report reaches the summary from another process, too.
    seconds = time.process_time() - start
    item.user_properties.append((_CPU_SECONDS, seconds))


def _measured(reporter):
  """(report, CPU seconds) of the tests that were called."""
  for reports in reporter.stats.values():
    for report in reports:
      if getattr(report, 'when', None) == 'call':
        yield report, dict(report.user_properties).get(_CPU_SECONDS, 0.0)


def _too_long(reporter):
  """(test, CPU seconds) of quick tests that are not quick."""
  return [
    (report.nodeid, seconds)
    for report, seconds in _measured(reporter)
    if seconds > _MOST_SECONDS and 'slow' not in report.keywords
  ]


def pytest_terminal_summary(terminalreporter):
  files = collections.Counter()
  for report, seconds in _measured(terminalreporter):
    files[report.nodeid.partition('::')[0]] += seconds
  if files:
    terminalreporter.section('most CPU seconds')
  for name, seconds in files.most_common(5):
    terminalreporter.write_line(f'{seconds:7.1f} s {name}')
  for name, seconds in _too_long(terminalreporter):
    terminalreporter.write_line(
      f'over {_MOST_SECONDS:.0f} CPU s: {name} {seconds:.1f} s'
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
  # Asked for, and not always: where nothing is compiled yet all tests are long.
  reporter = session.config.pluginmanager.get_plugin('terminalreporter')
  strict = os.environ.get('JAXGAN_STRICT_TIMES') and reporter is not None
  if strict and exitstatus == pytest.ExitCode.OK and _too_long(reporter):
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
