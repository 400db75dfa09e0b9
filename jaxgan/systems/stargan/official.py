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
from typing import Any

import flax
import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import labelled as labelled_lib
from jaxgan.data import shapes
from jaxgan.data.labels import find_labels
from jaxgan.pytorch import convert, torch_files
from jaxgan.pytorch.convert import Imported, Place, Places, StateDict
from jaxgan.runtime import errors
from jaxgan.systems.stargan import step as step_lib
from jaxgan.training.state import State

Tree = Any

_LETTERS = {'generator': 'G', 'discriminator': 'D'}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}
# Of a residual block, as the original numbers it.
_IN_BLOCK = {'conv1': 0, 'norm1': 1, 'conv2': 3, 'norm2': 4}


def names(network: str, params: Tree) -> Places:
  """The original's names of the parameters of a network."""
  flat = flax.traverse_util.flatten_dict(params)
  repeat_num = convert.count(params, 'block_')
  return {
    _key(network, path, repeat_num): Place(
      path, layout='transposed' if path[0].startswith('up_') else None
    )
    for path in flat
  }


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
  name = re.fullmatch(r'(\d+)-[GD]\.(ckpt|safetensors)', path.name)
  if not name:
    raise errors.UserError(
      f'{path} is not named as the original names its files, 200000-G.ckpt '
      'and 200000-D.ckpt: rename both'
    )
  step = convert.choose_step(path, step, int(name[1]))
  config = _complete(config, path)
  model = step_lib.create_model(config)
  init_state = functools.partial(step_lib.init_state, model)
  like = jax.eval_shape(init_state, jax.random.key(config.seed)).params
  params, unused = {}, {}
  for network, letter in _LETTERS.items():
    file = path.parent / f'{name[1]}-{letter}.{name[2]}'
    where = f'{file} does not fit the config: {network}'
    places = names(network, like[network])
    params[network], unused[network] = convert.read_params(
      where, places, _load(file), like[network]
    )
    convert.refuse_unknown(where, unused[network])
  count: Any = np.array(step, np.int32)
  opt_state = {name: model.tx[name].init(tree) for name, tree in params.items()}
  state = State(count, params, opt_state)
  what = 'weights without optimisers'
  return Imported(config, state, {'unused': unused}, False, what)


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
      for key, value in convert.to_tensors(
        names(network, state.params[network]), state.params[network]
      ).items()
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
      f'there is no file {path}: both N-G{path.suffix} and N-D{path.suffix} '
      'are needed'
    )
  try:
    return convert.find_state_dict(torch_files.load(path))
  except ValueError as e:
    raise errors.UserError(
      f'{path} is not the state dict of one network'
    ) from e


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

    def find(data_set: int = int(bool(prefix))) -> tuple[str, ...]:
      opened = labelled_lib.open_set(config, data.train_split, data_set)
      return opened.labels.names

    example = f"""--config.data.{prefix}domains="('angry','happy')\""""
    data[f'{prefix}domains'] = convert.find_names(find, path, example, 'labels')
  labels = find_labels(config).names
  labelled_lib.check_names(labels)
  config.model.num_domains = len(labels)
  return config


def _key(network: str, path: tuple[str, ...], repeat_num: int) -> str:
  """Name of the tensor of a parameter."""
  *modules, leaf = path
  top, leaf = modules[0], _LEAVES[leaf]
  index = int((re.findall(r'\d+', top) or ['0'])[0])
  if network == 'discriminator':
    renamed = {'src': 'conv1', 'cls': 'conv2'}
    return f'{renamed.get(top, f"main.{2 * index}")}.{leaf}'
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
