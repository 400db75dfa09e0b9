"""Checkpoints of the original PyTorch code: see `pytorch.convert`."""

import functools
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath

from jaxgan.pytorch import convert
from jaxgan.systems import frozen as frozen_lib
from jaxgan.systems import two_domains
from jaxgan.systems.munit import step as step_lib
from jaxgan.training.state import State

Tree = Any

Imported = convert.Imported


def names(network: str, params: Tree) -> convert.Names:
  """The original's names of the parameters of a network."""
  if network == 'discriminator':
    return convert.Names(convert.discriminator_paths(params))
  paths: dict[str, convert.Path] = {}
  buffers: dict[str, np.ndarray] = {}
  for domain, letter in enumerate('ab'):
    style, content, decoder, mlp = (
      f'{part}_{domain}'
      for part in ('style_encoder', 'content_encoder', 'decoder', 'mlp')
    )
    layers = convert.count(params[style], 'down_')
    for i in range(layers + 1):
      name = f'down_{i - 1}' if i else 'stem'
      key = f'{letter}.enc_style.model.{i}.conv'
      paths |= convert.convolution(key, style, name)
    # After the average of all pixels.
    key = f'{letter}.enc_style.model.{layers + 2}'
    paths |= convert.convolution(key, style, 'to_style')
    paths |= convert.encoder_paths(
      params[content], f'{letter}.enc_content', content
    )
    paths |= convert.decoder_paths(params[decoder], f'{letter}.dec', decoder)
    for i in range(3):
      key = f'{letter}.mlp.model.{i}.fc'
      paths |= convert.convolution(key, mlp, f'fc_{i}')
    # Adaptive norms have statistics that nothing moves.
    for i in range(convert.count(params[decoder], 'block_')):
      for j in range(2):
        width = params[decoder][f'block_{i}'][f'conv{j + 1}']['bias'].shape
        norm = f'{letter}.dec.model.0.model.{i}.model.{j}.norm'
        buffers[f'{norm}.running_mean'] = np.zeros(width, np.float32)
        buffers[f'{norm}.running_var'] = np.ones(width, np.float32)
  return convert.Names(paths, buffers=buffers)


def import_official(
  path: epath.PathLike,
  config: ml_collections.ConfigDict,
  step: int | None = None,
) -> Imported:
  """Reads `gen_N.pt`, and `dis_N.pt` and `optimizer.pt` where they are there.

  Args:
    path: of the first; of any other name with the step given.
    config: its settings have to be those of the networks.
    step: finished iterations; None for N.

  Raises:
    UserError: a file is missing, damaged, foreign or of other networks.
  """
  return convert.import_run(
    path,
    config,
    step,
    create_model=step_lib.create_model,
    init_state=two_domains.init_state,
    load_frozen=functools.partial(frozen_lib.load, two_domains.FROZEN),
    names_fn=names,
  )


def export_official(
  state: State,
  frozen: Mapping[str, Tree],
  config: ml_collections.ConfigDict,
  partial: bool,
) -> dict[str, Tree]:
  """The original's files, {name: tree for `torch_files.save`}.

  Args:
    state: of a run, begun here or imported.
    frozen: not used: the original reads VGG from a file of its own.
    config: of the run.
    partial: of the import: the generators are all there is to write.
  """
  del frozen
  ahead = step_lib.create_model(config).steps_ahead
  rate = convert.last_rate(int(state.step), config, ahead)
  return convert.export_run(state, config, partial, names, rate)
