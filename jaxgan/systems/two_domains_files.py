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
from typing import Any

import jax
import numpy as np
import optax
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from jaxgan.data import sources
from jaxgan.nets import blocks
from jaxgan.pytorch import convert, torch_adam, torch_files
from jaxgan.pytorch.convert import Imported, NamesFn, Places, StateDict
from jaxgan.runtime import errors
from jaxgan.systems import frozen as frozen_lib
from jaxgan.systems import two_domains
from jaxgan.systems.two_domains import Model
from jaxgan.training.state import State

Tree = Any

_SHORT = {'generator': 'gen', 'discriminator': 'dis'}


def import_run(
  path: epath.PathLike,
  config: ConfigDict,
  step: int | None,
  *,
  names_fn: NamesFn,
  create_model: Callable[[ConfigDict], Model],
) -> Imported:
  """Reads a file of generators, and what lies beside it.

  Args:
    path: of `gen_N.pt`, or `<name>_gen_N.pkl`; one without its discriminators
      is enough to translate with. Of any other name with the step given.
    config: its settings have to be those of the networks.
    step: finished iterations; None for N.
    names_fn: of the system, in the order in which optimisers number tensors.
    create_model: of the system.

  Raises:
    UserError: a file is missing, damaged, foreign or of other networks.
  """
  path = epath.Path(path)
  step = _find_step(path, step)
  config = _complete(config, path)
  model = create_model(config)
  init_fn = functools.partial(two_domains.init_state, model)
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
    where = f'{file} does not fit the config'
    _check_settings(where, tensors[network], config.model)
    places = names_fn(network, like.params[network])
    params[network], unused = convert.read_params(
      where, places, tensors[network], like.params[network]
    )
    convert.refuse_unknown(where, unused)
  partial = 'discriminator' not in params
  what = 'weights without optimisers'
  if partial:
    what = 'generators without discriminators'
    # It is never trained, and asks for no network of the losses.
    config.hparams.lambda_vgg = 0.0
    params = jax.jit(init_fn)(rng).params | params
  opt_state = {name: model.tx[name].init(params[name]) for name in params}
  optimizers = path.parent / 'optimizer.pt'
  if not partial and optimizers.is_file():
    settings = torch_adam.settings(config.optim, _last_rate(step, model))
    read = _load_optimisers(
      optimizers, step, like.params, tensors, names_fn, settings
    )
    if read:
      what = 'weights and optimisers'
      opt_state = {
        name: optax.tree_utils.tree_set(opt_state[name], **read[name])
        for name in opt_state
      }
  number: Any = np.array(step, np.int32)
  state = like.replace(step=number, params=params, opt_state=opt_state)
  frozen = frozen_lib.load(two_domains.FROZEN, config)
  untold = _untold(config, partial)
  return Imported(config, state, frozen, partial, what, untold)


def export_run(
  state: State,
  config: ConfigDict,
  partial: bool,
  *,
  names_fn: NamesFn,
  model: Model,
  buffers: Mapping[str, StateDict] | None = None,
) -> dict[str, Tree]:
  """The files `gen_N.pt`, {name: tree for `torch_files.save`}.

  Args:
    state: of a run, begun here or imported.
    config: of the run.
    partial: of the import: the generators are all there is to write.
    names_fn: of the system.
    model: of the run.
    buffers: {network: tensors besides that nothing depends on}.
  """
  files: dict[str, Tree] = {}
  optimizers = {}
  networks = ('generator',) if partial else tuple(_SHORT)
  for network in networks:
    places = names_fn(network, state.params[network])
    tensors = export_tensors(
      places, state.params[network], (buffers or {}).get(network, {})
    )
    files[f'{_SHORT[network]}_{int(state.step):08d}.pt'] = {
      letter: {
        key[2:]: value
        for key, value in tensors.items()
        if key.startswith(f'{letter}.')
      }
      for letter in 'ab'
    }
    # Its scheduler wants the first rate when it goes on.
    settings = {
      **torch_adam.settings(config.optim, _last_rate(int(state.step), model)),
      'initial_lr': config.optim.lr,
    }
    optimizers[_SHORT[network]] = convert.write_adam(
      state.opt_state[network], list(places), places, settings
    )
  if not partial:
    files['optimizer.pt'] = optimizers
  return files


def export_tensors(
  places: Places, params: Tree, buffers: Mapping[str, np.ndarray]
) -> StateDict:
  """Parameters and buffers as the originals save them, float32.

  Args:
    places: the table of the network.
    params: its parameters.
    buffers: of norms; they come after the parameters of theirs, and before the
      others of its layer.
  """
  tensors: StateDict = {}
  waiting = dict(buffers)
  for key, value in convert.to_tensors(places, params).items():
    norm = f'{key.rpartition(".")[0].rpartition(".")[0]}.norm.'
    if not key.startswith(norm):
      for buffer in [k for k in waiting if k.startswith(norm)]:
        tensors[buffer] = waiting.pop(buffer)
    tensors[key] = np.ascontiguousarray(value, np.float32)
  return tensors


def _complete(config: ConfigDict, path: epath.Path) -> ConfigDict:
  """Adds the names of the domains, which the files only call a and b.

  Raises:
    UserError: there are none to be found, or not two.
  """
  config = config.copy_and_resolve_references()
  data = config.data

  def find() -> tuple[str, ...]:
    source = sources.create_source(data.name, data.root, data.train_split)
    return source.domains

  example = """--config.data.domains="('edges','shoes')\""""
  domains = tuple(data.domains) or convert.find_names(
    find, path, example, 'domains a and b'
  )
  if len(domains) != 2:
    raise errors.UserError(
      f'{path} has two domains, and the config {len(domains)} '
      f'({", ".join(domains)}): see config.data.domains'
    )
  data.domains, config.model.num_domains = domains, 2
  return config


def _last_rate(step: int, model: Model) -> float:
  """The learning rate of the last of so many iterations."""
  if not model.step_size:
    return model.lr
  falls = (max(step - 1, 0) + model.steps_ahead) // model.step_size
  return model.lr * model.gamma**falls


def _check_settings(where: str, tensors: StateDict, model: ConfigDict) -> None:
  """Raises UserError where the tensors are of other settings than the config's.

  Of activations and norms they tell those alone that have tensors.
  """
  if any(key.endswith('.weight_bar') for key in tensors):
    raise errors.UserError(
      f'{where}: a spectral norm (norm: sn) is not built here; the generators '
      'can be imported from a folder of their own, to translate with'
    )
  for name, values in _possible_settings(tensors).items():
    if model[name] not in values:
      raise errors.UserError(
        f'{where}: its tensors are of model.{name}='
        f'{" or ".join(map(repr, values))}, not {model[name]!r}'
      )


def _possible_settings(tensors: StateDict) -> dict[str, tuple[Any, ...]]:
  def have(end: str) -> bool:
    return any(key.endswith(end) for key in tensors)

  possible: dict[str, tuple[Any, ...]] = {}
  of_blocks = any('.cnns.' in key for key in tensors)
  if of_blocks:
    norms = {'.norm.gamma': ('ln',), '.norm.weight': ('bn',)}
    possible['d_norm'] = next(
      (values for end, values in norms.items() if have(end)), ('none', 'in')
    )
  possible['d_activ' if of_blocks else 'activ'] = (
    ('prelu',) if have('.activation.weight') else tuple(blocks.ACTIVATIONS)
  )
  for letter in 'ab':
    for first in _FIRST:
      weight = tensors.get(first.format(letter, letter.upper()))
      if weight is not None and weight.ndim == 4:
        possible[f'input_dim_{letter}'] = (weight.shape[1],)
  return possible


# Tensors whose second axis are the channels of the images of a domain.
_FIRST = (
  '{0}.enc_content.model.0.conv.weight',
  '{0}.enc.model.0.conv.weight',
  '{0}.cnns.0.0.conv.weight',
  'encode_{1}.0.model.0.weight',
)


def _untold(config: ConfigDict, partial: bool) -> dict[str, Any]:
  """Settings of the networks that leave no trace in the files."""
  model = config.model
  if model.get('shared', False):
    return {}
  return {
    name: model[key]
    for name in two_domains.BLOCKS
    for key in [name.removeprefix('model.')]
    if not (partial and key.startswith('d_'))
    and model[key] not in ('prelu', 'ln', 'bn')
  }


def _find_step(path: epath.Path, step: int | None) -> int:
  name = re.search(r'gen_(\d{1,12})\.(pt|pkl|safetensors)$', path.name)
  if step is None and not name:
    raise errors.UserError(
      f'the name of {path} does not tell the number of iterations, as that '
      'of gen_00100000.pt does: give it with --step'
    )
  return convert.choose_step(path, step, int(name[1]) if name else None)


def _load(path: epath.Path) -> StateDict:
  """The tensors of a file; `a.` or `b.` before keys of domains apart."""
  tree = torch_files.load(path)
  of_domains = convert.find(tree, lambda t: t.keys() >= {'a', 'b'})
  try:
    if of_domains is None:
      return convert.find_state_dict(tree)
    return {
      f'{letter}.{key}': value
      for letter in 'ab'
      for key, value in convert.find_state_dict(of_domains[letter]).items()
    }
  except ValueError as e:
    raise errors.UserError(
      f'{path} holds neither the networks of two domains, a and b, nor one '
      'state dict'
    ) from e


def _load_optimisers(
  path: epath.Path,
  step: int,
  like: Mapping[str, Tree],
  tensors: Mapping[str, StateDict],
  names_fn: NamesFn,
  settings: Mapping[str, Any],
) -> dict[str, dict[str, Tree]]:
  """{network: count, mu, nu}; nothing where they are of another step."""
  result = {}
  tree = convert.find(
    torch_files.load(path), lambda t: t.keys() >= set(_SHORT.values())
  )
  if tree is None:
    raise errors.UserError(f'{path} does not hold the optimisers gen and dis')
  for network, short in _SHORT.items():
    # In the order of the file, as its optimiser numbers them.
    places = names_fn(network, like[network])
    keys = [key for key in tensors[network] if key in places]
    where, saved = f'{path}: {short}', tree[short]
    adam = convert.read_adam(where, saved, keys, places, like[network])
    if int(adam['count']) > step:
      logging.warning(
        '%s is left out: it is of step %d and not of %d',
        *(path, adam['count'], step),
      )
      return {}
    # Of a run that once went on without its optimisers.
    convert.warn_of_steps(where, int(adam['count']), step)
    torch_adam.warn_of_settings(where, saved, settings)
    result[network] = adam
  return result
