"""Checkpoints of the original codes of MUNIT and UNIT, and the way back.

After N iterations, in eight digits, both write {'a': state dict, 'b': ...} of
the networks of both domains as `gen_N.pt` and `dis_N.pt`, and as `optimizer.pt`
the states of both Adams, of the newest checkpoint alone. Released are files of
the first kind. The code of UNIT's paper writes `<name>_gen_N.pkl` and
`<name>_dis_N.pkl`, a state dict each, and no optimisers.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import ml_collections
import numpy as np
import optax
from absl import logging
from etils import epath

from jaxgan.data import sources
from jaxgan.pytorch import torch_adam, torch_files
from jaxgan.runtime import errors

Tree = Any
Path = tuple[str, ...]
StateDict = dict[str, np.ndarray]

_STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
_SHORT = {'generator': 'gen', 'discriminator': 'dis'}


class Names(NamedTuple):
  """The tensors of a network in the original's order."""

  paths: dict[str, Path]  # {key: path of a parameter}
  transposed: frozenset[Path] = frozenset()  # convolutions that are
  # Keys of buffers that nothing depends on, each before its network's
  # parameters of the same module, and what is in them.
  buffers: Mapping[str, np.ndarray] = {}


# (network, its parameters or their shapes) -> their names.
NamesFn = Callable[[str, Tree], Names]


class Imported(NamedTuple):
  """Result of importing original checkpoints."""

  config: ml_collections.ConfigDict  # complete: with the domains
  state: Any
  frozen: dict[str, Tree]
  partial: bool  # of the generators alone
  what: str


def convolution(key: str, *path: str) -> dict[str, Path]:
  """Names of the tensors of a layer with weight and bias."""
  return {
    f'{key}.weight': (*path, 'kernel'),
    f'{key}.bias': (*path, 'bias'),
  }


def count(tree: Mapping[str, Any], prefix: str) -> int:
  """How many modules there are named by the prefix and a number."""
  return sum(bool(re.fullmatch(rf'{prefix}\d+', name)) for name in tree)


def encoder_paths(tree: Mapping[str, Any], key: str, *path: str):
  """Names of a `blocks.ContentEncoder` with parameters `tree`."""
  downs = count(tree, 'down_')
  paths = convolution(f'{key}.model.0.conv', *path, 'stem')
  for i in range(downs):
    paths |= convolution(f'{key}.model.{i + 1}.conv', *path, f'down_{i}')
  return paths | _block_paths(tree, f'{key}.model.{downs + 1}', *path)


def decoder_paths(tree: Mapping[str, Any], key: str, *path: str):
  """Names of a `blocks.Decoder` with parameters `tree`."""
  ups = count(tree, 'up_')
  paths = _block_paths(tree, f'{key}.model.0', *path)
  for i in range(ups):
    block = f'{key}.model.{2 + 2 * i}'
    paths[f'{block}.norm.gamma'] = (*path, f'up_{i}_norm', 'scale')
    paths[f'{block}.norm.beta'] = (*path, f'up_{i}_norm', 'bias')
    paths |= convolution(f'{block}.conv', *path, f'up_{i}')
  return paths | convolution(f'{key}.model.{1 + 2 * ups}.conv', *path, 'to_rgb')


def _block_paths(
  tree: Mapping[str, Any], key: str, *path: str
) -> dict[str, Path]:
  paths: dict[str, Path] = {}
  for i in range(count(tree, 'block_')):
    for j in range(2):
      conv = f'{key}.model.{i}.model.{j}.conv'
      paths |= convolution(conv, *path, f'block_{i}', f'conv{j + 1}')
  return paths


def discriminator_paths(params: Tree) -> dict[str, Path]:
  """Names of a `blocks.PerDomainDiscriminator`."""
  paths: dict[str, Path] = {}
  for domain, letter in enumerate('ab'):
    of_domain = params[f'of_domain_{domain}']
    for k in range(count(of_domain, 'scale_')):
      path = f'of_domain_{domain}', f'scale_{k}'
      layers = count(of_domain[f'scale_{k}'], 'conv_')
      for i in range(layers):
        conv = f'{letter}.cnns.{k}.{i}.conv'
        paths |= convolution(conv, *path, f'conv_{i}')
      paths |= convolution(f'{letter}.cnns.{k}.{layers}', *path, 'to_score')
  return paths


def to_tensors(names: Names, params: Tree) -> StateDict:
  """Converts the parameters of a network into the original's tensors."""
  flat = flax.traverse_util.flatten_dict(params)
  return {
    key: _to_official(np.asarray(flat[path]), path in names.transposed)
    for key, path in names.paths.items()
  }


def from_tensors(
  names: Names, tensors: Mapping[str, np.ndarray], like: Tree
) -> Tree:
  """Converts tensors into parameters like `like`.

  Raises:
    ValueError: a tensor is missing, has another shape, or has no place.
  """
  flat, params = flax.traverse_util.flatten_dict(like), {}
  for key, path in names.paths.items():
    leaf = flat[path]
    if key not in tensors:
      raise ValueError(f'there is no tensor {key}')
    value = np.asarray(tensors[key])
    value = _from_official(value, path in names.transposed)
    if value.shape != leaf.shape:
      raise ValueError(
        f'{key} has shape {np.shape(tensors[key])}, which does not fit a '
        f'parameter of shape {leaf.shape}'
      )
    params[path] = np.asarray(value, leaf.dtype)
  odd = [
    key
    for key in tensors
    if key not in names.paths and key.rpartition('.')[2] not in _STATISTICS
  ]
  if odd:
    raise ValueError(
      f'there are {len(odd)} more tensors, the first is {odd[0]}'
    )
  return flax.traverse_util.unflatten_dict(params)


def _to_official(value: np.ndarray, transposed: bool) -> np.ndarray:
  if value.ndim == 2:
    return value.T
  if value.ndim != 4:
    return value
  return value.transpose((2, 3, 0, 1) if transposed else (3, 2, 0, 1))


def _from_official(value: np.ndarray, transposed: bool) -> np.ndarray:
  if value.ndim == 2:
    return value.T
  if value.ndim != 4:
    return value
  return value.transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0))


def complete(
  config: ml_collections.ConfigDict, path: epath.Path
) -> ml_collections.ConfigDict:
  """Adds the names of the domains, which the files only call a and b.

  Raises:
    UserError: there are none to be found, or not two.
  """
  config = config.copy_and_resolve_references()
  data = config.data
  domains = tuple(data.domains)
  if not domains:
    try:
      source = sources.create_source(data.name, data.root, data.train_split)
      domains = source.domains
    except errors.UserError as e:
      example = """--config.data.domains="('edges','shoes')\""""
      raise errors.UserError(
        f'the names of the domains are not in {path}, nor is there data to '
        f'take them from ({e}): give them, a and b, as in {example}'
      ) from e
  if len(domains) != 2:
    raise errors.UserError(
      f'{path} has two domains, and the config {len(domains)} '
      f'({", ".join(domains)}): see config.data.domains'
    )
  data.domains, config.model.num_domains = domains, 2
  return config


def import_run(
  path: epath.PathLike,
  config: ml_collections.ConfigDict,
  step: int | None,
  *,
  create_model: Callable,
  init_state: Callable,
  load_frozen: Callable,
  names_fn: NamesFn,
) -> Imported:
  """Reads a file of generators, and what lies beside it.

  Args:
    path: of `gen_N.pt`, or `<name>_gen_N.pkl`; one without its discriminators
      is enough to translate with.
    config: its settings have to be those of the networks.
    step: finished iterations; None for N.
    create_model: of the system.
    init_state: of the system.
    load_frozen: (config) -> parameters that are never trained.
    names_fn: of the system.

  Raises:
    UserError: a file is missing, damaged, foreign or of other networks.
  """
  path = epath.Path(path)
  step = _find_step(path, step)
  config = complete(config, path)
  model = create_model(config)
  init_fn = functools.partial(init_state, model)
  rng = jax.random.key(config.seed)
  like = jax.eval_shape(init_fn, rng)
  files = {'generator': path}
  if 'gen_' in path.name:
    beside = path.parent / 'dis_'.join(path.name.rsplit('gen_', 1))
    if beside.is_file():
      files['discriminator'] = beside
  params, tensors = {}, {}
  for network, file in files.items():
    tensors[network] = _load(file)
    names = names_fn(network, like.params[network])
    try:
      params[network] = from_tensors(
        names, tensors[network], like.params[network]
      )
    except ValueError as e:
      raise errors.UserError(f'{file} does not fit the config: {e}') from e
  partial = 'discriminator' not in params
  if partial:
    # It is never trained, and asks for no network of the losses.
    config.hparams.lambda_vgg = 0.0
    params = jax.jit(init_fn)(rng).params | params
  opt_state = {name: model.tx[name].init(params[name]) for name in params}
  what = 'generators without discriminators' if partial else 'weights'
  optimizers = path.parent / 'optimizer.pt'
  if not partial and optimizers.is_file():
    rate = last_rate(step, config, model.steps_ahead)
    settings = torch_adam.settings(config.optim, rate)
    what = 'weights without optimisers'
    read = _load_optimisers(
      optimizers, step, like.params, tensors, names_fn, settings
    )
    if read:
      what = 'weights and optimisers'
      opt_state = {
        name: optax.tree_utils.tree_set(opt_state[name], **read[name])
        for name in opt_state
      }
  elif not partial:
    what = 'weights without optimisers'
  number: Any = np.array(step, np.int32)
  state = like.replace(step=number, params=params, opt_state=opt_state)
  return Imported(config, state, load_frozen(config), partial, what)


def last_rate(
  step: int, config: ml_collections.ConfigDict, steps_ahead: int
) -> float:
  """The learning rate of the last of so many iterations."""
  optim = config.optim
  if not optim.step_size:
    return optim.lr
  falls = (max(step - 1, 0) + steps_ahead) // optim.step_size
  return optim.lr * optim.gamma**falls


def _find_step(path: epath.Path, step: int | None) -> int:
  name = re.search(r'gen_(\d{1,12})\.(pt|pkl)$', path.name)
  if step is None:
    if not name:
      raise errors.UserError(
        f'the name of {path} does not tell the number of iterations, as that '
        'of gen_00100000.pt does: give it with --step'
      )
    step = int(name[1])
  if step >= 2**31:
    raise errors.UserError(f'{path}: {step} iterations are more than we count')
  return step


def _load(path: epath.Path) -> StateDict:
  """The tensors of a file; `a.` or `b.` before keys of domains apart."""
  tree = torch_files.load(path)
  if isinstance(tree, dict) and tree.keys() == {'a', 'b'}:
    parts = tree.values()
    if all(isinstance(part, dict) for part in parts):
      tree = {
        f'{letter}.{key}': value
        for letter in 'ab'
        for key, value in tree[letter].items()
      }
  if not isinstance(tree, dict) or not all(
    isinstance(key, str) and isinstance(value, np.ndarray)
    for key, value in tree.items()
  ):
    raise errors.UserError(
      f'{path} holds neither the networks of two domains, a and b, nor one '
      'state dict'
    )
  return tree


def _load_optimisers(
  path: epath.Path,
  step: int,
  like: Mapping[str, Tree],
  tensors: Mapping[str, StateDict],
  names_fn: NamesFn,
  settings: Mapping[str, Any],
) -> dict[str, dict[str, Tree]]:
  """{network: count, mu, nu}; nothing where they are of another step."""
  tree = torch_files.load(path)
  result = {}
  for network, short in _SHORT.items():
    names = names_fn(network, like[network])
    keys = [
      key
      for key in tensors[network]
      if key.rpartition('.')[2] not in _STATISTICS
    ]
    try:
      adam = torch_adam.read(tree[short], keys)
      moments = {
        key: from_tensors(names, getattr(adam, key), like[network])
        for key in ('mu', 'nu')
      }
    except (AttributeError, LookupError, TypeError, ValueError) as e:
      raise errors.UserError(
        f'{path}: {short} has no whole state of Adam ({type(e).__name__}: {e})'
      ) from e
    # Fewer are of a run that once went on without its optimisers.
    if int(adam.steps) > step:
      logging.warning(
        '%s is left out: it is of step %d and not of %d', path, adam.steps, step
      )
      return {}
    torch_adam.warn_of_settings(f'{path}: {short}', tree[short], settings)
    result[network] = {'count': adam.steps, **moments}
  return result


def export_run(
  state: Any,
  config: ml_collections.ConfigDict,
  partial: bool,
  names_fn: NamesFn,
  rate: float,
) -> dict[str, Tree]:
  """The files of MUNIT's code, {name: tree for `torch_files.save`}.

  Args:
    state: of a run, begun here or imported.
    config: of the run.
    partial: of the import: the generators are all there is to write.
    names_fn: of the system.
    rate: the learning rate of the last iteration.
  """
  files: dict[str, Tree] = {}
  optimizers = {}
  networks = ('generator',) if partial else tuple(_SHORT)
  get = optax.tree_utils.tree_get
  for network in networks:
    names = names_fn(network, state.params[network])
    tensors = export_tensors(names, state.params[network])
    files[f'{_SHORT[network]}_{int(state.step):08d}.pt'] = {
      letter: {
        key[2:]: value
        for key, value in tensors.items()
        if key.startswith(f'{letter}.')
      }
      for letter in 'ab'
    }
    opt_state = state.opt_state[network]
    adam = torch_adam.Adam(
      get(opt_state, 'count'),
      *(to_tensors(names, get(opt_state, key)) for key in ('mu', 'nu')),
    )
    # Its scheduler wants the first rate when it goes on.
    settings = {
      **torch_adam.settings(config.optim, rate),
      'initial_lr': config.optim.lr,
    }
    saved = torch_adam.write(adam, list(names.paths), settings)
    for entry in saved['state'].values():
      for key in ('exp_avg', 'exp_avg_sq'):
        entry[key] = np.ascontiguousarray(entry[key])
    optimizers[_SHORT[network]] = saved
  if not partial:
    files['optimizer.pt'] = optimizers
  return files


def export_tensors(names: Names, params: Tree) -> StateDict:
  """Parameters and buffers as the original saves them, float32."""
  tensors: StateDict = {}
  waiting = dict(names.buffers)
  for key, value in to_tensors(names, params).items():
    module = key.rpartition('.')[0].rpartition('.')[0]
    for buffer in [k for k in waiting if k.startswith(f'{module}.norm.')]:
      tensors[buffer] = waiting.pop(buffer)
    tensors[key] = np.ascontiguousarray(value, np.float32)
  return tensors
