"""Parameters and optimisers by the names of PyTorch codes, and the way back.

A code has a table for each of its networks: {key of a tensor: `Place` of it
among our parameters}.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import ml_collections
import numpy as np
import optax
from absl import logging
from etils import epath

from jaxgan.pytorch import torch_adam
from jaxgan.runtime import errors

Tree = Any
Path = tuple[str, ...]
StateDict = dict[str, np.ndarray]

STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
# Orders of axes, to PyTorch and back.
_AXES = {
  'linear': ((1, 0), (1, 0)),
  'convolution': ((3, 2, 0, 1), (2, 3, 1, 0)),
  # The inputs come first.
  'transposed': ((2, 3, 0, 1), (2, 3, 0, 1)),
}


class Place(NamedTuple):
  """Where a tensor of PyTorch's is among our parameters.

  Attributes:
    path: of the parameter.
    part: along its first axis, where a parameter is several tensors, such as
      the heads of all domains.
    layout: 'transposed' of a transposed convolution; 'pointwise' where a stack
      of dense layers [D, I, 1] is a 1 x 1 convolution [D, I, 1, 1] there; None:
      its number of axes tells.
  """

  path: Path
  part: int | None = None
  layout: str | None = None


Places = dict[str, Place]
# (network, its parameters or their shapes) -> its table.
NamesFn = Callable[[str, Tree], Places]


class Imported(NamedTuple):
  """What files of an original hold, less what they leave to the config."""

  config: ml_collections.ConfigDict  # complete: with the domains
  state: Any
  frozen: dict[str, Tree]
  partial: bool  # only what `inference_params` gives is real
  what: str  # what was in the files, in words
  untold: Mapping[str, Any] = {}  # settings of networks that leave no trace


def count(tree: Mapping[str, Any], prefix: str) -> int:
  """How many modules there are named by the prefix and a number."""
  return sum(bool(re.fullmatch(rf'{prefix}\d+', name)) for name in tree)


def layer(key: str, *path: str, layout: str | None = None) -> Places:
  """The places of a layer with weight and bias."""
  return {
    f'{key}.weight': Place((*path, 'kernel'), layout=layout),
    f'{key}.bias': Place((*path, 'bias')),
  }


def to_tensors(places: Places, params: Tree) -> StateDict:
  """Converts parameters, leaves of any array type, into PyTorch's tensors."""
  flat = flax.traverse_util.flatten_dict(params)
  arrays = {path: np.asarray(value) for path, value in flat.items()}
  return {
    key: _to_pytorch(arrays[place.path], place) for key, place in places.items()
  }


def from_tensors(
  places: Places, tensors: Mapping[str, np.ndarray], like: Tree
) -> tuple[Tree, list[str]]:
  """Converts PyTorch's tensors into parameters of their own type.

  Args:
    places: the table of the network.
    tensors: {key: tensor}.
    like: parameters, or their shapes, as the result's.

  Returns:
    The parameters, and the keys that no parameter comes from.

  Raises:
    ValueError: a tensor is missing or has another shape.
  """
  flat = flax.traverse_util.flatten_dict(like)
  parts: dict[Path, dict[int | None, np.ndarray]] = {}
  for key, place in places.items():
    if key not in tensors:
      raise ValueError(f'there is no tensor {key}')
    value, shape = np.asarray(tensors[key]), flat[place.path].shape
    # An array of no memory, for its shape.
    zeros = np.broadcast_to(np.float32(0), shape)
    if value.shape != _to_pytorch(zeros, place).shape:
      raise ValueError(
        f'{key} has shape {value.shape}, which does not fit a parameter of '
        f'shape {shape}'
      )
    parts.setdefault(place.path, {})[place.part] = _from_pytorch(value, place)
  params = {
    path: values[None] if None in values else _stack(values)
    for path, values in parts.items()
  }
  unused = [key for key in tensors if key not in places]
  return flax.traverse_util.unflatten_dict(params), unused


def _stack(parts: Mapping[int | None, np.ndarray]) -> np.ndarray:
  return np.stack([parts[i] for i in range(len(parts))])


def _to_pytorch(value: np.ndarray, place: Place) -> np.ndarray:
  if place.part is not None:
    value = value[place.part]
  if place.layout == 'pointwise':
    return value[..., 0] if value.ndim == 2 else value[..., 0, None, None]
  return value.transpose(_axes(value, place)[0])


def _from_pytorch(value: np.ndarray, place: Place) -> np.ndarray:
  if place.layout == 'pointwise':
    return value[..., None] if value.ndim == 1 else value[..., 0]
  return value.transpose(_axes(value, place)[1])


def _axes(value: np.ndarray, place: Place) -> tuple[Sequence[int], ...]:
  kinds = {2: 'linear', 4: place.layout or 'convolution'}
  if value.ndim not in kinds:
    return tuple(range(value.ndim)), tuple(range(value.ndim))
  return _AXES[kinds[value.ndim]]


def read_params(
  where: str, places: Places, tensors: Mapping[str, np.ndarray], like: Tree
) -> tuple[Tree, StateDict]:
  """`from_tensors` of a file, in the types of `like`.

  Returns:
    The parameters, and the tensors that no parameter comes from.

  Raises:
    UserError: it does not fit, in a line that begins with `where`.
  """
  try:
    params, unused = from_tensors(places, tensors, like)
    params = _in_types_of(like, params)
  except ValueError as e:
    raise errors.UserError(f'{where}: {e}') from e
  return params, {key: tensors[key] for key in unused}


def _in_types_of(like: Tree, params: Tree) -> Tree:
  return jax.tree.map(lambda x, y: np.asarray(x, y.dtype), params, like)


def refuse_unknown(where: str, unused: Iterable[str]) -> None:
  """Raises UserError for tensors other than statistics that nothing uses."""
  odd = [k for k in unused if k.rpartition('.')[2] not in STATISTICS]
  if odd:
    raise errors.UserError(
      f'{where}: there are {len(odd)} more tensors, the first is {odd[0]}'
    )


# Keys below which codes put the tensors of a network, the likeliest first.
_WRAPPERS = (
  *('state_dict', 'model_state_dict', 'model', 'network', 'net', 'module'),
  *('weights', 'params', 'params_ema'),
)
# Of modules under DataParallel and torch.compile.
_PREFIXES = re.compile(r'^(?:module\.|_orig_mod\.)+')


def find(
  tree: Any, is_wanted: Callable[[Mapping[Any, Any]], bool]
) -> Mapping[Any, Any] | None:
  """A mapping in what `torch_files.load` has read, perhaps below a key.

  Where keys are joined by dots, as in safetensors, it is made of them.

  Args:
    tree: a checkpoint.
    is_wanted: whether a mapping in it is the one.

  Returns:
    The mapping; None if there is none, or several that are equally likely.
  """
  if not isinstance(tree, Mapping):
    return None
  if is_wanted(tree):
    return tree
  if is_wanted(networks := _split(tree)):
    return networks
  if 'param_groups' in tree:  # an optimiser
    return None
  found = {key: find(value, is_wanted) for key, value in tree.items()}
  found = {key: value for key, value in found.items() if value is not None}
  if len(found) > 1:
    likeliest = [key for key in _WRAPPERS if key in found][:1]
    for key in likeliest:
      logging.warning(
        'tensors are read below the key %r, not below %s',
        *(key, ', '.join(repr(k) for k in found if k != key)),
      )
    found = {key: found[key] for key in likeliest}
  return next(iter(found.values()), None)


def _split(tree: Mapping[Any, Any]) -> Mapping[str, StateDict]:
  """{network: state dict} of keys `network.key`; others are left out."""
  networks: dict[str, StateDict] = {}
  for key, value in tree.items():
    network, dot, rest = str(key).partition('.')
    if dot:
      networks.setdefault(network, {})[rest] = value
  return networks


def find_state_dict(tree: Any) -> StateDict:
  """The tensors of one network in what `torch_files.load` has read.

  They may lie below a key or beside an epoch, and be those of a module that ran
  in parallel or was compiled.

  Raises:
    ValueError: there are none, or those of several networks.
  """
  found = find(tree, _holds_tensors)
  if found is None:
    raise ValueError('it is no state dict of one network')
  return {
    _PREFIXES.sub('', key): value
    for key, value in found.items()
    if isinstance(key, str) and isinstance(value, np.ndarray)
  }


def _holds_tensors(tree: Mapping[Any, Any]) -> bool:
  return any(isinstance(x, np.ndarray) and x.ndim for x in tree.values())


def read_adam(
  where: str,
  saved: Any,
  keys: Sequence[str],
  places: Places,
  like: Tree,
) -> dict[str, Tree]:
  """The state of an Adam: {'count': ..., 'mu': ..., 'nu': ...}.

  Args:
    where: the file and the network.
    saved: as of `torch_adam.read`.
    keys: of all parameters of the network there, in order.
    places: the table of the network.
    like: parameters, or their shapes, as the moments'.

  Raises:
    UserError: it is not whole, in a line that begins with `where`.
  """
  try:
    adam = torch_adam.read(saved, keys)
    moments = {}
    for name in ('mu', 'nu'):
      tree, odd = from_tensors(places, getattr(adam, name), like)
      moments[name] = _in_types_of(like, tree)
      if odd:
        raise ValueError(f'{min(odd)} is never trained')
  except (AttributeError, LookupError, TypeError, ValueError) as e:
    raise errors.UserError(
      f'{where} has no whole state of Adam ({type(e).__name__}: {e})'
    ) from e
  return {'count': adam.steps, **moments}


def write_adam(
  opt_state: Tree,
  keys: Sequence[str],
  places: Places,
  settings: Mapping[str, Any],
) -> dict[str, Any]:
  """The way back of `read_adam`; settings are of `torch_adam.settings`."""
  get = optax.tree_utils.tree_get
  mu, nu = (to_tensors(places, get(opt_state, name)) for name in ('mu', 'nu'))
  return torch_adam.write(
    torch_adam.Adam(get(opt_state, 'count'), mu, nu), keys, settings
  )


def choose_step(path: epath.Path, step: int | None, named: int | None) -> int:
  """The number of finished iterations.

  Args:
    path: of the file.
    step: that is given; None for that of the name.
    named: that the file's name tells; a warning where another one is given.

  Raises:
    UserError: no state can hold it.
  """
  chosen = named if step is None else step
  assert chosen is not None
  if chosen >= 2**31:
    raise errors.UserError(
      f'{path}: {chosen} iterations are more than we count'
    )
  if named not in (None, chosen):
    logging.warning(
      '%s is of step %d by its name, and becomes step %d, as --step has it',
      *(path, named, chosen),
    )
  return chosen


def warn_of_steps(where: str, count: int, step: int) -> None:
  """Says where an Adam has made other steps than the iterations of its file."""
  if count != step:
    logging.warning(
      '%s has made %d steps, and becomes that of step %d', where, count, step
    )


def find_names(
  find: Callable[[], tuple[str, ...]],
  path: epath.Path,
  example: str,
  what: str = 'domains',
) -> tuple[str, ...]:
  """Names that the files of a code only number, as the data tells them.

  Args:
    find: opens the data; UserError where there are none.
    path: the file.
    example: the flag that would give the names.
    what: they are the names of.

  Raises:
    UserError: there is no data either.
  """
  try:
    return find()
  except errors.UserError as e:
    raise errors.UserError(
      f'the names of the {what} are not in {path}, nor is there data to take '
      f'them from ({e}): give them, as in {example}'
    ) from e
