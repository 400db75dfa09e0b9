"""Checkpoints of the original PyTorch code: see `two_domains_files`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgan.pytorch import convert, nvlabs
from jaxgan.systems import two_domains_files
from jaxgan.systems.munit import step as step_lib
from jaxgan.training.state import State

Tree = Any


def names(network: str, params: Tree) -> convert.Places:
  """The original's names of the parameters of a network."""
  if network == 'discriminator':
    return nvlabs.discriminator(params)
  places: convert.Places = {}
  for domain, letter in enumerate('ab'):
    style, content, decoder, mlp = (
      f'{part}_{domain}'
      for part in ('style_encoder', 'content_encoder', 'decoder', 'mlp')
    )
    layers = convert.count(params[style], 'down_')
    for i in range(layers + 1):
      name = f'down_{i - 1}' if i else 'stem'
      key = f'{letter}.enc_style.model.{i}'
      places |= nvlabs.block(params[style], key, style, name)
    # After the average of all pixels.
    key = f'{letter}.enc_style.model.{layers + 2}'
    places |= convert.layer(key, style, 'to_style')
    places |= nvlabs.content_encoder(
      params[content], f'{letter}.enc_content', content
    )
    places |= nvlabs.decoder(params[decoder], f'{letter}.dec', decoder)
    for i in range(3):
      key = f'{letter}.mlp.model.{i}'
      places |= convert.layer(f'{key}.fc', mlp, f'fc_{i}')
      places |= nvlabs.activation(params[mlp], key, mlp, f'fc_{i}')
  return places


def _statistics(params: Tree) -> convert.StateDict:
  """Of the generators' adaptive norms, which nothing moves."""
  buffers = {}
  for domain, letter in enumerate('ab'):
    decoder = params[f'decoder_{domain}']
    for i in range(convert.count(decoder, 'block_')):
      for j in range(2):
        width = decoder[f'block_{i}'][f'conv{j + 1}']['bias'].shape
        norm = f'{letter}.dec.model.0.model.{i}.model.{j}.norm'
        buffers[f'{norm}.running_mean'] = np.zeros(width, np.float32)
        buffers[f'{norm}.running_var'] = np.ones(width, np.float32)
  return buffers


def import_official(
  path: epath.PathLike, config: ConfigDict, step: int | None = None
) -> convert.Imported:
  """Reads `gen_N.pt`: see `two_domains_files.import_run`."""
  return two_domains_files.import_run(
    path, config, step, names_fn=names, create_model=step_lib.create_model
  )


def export_official(
  state: State, frozen: Mapping[str, Tree], config: ConfigDict, partial: bool
) -> dict[str, Tree]:
  """Writes `gen_N.pt`: see `two_domains_files.export_run`."""
  del frozen  # the original reads VGG from a file of its own
  return two_domains_files.export_run(
    state,
    config,
    partial,
    names_fn=names,
    model=step_lib.create_model(config),
    buffers={
      'generator': _statistics(state.params['generator']),
      'discriminator': nvlabs.statistics(state.params['discriminator']),
    },
  )
