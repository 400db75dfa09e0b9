"""What a system is, and how a run of any system is opened.

A system is a package `systems/<name>` that defines the names of `System`; those
that have a value here may be left out. There is no base class. A `Model` is the
system's own frozen value; the rest of the project only carries it.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgan.data import preprocess
from jaxgan.data.contracts.base import Data
from jaxgan.inference import grids
from jaxgan.inference.translator import Translator
from jaxgan.metrics import evaluate
from jaxgan.metrics.translations import Score
from jaxgan.runs import checkpoint, hub, workdir
from jaxgan.runs.collapse import Sign
from jaxgan.runtime import errors, files, sharding
from jaxgan.systems import frozen as frozen_lib
from jaxgan.systems import settings
from jaxgan.systems.about import About
from jaxgan.systems.frozen import Frozen
from jaxgan.systems.settings import Declared
from jaxgan.training.state import State

Array = jax.Array
Tree = Any

SYSTEMS = ('munit', 'pix2pix', 'stargan', 'stargan_v2', 'unit')


def _inference_params(state: State) -> dict[str, Tree]:
  """The averages where there are some, else all; statistics beside them."""
  params = {**state.params, **state.ema_params}
  if state.variables:
    params['variables'] = state.variables
  return params


@dataclasses.dataclass(frozen=True)
class System:
  """The functions and constants of a system.

  Attributes:
    ABOUT: a line of the table of systems.
    SETTINGS: every setting there is: its default, its bounds, its meaning.
    check_config: raises UserError for settings that cannot be together.
    create_data: (config) -> a `data.contracts` Data: what a batch holds.
    create_model: (config) -> Model, static under jit; allocates nothing.
    init_state: (model, rng) -> State, to be jitted.
    train_step: (model, state, frozen, batch, rng) -> (state, metrics), pure;
      where there is phases_at, with phases=, an answer of it.
    style: (model, params, y, **source) -> styles [B, ...] of domains y [B]; a
      source is z [B, latent_dim] or x_ref [B, S, S, 3].
    translate: (model, params, frozen, x, y, s, rng) -> images [B, H, W, C],
      float32 or better: sources x as of domains y [B] in styles s; rng is a key
      for each image where DRAWS, else None.
    KINDS: what a style can come from, of 'latent', 'reference' and 'label';
      with 'label' there is no style.
    COLLAPSE_SIGNS: metrics of train_step that are low where it has collapsed.
    SOURCES: of what domain a source may be: 'any', or, of two, the 'other' one
      than the target.
    PSI: the usual truncation of latent styles; 1 is none.
    BY_DOMAIN: whether style and translate are called with one int y, and not an
      array, because domains have networks of their own.
    DRAWS: whether networks draw when they are used.
    SEPARABLE: whether losses are means over images, so that a batch can be
      taken in parts.
    FROZEN: networks that are never trained.
    phases_at: (model, step) -> the phases of the iteration after `step`, an
      int; None for always the same.
    old_step_iterations: (config) -> how many iterations a step was in
      checkpoints of format 1; None for one, as it is now in all systems.
    inference_params: (state) -> parameters to sample and evaluate with.
    mean_style: (model, y) -> the centre of the latent styles of domain y, where
      it is known; None: the mean of many is taken.
    source_labels: (model) -> the attributes of a source that a translation
      depends on, by name: translate finds out which of them it has.
    translate_known: (model, params, frozen, y, x, c) -> images, as translate,
      of sources whose labels c [B, names] are given. None, of both: no source
      has such a label.
    reconstruct: (model, params, frozen, y, x) -> images of domain y through
      their own code, for the grids.
    grids: (translator, val, rng) -> {name: uint8 [H, W, 3]}.
    scores: (translator, config, scorer, data, *, seed, save_dir) -> the scores
      of `metrics`. All processes call it together, and get them all.
    import_official: (path, config, step) -> a checkpoint of the original code:
      config, with what it left to the data; state; frozen; partial: only what
      `inference_params` gives is real; what was in the file, in words. step:
      None for that in the file's name.
    export_official: (state, frozen, config, partial) -> {file name: tree}, the
      same the other way. None, of both: not offered.
  """

  ABOUT: About
  SETTINGS: Declared
  check_config: Callable[[ConfigDict], None]
  create_data: Callable[[ConfigDict], Data]
  create_model: Callable[[ConfigDict], Any]
  init_state: Callable[[Any, Array], State]
  train_step: Callable[..., tuple[State, dict[str, Array]]]
  translate: Callable[..., Array]
  KINDS: tuple[str, ...]
  COLLAPSE_SIGNS: tuple[Sign, ...]
  import_official: Callable[..., Any] | None = None
  export_official: Callable[..., dict[str, Tree]] | None = None
  style: Callable[..., Array] | None = None
  SOURCES: str = 'any'
  PSI: float = 1.0
  BY_DOMAIN: bool = False
  DRAWS: bool = False
  SEPARABLE: bool = False
  FROZEN: tuple[Frozen, ...] = ()
  phases_at: Callable[[Any, int], tuple[str, ...]] | None = None
  old_step_iterations: Callable[[ConfigDict], int] | None = None
  inference_params: Callable[[State], dict[str, Tree]] = _inference_params
  mean_style: Callable[[Any, int], np.ndarray] | None = None
  source_labels: Callable[[Any], tuple[str, ...]] | None = None
  translate_known: Callable[..., Array] | None = None
  reconstruct: Callable[..., Array] | None = None
  grids: Callable[..., dict[str, np.ndarray]] = grids.draw
  scores: Callable[..., list[Score]] = evaluate.evaluate


def get_system(config: ConfigDict) -> System:
  """The system of a config, with the precision that it asks for enabled."""
  system = find_system(config)
  if workdir.flatten(config).get('model.dtype') == 'float64':
    jax.config.update('jax_enable_x64', True)
  return system


def find_system(config: ConfigDict) -> System:
  """The system of a config; UserError if there is no such system."""
  name = config.get('system')
  if not isinstance(name, str) or name not in SYSTEMS:
    raise errors.UserError(
      f'config.system is {str(name)[:40]!r}; there is: {", ".join(SYSTEMS)}'
    )
  return load(name)


def load(name: str) -> System:
  """A system by its name, one of SYSTEMS."""
  module = importlib.import_module(f'jaxgan.systems.{name}')
  names = [field.name for field in dataclasses.fields(System)]
  return System(**{n: getattr(module, n) for n in names if hasattr(module, n)})


def default_config(config: ConfigDict) -> ConfigDict:
  """The defaults of the system of a config."""
  return settings.create(find_system(config).SETTINGS)


def domain_names(config: ConfigDict) -> tuple[str, ...]:
  """What an image can be translated to: of a second data set, too."""
  joint = config.data.get('joint_domains', ())
  return (*config.data.domains, *joint)


def check_config(system: System, config: ConfigDict) -> None:
  """Raises UserError for settings that the system cannot be built from.

  Values become what people mean by them, in place (`settings.settle`).
  """
  settings.settle(config, system.SETTINGS)
  settings.check(config, system.SETTINGS)
  background = config.data.background
  if background and not preprocess.is_colour(background):
    raise errors.UserError(
      "config.data.background must be '' or a colour, as 'white' or '#808080': "
      f'{background[:80]!r}'
    )
  system.check_config(config)
  if config.batch_size % config.micro_batches:
    raise errors.UserError(
      f'config.micro_batches must divide batch_size {config.batch_size}: '
      f'{config.micro_batches}'
    )
  if config.micro_batches > 1 and not system.SEPARABLE:
    raise errors.UserError(
      f'config.micro_batches must be 1: the losses of {config.system} are not '
      'means over images'
    )


def system_of(directory: epath.PathLike) -> System:
  """The system of a run; raises UserError if there is no run."""
  return find_system(workdir.require_config(hub.locate(directory)))


def load_frozen(directory: epath.Path, config: ConfigDict) -> Tree:
  """Parameters that are never trained: the run's, or else the config's files'.

  Raises:
    UserError: they cannot be read, or do not fit.
  """
  networks = find_system(config).FROZEN
  frozen = workdir.load_frozen(directory)
  if not frozen:
    return frozen_lib.load(networks, config)
  frozen_lib.check(networks, frozen, config)
  return frozen


class Run(NamedTuple):
  """A run at a step, to sample, evaluate or go on from.

  Attributes:
    config: all settings.
    system: of the config.
    model: built of it.
    state: at the step; its own `step` counts iterations.
    step: number of the checkpoint: the same, but of a run from when a step was
      several iterations.
    frozen: parameters that are never trained.
  """

  config: ConfigDict
  system: System
  model: Any
  state: State
  step: int
  frozen: Tree

  def translator(self, chunk: int) -> Translator:
    """The networks to use, `chunk` images at a time."""
    params = self.system.inference_params(self.state)
    return Translator(self.system, self.model, params, self.frozen, chunk=chunk)


def open_run(
  directory: epath.PathLike,
  placement: jax.sharding.Sharding,
  step: int | None = None,
) -> Run:
  """Reads the config and a checkpoint of a run, changing nothing there.

  Args:
    directory: the run's work directory, or its place on the hub (hf://...).
    placement: of every array of the state.
    step: of the checkpoint; None for the newest good one.

  Raises:
    UserError: there is no such run, or no good checkpoint.
  """
  directory = hub.locate(directory)
  config = _read_config(directory)
  _check_domains(directory, config)
  system = get_system(config)
  check_config(system, config)
  model = system.create_model(config)
  shapes = jax.eval_shape(lambda rng: system.init_state(model, rng), _KEY)
  like = sharding.abstract(shapes, jax.tree.map(lambda _: placement, shapes))
  state, number, metadata = _restore(directory, like, step)
  per_step = iterations_per_step(directory, system, metadata)
  if per_step > 1:
    state = state.replace(step=state.step * per_step)
  frozen = jax.device_put(load_frozen(directory, config), placement)
  return Run(config, system, model, state, number, frozen)


_KEY = jax.eval_shape(lambda: jax.random.key(0))


def _read_config(directory: epath.Path) -> ConfigDict:
  """The config of a run, complete; raises UserError if there is no run."""
  saved = workdir.require_config(directory)
  return _complete(saved, directory / 'config.json')


def read_config(path: epath.Path) -> ConfigDict:
  """The settings in a run's config.json, by default where it has none.

  Raises:
    UserError: there are no settings in it, or unknown ones.
  """
  return _complete(workdir.read_config(path), path)


def _complete(saved: ConfigDict, path: epath.Path) -> ConfigDict:
  config = default_config(saved)
  workdir.add_missing(path, saved, config)
  config.update(saved)
  return config


def _restore(
  directory: epath.Path, like: State, step: int | None
) -> tuple[State, int, dict[str, Any]]:
  """The state of a checkpoint, its number, and what lies beside it."""
  if (directory / 'checkpoints').exists():
    checkpointer = checkpoint.Checkpointer(
      directory / 'checkpoints', read_only=True
    )
    try:
      if restored := checkpointer.restore(like, step):
        return *restored, checkpointer.metadata(restored[1])
    finally:
      checkpointer.close()
  raise errors.UserError(f'{directory} has no checkpoint yet')


def iterations_per_step(
  directory: epath.PathLike, system: System, metadata: Mapping[str, Any]
) -> int:
  """How many iterations a step is in a checkpoint of a run.

  Args:
    directory: the run's work directory.
    system: of the run.
    metadata: of the checkpoint.

  Returns:
    1, but in checkpoints of format 1 of a system that counted otherwise then.
  """
  if metadata['format'] > 1 or system.old_step_iterations is None:
    return 1
  return system.old_step_iterations(_read_config(epath.Path(directory)))


def _check_domains(directory: epath.Path, config: ConfigDict) -> None:
  """Raises UserError unless the domains can be told apart."""
  names: Sequence[str] = domain_names(config)
  if (
    not all(map(files.is_name, names))
    or not len(set(names)) == len(names) == config.model.num_domains
  ):
    raise errors.UserError(
      f'{directory / "config.json"} is damaged: data.domains are not '
      f'{config.model.num_domains} names ({", ".join(map(repr, names))[:80]})'
    )
