"""The original PyTorch StarGAN, as a peer to time; see `peer`.

It needs torch only.
"""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from benchmarks import peer
from jaxgan.runtime import errors
from jaxgan.systems.stargan import config as config_lib

_HOME = 'https://github.com/yunjey/stargan'
_LOADED = ('model.py', 'solver.py')  # each imports only earlier ones
_STAND_INS = {'torchvision': (), 'torchvision.utils': ('save_image',)}


class Peer:
  """The original's networks, optimisers and training iterations."""

  def __init__(
    self, directory: str, config: ml_collections.ConfigDict, backend: str
  ):
    """Builds the networks of `config` on the hardware of a JAX `backend`."""
    sources = peer.read_sources(directory, _HOME, _LOADED)
    self._device = peer.Device(backend, config.seed)
    self.describe = self._device.describe
    labels, *others = config_lib.find_labels(config).sets
    if others:
      raise errors.UserError(
        "--peer compares on one data set: set --config.data.joint_name=''"
      )
    self._directory, self._exclusive = directory, labels.exclusive
    with peer.foreign_code(directory, _HOME):
      solver = peer.load(sources, _STAND_INS, {})['solver'].Solver
      self._solver = solver(None, None, _settings(config))

  def num_params(self) -> dict[str, int]:
    """The number of parameters of each network."""
    nets = {'generator': self._solver.G, 'discriminator': self._solver.D}
    return {name: peer.count_params(net) for name, net in nets.items()}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> '_Loader':
    """Moves a batch to the device: a batch of the original an iteration."""
    x, c = batch['x0'], batch['c0']
    labels = c.argmax(-1) if self._exclusive else c
    return _Loader(
      [
        (self._device.tensor(x[:, i]), self._device.tensor(labels[:, i]))
        for i in range(x.shape[1])
      ]
    )

  def step(self, loaded: '_Loader') -> None:
    """Runs n_critic iterations on a batch of `load_batch`, and waits."""
    self._solver.celeba_loader = self._solver.rafd_loader = loaded
    with peer.foreign_code(self._directory, _HOME):
      self._solver.train()
      self._device.wait()

  def translator(
    self, batch: Mapping[str, np.ndarray], dtype: str
  ) -> Callable[[], None]:
    """What translates all images, each by another label, and waits."""
    torch, device = self._device.torch, self._device
    dtype = getattr(torch, dtype)
    x, c = (
      batch[key].reshape(-1, *batch[key].shape[2:]) for key in ('x0', 'c0')
    )
    images = device.tensor(x).to(dtype)
    c_trg = device.tensor(np.roll(c, 1, axis=0)).to(dtype)
    # Not in its evaluation mode, which its own tests do not use either: norms
    # would take averages instead of the image's statistics.
    generate = self._solver.G.to(dtype)

    def translate() -> None:
      with peer.foreign_code(self._directory, _HOME), torch.no_grad():
        generate(images, c_trg)
        device.wait()

    return translate


class _Loader:
  """In the place of its data loader: the batches of so many iterations.

  It takes one for its pictures before it starts, here the first of them.
  """

  def __init__(self, batches: Sequence[Any]):
    self._batches = batches

  def __iter__(self) -> Iterator[Any]:
    yield self._batches[0]
    yield from self._batches


def _settings(config: ml_collections.ConfigDict) -> types.SimpleNamespace:
  """The original's settings for training calls of n_critic iterations each."""
  model, hparams, optim = config.model, config.hparams, config.optim
  (labels,) = config_lib.find_labels(config).sets
  widths = ('g_conv_dim', 'd_conv_dim', 'g_repeat_num', 'd_repeat_num')
  return types.SimpleNamespace(
    **{key: model[key] for key in widths},
    **hparams,
    c_dim=len(labels.names),
    c2_dim=0,
    image_size=config.data.img_size,
    dataset='RaFD' if labels.exclusive else 'CelebA',
    selected_attrs=list(labels.names),
    batch_size=config.batch_size,
    num_iters=hparams.n_critic,
    num_iters_decay=0,
    g_lr=optim.lr,
    d_lr=optim.lr,
    beta1=optim.beta1,
    beta2=optim.beta2,
    resume_iters=None,
    test_iters=None,
    use_tensorboard=False,
    **dict.fromkeys(
      ('log_dir', 'sample_dir', 'model_save_dir', 'result_dir'), ''
    ),
    **dict.fromkeys(
      ('log_step', 'sample_step', 'model_save_step', 'lr_update_step'),
      peer.NEVER,
    ),
  )
