"""The systems, and what the programs ask of one.

A system is a module with

  default_config() -> every setting there is; FREE_SETTINGS and HOST_SETTINGS
    among them, which `workdir` explains
  domain_names(config) -> names of what an image can be translated to
  view(picture, config) -> the part of a PIL image that is seen where none is
    drawn at random
  check_config(config) raises UserError for settings that cannot be
  create_datasets(config, process_index, process_count) -> (train, val)
    train.facts: {config key: value} of what the config left to the data;
    train.domains: names; train.skipped: unreadable images drawn so far;
    train.images_per_step: sources in a step, to tell the speed by;
    train.feed(mesh, start_step, num_steps) -> (fed, to_batch): how to feed the
    steps after start_step. fed yields num_steps trees on the devices, one a
    step: its batch, or always the same images that stay there;
    to_batch(tree, finished steps) -> batch, the same function at every call of
    feed, is called inside the jitted step.
    val goes to `sample`.
  create_eval_data(config) -> (train, val), to be seen in order
  example_batch(config) -> a batch of noise, NumPy arrays like those that
    train_step gets: in all of them a row is a slot, images to translate first.
  create_training(config) -> (init_fn, static)
    init_fn(rng) -> state: a pytree with `.step`, `.params` and perhaps
    `.ema_params`, each {network: tree}; static: keyword arguments of
    train_step, sample and evaluate.
  create_frozen(config) -> {name: tree}: parameters that are never trained,
    read from the files that the config names; kept in the work directory.
  check_frozen(frozen, config) raises UserError if they are not those.
  train_step(state, frozen, batch, rng, **static) -> (state, metrics)
  SIGNS: what `collapse` is to look at in the metrics of train_step
  inference_params(state) -> the parameters to sample and evaluate with
  sample(params, frozen, val, rng, **static) -> {name: uint8 [H, W, 3]}
  translate_batch(params, frozen, batch, **static) -> the source images of a
    batch (of its first data set), each translated once: [N, H, W, 3]
  Translator(params, frozen, chunk, **static): the networks on NumPy arrays,
    with translate_all(x, s) of all images in all styles, programs() to export,
    SOURCES, whether a source may be of 'any' domain or is taken to be of the
    'other' one of two, and STYLES, what a style can come from, each with
    functions of its own:
      'reference': encode(x, y), the style of an image
      'latent': map_truncated(z, mean, psi), mean_styles(rng, latent_dim), and
        PSI, the usual truncation
      'label': label_styles(y), the one style there is of a domain
  evaluate(params, frozen, config, scorer, seed, save_dir, **static) -> scores
    of `metrics.translations`; scorer holds the networks to see through. All
    processes call it together, and all get the scores.
  import_official(path, config, step) -> a checkpoint of the original code:
    config, with what it left to the data; state; frozen; partial: only what
    `inference_params` gives is real; what was in the file, in words. step: None
    for that in the file's name.
  export_official(state, frozen, config, partial) -> {file name: tree}: the
    same the other way.

and a line in SYSTEMS.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import ml_collections
from etils import epath

from jaxgan.runs import checkpoint, workdir
from jaxgan.runtime import errors, files, sharding
from jaxgan.systems import munit, stargan, stargan_v2, unit

Tree = Any
SYSTEMS = {
  'munit': munit,
  'stargan': stargan,
  'stargan_v2': stargan_v2,
  'unit': unit,
}


def get_system(config: ml_collections.ConfigDict) -> ModuleType:
  """The module of `config.system`, with the precision it asks for enabled."""
  system = _find_system(config)
  if config.model.dtype == 'float64':
    jax.config.update('jax_enable_x64', True)
  return system


def _find_system(config: ml_collections.ConfigDict) -> ModuleType:
  name = config.get('system')
  if not isinstance(name, str) or name not in SYSTEMS:
    raise errors.UserError(
      f'config.system is {str(name)[:40]!r}; there is: {", ".join(SYSTEMS)}'
    )
  return SYSTEMS[name]


def system_of(directory: epath.PathLike) -> ModuleType:
  """The system of a run; raises UserError if there is no run."""
  return _find_system(workdir.require_config(epath.Path(directory)))


def load_frozen(
  directory: epath.Path, config: ml_collections.ConfigDict
) -> Tree:
  """Parameters that are never trained: the run's, or else the config's files'.

  Raises:
    UserError: they cannot be read, or do not fit.
  """
  system = _find_system(config)
  frozen = workdir.load_frozen(directory)
  if not frozen:
    return system.create_frozen(config)
  system.check_frozen(frozen, config)
  return frozen


class Run(NamedTuple):
  """A run at a step, to sample, evaluate or go on from."""

  config: ml_collections.ConfigDict
  state: Tree
  step: int
  frozen: Tree
  static: dict[str, Any]  # keyword arguments of the system's functions


def restore_run(
  directory: epath.PathLike,
  placement: jax.sharding.Sharding,
  step: int | None = None,
) -> Run:
  """Reads the config and a checkpoint of a run, changing nothing there.

  Args:
    directory: the run's work directory.
    placement: of every array of the state.
    step: of the checkpoint; None for the newest good one.

  Raises:
    UserError: there is no such run, or no good checkpoint.
  """
  directory = epath.Path(directory)
  config = workdir.require_config(directory)
  system = _find_system(config)
  workdir.add_missing(directory, config, system.default_config())
  _check_domains(directory, config, system.domain_names(config))
  get_system(config)  # for the precision
  init_fn, static = system.create_training(config)
  shapes = jax.eval_shape(init_fn, jax.random.key(0))
  like = sharding.abstract(shapes, jax.tree.map(lambda _: placement, shapes))
  restored = None
  if (directory / 'checkpoints').exists():
    checkpointer = checkpoint.Checkpointer(
      directory / 'checkpoints', read_only=True
    )
    restored = checkpointer.restore(like, step)
    checkpointer.close()
  if restored is None:
    raise errors.UserError(f'{directory} has no checkpoint yet')
  frozen = load_frozen(directory, config)
  return Run(config, *restored, jax.device_put(frozen, placement), static)


def _check_domains(
  directory: epath.Path,
  config: ml_collections.ConfigDict,
  names: Sequence[str],
) -> None:
  """Raises UserError unless the domains can be told apart and be in names."""
  if (
    not all(map(files.is_name, names))
    or not len(set(names)) == len(names) == config.model.num_domains
  ):
    raise errors.UserError(
      f'{directory / "config.json"} is damaged: data.domains are not '
      f'{config.model.num_domains} names ({", ".join(map(repr, names))[:80]})'
    )
