"""What this process asks of the machine that it runs on, and knows of it."""

import collections
import contextlib
import ctypes
import importlib.metadata
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.extend

import jaxgan
from jaxgan.runtime import errors

_MOST = 2**31 - 1  # bytes; the largest that mallopt takes
# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# What JAX's package for a kind of device installs, the newest first.
_PLUGINS = {
  'cuda': {'cuda13': 'jax-cuda13-plugin', 'cuda12': 'jax-cuda12-plugin'},
  'tpu': {'tpu': 'libtpu'},
  'rocm': {'rocm7-local': 'jax-rocm7-plugin'},
}
# What tells of an accelerator, whether or not JAX can use it.
_SIGNS = {
  'cuda': ('an NVIDIA GPU', ('/dev/nvidia0', '/dev/nvidiactl')),
  'tpu': ('a TPU', ('/dev/accel0',)),
  'rocm': ('an AMD GPU', ('/dev/kfd',)),
}
_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def progress() -> dict[str, Any]:
  """tqdm settings: only process 0 shows progress; in a log, every 15 s."""
  seconds = 0.5 if sys.stderr.isatty() else 15
  return {'mininterval': seconds, 'disable': jax.process_index() > 0}


def check_devices() -> None:
  """Raises UserError where JAX_PLATFORMS asks for a device that is not there.

  JAX looks for devices when it is first asked for one.
  """
  config: Any = jax.config  # has its names from a table
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as e:
    # Less JAX's own advice.
    reason = str(e).partition('\n')[0].partition(' (set JAX_')[0]
    asked = config.jax_platforms
    if not asked:
      raise errors.UserError(f'no device can be used: {reason}') from e
    raise errors.UserError(
      f'JAX_PLATFORMS={asked} asks for a device that cannot be used; there is '
      f'{_find_platforms(asked)}. Leave JAX_PLATFORMS out, or '
      f'{_cure(asked, reason)}'
    ) from e


def _find_platforms(asked: str) -> str:
  """The kinds of devices that JAX finds where none is asked for."""
  jax.config.update('jax_platforms', None)
  try:
    return ', '.join(sorted({device.platform for device in jax.devices()}))
  finally:
    jax.extend.backend.clear_backends()  # the next to ask is refused again
    jax.config.update('jax_platforms', asked)


def device_lines(dtype: str) -> list[str]:
  """What computes, in a line to print; a second one where that seems wrong.

  Args:
    dtype: of the computation.

  Returns:
    '2 x NVIDIA H200, 1 process, bfloat16', and a warning where this machine has
    an accelerator, JAX has none, and the CPU was not asked for.
  """
  count = jax.process_count()
  processes = f'{count} process{"es" if count > 1 else ""}'
  return [f'{_devices()}, {processes}, {dtype}', *_unused()]


def _unused() -> Iterator[str]:
  """Yields a warning of an accelerator that JAX does not use."""
  config: Any = jax.config  # has its names from a table
  if (
    jax.default_backend() != 'cpu' or (config.jax_platforms or '')[:3] == 'cpu'
  ):
    return
  for kind, (name, paths) in _SIGNS.items():
    found = [path for path in paths if os.path.exists(path)]
    if kind == 'cuda':
      if os.environ.get('CUDA_VISIBLE_DEVICES', '0') in ('', '-1'):
        continue
      found += filter(None, [shutil.which('nvidia-smi')])
    if found:
      cure = _cure(kind, 'JAX finds no device')
      yield (
        f'warning: {name} is here ({found[0]}), but JAX uses the CPU: {cure}; '
        'JAX_PLATFORMS=cpu says that this is meant'
      )
      return


def _devices() -> str:
  kinds = collections.Counter(d.device_kind for d in jax.devices())
  return ', '.join(f'{n} x {kind}' for kind, n in kinds.items())


def _cure(asked: str, reason: str) -> str:
  kind = asked.partition(',')[0].replace('gpu', 'cuda')
  plugins = _PLUGINS.get(kind)
  if plugins is None:
    return f'see what JAX says: {reason}'
  for plugin in plugins.values():
    if _version(plugin):
      return f'see to its driver, as {plugin} is installed ({reason})'
  names = [f'"jax[{name}]=={jax.__version__}"' for name in plugins]
  return f'install its package: pip install {" or ".join(names)}'


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


def peak_memory() -> int:
  """Bytes that this process has held at its highest."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else 1024 * peak  # in kB elsewhere


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
  described = {
    'devices': _devices(),
    'processes': str(jax.process_count()),
    'jaxgan': ' '.join([jaxgan.__version__, *_revision()]),
    'python': platform.python_version(),
  }
  # Perhaps one goes by another name, as nightly builds do.
  versions = {name: _version(name) for name in _PACKAGES}
  return described | {name: text for name, text in versions.items() if text}


def _version(package: str) -> str:
  """Of an installed package; '' where there is none of that name."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return ''


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
