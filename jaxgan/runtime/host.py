"""What this process asks of the machine that it runs on, and knows of it."""

import collections
import contextlib
import ctypes
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax

import jaxgan

_MOST = 2**31 - 1  # bytes; the largest that mallopt takes
# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def progress() -> dict[str, Any]:
  """tqdm settings: only process 0 shows progress; in a log, every 15 s."""
  seconds = 0.5 if sys.stderr.isatty() else 15
  return {'mininterval': seconds, 'disable': jax.process_index() > 0}


def keep_freed_memory() -> bool:
  """Lets the allocator keep freed memory, up to 2 GB, for what comes next.

  On a CPU, XLA frees the temporaries of a step at its end and asks for them
  again in the next one; by default glibc gives large ones back to the kernel,
  which then hands out and clears every page anew: a fifth of a step of StarGAN
  v2 at `shapes`, nothing at 64 px.

  Returns:
    Whether there was such an allocator to ask: that of glibc 2.35 or later.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # musl, macOS: none
  # In this order: where the first is refused, the second alone does harm.
  return bool(
    mallopt
    and mallopt(_M_MMAP_THRESHOLD, _MOST)
    and mallopt(_M_TRIM_THRESHOLD, _MOST)
  )


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
  """Inside, clients of HTTP and gRPC reach their servers themselves.

  A proxy of the environment is for the outside: it knows neither this machine
  nor, by their names here, the others of a run.
  """
  kept = {k: v for k, v in os.environ.items() if k.lower().endswith('_proxy')}
  for name in kept:
    del os.environ[name]
  # With none named, Python would ask macOS or Windows for the user's.
  os.environ['no_proxy'] = '*'
  try:
    yield
  finally:
    del os.environ['no_proxy']
    os.environ.update(kept)


def describe() -> dict[str, str]:
  """What a run is computed by: devices of all processes, code, versions."""
  kinds = collections.Counter(d.device_kind for d in jax.devices())
  described = {
    'devices': ', '.join(f'{n} x {kind}' for kind, n in kinds.items()),
    'processes': str(jax.process_count()),
    'jaxgan': ' '.join([jaxgan.__version__, *_revision()]),
    'python': platform.python_version(),
  }
  for name in _PACKAGES:
    # Perhaps it goes by another name, as nightly builds do.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      described[name] = importlib.metadata.version(name)
  return described


def _revision() -> list[str]:
  """The git commit that this code is of, if it is in a checkout of its own."""
  root = pathlib.Path(__file__).resolve().parents[2]
  if not (root / '.git').exists():
    return []

  def git(*arguments: str) -> str:
    done = subprocess.run(
      ['git', '-C', str(root), *arguments],
      capture_output=True,
      text=True,
      timeout=10,
      check=True,
    )
    return done.stdout.strip()

  try:
    commit = git('rev-parse', '--short=12', 'HEAD')
    changes = git('status', '--porcelain', '--untracked-files=no')
  except (OSError, subprocess.SubprocessError):
    return []
  return [commit, *(['with changes'] if changes else [])]
