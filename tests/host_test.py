"""The allocator keeps what is freed."""

import subprocess
import sys

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
