"""The allocator keeps what is freed; servers are reached without proxies."""

import os
import resource
import subprocess
import sys
import types
import urllib.request

import pytest

from jaxgan.runtime import host

# Page faults of asking five times for 256 MB, before and after.
_COUNT_FAULTS = """
import resource
from jaxgan.runtime import host

def count():
  start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(5):
    bytearray(2**28)
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

before = count()
assert host.keep_freed_memory()
count()
print(before, count())
"""


def test_freed_memory_is_used_again():
  if not host.keep_freed_memory():
    pytest.skip('the allocator is not that of glibc')
  done = subprocess.run(
    [sys.executable, '-c', _COUNT_FAULTS],
    capture_output=True,
    text=True,
    check=True,
  )
  before, after = map(int, done.stdout.split())
  assert before >= 5
  assert after <= before / 100


@pytest.mark.parametrize(
  'system, expected', [('linux', 5_120_000), ('darwin', 5_000)]
)
def test_peak_memory_is_in_bytes(monkeypatch, system, expected):
  used = types.SimpleNamespace(ru_maxrss=5_000)
  monkeypatch.setattr(resource, 'getrusage', lambda who: used)
  monkeypatch.setattr(sys, 'platform', system)
  assert host.peak_memory() == expected


def test_proxies_are_of_no_use_inside(monkeypatch):
  proxies = {
    'http_proxy': 'http://127.0.0.1:9',
    'ALL_PROXY': 'socks5://127.0.0.1:9',
    'grpc_proxy': 'http://127.0.0.1:9',
    'no_proxy': 'example.org',
  }
  for name, value in proxies.items():
    monkeypatch.setenv(name, value)
  before = dict(os.environ)
  with pytest.raises(KeyError), host.without_proxies():
    assert urllib.request.getproxies() == {'no': '*'}
    assert 'grpc_proxy' not in os.environ
    raise KeyError
  assert dict(os.environ) == before
