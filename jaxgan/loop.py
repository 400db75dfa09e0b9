"""The training loop: iterate, log, sample, checkpoint; it knows no system."""

import collections
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from jaxgan.inference import outputs
from jaxgan.inference.translator import Translator
from jaxgan.runs import (
  checkpoint,
  collapse,
  finetune,
  report,
  wandb_writer,
  workdir,
)
from jaxgan.runs.logger import Logger
from jaxgan.runtime import (
  errors,
  files,
  host,
  output,
  processes,
  sharding,
  signals,
)
from jaxgan.systems import contract
from jaxgan.training.state import State

Tree = Any


_MAX_AHEAD = 2  # steps that may be asked for before one is done
_MAX_TRIES = 3  # times that a run goes back from a NaN before it gives up
_NAN_CURE = (
  'look for black or broken images in the data, or run again from the last '
  'checkpoint with a lower config.optim.lr and --allow_config_change'
)


class NonFiniteError(errors.UserError):
  """A loss or a parameter became NaN or infinite in `step`."""

  def __init__(self, what: str, step: int):
    self.what = f'{what} became NaN or infinite in step {step}'
    self.step = step
    super().__init__(
      f'{self.what}: {_NAN_CURE}, or with --config.on_nan=restore, which '
      'leaves such steps out'
    )


def train(
  config: ml_collections.ConfigDict,
  directory: str,
  *,
  init_from: str = '',
  allow_config_change: bool = False,
  profile: tuple[int, int] | None = None,
  wandb: str = '',
) -> None:
  """Trains until `config.num_train_steps`, resuming what `directory` holds.

  Args:
    config: of `configs/`.
    directory: work directory, made if it is missing.
    init_from: work directory of another run to take the weights from.
    allow_config_change: resume although settings differ.
    profile: first and last step to profile into `directory/profile`.
    wandb: project of Weights & Biases to send metrics and samples to.

  Raises:
    UserError: anything that the user can mend.
  """
  stop = signals.Stop()
  with contextlib.ExitStack() as stack:
    stack.enter_context(output.tolerant())
    stack.enter_context(stop.handled())
    system = contract.get_system(config)
    contract.check_config(system, config)
    sharding.check_same(
      {
        '--workdir': directory,
        '--init_from': init_from,
        **workdir.shared_settings(config),
      }
    )
    path = files.user_path(directory)
    frozen = contract.load_frozen(path, config)
    if jax.process_index() == 0:
      if wandb:
        wandb_writer.import_library()
      stack.enter_context(workdir.opened(path))
    mesh = sharding.create_mesh(
      config.batch_size, config.get('micro_batches', 1)
    )
    if jax.default_backend() == 'cpu':
      host.keep_freed_memory()
    data = system.create_data(config).training(
      jax.process_index(), jax.process_count()
    )
    config.update_from_flattened_dict(data.resolved)
    workdir.check_config(
      path, config, allow_config_change, contract.default_config(config)
    )
    workdir.check_data(path, data.contents, allow_config_change)

    init_rng, train_rng, sample_rng = jax.random.split(
      jax.random.key(config.seed), 3
    )
    model = system.create_model(config)
    init_state = functools.partial(system.init_state, model)
    shapes = jax.eval_shape(init_state, init_rng)
    shardings = sharding.state_shardings(
      shapes, mesh, divided=config.get('shard_state', False)
    )
    like = sharding.abstract(shapes, shardings)
    frozen, train_rng = sharding.replicate((frozen, train_rng), mesh)
    checkpointer = checkpoint.Checkpointer(
      path / 'checkpoints',
      keep=config.keep,
      keep_every_steps=config.keep_every_steps,
    )
    stack.callback(checkpointer.close)

    def begin() -> tuple[Tree, int, dict[str, Any]]:
      """The state to go on from, its step, and what was saved beside it."""
      if restored := checkpointer.restore(like):
        state, step = restored
        checkpointer.drop_after(step)
        return state, step, checkpointer.metadata(step)
      state = jax.jit(init_state, out_shardings=shardings)(init_rng)
      if init_from:
        state = _take_weights(state, config, init_from, mesh)
        state = sharding.place(state, shardings)
      return state, 0, {}

    state, start_step, metadata = begin()
    if metadata:
      _check_resumable(path, system, start_step, metadata)
    if jax.process_index() == 0:
      workdir.save_frozen(path, sharding.local_copy(frozen))
      workdir.save_config(path, config)
      workdir.save_data(path, data.contents)
    logger = Logger(
      path,
      start_step,
      config.num_train_steps,
      data.images_per_step,
      functools.partial(
        collapse.Watcher,
        system.COLLAPSE_SIGNS,
        collapse.window_size(config),
      ),
      functools.partial(report.update, path, system.COLLAPSE_SIGNS),
      functools.partial(wandb_writer.Writer, path, wandb, config)
      if wandb
      else None,
    )
    stack.enter_context(logger)
    for line in host.device_lines(config.model.dtype):
      logger.say(line)
    logger.write_parameters(sharding.replicate(state.params, mesh))
    if metadata:
      logger.say(f'resuming after step {start_step}')
    if metadata and metadata['format'] < checkpoint.FORMAT:
      logger.say(
        'the checkpoint is of an earlier version: from here on batches are '
        'drawn otherwise'
      )
    skipped_steps = _SkippedSteps(metadata, config.on_nan == 'restore')

    def save(step: int, state: Tree, health: Tree) -> None:
      _raise_if_not_finite(health, state)
      metadata = {'system': config.system, 'domains': list(data.domains)}
      checkpointer.save(step, state, metadata | skipped_steps.metadata())

    def create_translator(state: Tree) -> Translator | None:
      """Of process 0 alone; all processes call it together."""
      params = sharding.replicate(system.inference_params(state), mesh)
      if jax.process_index():
        return None
      return Translator(system, model, *sharding.local_copy((params, frozen)))

    def sample(step: int, state: Tree) -> None:
      logger.say(f'step {step}: drawing samples ...')
      if translator := create_translator(state):
        logger.write_images(
          step, system.grids(translator, data.val, sample_rng)
        )

    def look(state: Tree) -> dict[str, float]:
      if translator := create_translator(state):
        return outputs.look(translator, read_targets(), sample_rng)
      return {}

    @functools.cache  # files that fail later on do not end the run
    def read_targets() -> list[outputs.Target]:
      return outputs.read_targets(data.in_order, data.domains)

    def train_step(
      state: State, frozen: Tree, fed: Tree, rng: jax.Array, **phases: Any
    ) -> tuple[State, dict[str, jax.Array]]:
      batch = to_batch(fed, state.step)
      return system.train_step(model, state, frozen, batch, rng, **phases)

    program = _Program(
      train_step, _phases_by_step(system, model), frozen, train_rng, logger
    )
    profiler = _Profiler(profile, path / 'profile')
    stack.callback(profiler.close)
    # Innermost: what is closed may wait for processes that wait for this one.
    with processes.failures_told(logger.keep_error):
      while True:
        steps_left = max(0, config.num_train_steps - start_step)
        batches, to_batch = data.source.feed(mesh, start_step, steps_left)
        try:
          _iterate(
            program,
            state,
            batches=batches,
            start_step=start_step,
            skipped_steps=skipped_steps,
            config=config,
            logger=logger,
            save=save,
            sample=sample,
            look=look,
            stop=stop,
            profiler=profiler,
          )
          break
        except NonFiniteError as e:
          skipped_steps.add(e)
          problem = e.what
        del state, batches
        state, start_step, _ = begin()
        logger.go_back(start_step)
        logger.say(f'{problem}: back to step {start_step}, {skipped_steps}')
      checkpointer.wait()  # before the last report takes its time
    if skipped := data.source.skipped:
      logger.say(f'{skipped} draws of unreadable images were skipped')


def _iterate(
  program: '_Program',
  state: Tree,
  *,
  batches: Iterator[Tree],
  start_step: int,
  skipped_steps: '_SkippedSteps',
  config: ml_collections.ConfigDict,
  logger: Logger,
  save: Callable,
  sample: Callable,
  look: Callable,
  stop: signals.Stop,
  profiler: '_Profiler',
) -> None:
  """Steps from `start_step` to the end, or to a signal to stop."""
  step, end = start_step, config.num_train_steps
  if step >= end:
    logger.say(f'nothing to do: step {step} of {end} is reached')
    return
  first = next(batches)
  health = program.start(state, first, range(start_step, end))
  unlogged = None  # metrics of a step that the devices may still be computing
  ahead: collections.deque[Any] = collections.deque()  # of steps asked for
  logger.start_clock(step)
  broken_data = None
  batches = itertools.chain([first], batches)
  while True:
    try:
      batch = next(batches)
    except errors.UserError as e:
      # Whatever is wrong with the data, the work so far is not lost.
      broken_data = e
      break
    profiler.before(step + 1)
    with jax.transfer_guard('disallow'):
      if step + 1 in skipped_steps.steps:
        state, metrics = state.replace(step=_next(state.step)), None
      else:
        state, health, metrics = program(state, health, batch, step)
    step += 1
    profiler.after(step, state)
    # A signal is seen between waits, so none may last for many steps.
    ahead.append(metrics)
    if len(ahead) > _MAX_AHEAD:
      jax.block_until_ready(ahead.popleft())
    if unlogged:
      _log(logger, *unlogged)
      unlogged = None

    stopping = stop.requested(step)
    last = stopping or step == end
    saving = last or step % config.checkpoint_every_steps == 0
    # Only multiples are logged, also at a stop: the records of a resumed run
    # are those of one that never stopped.
    if metrics and step % config.log_every_steps == 0:
      # The first logged step of every hundred.
      if step % outputs.LOOK_EVERY_STEPS < config.log_every_steps:
        jax.block_until_ready(state)
        with logger.clock_stopped():
          metrics |= look(state)
      unlogged = step, metrics, health
    if unlogged and saving:
      _log(logger, *unlogged)
      unlogged = None
    if saving:
      jax.block_until_ready(state)
      with logger.clock_stopped():
        save(step, state, health)
    if step == end or (step % config.sample_every_steps == 0 and not stopping):
      jax.block_until_ready(state)
      with logger.clock_stopped():
        sample(step, state)
    if last:
      break
  profiler.after(profiler.last, state)
  if broken_data:
    if unlogged:
      _log(logger, *unlogged)
    # Several processes save together, or not at all.
    if step > start_step and not saving and jax.process_count() == 1:
      save(step, state, health)
    raise broken_data
  reason = f'stopped by {stop.name}' if stopping and step < end else 'done'
  logger.wait()
  logger.say(f'{reason}: step {step} of {end}')


def _log(
  logger: Logger, step: int, metrics: Mapping[str, jax.Array], health: Tree
) -> None:
  _raise_if_not_finite(health)
  logger.write_metrics(step, metrics)


@jax.jit
def _next(step: jax.Array) -> jax.Array:
  return step + 1


class _Program:
  """The compiled step, with what it takes beside state and batch.

  It also notes the first step that was not finite: its `health` is
  {'step': that step, or 0; 'finite': {metric: bool}}. An iteration of other
  phases is a program of its own: all are compiled at the start, so that a long
  run does not stop later on.
  """

  def __init__(
    self,
    train_step: Callable,
    phases_at: Callable[[int], dict[str, Any]],
    frozen: Tree,
    rng: jax.Array,
    logger: Logger,
  ):
    self._train_step, self._phases_at = train_step, phases_at
    self._frozen, self._rng = frozen, rng
    self._logger = logger
    self._compiled: dict[Any, Any] = {}

  def start(self, state: Tree, batch: Tree, steps: range) -> Tree:
    """The health to start with; compiles at the first call."""
    if not self._compiled:
      answers = {_key(self._phases_at(step)): step for step in steps}
      self._logger.say('compiling the step ...')
      start = time.monotonic()
      fns = {
        key: functools.partial(self._train_step, **self._phases_at(step))
        for key, step in answers.items()
      }
      self._healthy = self._create_health(fns, state, batch)
      self._compiled = {
        key: self._compile(fn, state, batch) for key, fn in fns.items()
      }
      self._logger.say(f'compiled in {time.monotonic() - start:.0f} s')
    return self._healthy

  def _create_health(
    self, fns: Mapping[Any, Callable], state: Tree, batch: Tree
  ) -> Tree:
    finite: dict[str, jax.Array] = {}
    for fn in fns.values():
      _, metrics = jax.eval_shape(fn, state, self._frozen, batch, self._rng)
      finite |= {key: jnp.ones((), bool) for key in metrics}
    health = {'step': jnp.zeros((), jnp.int32), 'finite': finite}
    return jax.device_put(health, self._rng.sharding)

  def _compile(self, fn: Callable, state: Tree, batch: Tree) -> Any:
    replicated = self._rng.sharding
    stays = jax.tree.map(lambda x: x.sharding, state)
    step_fn = jax.jit(
      functools.partial(self._watched, fn),
      donate_argnames=('state',),
      out_shardings=(stays, replicated, replicated),
    )
    return step_fn.lower(
      state, self._healthy, self._frozen, batch, self._rng
    ).compile()

  def _watched(self, fn, state, health, frozen, batch, rng):
    state, metrics = fn(state, frozen, batch, rng)
    finite = {key: jnp.isfinite(value) for key, value in metrics.items()}
    broken = ~jnp.all(jnp.stack(list(finite.values())))
    # What this iteration has not computed is not broken.
    finite = jax.tree.map(jnp.ones_like, health['finite']) | finite
    now = {'step': jnp.where(broken, state.step, 0), 'finite': finite}
    healthy = health['step'] == 0
    health = jax.tree.map(
      lambda new, old: jnp.where(healthy, new, old), now, health
    )
    return state, health, metrics

  def __call__(
    self, state: Tree, health: Tree, batch: Tree, step: int
  ) -> tuple[Tree, Tree, dict[str, jax.Array]]:
    """(state, donated; health; batch; finished) -> the next two, metrics."""
    compiled = self._compiled[_key(self._phases_at(step))]
    return compiled(state, health, self._frozen, batch, self._rng)


def _key(phases: Mapping[str, Any]) -> tuple:
  return tuple(phases.items())


def _phases_by_step(
  system: contract.System, model: Any
) -> Callable[[int], dict[str, Any]]:
  """What train_step is to be told of the iteration after a step."""
  phases_at = system.phases_at
  if phases_at is None:
    return lambda step: {}
  return lambda step: {'phases': phases_at(model, step)}


class _SkippedSteps:
  """The steps that a run skips because they made something NaN.

  Args:
    metadata: what was saved beside the checkpoint that the run goes on from.
    allowed: whether to skip any.
  """

  def __init__(self, metadata: Mapping[str, Any], allowed: bool):
    try:
      self.steps = set(map(int, metadata.get('steps_left_out', ())))
      self._tries = int(metadata.get('tries', 0))
    except (TypeError, ValueError) as e:
      raise errors.UserError(
        f'the metadata of the checkpoint are not of a training ({e})'
      ) from e
    self._allowed = allowed

  def add(self, error: NonFiniteError) -> None:
    """Adds the step of an error, or raises it again."""
    if not self._allowed:
      raise error
    if self._tries == _MAX_TRIES:
      raise errors.UserError(
        f'{error.what}, after {self}: {_NAN_CURE}'
      ) from error
    self._tries += 1
    again = error.step in self.steps
    self.steps.add(error.step)
    first = error.step
    while first - 1 in self.steps:
      first -= 1
    # The losses of a step may be finite and its update not: then all after it
    # is NaN, whether the next step is skipped or not.
    if first > 1 and (again or first < error.step):
      self.steps.add(first - 1)

  def __str__(self):
    steps = ', '.join(map(str, sorted(self.steps)))
    return f'try {self._tries} of {_MAX_TRIES} without step {steps}'

  def metadata(self) -> dict[str, Any]:
    """What to save beside a checkpoint."""
    return {'steps_left_out': sorted(self.steps), 'tries': self._tries}


def _raise_if_not_finite(health: Tree, state: Tree | None = None) -> None:
  """Waits for the devices; raises NonFiniteError if anything was lost."""
  health = jax.device_get(health)
  if health['step']:
    names = [key for key, finite in health['finite'].items() if not finite]
    raise NonFiniteError(', '.join(names), int(health['step']))
  if state is not None and not _all_finite(state):
    raise NonFiniteError('parameters', int(state.step))


@jax.jit
def _all_finite(tree: Tree) -> jax.Array:
  leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
  return jnp.all(jnp.stack(leaves))


def _take_weights(
  state: Tree, config: ml_collections.ConfigDict, init_from: str, mesh
) -> Tree:
  """Replaces the fresh weights by those of another run, domain by domain."""
  run = contract.open_run(init_from, sharding.replicated(mesh))
  if run.config.system != config.system:
    raise errors.UserError(
      f'--init_from={init_from} is a run of {run.config.system}'
    )
  old_names, names = map(contract.domain_names, (run.config, config))
  finetune.check_domains(state.params, old_names, names)
  taken = {
    name: {
      network: finetune.transfer(
        getattr(run.state, name)[network], tree, old_names, names
      )
      for network, tree in getattr(state, name).items()
    }
    for name in ('params', 'ema_params', 'variables')
  }
  return state.replace(**taken)


def _check_resumable(
  path: epath.Path,
  system: contract.System,
  step: int,
  metadata: Mapping[str, Any],
) -> None:
  """Raises UserError for a checkpoint that cannot be trained on.

  Args:
    path: work directory.
    system: of the run.
    step: of the checkpoint.
    metadata: beside it.
  """
  if metadata.get(checkpoint.PARTIAL):
    raise errors.UserError(
      f'{path} holds only what translations are made with, no discriminator '
      'and no optimisers, and cannot be trained on: start a new run with '
      f'--init_from={path}'
    )
  iterations = contract.iterations_per_step(path, system, metadata)
  if iterations > 1:
    raise errors.UserError(
      f'{path} is of an earlier version, with {iterations} iterations in a '
      f'step: its step {step} would be step {step * iterations} now, and it '
      'cannot be trained on: evaluate and use it, or start a new run with '
      f'--init_from={path}'
    )


class _Profiler:
  """Traces the steps `span` = (first, last), or none."""

  def __init__(self, span: tuple[int, int] | None, directory: epath.Path):
    self._first, self.last = span or (0, 0)
    self._directory = directory
    self._tracing = False

  def before(self, step: int) -> None:
    """Starts, also where a resumed run begins inside the span."""
    if not self._tracing and self._first <= step <= self.last:
      jax.profiler.start_trace(self._directory)
      self._tracing = True

  def after(self, step: int, state: Tree) -> None:
    """Ends after the last step."""
    if self._tracing and step >= self.last:
      jax.block_until_ready(state)
      self.close()

  def close(self) -> None:
    """Ends wherever the run has."""
    if self._tracing:
      self._tracing = False
      jax.profiler.stop_trace()
