"""Checkpoints of the original PyTorch codes: see `pytorch.convert`."""

import functools
from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from jaxgan.pytorch import convert
from jaxgan.systems import frozen as frozen_lib
from jaxgan.systems import two_domains
from jaxgan.systems.unit import step as step_lib
from jaxgan.training.state import State

Tree = Any
Paths = dict[str, convert.Path]

Imported = convert.Imported


def names(network: str, params: Tree) -> convert.Names:
  """The names of the parameters of a network in the code that made it."""
  if network == 'discriminator':
    if 'of_domain_0' in params:
      return convert.Names(convert.discriminator_paths(params))
    return convert.Names(_discriminator_paths(params))
  if 'up_0_norm' in params['decoder_0']:
    return convert.Names(_unshared_paths(params))
  paths = _shared_paths(params)
  transposed = frozenset(
    path
    for path in paths.values()
    if path[0].startswith('decoder')
    and path[1].startswith(('up_', 'to_rgb'))
    and path[-1] == 'kernel'
  )
  return convert.Names(paths, transposed)


def _unshared_paths(params: Tree) -> Paths:
  paths: Paths = {}
  for i, letter in enumerate('ab'):
    encoder, decoder = f'encoder_{i}', f'decoder_{i}'
    paths |= convert.encoder_paths(params[encoder], f'{letter}.enc', encoder)
    paths |= convert.decoder_paths(params[decoder], f'{letter}.dec', decoder)
  return paths


def _shared_paths(params: Tree) -> Paths:
  """In the order of the original, which is that of its forward pass."""
  paths: Paths = {}
  for i, letter in enumerate('AB'):
    tree, key = params[f'encoder_{i}'], f'encode_{letter}'
    downs = convert.count(tree, 'down_')
    for k in range(downs + 1):
      name = f'down_{k - 1}' if k else 'stem'
      paths |= convert.convolution(f'{key}.{k}.model.0', f'encoder_{i}', name)
    paths |= _block_paths(tree, key, downs + 1, f'encoder_{i}')
  for part in ('enc', 'dec'):
    module = f'{part}oder_shared'
    paths |= _block_paths(params.get(module, {}), f'{part}_shared', 0, module)
  for i, letter in enumerate('AB'):
    tree, key = params[f'decoder_{i}'], f'decode_{letter}'
    paths |= _block_paths(tree, key, 0, f'decoder_{i}')
    number = convert.count(tree, 'block_')
    for k in range(convert.count(tree, 'up_')):
      paths |= convert.convolution(
        f'{key}.{number}.model.0', f'decoder_{i}', f'up_{k}'
      )
      number += 1
    paths |= convert.convolution(f'{key}.{number}', f'decoder_{i}', 'to_rgb')
  return paths


def _block_paths(tree: Tree, key: str, first: int, module: str) -> Paths:
  """Residual blocks: convolution, norm, ReLU, convolution, norm."""
  paths: Paths = {}
  for k in range(convert.count(tree, 'block_')):
    for name, number in (('conv1', 0), ('conv2', 3)):
      paths |= convert.convolution(
        f'{key}.{first + k}.model.{number}', module, f'block_{k}', name
      )
  return paths


def _discriminator_paths(params: Tree) -> Paths:
  def of(tree: Tree, key: str, module: str) -> Paths:
    paths: Paths = {}
    layers = convert.count(tree, 'conv_')
    for i in range(layers):
      paths |= convert.convolution(f'{key}.{i}.model.0', module, f'conv_{i}')
    if 'to_score' in tree:
      paths |= convert.convolution(f'{key}.{layers}', module, 'to_score')
    return paths

  nets = {}
  if 'back' in params:
    nets = {'model_A': 'front_0', 'model_B': 'front_1', 'model_S': 'back'}
  elif convert.count(params, r'scale_0_') == 1:
    nets = {'model_A': 'scale_0_0', 'model_B': 'scale_1_0'}
  else:
    nets = {
      f'model_{2**k}_{letter}': f'scale_{i}_{k}'
      for i, letter in enumerate('AB')
      for k in range(convert.count(params, r'scale_0_'))
    }
  paths: Paths = {}
  for key, module in nets.items():
    paths |= of(params[module], key, module)
  return paths


def import_official(
  path: epath.PathLike,
  config: ml_collections.ConfigDict,
  step: int | None = None,
) -> Imported:
  """Reads `<name>_gen_N.pkl`, or without shared blocks `gen_N.pt`.

  Args:
    path: of the generators; discriminators and optimisers beside it are read
      too. Of any other name with the step given.
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
  if config.model.shared:
    files = {}
    for network in ('generator',) if partial else tuple(state.params):
      params = state.params[network]
      files[f'unit_{network[:3]}_{int(state.step):08d}.pkl'] = (
        convert.export_tensors(names(network, params), params)
      )
    return files
  ahead = step_lib.create_model(config).steps_ahead
  rate = convert.last_rate(int(state.step), config, ahead)
  return convert.export_run(state, config, partial, names, rate)
