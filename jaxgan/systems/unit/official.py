"""Checkpoints of the original PyTorch codes: see `two_domains_files`."""

from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jaxgan.pytorch import convert, nvlabs
from jaxgan.pytorch.convert import Places
from jaxgan.systems import two_domains_files
from jaxgan.systems.unit import step as step_lib
from jaxgan.training.state import State

Tree = Any


def names(network: str, params: Tree) -> Places:
  """The names of the parameters of a network in the code that made it."""
  if network == 'discriminator':
    if 'of_domain_0' in params:
      return nvlabs.discriminator(params)
    return _discriminator(params)
  if 'up_0_norm' in params['decoder_0']:
    return _unshared(params)
  return _shared(params)


def _unshared(params: Tree) -> Places:
  places: Places = {}
  for i, letter in enumerate('ab'):
    encoder, decoder = f'encoder_{i}', f'decoder_{i}'
    places |= nvlabs.content_encoder(params[encoder], f'{letter}.enc', encoder)
    places |= nvlabs.decoder(params[decoder], f'{letter}.dec', decoder)
  return places


def _shared(params: Tree) -> Places:
  """In the order of the original, which is that of its forward pass."""
  places: Places = {}
  for i, letter in enumerate('AB'):
    tree, key = params[f'encoder_{i}'], f'encode_{letter}'
    downs = convert.count(tree, 'down_')
    for k in range(downs + 1):
      name = f'down_{k - 1}' if k else 'stem'
      places |= convert.layer(f'{key}.{k}.model.0', f'encoder_{i}', name)
    places |= _blocks(tree, key, downs + 1, f'encoder_{i}')
  for part in ('enc', 'dec'):
    module = f'{part}oder_shared'
    places |= _blocks(params.get(module, {}), f'{part}_shared', 0, module)
  for i, letter in enumerate('AB'):
    tree, key = params[f'decoder_{i}'], f'decode_{letter}'
    places |= _blocks(tree, key, 0, f'decoder_{i}')
    number = convert.count(tree, 'block_')
    for k in range(convert.count(tree, 'up_')):
      places |= convert.layer(
        *(f'{key}.{number}.model.0', f'decoder_{i}', f'up_{k}'),
        layout='transposed',
      )
      number += 1
    places |= convert.layer(
      *(f'{key}.{number}', f'decoder_{i}', 'to_rgb'), layout='transposed'
    )
  return places


def _blocks(tree: Tree, key: str, first: int, module: str) -> Places:
  """Residual blocks: convolution, norm, ReLU, convolution, norm."""
  places: Places = {}
  for k in range(convert.count(tree, 'block_')):
    for name, number in (('conv1', 0), ('conv2', 3)):
      places |= convert.layer(
        f'{key}.{first + k}.model.{number}', module, f'block_{k}', name
      )
  return places


def _discriminator(params: Tree) -> Places:
  def of(tree: Tree, key: str, module: str) -> Places:
    places: Places = {}
    layers = convert.count(tree, 'conv_')
    for i in range(layers):
      places |= convert.layer(f'{key}.{i}.model.0', module, f'conv_{i}')
    if 'to_score' in tree:
      places |= convert.layer(f'{key}.{layers}', module, 'to_score')
    return places

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
  places: Places = {}
  for key, module in nets.items():
    places |= of(params[module], key, module)
  return places


def import_official(
  path: epath.PathLike, config: ConfigDict, step: int | None = None
) -> convert.Imported:
  """Reads `<name>_gen_N.pkl`, or without shared blocks `gen_N.pt`.

  See `two_domains_files.import_run`.
  """
  return two_domains_files.import_run(
    path, config, step, names_fn=names, create_model=step_lib.create_model
  )


def export_official(
  state: State, frozen: Mapping[str, Tree], config: ConfigDict, partial: bool
) -> dict[str, Tree]:
  """Writes the same: see `two_domains_files.export_run`."""
  del frozen  # the original reads VGG from a file of its own
  if not config.model.shared:
    model = step_lib.create_model(config)
    return two_domains_files.export_run(
      state,
      config,
      partial,
      names_fn=names,
      model=model,
      buffers={
        'discriminator': nvlabs.statistics(state.params['discriminator'])
      },
    )
  return {
    f'unit_{network[:3]}_{int(state.step):08d}.pkl': (
      two_domains_files.export_tensors(names(network, params), params, {})
    )
    for network, params in state.params.items()
    if network == 'generator' or not partial
  }
