"""Checkpoints of the original PyTorch code, to and from a training state.

After N iterations the original writes the state dict of the generator as
`N-G.ckpt` and that of the discriminator as `N-D.ckpt`, without optimisers: its
own resumption begins with fresh ones. Running statistics of the norms are in
the first, and nothing depends on them; for an export to give back what was
imported, they stay in frozen['unused']['generator'].
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax
import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import labelled as labelled_lib
from jaxgan.data import shapes
from jaxgan.data.labels import find_labels
from jaxgan.pytorch import torch_files
from jaxgan.runtime import errors
from jaxgan.systems.stargan import step as step_lib
from jaxgan.training.state import State

Tree = Any
StateDict = dict[str, np.ndarray]

_LETTERS = {'generator': 'G', 'discriminator': 'D'}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}
_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
# Of a residual block, as the original numbers it.
_IN_BLOCK = {'conv1': 0, 'norm1': 1, 'conv2': 3, 'norm2': 4}


class Imported(NamedTuple):
  """What files of the original hold, less what they leave to the config."""

  config: ml_collections.ConfigDict  # complete: with the labels
  state: State
  frozen: dict[str, Tree]
  partial: bool  # never: there are no averages
  what: str = 'weights without optimisers'


def to_state_dict(network: str, params: Tree) -> StateDict:
  """Converts one network's parameters into the original's tensors."""
  flat = flax.traverse_util.flatten_dict(params)
  repeat_num = _repeat_num(flat)
  return {
    _key(network, path, repeat_num): _to_official(path, np.asarray(value))
    for path, value in flat.items()
  }


def from_state_dict(
  network: str, state_dict: Mapping[str, np.ndarray], like: Tree
) -> tuple[Tree, list[str]]:
  """Converts tensors into parameters like `like`.

  Returns:
    The parameters, and the keys that no parameter comes from.

  Raises:
    ValueError: a tensor is missing or has another shape.
  """
  flat = flax.traverse_util.flatten_dict(like)
  repeat_num, params, used = _repeat_num(flat), {}, set()
  for path, leaf in flat.items():
    key = _key(network, path, repeat_num)
    if key not in state_dict:
      raise ValueError(f'{network} has no tensor {key}')
    value = _from_official(path, np.asarray(state_dict[key]))
    if value.shape != leaf.shape:
      raise ValueError(
        f'{network} {key} has shape {np.shape(state_dict[key])}, which does '
        f'not fit a parameter of shape {leaf.shape}'
      )
    params[path] = value
    used.add(key)
  unused = [key for key in state_dict if key not in used]
  return flax.traverse_util.unflatten_dict(params), unused


def import_official(
  path: epath.PathLike,
  config: ml_collections.ConfigDict,
  step: int | None = None,
) -> Imported:
  """Reads `N-G.ckpt` and `N-D.ckpt` beside it, or the other way round.

  Args:
    path: of one of them.
    config: its settings have to be those of the networks.
    step: finished iterations; None for N.

  Raises:
    UserError: a file is missing, damaged, foreign or of other networks.
  """
  path = epath.Path(path)
  name = re.fullmatch(r'(\d+)-[GD]\.ckpt', path.name)
  if not name:
    raise errors.UserError(
      f'{path} is not named as the original names its files, 200000-G.ckpt '
      'and 200000-D.ckpt: rename both'
    )
  step = int(name[1]) if step is None else step
  if step >= 2**31:
    raise errors.UserError(f'{path}: {step} steps are more than we count')
  config = _complete(config, path)
  model = step_lib.create_model(config)
  init_state = functools.partial(step_lib.init_state, model)
  like = jax.eval_shape(init_state, jax.random.key(config.seed)).params
  params, unused = {}, {}
  for network, letter in _LETTERS.items():
    file = path.parent / f'{name[1]}-{letter}.ckpt'
    state_dict = _load(file)
    try:
      tree, keys = from_state_dict(network, state_dict, like[network])
    except ValueError as e:
      raise errors.UserError(f'{file} does not fit the config: {e}') from e
    odd = [k for k in keys if k.rpartition('.')[2] not in _STATISTICS]
    if odd:
      raise errors.UserError(
        f'{file} does not fit the config: it has {len(odd)} more tensors, the '
        f'first is {odd[0]}'
      )
    params[network] = jax.tree.map(
      lambda x, y: np.asarray(x, y.dtype), tree, like[network]
    )
    unused[network] = {key: state_dict[key] for key in keys}
  count: Any = np.array(step, np.int32)
  opt_state = {name: model.tx[name].init(tree) for name, tree in params.items()}
  state = State(count, params, opt_state)
  return Imported(config, state, {'unused': unused}, partial=False)


def export_official(
  state: State,
  frozen: Mapping[str, Tree],
  config: ml_collections.ConfigDict,
  partial: bool,
) -> dict[str, Tree]:
  """The original's files, {name: tree for `torch_files.save`}.

  Args:
    state: of a run, begun here or imported.
    frozen: beside it.
    config: not used.
    partial: not used.
  """
  del config, partial
  result = {}
  for network, letter in _LETTERS.items():
    tensors = {
      key: np.asarray(value, np.float32)
      for key, value in to_state_dict(network, state.params[network]).items()
    }
    kept = frozen.get('unused', {}).get(network, {})
    for key, value in _statistics(network, tensors).items():
      if kept and key not in kept:  # of a PyTorch that did not count
        continue
      # A counter has passed through JAX, which makes it 32 bits wide.
      tensors[key] = np.asarray(kept.get(key, value), value.dtype)
    result[f'{int(state.step)}-{letter}.ckpt'] = tensors
  return result


def _load(path: epath.Path) -> StateDict:
  if not path.is_file():
    raise errors.UserError(
      f'there is no file {path}: both N-G.ckpt and N-D.ckpt are needed'
    )
  tree = torch_files.load(path)
  if not isinstance(tree, dict) or not all(
    isinstance(key, str) and isinstance(value, np.ndarray)
    for key, value in tree.items()
  ):
    raise errors.UserError(f'{path} is not the state dict of one network')
  return {key.removeprefix('module.'): value for key, value in tree.items()}


def _complete(
  config: ml_collections.ConfigDict, path: epath.Path
) -> ml_collections.ConfigDict:
  """Adds the names of the labels, which the files only number."""
  config = config.copy_and_resolve_references()
  data = config.data
  for prefix in ('', 'joint_'):
    name = data[f'{prefix}name']
    if not name or data[f'{prefix}domains']:
      continue
    drawn = {'shapes': shapes.DOMAINS, 'shapes_attributes': shapes.ATTRIBUTES}
    if name in drawn:
      data[f'{prefix}domains'] = drawn[name]
      continue
    try:
      opened = labelled_lib.open_set(
        config, data.train_split, int(bool(prefix))
      )
    except errors.UserError as e:
      example = f"""--config.data.{prefix}domains="('angry','happy')\""""
      raise errors.UserError(
        f'the names of the labels are not in {path}, nor is there data to take '
        f'them from ({e}): give them, as in {example}'
      ) from e
    data[f'{prefix}domains'] = opened.labels.names
  names = find_labels(config).names
  labelled_lib.check_names(names)
  config.model.num_domains = len(names)
  return config


def _repeat_num(flat: Mapping[tuple[str, ...], Any]) -> int:
  """Residual blocks of a generator."""
  return len({p[0] for p in flat if re.fullmatch(r'block_\d+', p[0])})


def _key(network: str, path: tuple[str, ...], repeat_num: int) -> str:
  """Name of the tensor of a parameter."""
  *modules, leaf = path
  top, leaf = modules[0], _LEAVES[leaf]
  index = int((re.findall(r'\d+', top) or ['0'])[0])
  if network == 'discriminator':
    names = {'src': 'conv1', 'cls': 'conv2'}
    return f'{names.get(top, f"main.{2 * index}")}.{leaf}'
  if top.startswith('block'):
    return f'main.{9 + index}.main.{_IN_BLOCK[modules[1]]}.{leaf}'
  # Three entries each: convolution, norm, ReLU.
  first = {
    'stem': 0,
    'down': 3 + 3 * index,
    'up': 9 + repeat_num + 3 * index,
    'to': 15 + repeat_num,
  }[top.partition('_')[0]]
  return f'main.{first + top.endswith("norm")}.{leaf}'


def _to_official(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
  if value.ndim != 4:
    return value
  # A transposed convolution has its inputs first.
  order = (2, 3, 0, 1) if path[0].startswith('up_') else (3, 2, 0, 1)
  return value.transpose(order)


def _from_official(path: tuple[str, ...], value: np.ndarray) -> np.ndarray:
  if value.ndim != 4:
    return value
  order = (2, 3, 0, 1) if path[0].startswith('up_') else (2, 3, 1, 0)
  return value.transpose(order)


def _statistics(network: str, tensors: StateDict) -> StateDict:
  """What the original's norms have besides, as it is at first."""
  statistics: StateDict = {}
  if network == 'generator':
    for key, value in tensors.items():
      if key.endswith('bias'):  # convolutions have none
        norm = key.removesuffix('bias')
        statistics |= {
          f'{norm}running_mean': np.zeros_like(value),
          f'{norm}running_var': np.ones_like(value),
          f'{norm}num_batches_tracked': np.zeros((), np.int64),
        }
  return statistics
