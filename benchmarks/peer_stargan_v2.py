"""The original PyTorch StarGAN v2, as a peer; see `peer`.

It needs torch and munch only.
"""

import itertools
import pathlib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer
from jaxgan.runtime import errors

_MODEL = pathlib.PurePosixPath('core/model.py')
_SOLVER = pathlib.PurePosixPath('core/solver.py')


class Peer(peer.Peer):
  """The original's networks, optimisers and training iteration."""

  home = 'https://github.com/clovaai/stargan-v2'
  files = (str(_MODEL), 'core/utils.py', str(_SOLVER))
  stand_ins = {
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
  libraries = ('torch', 'munch')

  @classmethod
  def read_sources(
    cls, directory: str, config: ml_collections.ConfigDict
  ) -> dict[pathlib.PurePosixPath, str]:
    """The files with the widths and the decay of averages of the config."""
    sources = read_sources(directory, config, cls.files)
    text, old = sources[_SOLVER], 'beta=0.999'
    if old not in text:
      raise _other_code(directory, old, _SOLVER)
    new = f'beta={config.hparams.ema_decay}'
    return sources | {_SOLVER: text.replace(old, new)}

  def create_settings(self, config: ml_collections.ConfigDict) -> Any:
    """All but the number of iterations."""
    if config.model.w_hpf:
      raise errors.UserError(
        '--peer compares without the face network only: set '
        f'--config.model.w_hpf=0, got {config.model.w_hpf}'
      )
    self._munch = peer.import_library('munch').Munch
    model = {k: config.model[k] for k in ('style_dim', 'latent_dim', 'w_hpf')}
    every = ('print_every', 'sample_every', 'save_every', 'eval_every')
    return self._munch(
      **model,
      **config.hparams,
      **config.optim,
      **dict.fromkeys(every, peer.NEVER),
      mode='train',
      img_size=config.data.img_size,
      num_domains=config.model.num_domains,
      checkpoint_dir='',
      resume_iter=0,
    )

  def given(self) -> dict[str, Any]:
    """A fetcher of what `load_batch` gives."""
    return {'InputFetcher': _fetcher(self.device.torch, self._munch)}

  def build(self, modules: Mapping[str, Any]) -> None:
    """Builds its solver."""
    self.solver = modules['core.solver'].Solver(self.settings)

  def nets(self) -> Mapping[str, Sequence[Any]]:
    """Those of its solver, which have our names."""
    return {name: [net] for name, net in self.solver.nets.items()}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> Any:
    """What its fetcher gives, but for latents."""
    tensors = {k: self.device.tensor(v) for k, v in batch.items()}
    return self._munch(tensors)

  def train(self, loaded: Any) -> None:
    """One iteration."""
    self.train_on(itertools.repeat(loaded), 1)

  def train_on(self, loaded: Iterator[Any], steps: int) -> None:
    """Its own loop, which also lowers the weight of diversity."""
    self.settings.total_iters = steps
    # In the place of its data loaders, which only its fetcher looks into.
    self.solver.train(self._munch(src=loaded, ref=None, val=None))

  def encode(self, y: int, z: Any = None, x_ref: Any = None) -> Any:
    """Styles by the averages."""
    nets = self.solver.nets_ema
    net, source = nets.mapping_network, z
    if z is None:
      net, source = nets.style_encoder, x_ref
    return net(source, self.device.tensor(np.full(len(source), y)))

  def generate(self, x: Any, y: int, s: Any) -> Any:
    """By the averages; the style knows its domain."""
    del y
    return self.solver.nets_ema.generator(x, s)

  def translation(
    self, batch: Mapping[str, np.ndarray], dtype: Any
  ) -> Callable[[], Any]:
    """The sources in the styles of the references, by the averages."""
    tensor = self.device.tensor
    x, x_ref = (tensor(batch[key]).to(dtype) for key in ('x_src', 'x_ref'))
    y = tensor(batch['y_ref'])
    encode, generate = (
      self.solver.nets_ema[name].to(dtype).eval()
      for name in ('style_encoder', 'generator')
    )
    return lambda: generate(x, encode(x_ref, y))


create = Peer


def read_sources(
  directory: str, config: ml_collections.ConfigDict, names: Sequence[str]
) -> dict[pathlib.PurePosixPath, str]:
  """The text of the files to load, with the widths of `config`."""
  sources = peer.read_sources(directory, Peer.home, names)
  text, lost = _set_widths(sources[_MODEL], config.model)
  if lost:
    raise _other_code(directory, lost, _MODEL)
  return sources | {_MODEL: text}


def _other_code(
  directory: str, lost: str, path: pathlib.PurePosixPath
) -> errors.UserError:
  return errors.UserError(
    f'--peer: {directory} is not a checkout of {Peer.home}: no {lost} in {path}'
  )


def _set_widths(text: str, model: ml_collections.ConfigDict) -> tuple[str, str]:
  """Its code with other widths; which of them it has not, if any."""
  found = {'512': 0, '512 in MappingNetwork': 0, '2**14': 0}
  parts = re.split(r'(?m)^(?=class |def )', text)
  for i, part in enumerate(parts):
    # Hidden width inside the mapping network, cap of the widths elsewhere.
    what, width = '512', model.max_conv_dim
    if re.match(r'class MappingNetwork\b', part):
      what, width = '512 in MappingNetwork', model.hidden_dim
    parts[i], count = re.subn(r'\b512\b', str(int(width)), part)
    found[what] += count
  text, found['2**14'] = re.subn(
    r'\b2\*\*14\b', str(int(model.channel_base)), ''.join(parts)
  )
  return text, next((what for what, count in found.items() if not count), '')


def _fetcher(torch: types.ModuleType, munch: Callable[..., Any]) -> type:
  """A stand-in for the original's fetcher, which draws latents as it does."""

  class Fetcher:
    def __init__(
      self, batches: Iterator[Any], _: Any, latent_dim: int, mode: str
    ):
      self._batches, self._latent_dim, self._mode = batches, latent_dim, mode

    def __next__(self) -> Any:
      if self._mode != 'train':
        return None  # only its samples use validation images
      # A step marks x_src as differentiable; a new view is a new leaf, as an
      # image fresh from the loader is.
      batch = next(self._batches)
      inputs = munch({k: v.detach() for k, v in batch.items()})
      for name in ('z_trg', 'z_trg2'):
        z = torch.randn(len(inputs.y_ref), self._latent_dim)
        inputs[name] = z.to(inputs.y_ref.device)
      return inputs

  return Fetcher
