"""The original PyTorch code of a system, run from a checkout beside ours.

Nothing of it is kept here: its own class (a `Solver`, a trainer) builds the
networks and optimisers and its own methods run each iteration, so that the
order of the phases, the resets of the gradients and whatever else it does are
the original's. What it imports besides torch, and a training step does not use,
is replaced by stand-ins while its files are loaded.

benchmarks/peer_<system>.py has `create(directory, config, backend)`, which
makes a `Peer` for a config of the system.
"""

import contextlib
import importlib
import importlib.util
import io
import itertools
import pathlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import ml_collections
import numpy as np

from jaxgan.runtime import errors

NEVER = 10**9  # iterations between two logs, samples, checkpoints, evaluations
_CHUNK = 32  # images that are translated at a time


def create(
  directory: str, config: ml_collections.ConfigDict, backend: str
) -> 'Peer':
  """The original of the config's system, run from a checkout.

  Args:
    directory: of the checkout.
    config: of the networks.
    backend: JAX's, whose kind of device it takes.

  Raises:
    UserError: something is missing.
  """
  return _import(config).create(directory, config, backend)


def check(directory: str, config: ml_collections.ConfigDict) -> None:
  """Raises UserError where `create` would miss a library, or the code."""
  peer = _import(config).Peer
  for name in peer.libraries:
    import_library(name)
  peer.read_sources(directory, config)


def _import(config: ml_collections.ConfigDict) -> Any:
  name = f'benchmarks.peer_{config.system}'
  if importlib.util.find_spec(name) is None:
    raise errors.UserError(f'--peer: no original is known of {config.system}')
  return importlib.import_module(name)


class Peer:
  """The original's networks, optimisers and iterations.

  What a system's has, besides `home`, where its code is from, `files` of a
  checkout, each of which imports only earlier ones, and `stand_ins`, the
  modules in place of those that they import, with the names that these have:

    create_settings(config) -> its own; UserError where they cannot be timed
    given() -> {name in a stand-in: what it stands for}, if that is of use
    build(modules) builds all of it by `settings`
    nets() -> {name of ours: modules of torch}
    load_batch(batch) -> a batch like `common.example_batch`, on the device
    train(loaded) runs on it what is a step here
    translation(batch, dtype) -> what translates as `common.build` does

  and, where the leaderboard has it, on tensors and by the networks to use:

    encode(y, z= or x_ref=) -> styles [N, style_dim] of domain y, an int
    generate(x, y, s) -> sources x as of domain y in styles s
  """

  home: str
  files: Sequence[str]
  stand_ins: Mapping[str, Sequence[str]]
  libraries: Sequence[str] = ('torch',)
  settings: Any
  encode: Callable[..., Any]
  generate: Callable[..., Any]

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    self._directory = directory
    sources = self.read_sources(directory, config)
    self.device = Device(backend, config.seed)
    self.describe = self.device.describe
    self.settings = self.create_settings(config)
    given = self.given()
    with self._running():
      self.build(load(sources, self.stand_ins, given))

  @classmethod
  def read_sources(
    cls, directory: str, config: ml_collections.ConfigDict
  ) -> dict[pathlib.PurePosixPath, str]:
    """The text of the files to load."""
    del config
    return read_sources(directory, cls.home, cls.files)

  def given(self) -> dict[str, Any]:
    """Nothing by default."""
    return {}

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network."""
    return {
      name: sum(p.numel() for net in nets for p in net.parameters())
      for name, nets in self.nets().items()
    }

  def step(self, loaded: Any) -> None:
    """Runs a step on a batch of `load_batch` and waits for its end."""
    with self._running():
      self.train(loaded)
      self.device.wait()

  def learn(self, batches: Iterator[Mapping[str, Any]], steps: int) -> None:
    """Runs so many steps, as its own loop does, each on a batch of its own."""
    with self._running():
      self.train_on(map(self.load_batch, batches), steps)

  def train_on(self, loaded: Iterator[Any], steps: int) -> None:
    """The steps of `learn`, on batches of `load_batch`."""
    for batch in itertools.islice(loaded, steps):
      self.train(batch)

  def style(self, y: int, **source: np.ndarray) -> np.ndarray:
    """Styles [N, style_dim] of domain y, as a system's `style`."""
    ((name, values),) = source.items()
    return self._use(lambda x: self.encode(y, **{name: x}), values)

  def translate(self, x: np.ndarray, y: int, s: np.ndarray) -> np.ndarray:
    """Sources [N, S, S, 3] as of domain y in styles s [N, style_dim]."""
    return self._use(lambda x, s: self.generate(x, y, s), x, s)

  def translator(
    self, batch: Mapping[str, np.ndarray], dtype: str
  ) -> Callable[[], None]:
    """What translates the images of a batch, and waits."""
    torch = self.device.torch
    translation = self.translation(batch, getattr(torch, dtype))

    def translate() -> None:
      with self._running(), torch.no_grad():
        translation()
        self.device.wait()

    return translate

  def _use(self, fn: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """A function of tensors, on some rows of the arrays at a time."""
    made = []
    with self._running(), self.device.torch.no_grad():
      for start in range(0, len(arrays[0]), _CHUNK):
        rows = (x[start : start + _CHUNK] for x in arrays)
        made.append(fn(*map(self.device.tensor, rows)).cpu().numpy())
    found = np.concatenate(made)
    if not np.isfinite(found).all():
      raise errors.UserError(f'{self.home}: outputs are not finite')
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found

  @contextlib.contextmanager
  def _running(self) -> Iterator[None]:
    with foreign_code(self._directory, self.home), self.device.any_cuda():
      yield


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


@contextlib.contextmanager
def foreign_code(directory: str, home: str) -> Iterator[None]:
  """Keeps its prints off stdout; what it raises, another code would too."""
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  except errors.UserError:
    raise  # of our data, that it is fed
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
