"""Checkpoints of the original PyTorch code, to and from a training state.

After N iterations, N in six digits, the original writes {network: state dict}
of the networks as `N_nets.ckpt` and of their averages as `N_nets_ema.ckpt`, and
{network: state of its Adam} as `N_optims.ckpt`. The released files are averages
only. Where w_hpf > 0 there are also the face network, in both, and tensors that
nothing depends on. For an export to give back what was imported, these stay in

  frozen['unused']: {label: {key of the original: array}}

with the labels 'generator', 'generator_ema' and 'fan'.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
import optax
from absl import logging
from etils import epath

from jaxgan.data import shapes, sources
from jaxgan.pytorch import convert, torch_adam, torch_files
from jaxgan.pytorch.convert import Imported, StateDict
from jaxgan.runtime import errors
from jaxgan.systems.stargan_v2 import step as step_lib
from jaxgan.systems.stargan_v2 import wing
from jaxgan.systems.stargan_v2.names import (
  HIGH_PASS,
  names,
  parameter_keys,
  unused_tensors,
)
from jaxgan.training.state import State

Tree = Any
StateDicts = dict[str, StateDict]

_EMA_NETWORKS = step_lib.EMA_NETWORKS
_NETWORKS = (*_EMA_NETWORKS, 'discriminator')


def import_official(
  path: epath.PathLike,
  config: ml_collections.ConfigDict,
  step: int | None = None,
) -> Imported:
  """Reads `N_nets_ema.ckpt`, or `N_nets.ckpt` and the two files beside it.

  Args:
    path: of the file; one of any other name has to hold averages.
    config: its settings have to be those of the file's networks.
    step: finished iterations; None for N.

  Raises:
    UserError: a file is missing, damaged, foreign or of other networks.
  """
  path = epath.Path(path)
  step, partial = _parse_name(path, step)
  nets = _load_networks(path, _EMA_NETWORKS if partial else _NETWORKS)
  config = _complete(config, path, nets)
  ema_path, ema = path, nets
  if not partial:
    ema_path, optims_path = _siblings(path)
    ema = _load_networks(ema_path, _EMA_NETWORKS)
  model = step_lib.create_model(config)
  init_state = functools.partial(step_lib.init_state, model)
  rng = jax.random.key(config.seed)
  like = jax.eval_shape(init_state, rng)

  ema_params, unused = _to_params(ema_path, ema, like.ema_params, config)
  frozen = {}
  if 'fan' in ema:
    frozen['fan'] = ema_params.pop('fan')
    frozen['unused'] = {
      'fan': unused['fan'],
      'generator_ema': unused['generator'],
    }
  if partial:
    fresh = jax.jit(init_state)(rng)
    params, opt_state = fresh.params | ema_params, fresh.opt_state
  else:
    params, unused = _to_params(path, nets, like.params, config)
    if 'fan' in nets:
      del params['fan']
      _check_same_fan(path, nets['fan'], ema['fan'])
      frozen['unused']['generator'] = unused['generator']
    opt_state = _load_optimisers(optims_path, nets, like, config)
    # It is stepped once in an iteration, others twice.
    convert.warn_of_steps(
      f'{optims_path}: mapping_network',
      int(optax.tree_utils.tree_get(opt_state['mapping_network'], 'count')),
      step,
    )
  count: Any = np.array(step, np.int32)  # as the trees, still NumPy's
  state = State(count, params, opt_state, ema_params)
  what = 'averaged weights' if partial else 'weights and optimisers'
  return Imported(config, state, frozen, partial, what)


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
    config: of the run.
    partial: of the import: then the averages are all there is to write.
  """

  def convert_all(networks: Sequence[str], params: Tree, suffix: str = ''):
    nets = {
      name: _from_params(name, name + suffix, params[name], frozen, config)
      for name in networks
    }
    if config.model.w_hpf > 0:
      nets['fan'] = _from_params('fan', 'fan', frozen['fan'], frozen, config)
    return nets

  prefix = f'{int(state.step):06d}'
  ema = convert_all(_EMA_NETWORKS, state.ema_params, '_ema')
  if partial:
    return {f'{prefix}_nets_ema.ckpt': ema}
  nets = convert_all(_NETWORKS, state.params)
  optims = {
    name: convert.write_adam(
      state.opt_state[name],
      parameter_keys(nets[name]),
      names(name, state.params[name]),
      _adam_settings(name, config),
    )
    for name in _NETWORKS
  }
  return {
    f'{prefix}_nets.ckpt': nets,
    f'{prefix}_nets_ema.ckpt': ema,
    f'{prefix}_optims.ckpt': optims,
  }


def _parse_name(path: epath.Path, step: int | None) -> tuple[int, bool]:
  """The number of iterations, and whether the file is averages only."""
  name = re.fullmatch(
    r'(?:(\d+)_)?nets(_ema)?\.(?:ckpt|safetensors)', path.name
  )
  named = int(name[1]) if name and name[1] else None
  if step is None and named is None:
    raise errors.UserError(
      f'the name of {path} does not begin with the number of iterations, as '
      'that of 100000_nets_ema.ckpt does: give it with --step'
    )
  step = convert.choose_step(path, step, named)
  return step, not name or bool(name[2])


def _siblings(path: epath.Path) -> list[epath.Path]:
  """The files of averages and optimisers beside that of all networks."""
  prefix = path.stem.removesuffix('nets')
  siblings = [
    path.parent / f'{prefix}nets_ema{path.suffix}',
    path.parent / f'{prefix}optims.ckpt',  # never of safetensors
  ]
  if missing := [file.name for file in siblings if not file.is_file()]:
    raise errors.UserError(
      f'{path} cannot be imported without {" and ".join(missing)} beside it: '
      f'to have the averages only, import the file ..._nets_ema{path.suffix}'
    )
  return siblings


def _load_networks(path: epath.Path, networks: Sequence[str]) -> StateDicts:
  """Reads state dicts of `networks`, and of the face network where it is used.

  The released file of AFHQ has one as well, for nothing
  (https://github.com/clovaai/stargan-v2/issues/51): it is left out.
  """
  tree = torch_files.load(path)
  nets: StateDicts = {}
  found = convert.find(tree, lambda t: t.keys() >= set(networks)) or tree
  for name, state_dict in found.items() if isinstance(found, dict) else ():
    if name not in (*networks, 'fan'):
      if isinstance(state_dict, dict):  # and no epoch beside the networks
        nets[name] = {}
      continue
    try:
      nets[name] = convert.find_state_dict(state_dict)
    except ValueError as e:
      raise errors.UserError(f'{path}: {name} is not a state dict') from e
  if nets.keys() >= set(networks):
    if _has_high_pass_path(nets):
      networks = (*networks, 'fan')
    elif nets.pop('fan', None):
      logging.warning('%s: the face network in it has no use here', path)
  if nets.keys() != set(networks):
    raise errors.UserError(
      f'{path} holds {", ".join(map(str, nets)) or "no networks"}, not '
      f'{", ".join(networks)}: averages are to be in a file ..._nets_ema.ckpt, '
      'all networks in ..._nets.ckpt'
    )
  for name, state_dict in nets.items():
    for key, value in state_dict.items():
      if value.ndim and value.dtype != np.float32:
        raise errors.UserError(
          f'{path}: {name} {key} is {value.dtype}, not float32'
        )
  return nets


def _has_high_pass_path(nets: StateDicts) -> bool:
  """Whether the generator is of w_hpf > 0: it is one block deeper then."""
  depths = [
    sum(key.endswith('conv1.weight') for key in nets[name] if part in key)
    for name, part in (('generator', 'encode.'), ('style_encoder', 'shared.'))
  ]
  return depths[0] > depths[1]


def _complete(
  config: ml_collections.ConfigDict, path: epath.Path, nets: StateDicts
) -> ml_collections.ConfigDict:
  """Adds what the config left open; its other settings must be the file's."""
  # As in the released file of CelebA-HQ, by what its users report:
  # https://github.com/clovaai/stargan-v2/issues/103.
  untold = HIGH_PASS not in nets['generator']
  if _has_high_pass_path(nets) and untold and config.model.w_hpf <= 0:
    raise errors.UserError(
      f'{path} is of w_hpf > 0 and does not tell the value: give the one it '
      'was trained with; the released CelebA-HQ has --config.model.w_hpf=1'
    )
  try:
    found = _find_settings(nets, config.model)
  except (LookupError, ValueError, ArithmeticError) as e:
    raise errors.UserError(
      f'{path} holds other kinds of networks ({type(e).__name__}: {e})'
    ) from e
  count = found['num_domains']
  config = config.copy_and_resolve_references()
  config.model.num_domains = config.model.num_domains or count
  differences = []
  for key, value in found.items():
    given = config.data[key] if key == 'img_size' else config.model[key]
    if not np.isclose(given, value, rtol=1e-5):
      differences.append(f'{key} is {value} there and {given} in the config')
  if differences:
    raise errors.UserError(f'{path} does not fit: {"; ".join(differences)}')

  config.data.domains = domains = _domain_names(config.data, path, count)
  if len(domains) != count:
    raise errors.UserError(
      f'{path} does not fit: it has {count} domains and the config '
      f'{len(domains)} ({", ".join(domains)})'
    )
  return config


def _find_settings(
  nets: StateDicts, model: ml_collections.ConfigDict
) -> dict[str, Any]:
  """What a file tells of the settings; those of `model` if they may be it."""
  generator, mapping_network, style_encoder = (nets[n] for n in _EMA_NETWORKS)
  blocks = [key for key in style_encoder if key.endswith('conv1.weight')]
  heads = [k for k in mapping_network if re.match(r'unshared\.\d+\.6\.w', k)]
  img_size = 4 << len(blocks)
  first_width = generator['from_rgb.weight'].shape[0]
  channel_base = first_width * img_size
  if model.channel_base // img_size == first_width:
    channel_base = model.channel_base
  max_conv_dim = style_encoder[f'shared.{len(blocks) + 2}.weight'].shape[0]
  if max_conv_dim == first_width << len(blocks):  # it limits nothing
    max_conv_dim = max(max_conv_dim, model.max_conv_dim)
  hidden_dim, latent_dim = mapping_network['shared.0.weight'].shape
  w_hpf = model.w_hpf if _has_high_pass_path(nets) else 0.0
  if HIGH_PASS in generator:
    centre = generator[HIGH_PASS][1, 1]
    w_hpf = float(f'{8 / float(centre):.6g}')  # as it was before float32
  return {
    'img_size': img_size,
    'channel_base': channel_base,
    'max_conv_dim': max_conv_dim,
    'hidden_dim': hidden_dim,
    'style_dim': mapping_network['unshared.0.6.weight'].shape[0],
    'latent_dim': latent_dim,
    'num_domains': len(heads),
    'w_hpf': w_hpf,
  }


def _domain_names(
  data: ml_collections.ConfigDict, path: epath.Path, count: int
) -> tuple[str, ...]:
  """Names of the domains: the original's files only number them."""
  if data.domains:
    return tuple(sorted(data.domains))  # as the original numbers its folders
  if data.name == 'shapes':
    return shapes.DOMAINS

  def find() -> tuple[str, ...]:
    return sources.create_source(data.name, data.root, data.train_split).domains

  example = """--config.data.domains="('cat','dog','wild')\""""
  return convert.find_names(find, path, example, f'{count} domains')


def _to_params(
  path: epath.Path,
  nets: StateDicts,
  like: Mapping[str, Tree],
  config: ml_collections.ConfigDict,
) -> tuple[dict[str, Tree], StateDicts]:
  """Each network's parameters, and the tensors that are none of them."""
  params, unused = {}, {}
  for name, state_dict in nets.items():
    where = f'{path}: {name}'
    shapes_of = wing.param_shapes() if name == 'fan' else like[name]
    places = names(name, shapes_of)
    params[name], unused[name] = convert.read_params(
      where, places, state_dict, shapes_of
    )
    used = {key: state_dict[key] for key in places}
    expected = unused_tensors(name, used, config.model.w_hpf)
    _check_unused(where, unused[name], expected)
  return params, unused


def _from_params(
  name: str,
  label: str,
  params: Tree,
  frozen: Mapping[str, Tree],
  config: ml_collections.ConfigDict,
) -> StateDict:
  """A network's state dict, in the original's order."""
  used = convert.to_tensors(names(name, params), params)
  unused = unused_tensors(name, used, config.model.w_hpf)
  kept = frozen.get('unused', {}).get(label, {})
  state_dict = {
    # float32 also where we compute in float64.
    **{key: np.asarray(value, np.float32) for key, value in used.items()},
    # A counter has passed through JAX, which makes it 32 bits wide.
    **{k: np.asarray(kept.get(k, v), v.dtype) for k, v in unused.items()},
  }
  if name == 'fan':
    return state_dict
  keys = parameter_keys(state_dict)
  return {key: state_dict[key] for key in keys} | state_dict


def _check_unused(where: str, unused: StateDict, expected: StateDict) -> None:
  """Raises UserError unless these are the tensors known to be unused."""
  odd = [key for key in unused if key not in expected]
  if odd:
    raise errors.UserError(
      f'{where} has {len(odd)} unknown tensors, the first is {odd[0]}'
    )
  for key, value in expected.items():
    if key == HIGH_PASS and key not in unused:
      continue  # the config tells
    if key not in unused or unused[key].shape != value.shape:
      raise errors.UserError(
        f'{where} has no tensor {key} of shape {value.shape}'
      )
  if HIGH_PASS in unused and not np.allclose(
    unused[HIGH_PASS], expected[HIGH_PASS]
  ):
    raise errors.UserError(f'{where} {HIGH_PASS} is another kernel')


def _check_same_fan(
  path: epath.Path, fan: StateDict, ema_fan: StateDict
) -> None:
  if not all(np.array_equal(fan[key], ema_fan[key]) for key in fan):
    raise errors.UserError(
      f'{path} holds another face network than the averages beside it'
    )


def _load_optimisers(
  path: epath.Path,
  nets: StateDicts,
  like: State,
  config: ml_collections.ConfigDict,
) -> dict[str, Tree]:
  tree = convert.find(
    torch_files.load(path), lambda t: t.keys() >= set(_NETWORKS)
  )
  if tree is None:
    raise errors.UserError(
      f'{path} does not hold the optimisers of {", ".join(_NETWORKS)}'
    )
  opt_state = {}
  for name in _NETWORKS:
    where, params = f'{path}: {name}', like.params[name]
    adam = convert.read_adam(
      where, tree[name], parameter_keys(nets[name]), names(name, params), params
    )
    torch_adam.warn_of_settings(where, tree[name], _adam_settings(name, config))
    opt_state[name] = optax.tree_utils.tree_set(like.opt_state[name], **adam)
  return opt_state


def _adam_settings(
  name: str, config: ml_collections.ConfigDict
) -> dict[str, Any]:
  optim = config.optim
  lr = optim.f_lr if name == 'mapping_network' else optim.lr
  return torch_adam.settings(optim, lr)
