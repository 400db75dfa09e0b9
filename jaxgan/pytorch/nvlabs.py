"""Names of the blocks that the codes of MUNIT and its kin are built from."""

from collections.abc import Mapping
from typing import Any

from jaxgan.pytorch.convert import Place, Places, count, layer

Tree = Mapping[str, Any]


def content_encoder(tree: Tree, key: str, *path: str) -> Places:
  """The places of a `blocks.ContentEncoder` with parameters `tree`."""
  downs = count(tree, 'down_')
  places = layer(f'{key}.model.0.conv', *path, 'stem')
  for i in range(downs):
    places |= layer(f'{key}.model.{i + 1}.conv', *path, f'down_{i}')
  return places | _blocks(tree, f'{key}.model.{downs + 1}', *path)


def decoder(tree: Tree, key: str, *path: str) -> Places:
  """The places of a `blocks.Decoder` with parameters `tree`."""
  ups = count(tree, 'up_')
  places = _blocks(tree, f'{key}.model.0', *path)
  for i in range(ups):
    block = f'{key}.model.{2 + 2 * i}'
    places[f'{block}.norm.gamma'] = Place((*path, f'up_{i}_norm', 'scale'))
    places[f'{block}.norm.beta'] = Place((*path, f'up_{i}_norm', 'bias'))
    places |= layer(f'{block}.conv', *path, f'up_{i}')
  return places | layer(f'{key}.model.{1 + 2 * ups}.conv', *path, 'to_rgb')


def _blocks(tree: Tree, key: str, *path: str) -> Places:
  places: Places = {}
  for i in range(count(tree, 'block_')):
    for j in range(2):
      conv = f'{key}.model.{i}.model.{j}.conv'
      places |= layer(conv, *path, f'block_{i}', f'conv{j + 1}')
  return places


def discriminator(params: Tree) -> Places:
  """The places of a `blocks.PerDomainDiscriminator`."""
  places: Places = {}
  for domain, letter in enumerate('ab'):
    of_domain = params[f'of_domain_{domain}']
    for k in range(count(of_domain, 'scale_')):
      path = f'of_domain_{domain}', f'scale_{k}'
      layers = count(of_domain[f'scale_{k}'], 'conv_')
      for i in range(layers):
        conv = f'{letter}.cnns.{k}.{i}.conv'
        places |= layer(conv, *path, f'conv_{i}')
      places |= layer(f'{letter}.cnns.{k}.{layers}', *path, 'to_score')
  return places
