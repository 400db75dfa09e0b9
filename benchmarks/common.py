"""What the benchmark programs share: inputs, the step, turns, tables."""

import functools
import importlib.util
import io
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from absl import flags, logging
from etils import epath
from jax.sharding import AxisType
from ml_collections import config_flags

from jaxgan.data.contracts import base
from jaxgan.runs import workdir
from jaxgan.runtime import errors, files, host, sharding
from jaxgan.systems import contract
from jaxgan.systems import frozen as frozen_lib

Tree = Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Of these, the ones that a system has.
_PLAIN_MODEL = {'resample': 'plain', 'select_heads': True, 'remat': False}
NOT_TO_BE_RUN = {  # compiler options: the same operations, sooner
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}

_LONGEST_ROUND = 1000  # iterations
_TURNS = 6  # how often the sides alternate, if there are that many steps


class Memory(NamedTuple):
  """Bytes of a compiled program, as XLA plans them."""

  arguments: int
  outputs: int  # those that do not take the place of an argument
  temporaries: int

  @property
  def peak(self) -> int:
    """All of it at once: an upper estimate."""
    return sum(self)


def planned_memory(compiled: jax.stages.Compiled) -> Memory | None:
  """The plan of a program; None where the backend has none."""
  plan = compiled.memory_analysis()
  if plan is None:
    return None
  return Memory(
    plan.argument_size_in_bytes,
    plan.output_size_in_bytes - plan.alias_size_in_bytes,
    plan.temp_size_in_bytes,
  )


def count_flops(
  program: jax.stages.Lowered | jax.stages.Compiled,
) -> float | None:
  """Operations of a program as XLA counts them; None where it does not."""
  cost = program.cost_analysis()
  flops = cost.get('flops') if cost else None
  return flops if flops and flops > 0 else None


class Program(NamedTuple):
  """What is measured of a system, as functions of arrays."""

  init: Callable[[jax.Array], Tree]  # key -> state
  frozen: Tree
  train_step: Callable[..., tuple[Tree, Tree]]  # state, frozen, batch, rng
  inference_params: Callable[[Tree], Tree]  # of a state
  translate: Callable[..., jax.Array]  # inference_params, frozen, batch
  iterations: int  # of a step


def build(config: ml_collections.ConfigDict) -> Program:
  """The networks of a config and what they do; allocates no state.

  A step of a system that updates different networks by turns is a whole round
  of them here, of iterations on one batch.
  """
  system = contract.get_system(config)
  contract.check_config(system, config)
  model = system.create_model(config)
  requests = system.create_data(config).requests

  phases_in_turn = _round(system, model)

  def train_step(state, frozen, batch, rng):
    for phases in phases_in_turn:
      options = {'phases': phases} if phases else {}
      state, metrics = system.train_step(
        model, state, frozen, batch, rng, **options
      )
    return state, metrics

  def translate(params, frozen, batch):
    x, y, source = requests(batch)
    s = system.style(model, params, y, **source) if source else None
    rng = None
    if system.DRAWS:
      rng = jax.random.split(jax.random.key(0), x.shape[0])
    return system.translate(model, params, frozen, x, y, s, rng)

  return Program(
    functools.partial(system.init_state, model),
    frozen_lib.load(system.FROZEN, config),
    train_step,
    system.inference_params,
    translate,
    len(phases_in_turn),
  )


def _round(system: contract.System, model: Any) -> list[tuple[str, ...] | None]:
  """The phases of each iteration until they start anew; None: always all."""
  if system.phases_at is None:
    return [None]
  phases = [system.phases_at(model, step) for step in range(_LONGEST_ROUND)]
  for count in range(1, len(phases)):
    if phases[count:] == phases[:-count]:
      return phases[:count]
  raise errors.UserError(
    f'the phases do not start anew within {_LONGEST_ROUND} iterations'
  )


def example_batch(config: ml_collections.ConfigDict) -> dict[str, np.ndarray]:
  """A batch of noise; every array has the slots on its first axis."""
  return contract.get_system(config).create_data(config).noise()


def open_data(config: ml_collections.ConfigDict) -> base.Training:
  """The training data of one process."""
  return contract.get_system(config).create_data(config).training(0, 1)


def jit_step(
  program: Program,
  to_batch: Callable[[Tree, jax.Array], Tree] | None = None,
  **options: Any,
) -> jax.stages.Wrapped:
  """The training step (state, frozen, fed, rng), as the loop compiles it.

  Args:
    program: of `build`.
    to_batch: (fed, step) -> batch, inside the step; None where `fed` is one.
    **options: of `jax.jit`.
  """

  def step(state, frozen, fed, rng):
    batch = to_batch(fed, state.step) if to_batch else fed
    return program.train_step(state, frozen, batch, rng)

  return jax.jit(step, donate_argnames=('state',), **options)


class Step:
  """The training step, compiled for one device.

  Args:
    config: of the networks.
    fed: what a step is fed, arrays of NumPy or of the device of `create_mesh`.
    to_batch: as in `jit_step`.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    fed: Tree,
    to_batch: Callable[[Tree, jax.Array], Tree] | None = None,
  ):
    """Draws the state and compiles the step for what is fed like this."""
    program = build(config)
    if jax.default_backend() == 'cpu':
      host.keep_freed_memory()  # as the training loop does
    placement = sharding.replicated(create_mesh())
    key = jax.random.key(config.seed)
    self._state = jax.jit(program.init, out_shardings=placement)(key)
    self._frozen, self._rng = jax.device_put(
      (program.frozen, jax.random.key(config.seed + 1)), placement
    )
    self._fed = jax.device_put(fed, sharding.batch_sharding(create_mesh()))
    start = time.perf_counter()
    self._compiled = (
      jit_step(program, to_batch)
      .lower(self._state, self._frozen, self._fed, self._rng)
      .compile()
    )
    self.compile_s = time.perf_counter() - start
    self.iterations = program.iterations

  def dispatch(self, fed: Tree | None = None) -> None:
    """Starts one step, fed as it was compiled or anew."""
    fed = self._fed if fed is None else fed
    self._state, self.metrics = self._compiled(
      self._state, self._frozen, fed, self._rng
    )

  def wait(self) -> None:
    """Waits until all steps are done."""
    jax.block_until_ready((self._state, self.metrics))

  def step(self) -> None:
    """Runs one step and waits for its end."""
    self.dispatch()
    self.wait()

  def gflop(self) -> float | None:
    """Billions of operations in a step, as XLA counts them."""
    flops = count_flops(self._compiled)
    return flops and flops / 1e9

  def peak_memory(self) -> tuple[float | None, str]:
    """Gigabytes, and where the number comes from."""
    # The CPU keeps no such record, and the size of the process counts torch.
    stats = jax.devices()[0].memory_stats() or {}
    if 'peak_bytes_in_use' in stats:
      return stats['peak_bytes_in_use'] / 1e9, 'measured on the device'
    plan = planned_memory(self._compiled)
    if plan is None:
      return None, 'not known here'
    return plan.peak / 1e9, "XLA's plan: arguments, temporaries, new outputs"


class Translation:
  """The networks that translate on one batch, which stays on the device."""

  def __init__(self, config: ml_collections.ConfigDict, batch: Tree):
    """Draws the networks and compiles for batches like this one."""
    program = build(config)
    draw = jax.jit(lambda key: program.inference_params(program.init(key)))
    params = draw(jax.random.key(config.seed))
    self._arguments = jax.device_put((params, program.frozen, batch))
    start = time.perf_counter()
    translate = jax.jit(program.translate)
    self._compiled = translate.lower(*self._arguments).compile()
    self.compile_s = time.perf_counter() - start

  def step(self) -> None:
    """Translates the batch and waits for it."""
    self.images = jax.block_until_ready(self._compiled(*self._arguments))


def create_mesh() -> jax.sharding.Mesh:
  """One device, as the mesh that training takes."""
  return jax.make_mesh(
    (1,), ('data',), (AxisType.Auto,), devices=jax.devices()[:1]
  )


def lower_step(
  config: ml_collections.ConfigDict,
  placement: jax.sharding.Sharding | None = None,
) -> jax.stages.Lowered:
  """The training step for a device that need not exist; allocates nothing."""
  program = build(config)
  key = jax.eval_shape(jax.random.key, 0)
  state = jax.eval_shape(program.init, key)
  arguments = state, program.frozen, batch_shapes(config), key
  return jit_step(program).lower(*abstract(arguments, placement))


def lower_translation(
  config: ml_collections.ConfigDict, placement: jax.sharding.Sharding
) -> jax.stages.Lowered:
  """Translation of a batch, likewise."""
  program = build(config)
  state = jax.eval_shape(program.init, jax.eval_shape(jax.random.key, 0))
  params = program.inference_params(state)
  arguments = params, program.frozen, batch_shapes(config)
  return jax.jit(program.translate).lower(*abstract(arguments, placement))


def abstract(tree: Tree, placement: jax.sharding.Sharding | None) -> Tree:
  """The same shapes, placed; None for the default device."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree
  )


def plain_flops(config: ml_collections.ConfigDict) -> float | None:
  """Operations of a step as the paper's layers do it, one after another.

  This is the work of the algorithm: what our forms of it save or do twice
  (config.model.resample, remat, config.micro_batches) does not change it. It
  is counted in the program that XLA makes for a CPU, wherever that runs, since
  it cannot count what cuDNN does; not before XLA has removed what a step would
  do twice.
  """
  config = config.copy_and_resolve_references()
  plain = {k: v for k, v in _PLAIN_MODEL.items() if k in config.model}
  config.update({'model': plain, 'micro_batches': 1})
  try:
    device = jax.local_devices(backend='cpu')[0]
  except RuntimeError as e:  # JAX_PLATFORMS=cuda
    logging.warning('operations are not counted without a CPU backend: %s', e)
    return None
  lowered = lower_step(config, jax.sharding.SingleDeviceSharding(device))
  return count_flops(lowered.compile(NOT_TO_BE_RUN))


class OtherProcesses:
  """How much CPU the rest of the machine used since this was made.

  Threads that wait for one another by spinning, as torch's do, lose far more
  than the share that is taken from them: such times compare nothing.
  """

  _STAT = pathlib.Path('/proc/stat')
  _MOST = 0.1  # cores

  def __init__(self):
    self._start = self._clocks()

  def _clocks(self) -> np.ndarray:
    """Seconds: on the wall, used by this process, used by all."""
    used = np.nan  # where there is no /proc
    if self._STAT.exists():
      # user, nice, system, idle, iowait, irq, softirq, steal
      fields = [int(x) for x in self._STAT.read_text().split()[1:9]]
      used = (sum(fields) - fields[3] - fields[4]) / os.sysconf('SC_CLK_TCK')
    return np.array([time.monotonic(), _process_time(), used])

  def describe(self) -> str:
    """The mean number of cores the others kept busy, with a warning."""
    wall, own, used = self._clocks() - self._start
    if np.isnan(used):
      return 'not known here'
    cores = max(0.0, (used - own) / wall)
    if cores <= self._MOST:
      return f'quiet, {cores:.2f} cores'
    logging.warning('other processes kept %.2f cores busy', cores)
    return f'NOT QUIET, {cores:.2f} cores: measure again'


def _process_time() -> float:
  """Seconds of CPU of this process and of its children that have ended."""
  times = os.times()
  return sum((*times[:2], *times[2:4]))


def matmul_tflops() -> tuple[float, str]:
  """The best rate of a large product of matrices here, and what it is."""
  on_cpu = jax.default_backend() == 'cpu'
  size, dtype = (2048, 'float32') if on_cpu else (8192, 'bfloat16')
  a, b = jax.random.normal(jax.random.key(0), (2, size, size), dtype)
  multiply = jax.jit(jax.numpy.matmul)
  jax.block_until_ready(multiply(a, b))
  repeats = 2 if on_cpu else 20  # one alone would time its start as well
  seconds = []
  for _ in range(5):
    start = time.perf_counter()
    jax.block_until_ready([multiply(a, b) for _ in range(repeats)])
    seconds.append((time.perf_counter() - start) / repeats)
  rate = 2 * size**3 / min(seconds) / 1e12
  return rate, f'measured: products of {dtype}, {size} x {size}'


def describe_machine() -> dict[str, str]:
  """Rows that tell what a measurement ran on."""
  device, cores = jax.devices()[0], num_cores()
  return {
    'device': f'{device.device_kind}, {cores} CPU cores',
    'jax': jax.__version__,
  }


def num_cores() -> int:
  """CPU cores that this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1  # macOS


def describe_images(config: ml_collections.ConfigDict) -> str:
  """What a batch is."""
  return (
    f'{config.batch_size} of {config.data.img_size} px, '
    f'{config.model.num_domains} domains, {config.model.dtype}'
  )


def set_num_domains(config: ml_collections.ConfigDict) -> None:
  """Fills in the domains that a training run takes from the data."""
  data = config.data
  if data.name.startswith('shapes') and not config.model.num_domains:
    resolved = open_data(config).resolved  # drawn: nothing is read
    config.update_from_flattened_dict(resolved)
  elif config.model.num_domains and not data.domains:
    # Their names are of no importance here.
    data.domains = tuple(f'domain{i}' for i in range(config.model.num_domains))
  count = len(contract.domain_names(config))
  config.model.num_domains = config.model.num_domains or count
  if not count or config.model.num_domains != count:
    raise errors.UserError(
      'the number of domains comes from the data, and a benchmark reads none: '
      'add --config.model.num_domains=K, or K names (--config.data.domains); '
      f'there are {count} names and K is {config.model.num_domains}'
    )


def count_params(config: ml_collections.ConfigDict) -> dict[str, int]:
  """The number of parameters of each network, without building one."""
  state = jax.eval_shape(build(config).init, jax.random.key(0))
  return {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in state.params.items()
  }


def check_same_size(ours: Mapping[str, int], theirs: Mapping[str, int]) -> None:
  """Raises UserError unless the original's networks are as large as ours."""
  for name, count in ours.items():
    if count != theirs[name]:
      raise errors.UserError(
        f'--peer: not the same {name}: {count:,} parameters here, '
        f'{theirs[name]:,} there'
      )


def batch_shapes(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What each array of a batch is: slots on the first axis of all."""
  one = config.copy_and_resolve_references()
  one.batch_size = 1
  batch = example_batch(one)
  return {
    name: jax.ShapeDtypeStruct((config.batch_size, *x.shape[1:]), x.dtype)
    for name, x in batch.items()
  }


def num_images(batch: Mapping[str, Any]) -> int:
  """How many source images a batch has, of each data set."""
  sources, *_ = (x for x in batch.values() if x.ndim > 3)
  return math.prod(sources.shape[:-3])


def time_in_turns(
  sides: Mapping[str, Callable[[], None]], steps: int, warmup: int
) -> dict[str, list[float]]:
  """Milliseconds of each timed step of each side; the sides alternate."""
  for name, step in sides.items():
    logging.info('warming up: %s', name)
    for _ in range(warmup):
      step()
  times = {name: [] for name in sides}
  turn = max(1, steps // _TURNS)
  for done in range(0, steps, turn):
    for name, step in sides.items():
      for _ in range(min(turn, steps - done)):
        start = time.perf_counter()
        step()
        times[name].append(1e3 * (time.perf_counter() - start))
    logging.info('%d of %d steps a side', min(done + turn, steps), steps)
  return times


def describe_times(times: Mapping[str, Sequence[float]]) -> dict[str, str]:
  """A row for each side of `time_in_turns`."""
  return {
    f'ms {name}, {len(values)} steps': (
      f'fastest {min(values):.1f}, median {statistics.median(values):.1f}, '
      f'slowest {max(values):.1f}'
    )
    for name, values in times.items()
  }


def make_room_for_torch() -> None:
  """Else JAX takes most of a GPU's memory and leaves torch too little."""
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')


def print_result(
  rows: Mapping[str, Any], results: Mapping[str, float | None]
) -> None:
  """Prints the table, and the results once more as one line of JSON."""
  rounded = {k: v if v is None else round(v, 4) for k, v in results.items()}
  table = {**rows, **rounded}
  width = max(map(len, table))
  for name, value in table.items():
    print(f'{name:<{width}}  {value}')
  print(json.dumps(rounded), flush=True)


def print_records(records: Iterable[Mapping[str, Any]]) -> None:
  """Prints a Markdown table, each line when it is known, then all as JSON."""
  done = []
  for record in records:
    lines = markdown_lines([record])
    print('\n'.join(lines[2:] if done else lines), flush=True)
    done.append(record)
  print(json.dumps(done), flush=True)


def markdown_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
  """A Markdown table, of records that all have the keys of the first."""
  head = [list(records[0]), ['---'] * len(records[0])]
  return [
    f'| {" | ".join("" if cell is None else str(cell) for cell in row)} |'
    for row in (*head, *(record.values() for record in records))
  ]


def config_arguments(settings: Mapping[str, Any] | None = None) -> list[str]:
  """What hands --config and its changes, and further ones, to a program."""
  flag = flags.FLAGS['config']
  changes = {**config_flags.get_override_values(flag), **(settings or {})}
  return [
    f'--config={config_flags.get_config_filename(flag)}',
    *(f'--config.{key}={value}' for key, value in changes.items()),
  ]


def script_command(
  script: str, path: os.PathLike, settings: Mapping[str, Any], *options: str
) -> list[str]:
  """What starts train.py or eval.py on a work directory."""
  command = [sys.executable, str(ROOT / script), *config_arguments(settings)]
  return [*command, f'--workdir={path}', *options]


def run_script(
  script: str, path: os.PathLike, settings: Mapping[str, Any], *options: str
) -> None:
  """Runs train.py or eval.py on a work directory, its output on stderr.

  Raises:
    UserError: it ended with another status than 0.
  """
  command = script_command(script, path, settings, *options)
  run_child(command, f'{pathlib.Path(path).name}: {script}')


def run_child(command: Sequence[str], what: str) -> None:
  """Runs a program, its output on stderr; ends it where this one is ended.

  Raises:
    UserError: `what` ended with another status than 0.
  """
  # In a session of its own: Ctrl-C reaches it once, from here.
  with subprocess.Popen(
    command, stdout=sys.stderr, start_new_session=True
  ) as child:
    try:
      status = child.wait()
    except BaseException:
      child.terminate()  # train.py saves a checkpoint
      child.wait()
      raise
  if status:
    raise errors.UserError(f'{what} ended with status {status}')


def require_finished(path: epath.Path) -> int:
  """The last step of a run; UserError where it was stopped before."""
  steps = workdir.require_config(path).num_train_steps
  if not (path / 'checkpoints' / str(steps)).exists():
    raise errors.UserError(f'{path} was stopped: the same command goes on')
  return steps


def exit_when_terminated() -> None:
  """Makes SIGTERM an exception, so that a program ends its children."""
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


_PANEL = (3.2, 2.5)  # inches


def write_panels(
  path: epath.Path,
  names: Sequence[str],
  draw: Callable[[str, Any], Mapping[str, Any]],
) -> None:
  """Writes a PNG of a panel for each name; only where matplotlib is installed.

  Args:
    path: of the PNG.
    names: titles of the panels.
    draw: (name, panel) -> the lines of the panel, by what the legend calls
      them; they are over steps.
  """
  if importlib.util.find_spec('matplotlib') is None:
    print(f'no {path.name}: pip install matplotlib', file=sys.stderr)
    return
  from matplotlib import figure  # here alone: all else does without it

  columns = min(4, len(names))
  rows = -(-len(names) // columns)
  size = columns * _PANEL[0], rows * _PANEL[1] + 0.4
  fig = figure.Figure(figsize=size, layout='constrained')
  panels = list(fig.subplots(rows, columns, squeeze=False).flat)
  lines: dict[str, Any] = {}
  for name, panel in zip(names, panels, strict=False):
    lines |= draw(name, panel)
    panel.set_title(name, fontsize='medium')
    panel.set_xlabel('step')
    panel.grid(alpha=0.3)
  for panel in panels[len(names) :]:
    panel.axis('off')
  fig.legend(
    lines.values(), lines.keys(), loc='outside upper center', ncols=len(lines)
  )
  buffer = io.BytesIO()
  fig.savefig(buffer, format='png', dpi=110)
  files.write_whole(path, buffer.getvalue())
