"""The original PyTorch StarGAN v2, run from a checkout, as the peer to time.

Nothing of it is kept here: its own `Solver` builds the networks and optimisers
and its own `Solver.train` runs each iteration, so that the order of the phases,
the resets of the gradients and the moving averages are the original's. It needs
torch and munch only. What the original imports besides, and a training step
does not use, is replaced by stand-ins while its files are loaded.
"""

import contextlib
import importlib
import io
import pathlib
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from jaxgan import errors

NETWORKS = (
  'generator',
  'mapping_network',
  'style_encoder',
  'discriminator',
)

_HOME = 'https://github.com/clovaai/stargan-v2'
# Each imports only earlier ones.
_LOADED = ('core/model.py', 'core/utils.py', 'core/solver.py')
_STAND_INS = {
  'core.checkpoint': ('CheckpointIO',),
  'core.data_loader': ('InputFetcher',),
  'core.wing': ('FAN',),
  'ffmpeg': (),
  'metrics': (),
  'metrics.eval': ('calculate_metrics',),
  'torchvision': (),
  'torchvision.utils': (),
  'tqdm': ('tqdm',),
}
_NEVER = 10**9  # iterations between two logs, samples, checkpoints, evaluations


class Peer:
  """The original's networks, optimisers and training iteration."""

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    sources = read_sources(directory, config, _LOADED)
    self._torch = import_library('torch')
    self._munch = import_library('munch').Munch
    self.device = self._matching_device(backend)
    if config.model.w_hpf:
      raise errors.UserError(
        '--peer compares without the face network only: set '
        f'--config.model.w_hpf=0, got {config.model.w_hpf}'
      )

    self._torch.backends.cudnn.benchmark = True  # as the original's main
    self._torch.manual_seed(config.seed)
    self._directory = directory
    fetcher = _fetcher(self._torch, self._munch)
    with self._foreign_code():
      modules = load(sources, _STAND_INS, {'InputFetcher': fetcher})
      solver = modules['core.solver'].Solver
      self._solver = solver(_args(self._munch, config))

  @property
  def version(self) -> str:
    """The version of torch."""
    return self._torch.__version__

  @property
  def num_threads(self) -> int:
    """How many threads torch uses within one operation."""
    return self._torch.get_num_threads()

  def describe(self, dtype: str = 'float32') -> str:
    """A row that tells what it runs on."""
    tf32 = self.device == 'cuda' and self._torch.backends.cudnn.allow_tf32
    return (
      f'torch {self.version} on {self.device}, {self.num_threads} threads, '
      f'{dtype}{", TF32 in convolutions" if tf32 else ""}'
    )

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network."""
    nets = self._solver.nets
    return {k: sum(p.numel() for p in nets[k].parameters()) for k in NETWORKS}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> Any:
    """Moves a batch of NHWC arrays to the device as the original's NCHW."""

    tensors = self._munch({k: self._tensor(v) for k, v in batch.items()})
    # In the place of its data loaders, which only its fetcher looks into.
    return self._munch(src=tensors, ref=None, val=None)

  def step(self, loaders: Any) -> None:
    """Runs one iteration on a batch of `load_batch` and waits for its end."""
    with self._foreign_code():
      self._solver.train(loaders)
      self._wait()

  def translator(
    self, x: np.ndarray, x_ref: np.ndarray, y: np.ndarray, dtype: str
  ) -> Callable[[], None]:
    """What translates x in the styles of x_ref, of domains y, and waits."""
    dtype = getattr(self._torch, dtype)
    with self._foreign_code():
      encode, generate = (
        self._solver.nets_ema[name].to(dtype).eval()
        for name in ('style_encoder', 'generator')
      )
    x, x_ref = (self._tensor(a).to(dtype) for a in (x, x_ref))
    y = self._tensor(y)

    def translate() -> None:
      with self._foreign_code(), self._torch.no_grad():
        generate(x, encode(x_ref, y))
        self._wait()

    return translate

  def _tensor(self, x: np.ndarray) -> Any:
    """On the device; images as the original's NCHW."""
    if x.ndim == 4:
      x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    else:
      x = x.astype(np.int64)
    return self._torch.from_numpy(x).to(self.device)

  def _wait(self) -> None:
    if self.device == 'cuda':
      self._torch.cuda.synchronize()

  @contextlib.contextmanager
  def _foreign_code(self) -> Iterator[None]:
    """Keeps its prints off stdout; what it raises, another code would too."""
    try:
      with contextlib.redirect_stdout(io.StringIO()):
        yield
    except Exception as e:
      raise errors.UserError(
        f'--peer: {self._directory}, taken for a checkout of {_HOME}, failed: '
        f'{type(e).__name__}: {_first_line(e)}'
      ) from e

  def _matching_device(self, backend: str) -> str:
    """'cpu' or 'cuda': the original takes a GPU whenever torch sees one."""
    gpus = self._torch.cuda.device_count()
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
      f'--peer needs torch and munch: {_first_line(e)}; pip install torch munch'
    ) from e


def _first_line(e: Exception) -> str:
  return (str(e).splitlines() or [''])[0]


def read_sources(
  directory: str, config: ml_collections.ConfigDict, names: Sequence[str]
) -> dict[pathlib.PurePosixPath, str]:
  """The text of the files to load, with the widths of `config`."""
  root = pathlib.Path(directory)
  if not root.is_dir():
    raise errors.UserError(
      f'--peer: no directory {directory}; clone {_HOME} there'
    )
  sources = {}
  for name in names:
    path = root / name
    if not path.is_file():
      raise errors.UserError(
        f'--peer: {directory} is not a checkout of {_HOME}: no {name}'
      )
    text = path.read_text(encoding='utf-8', errors='replace')
    sources[pathlib.PurePosixPath(name)] = text
  model = pathlib.PurePosixPath('core/model.py')
  try:
    sources[model] = _set_widths(sources[model], config.model)
  except ValueError as e:
    raise errors.UserError(
      f'--peer: {directory} is not a checkout of {_HOME}: {e} in core/model.py'
    ) from e
  return sources


def _set_widths(text: str, model: ml_collections.ConfigDict) -> str:
  """Replaces the original's two width constants; 512 has two meanings."""

  def replace(pattern: str, value: int, text: str) -> str:
    text, count = re.subn(pattern, str(int(value)), text)
    if not count:
      raise ValueError(f'no {pattern.replace(chr(92), "").strip("b")}')
    return text

  # Hidden width inside the mapping network, cap of the widths elsewhere.
  parts = re.split(r'(?m)^(?=class MappingNetwork\b)', text)
  if len(parts) != 2:
    raise ValueError('no class MappingNetwork')
  before, rest = parts
  end = re.search(r'(?m)^(?:class|def) ', rest[1:])
  if end is None:
    raise ValueError('no class after MappingNetwork')
  mapping, after = rest[: end.start() + 1], rest[end.start() + 1 :]
  mapping = replace(r'\b512\b', model.hidden_dim, mapping)
  before = replace(r'\b512\b', model.max_conv_dim, before)
  after = replace(r'\b512\b', model.max_conv_dim, after)
  text = before + mapping + after
  return replace(r'\b2\*\*14\b', model.channel_base, text)


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
  packages = {path.parent.name: () for path in sources}
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
        sys.modules[name] = module


def _unused(*args: Any, **kwargs: Any) -> None:
  """Stands in for what a training step never calls in earnest."""


def _fetcher(torch: types.ModuleType, munch: Callable[..., Any]) -> type:
  """A stand-in for the original's fetcher that gives one batch for ever."""

  class Fetcher:
    def __init__(self, batch: Any, _: Any, latent_dim: int, mode: str):
      self._batch, self._latent_dim, self._mode = batch, latent_dim, mode

    def __next__(self) -> Any:
      if self._mode != 'train':
        return None  # only its samples use validation images
      # A step marks x_src as differentiable; a new view is a new leaf, as an
      # image fresh from the loader is.
      inputs = munch({k: v.detach() for k, v in self._batch.items()})
      for name in ('z_trg', 'z_trg2'):
        z = torch.randn(len(inputs.y_ref), self._latent_dim)
        inputs[name] = z.to(inputs.y_ref.device)
      return inputs

  return Fetcher


def _args(
  munch: Callable[..., Any], config: ml_collections.ConfigDict
) -> types.SimpleNamespace:
  """The original's settings for training calls of one iteration each."""
  model = {k: config.model[k] for k in ('style_dim', 'latent_dim', 'w_hpf')}
  return munch(
    **model,
    **config.hparams,
    **config.optim,
    mode='train',
    img_size=config.data.img_size,
    num_domains=config.model.num_domains,
    checkpoint_dir='',
    resume_iter=0,
    total_iters=1,
    print_every=_NEVER,
    sample_every=_NEVER,
    save_every=_NEVER,
    eval_every=_NEVER,
  )
