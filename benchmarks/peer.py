"""The original PyTorch code of a system, run from a checkout, to be timed.

Nothing of it is kept here: its own class (a `Solver`, a trainer) builds the
networks and optimisers and its own methods run each iteration, so that the
order of the phases, the resets of the gradients and whatever else it does are
the original's. What it imports besides torch, and a training step does not use,
is replaced by stand-ins while its files are loaded.

benchmarks/peer_<system>.py has for each system

  Peer(directory, config, backend): the networks of `config`, built by the code
    of a checkout, on the hardware of a JAX `backend`
    num_params() -> the number of parameters of each network
    describe(dtype) -> a row that tells what it runs on
    load_batch(batch) -> a batch like `example_batch`, on the device
    step(loaded): runs what is a step here, on it, and waits for its end
    translator(batch, dtype) -> what does as `translate_batch`, and waits
"""

import contextlib
import importlib
import io
import pathlib
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np

from jaxgan.runtime import errors

NEVER = 10**9  # iterations between two logs, samples, checkpoints, evaluations


class Device:
  """Where torch runs: what JAX has.

  Raises:
    UserError: torch does not see the same kind of device, or more than one.
  """

  def __init__(self, backend: str, seed: int):
    """Prepares torch as the originals' own main programs do."""
    self.torch = import_library('torch')
    self.name = _matching_device(self.torch, backend)
    self.torch.backends.cudnn.benchmark = True
    self.torch.manual_seed(seed)

  def describe(self, dtype: str = 'float32') -> str:
    """A row that tells what it runs on."""
    tf32 = self.name == 'cuda' and self.torch.backends.cudnn.allow_tf32
    return (
      f'torch {self.torch.__version__} on {self.name}, '
      f'{self.torch.get_num_threads()} threads, '
      f'{dtype}{", TF32 in convolutions" if tf32 else ""}'
    )

  def tensor(self, x: np.ndarray) -> Any:
    """On the device; images [B, H, W, C] as NCHW, whole numbers as int64."""
    if x.ndim == 4:
      x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    elif x.dtype.kind == 'i':
      x = x.astype(np.int64)
    return self.torch.from_numpy(x).to(self.name)

  def any_cuda(self) -> contextlib.AbstractContextManager:
    """Lets `Tensor.cuda`, which some originals call, give any device."""
    if self.name == 'cuda':
      return contextlib.nullcontext()
    return mock.patch.object(self.torch.Tensor, 'cuda', lambda x, *_, **__: x)

  def wait(self) -> None:
    """Until all that was started is done."""
    if self.name == 'cuda':
      self.torch.cuda.synchronize()


def count_params(net: Any) -> int:
  """The number of parameters of a module of torch."""
  return sum(p.numel() for p in net.parameters())


@contextlib.contextmanager
def foreign_code(directory: str, home: str) -> Iterator[None]:
  """Keeps its prints off stdout; what it raises, another code would too."""
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  except Exception as e:
    raise errors.UserError(
      f'--peer: {directory}, taken for a checkout of {home}, failed: '
      f'{type(e).__name__}: {_first_line(e)}'
    ) from e


def _matching_device(torch: types.ModuleType, backend: str) -> str:
  """'cpu' or 'cuda': an original takes a GPU whenever torch sees one."""
  gpus = torch.cuda.device_count()
  if backend not in ('cpu', 'gpu'):
    raise errors.UserError(f'--peer runs on CPU or GPU, not on {backend}')
  if backend == 'cpu' and gpus:
    raise errors.UserError(
      '--peer: JAX runs on the CPU but torch sees a GPU: set '
      "CUDA_VISIBLE_DEVICES=''"
    )
  if backend == 'gpu' and not gpus:
    raise errors.UserError(
      '--peer: JAX runs on a GPU but torch sees none: install a CUDA build '
      'of torch or set JAX_PLATFORMS=cpu'
    )
  if gpus > 1:  # the original would spread its batch over all of them
    raise errors.UserError(
      f'--peer compares on one GPU and torch sees {gpus}: set '
      'CUDA_VISIBLE_DEVICES=0'
    )
  return 'cuda' if gpus else 'cpu'


def import_library(name: str) -> types.ModuleType:
  """An optional library; UserError tells how to get it."""
  try:
    return importlib.import_module(name)
  except ImportError as e:
    raise errors.UserError(
      f'--peer needs {name}: {_first_line(e)}; pip install {name}'
    ) from e


def _first_line(e: Exception) -> str:
  return (str(e).splitlines() or [''])[0]


def read_sources(
  directory: str, home: str, names: Sequence[str]
) -> dict[pathlib.PurePosixPath, str]:
  """The text of the files to load, of a checkout of `home`."""
  root = pathlib.Path(directory)
  if not root.is_dir():
    raise errors.UserError(
      f'--peer: no directory {directory}; clone {home} there'
    )
  sources = {}
  for name in names:
    path = root / name
    if not path.is_file():
      raise errors.UserError(
        f'--peer: {directory} is not a checkout of {home}: no {name}'
      )
    text = path.read_text(encoding='utf-8', errors='replace')
    sources[pathlib.PurePosixPath(name)] = text
  return sources


def load(
  sources: Mapping[pathlib.PurePosixPath, str],
  stand_ins: Mapping[str, Sequence[str]],
  given: Mapping[str, Any],
) -> dict[str, types.ModuleType]:
  """Executes the files in order; returns the modules by name.

  Args:
    sources: of `read_sources`.
    stand_ins: modules to replace, and the names they must have.
    given: what such a name stands for; nothing of use by default.
  """
  packages = {path.parent.name: () for path in sources if path.parent.name}
  stand_ins = {**packages, **stand_ins}
  names = ['.'.join(path.with_suffix('').parts) for path in sources]
  with _modules_restored([*stand_ins, *names]):
    for name, attributes in stand_ins.items():
      module = types.ModuleType(name)
      module.__path__ = []  # lets it have submodules
      for attribute in attributes:
        setattr(module, attribute, given.get(attribute, _unused))
      _register(module)
    for name, (path, text) in zip(names, sources.items(), strict=True):
      module = types.ModuleType(name)
      module.__file__ = str(path)
      module.__package__ = name.rpartition('.')[0]  # for relative imports
      _register(module)
      exec(compile(text, str(path), 'exec'), module.__dict__)
    return {name: sys.modules[name] for name in names}


def _register(module: types.ModuleType) -> None:
  sys.modules[module.__name__] = module
  parent, _, child = module.__name__.rpartition('.')
  if parent:
    setattr(sys.modules[parent], child, module)


@contextlib.contextmanager
def _modules_restored(names: Sequence[str]) -> Iterator[None]:
  """Takes the stand-ins out again, so that later imports find the real ones."""
  before = {name: sys.modules.get(name) for name in names}
  try:
    yield
  finally:
    for name, module in before.items():
      if module is None:
        sys.modules.pop(name, None)
      else:
        _register(module)  # also in its package


def _unused(*args: Any, **kwargs: Any) -> None:
  """Stands in for what a training step never calls in earnest."""
