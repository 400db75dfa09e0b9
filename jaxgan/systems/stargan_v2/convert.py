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

Tree = Any
StateDict = dict[str, np.ndarray]

_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}
HIGH_PASS = 'hpf.filter'
# Parts of keys as the original defines them, one after another.
_ORDER = (
  *('from_rgb', 'encode', 'decode', 'to_rgb'),
  *('shared', 'unshared', 'main'),
  *('conv1', 'conv2', 'norm1', 'norm2', 'conv1x1'),
  *('fc', 'weight', 'bias'),
)


def to_state_dict(network: str, params: Tree) -> StateDict:
  """Converts one network's parameters, leaves of any array type."""
  flat = flax.traverse_util.flatten_dict(params)
  num_blocks = len({path[0] for path in flat if path[0].startswith('block_')})
  state_dict = {}
  for path, value in flat.items():
    key = _official_key(network, path, num_blocks)
    value = np.asarray(value)
    if '{domain}' in key:
      for domain, head in enumerate(value):
        state_dict[key.format(domain=domain)] = head.T
    else:
      state_dict[key] = _to_official(network, path, value)
  return state_dict


def from_state_dict(
  network: str, state_dict: Mapping[str, np.ndarray], template: Tree
) -> tuple[Tree, list[str]]:
  """Converts a state dict into parameters of the template's structure.

  Args:
    network: 'generator', 'mapping_network', ...
    state_dict: the original's tensors.
    template: parameters, or their shapes, that the result must have.

  Returns:
    The parameters, and the keys that no parameter comes from.

  Raises:
    ValueError: a tensor is missing or has another shape.
  """
  flat = flax.traverse_util.flatten_dict(template)
  num_blocks = len({path[0] for path in flat if path[0].startswith('block_')})
  params, used = {}, set()
  for path, like in flat.items():
    key = _official_key(network, path, num_blocks)
    keys = [key]
    if '{domain}' in key:
      keys = [key.format(domain=domain) for domain in range(like.shape[0])]
    missing = [key for key in keys if key not in state_dict]
    if missing:
      raise ValueError(f'{network} has no tensor {missing[0]}')
    used.update(keys)
    tensors = [np.asarray(state_dict[key]) for key in keys]
    if '{domain}' in key:
      value = np.stack([tensor.T for tensor in tensors])
    else:
      value = _from_official(network, path, tensors[0])
    if value.shape != like.shape:
      raise ValueError(
        f'{network} {keys[0]} has shape {tensors[0].shape}, which does not '
        f'fit a parameter of shape {like.shape}'
      )
    params[path] = value
  unused = [key for key in state_dict if key not in used]
  return flax.traverse_util.unflatten_dict(params), unused


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
    names = {'to_rgb_norm': 'to_rgb.0', 'to_rgb_conv': 'to_rgb.2'}
    return f'{names.get(top, top.replace("_", ".", index >= 0))}.{inner}'
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


def _to_official(
  network: str, path: tuple[str, ...], value: np.ndarray
) -> np.ndarray:
  if _is_discriminator_head(network, path):  # there a 1 x 1 convolution
    if path[-1] == 'bias':
      return value[:, 0]
    return value[:, :, 0, None, None]
  if value.ndim == 4:
    return value.transpose(3, 2, 0, 1)
  return value.T


def _from_official(
  network: str, path: tuple[str, ...], value: np.ndarray
) -> np.ndarray:
  if _is_discriminator_head(network, path):
    if path[-1] == 'bias':
      return value[:, None]
    return value[:, :, 0]
  if value.ndim == 4:
    return value.transpose(2, 3, 1, 0)
  return value.T


def _is_discriminator_head(network: str, path: tuple[str, ...]) -> bool:
  return network == 'discriminator' and path[0] == 'heads'
