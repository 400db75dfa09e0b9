"""Names of the blocks that the codes of MUNIT and its kin are built from."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxgan.pytorch.convert import Place, Places, StateDict, count, layer

Tree = Mapping[str, Any]

# Of a layer's norm, by the end of its name here: scale and bias there.
_NORMS = {'norm': ('gamma', 'beta'), 'bn': ('weight', 'bias')}


def block(tree: Tree, key: str, *path: str) -> Places:
  """The places of a convolution, of its norm and of its activation.

  Args:
    tree: parameters of the module that it is in.
    key: of it there.
    *path: of it here.
  """
  *module, name = path
  places: Places = {}
  for end, theirs in _NORMS.items():
    if (norm := f'{name}_{end}') in tree:
      places[f'{key}.norm.{theirs[0]}'] = Place((*module, norm, 'scale'))
      places[f'{key}.norm.{theirs[1]}'] = Place((*module, norm, 'bias'))
  return places | activation(tree, key, *path) | layer(f'{key}.conv', *path)


def activation(tree: Tree, key: str, *path: str) -> Places:
  """The place of the slope of a layer's activation, if it has one: `block`."""
  *module, name = path
  if (activ := f'{name}_activ') not in tree:
    return {}
  return {f'{key}.activation.weight': Place((*module, activ, 'slope'))}


def content_encoder(tree: Tree, key: str, *path: str) -> Places:
  """The places of a `blocks.ContentEncoder` with parameters `tree`."""
  downs = count(tree, 'down_')
  places = block(tree, f'{key}.model.0', *path, 'stem')
  for i in range(downs):
    places |= block(tree, f'{key}.model.{i + 1}', *path, f'down_{i}')
  return places | _blocks(tree, f'{key}.model.{downs + 1}', *path)


def decoder(tree: Tree, key: str, *path: str) -> Places:
  """The places of a `blocks.Decoder` with parameters `tree`."""
  ups = count(tree, 'up_')
  places = _blocks(tree, f'{key}.model.0', *path)
  for i in range(ups):
    places |= block(tree, f'{key}.model.{2 + 2 * i}', *path, f'up_{i}')
  return places | layer(f'{key}.model.{1 + 2 * ups}.conv', *path, 'to_rgb')


def _blocks(tree: Tree, key: str, *path: str) -> Places:
  places: Places = {}
  for i in range(count(tree, 'block_')):
    name = f'block_{i}'
    for j in range(2):
      places |= block(
        *(tree[name], f'{key}.model.{i}.model.{j}'),
        *(*path, name, f'conv{j + 1}'),
      )
  return places


def discriminator(params: Tree) -> Places:
  """The places of a `blocks.PerDomainDiscriminator`."""
  places: Places = {}
  for key, tree, path in _patch_discriminators(params):
    layers = count(tree, 'conv_')
    for i in range(layers):
      places |= block(tree, f'{key}.{i}', *path, f'conv_{i}')
    places |= layer(f'{key}.{layers}', *path, 'to_score')
  return places


def statistics(params: Tree) -> StateDict:
  """Running ones of a `blocks.PerDomainDiscriminator`, as they are at first.

  Nothing depends on them: a discriminator is always in training.
  """
  buffers: StateDict = {}
  for key, tree, _ in _patch_discriminators(params):
    for i in range(count(tree, 'conv_')):
      if norm := tree.get(f'conv_{i}_bn'):
        width, name = norm['bias'].shape, f'{key}.{i}.norm'
        buffers[f'{name}.running_mean'] = np.zeros(width, np.float32)
        buffers[f'{name}.running_var'] = np.ones(width, np.float32)
        buffers[f'{name}.num_batches_tracked'] = np.zeros((), np.int64)
  return buffers


def _patch_discriminators(
  params: Tree,
) -> Iterator[tuple[str, Tree, tuple[str, str]]]:
  """Key, parameters and path of each, of both domains and all scales."""
  for domain, letter in enumerate('ab'):
    of_domain = params[f'of_domain_{domain}']
    for k in range(count(of_domain, 'scale_')):
      path = f'of_domain_{domain}', f'scale_{k}'
      yield f'{letter}.cnns.{k}', of_domain[f'scale_{k}'], path
