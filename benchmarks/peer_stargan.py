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


class Peer(peer.Peer):
  """The original's networks, optimisers and training iterations."""

  home = 'https://github.com/yunjey/stargan'
  files = ('model.py', 'solver.py')
  stand_ins = {'torchvision': (), 'torchvision.utils': ('save_image',)}

  def create_settings(
    self, config: ml_collections.ConfigDict
  ) -> types.SimpleNamespace:
    """For training calls of n_critic iterations each."""
    labels, *others = config_lib.find_labels(config).sets
    if others:
      raise errors.UserError(
        "--peer compares on one data set: set --config.data.joint_name=''"
      )
    self._exclusive = labels.exclusive
    return _create_settings(config, labels)

  def build(self, modules: Mapping[str, Any]) -> None:
    """Builds its solver, without data loaders."""
    self.solver = modules['solver'].Solver(None, None, self.settings)

  def nets(self) -> Mapping[str, Sequence[Any]]:
    """Those of its solver."""
    return {'generator': [self.solver.G], 'discriminator': [self.solver.D]}

  def load_batch(self, batch: Mapping[str, np.ndarray]) -> '_Loader':
    """One batch, for every iteration."""
    x, c = batch['x0'], batch['c0']
    labels = c.argmax(-1) if self._exclusive else c
    tensor = self.device.tensor
    return _Loader([(tensor(x), tensor(labels))] * self.settings.num_iters)

  def train(self, loaded: '_Loader') -> None:
    """n_critic iterations."""
    self.solver.celeba_loader = self.solver.rafd_loader = loaded
    self.solver.train()

  def translation(
    self, batch: Mapping[str, np.ndarray], dtype: Any
  ) -> Callable[[], Any]:
    """All images, each by the label of another one."""
    x, c = batch['x0'], batch['c0']
    images = self.device.tensor(x).to(dtype)
    c_trg = self.device.tensor(np.roll(c, 1, axis=0)).to(dtype)
    # Not in its evaluation mode, which its own tests do not use either: norms
    # would take averages instead of the image's statistics.
    generate = self.solver.G.to(dtype)
    return lambda: generate(images, c_trg)


create = Peer


class _Loader:
  """In the place of its data loader: the batches of so many iterations.

  It takes one for its pictures before it starts, here the first of them.
  """

  def __init__(self, batches: Sequence[Any]):
    self._batches = batches

  def __iter__(self) -> Iterator[Any]:
    yield self._batches[0]
    yield from self._batches


def _create_settings(
  config: ml_collections.ConfigDict, labels: Any
) -> types.SimpleNamespace:
  model, hparams, optim = config.model, config.hparams, config.optim
  widths = ('g_conv_dim', 'd_conv_dim', 'g_repeat_num', 'd_repeat_num')
  folders = ('log_dir', 'sample_dir', 'model_save_dir', 'result_dir')
  every = ('log_step', 'sample_step', 'model_save_step', 'lr_update_step')
  return types.SimpleNamespace(
    **{key: model[key] for key in widths},
    **hparams,
    **dict.fromkeys(folders, ''),
    **dict.fromkeys(every, peer.NEVER),
    c_dim=len(labels.names),
    c2_dim=0,
    image_size=config.data.img_size,
    dataset='RaFD' if labels.exclusive else 'CelebA',
    selected_attrs=list(labels.names),
    batch_size=config.batch_size,
    num_iters=hparams.n_critic,
    num_iters_decay=0,
    g_lr=optim.g_lr or optim.lr,
    d_lr=optim.d_lr or optim.lr,
    beta1=optim.beta1,
    beta2=optim.beta2,
    resume_iters=None,
    test_iters=None,
    use_tensorboard=False,
  )
