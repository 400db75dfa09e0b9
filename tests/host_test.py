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


@pytest.fixture
def machine(monkeypatch):
  """Sets what the machine has, and what JAX finds and was asked for."""

  def set_up(paths=(), backend='cpu', asked=None, kinds=('cpu',), processes=1):
    devices = [types.SimpleNamespace(device_kind=kind) for kind in kinds]
    fakes = {
      'devices': lambda: devices,
      'default_backend': lambda: backend,
      'process_count': lambda: processes,
      'config': types.SimpleNamespace(jax_platforms=asked),
      '__version__': '1.2.3',
    }
    monkeypatch.setattr(host, 'jax', types.SimpleNamespace(**fakes))
    exists, smi = os.path.exists, '/bin/nvidia-smi'
    monkeypatch.setattr(
      os.path,
      'exists',
      lambda x: x in paths if str(x).startswith('/dev/') else exists(x),
    )
    monkeypatch.setattr(
      host.shutil, 'which', lambda _: smi if smi in paths else None
    )
    monkeypatch.setattr(host, '_version', lambda _: '')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)

  return set_up


LINE = '1 x cpu, 1 process, float32'


def test_the_device_is_said_in_a_line(machine):
  machine(kinds=['NVIDIA H200'] * 2, backend='gpu', paths=['/dev/nvidia0'])
  expected = ['2 x NVIDIA H200, 1 process, bfloat16']
  assert host.device_lines('bfloat16') == expected
  machine(kinds=['TPU v5e'] * 8, backend='tpu', processes=2)
  assert host.device_lines('float32') == ['8 x TPU v5e, 2 processes, float32']
  machine()
  assert host.device_lines('float32') == [LINE]


@pytest.mark.parametrize(
  'path, name, extras',
  [
    ('/dev/nvidia0', 'an NVIDIA GPU', ('cuda13', 'cuda12')),
    ('/bin/nvidia-smi', 'an NVIDIA GPU', ('cuda13', 'cuda12')),
    ('/dev/accel0', 'a TPU', ('tpu',)),
    ('/dev/kfd', 'an AMD GPU', ('rocm7-local',)),
  ],
)
def test_an_accelerator_that_jax_does_not_use(
  machine, monkeypatch, path, name, extras
):
  packages = ' or '.join(f'"jax[{extra}]==1.2.3"' for extra in extras)
  warning = (
    f'warning: {name} is here ({path}), but JAX uses the CPU: install its '
    f'package: pip install {packages}; JAX_PLATFORMS=cpu says that this is '
    'meant'
  )
  for asked in (None, '', 'cuda,cpu'):
    machine([path], asked=asked)
    assert host.device_lines('float32') == [LINE, warning]
  machine([path], asked='cpu')
  assert host.device_lines('float32') == [LINE]
  machine([path])
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
  told = [] if name == 'an NVIDIA GPU' else [warning]
  assert host.device_lines('float32') == [LINE, *told]


def test_an_installed_plugin_that_finds_nothing(machine, monkeypatch):
  machine(['/dev/nvidia0'])
  monkeypatch.setattr(host, '_version', lambda name: 'cuda12' in name)
  assert host.device_lines('float32')[1:] == [
    'warning: an NVIDIA GPU is here (/dev/nvidia0), but JAX uses the CPU: see '
    'to its driver, as jax-cuda12-plugin is installed (JAX finds no device); '
    'JAX_PLATFORMS=cpu says that this is meant'
  ]


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
