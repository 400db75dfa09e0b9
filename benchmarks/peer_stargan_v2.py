"""The original PyTorch StarGAN v2, as a peer to time; see `peer`.

It needs torch and munch only.
"""

import pathlib
import re
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer
from jaxgan.runtime import errors

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


class Peer:
  """The original's networks, optimisers and training iteration."""

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    sources = read_sources(directory, config, _LOADED)
    self._munch = peer.import_library('munch').Munch
    self._device = peer.Device(backend, config.seed)
    self.describe = self._device.describe
    if config.model.w_hpf:
      raise errors.UserError(
        '--peer compares without the face network only: set '
        f'--config.model.w_hpf=0, got {config.model.w_hpf}'
      )
    self._directory = directory
    fetcher = _fetcher(self._device.torch, self._munch)
    with peer.foreign_code(directory, _HOME):
      modules = peer.load(sources, _STAND_INS, {'InputFetcher': fetcher})
      solver = modules['core.solver'].Solver
      self._solver = solver(_args(self._munch, config))

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network."""
    return {k: peer.count_params(self._solver.nets[k]) for k in NETWORKS}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> Any:
    """Moves a batch of NHWC arrays to the device as the original's NCHW."""
    tensors = {k: self._device.tensor(v) for k, v in batch.items()}
    # In the place of its data loaders, which only its fetcher looks into.
    return self._munch(src=self._munch(tensors), ref=None, val=None)

  def step(self, loaded: Any) -> None:
    """Runs one iteration on a batch of `load_batch` and waits for its end."""
    with peer.foreign_code(self._directory, _HOME):
      self._solver.train(loaded)
      self._device.wait()

  def translator(
    self, batch: Mapping[str, np.ndarray], dtype: str
  ) -> Callable[[], None]:
    """What translates sources in the styles of references, and waits."""
    torch = self._device.torch
    dtype = getattr(torch, dtype)
    with peer.foreign_code(self._directory, _HOME):
      encode, generate = (
        self._solver.nets_ema[name].to(dtype).eval()
        for name in ('style_encoder', 'generator')
      )
    x, x_ref = (
      self._device.tensor(batch[k]).to(dtype) for k in ('x_src', 'x_ref')
    )
    y = self._device.tensor(batch['y_ref'])

    def translate() -> None:
      with peer.foreign_code(self._directory, _HOME), torch.no_grad():
        generate(x, encode(x_ref, y))
        self._device.wait()

    return translate


def read_sources(
  directory: str, config: ml_collections.ConfigDict, names: Sequence[str]
) -> dict[pathlib.PurePosixPath, str]:
  """The text of the files to load, with the widths of `config`."""
  sources = peer.read_sources(directory, _HOME, names)
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
    print_every=peer.NEVER,
    sample_every=peer.NEVER,
    save_every=peer.NEVER,
    eval_every=peer.NEVER,
  )
