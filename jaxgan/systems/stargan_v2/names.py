"""Parameters as the original PyTorch code names and shapes them.

A state dict here is {key: numpy array}, the keys as in the original's
checkpoints (`encode.0.conv1.weight`), convolutions [O, I, H, W], linear layers
[O, I], one tensor per domain for the heads.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import flax
import numpy as np

from jaxgan.pytorch import convert, torch_params
from jaxgan.pytorch.convert import Place, Places, StateDict

Tree = Any

_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}
HIGH_PASS = 'hpf.filter'
# Parts of keys as the original defines them, one after another.
_ORDER = (
  *('from_rgb', 'encode', 'decode', 'to_rgb'),
  *('shared', 'unshared', 'main'),
  *('conv1', 'conv2', 'norm1', 'norm2', 'conv1x1'),
  *('fc', 'weight', 'bias'),
)


def names(network: str, params: Tree) -> Places:
  """The original's names of the parameters of a network, 'fan' too."""
  if network == 'fan':
    return torch_params.places(params)
  num_blocks = convert.count(params, 'block_')
  places: Places = {}
  for path, leaf in flax.traverse_util.flatten_dict(params).items():
    key = _official_key(network, path, num_blocks)
    if '{domain}' in key:
      for domain in range(leaf.shape[0]):
        places[key.format(domain=domain)] = Place(path, domain)
    else:
      pointwise = network == 'discriminator' and path[0] == 'heads'
      places[key] = Place(path, layout='pointwise' if pointwise else None)
  return places


def parameter_keys(state_dict: Iterable[str]) -> list[str]:
  """Keys of the parameters, as the original's optimisers number them."""

  def position(key):
    parts = key.split('.')
    return [int(p) if p.isdigit() else _ORDER.index(p) for p in parts]

  return sorted((key for key in state_dict if key != HIGH_PASS), key=position)


def unused_tensors(
  network: str, state_dict: Mapping[str, np.ndarray], w_hpf: float
) -> StateDict:
  """What the original has in a network beside the tensors it uses.

  With w_hpf > 0 those are the decoder's shortcuts, zeros here, and the kernel
  of the high-pass path; in the face network, `fan`, counters of batches.

  Args:
    network: 'fan', 'generator', ...
    state_dict: all the tensors that are used.
    w_hpf: of the config.
  """
  if network == 'fan':
    norms = [key for key in state_dict if key.endswith('.running_mean')]
    return {
      key.replace('running_mean', 'num_batches_tracked'): np.zeros((), np.int64)
      for key in norms
    }
  if network != 'generator' or w_hpf <= 0:
    return {}
  unused = {}
  for key, value in state_dict.items():
    if re.fullmatch(r'decode\.\d+\.conv1\.weight', key):
      features, features_in = value.shape[:2]
      if features != features_in:
        unused[key.replace('conv1', 'conv1x1')] = np.zeros(
          (features, features_in, 1, 1), np.float32
        )
  kernel = np.full((3, 3), -1, np.float32)
  kernel[1, 1] = 8
  return unused | {HIGH_PASS: kernel / np.float32(w_hpf)}


def _official_key(network: str, path: tuple[str, ...], num_blocks: int) -> str:
  """Name of the tensor of a parameter; `{domain}` stands for the domain."""
  *modules, leaf = path
  leaf, top = _LEAVES[leaf], modules[0]
  inner = '.'.join([*modules[1:], leaf])
  index = int(re.findall(r'\d*$', top)[0] or -1)
  if network == 'generator':
    renamed = {'to_rgb_norm': 'to_rgb.0', 'to_rgb_conv': 'to_rgb.2'}
    return f'{renamed.get(top, top.replace("_", ".", index >= 0))}.{inner}'
  if network == 'mapping_network':
    if top.startswith('heads'):
      return f'unshared.{{domain}}.{2 * index}.{leaf}'  # a ReLU after each
    return f'shared.{2 * index}.{leaf}'

  trunk = {'style_encoder': 'shared', 'discriminator': 'main'}[network]
  if top == 'heads':
    # After the trunk's last block: LReLU, conv4, LReLU, head.
    head = f'main.{num_blocks + 4}'
    return f'{head if trunk == "main" else "unshared.{domain}"}.{leaf}'
  positions = {'from_rgb': 0, 'conv4': num_blocks + 2}
  return f'{trunk}.{positions.get(top, index + 1)}.{inner}'
