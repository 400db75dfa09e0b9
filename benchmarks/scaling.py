"""What dividing a batch among devices changes, and what it costs.

  python -m benchmarks.scaling --config=configs/stargan_v2/shapes.py \\
    [--what=cost] [--topologies=1x1,1x2,1x4,1x8] [--measure=traffic,time] \\
    [--steps=20] [--config.x=...]
  python -m benchmarks.scaling --config=configs/stargan_v2/shapes.py \\
    --what=agreement --workdir=DIR [--topologies=1x1,1x8,2x4,4x2] [--steps=50]

A topology is PROCESSES x DEVICES, on virtual CPU devices, the processes joined
over loopback; all but the first also with the state divided (--divided,
config.shard_state). It prints a Markdown table, a row for each, and the same as
a last line of JSON.

--what=cost, of one process, with sizes in MB:
  traffic: bytes that the collective operations of the compiled step give to one
    device, and how many operations there are; read in the program that XLA
    makes for that many devices, which is not run (so also of sizes too large to
    run here: --measure=traffic)
  time: ms of a step, the median, of the config's batch divided among the
    devices (strong) and of so much for each device as the most of them would
    have of it (weak). Virtual devices share the CPU cores: with the work the
    same, what grows is what dividing it costs, and nothing gets faster
  checkpoint: its size, and the seconds to write it, with sums, and to read it
--what=agreement: each trains the config from its seed through the loop of
  train.py: --steps in float32, then --float64_steps in float64 with both
  learning rates 1e-4. Then each resumes the checkpoint of every other for one
  more step, and scores that of the first. Compared with the first topology:
  images, z: whether the batches and latents of every step are the same, bit for
    bit: sums of their bits, weighted by place, taken inside the step
  losses, parameters in float64: largest relative and absolute difference
  one step: the largest relative difference of the losses of a float32 step from
    the same checkpoint, over all checkpoints
  resumed: how many of the others' checkpoints it has gone on from
  scores: the largest relative difference in evaluating the same checkpoint
  free run: of losses in float32 at the last step. Adam with beta1 = 0 steps by
    signs, which rounding turns where a gradient is next to nothing: such runs
    part, and agreement.png (where matplotlib is installed) shows how soon.
  What is done is not done again: the same command goes on.
"""

import json
import math
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags
from etils import epath

from benchmarks import common
from jaxgan import evaluation, loop
from jaxgan.runs import checkpoint, workdir
from jaxgan.runtime import cli, errors, host, processes, sharding
from jaxgan.systems import config_flag, contract, stargan_v2
from jaxgan.systems.stargan_v2 import step as step_lib

Tree = Any
Metrics = Mapping[str, float]
Job = dict[str, Any]  # arguments of one of `_JOBS_BY_NAME`, and its name: 'do'

MEASURED = ('traffic', 'time', 'checkpoint')
_DEFAULTS = {  # topologies, steps
  'cost': (('1x1', '1x2', '1x4', '1x8'), 20),
  'agreement': (('1x1', '1x8', '2x4', '4x2'), 50),
}
_WARMUP = 2
_PREFIX = 'bits/'  # of the sums among the metrics
_FACTOR = 1_327_217_885  # odd
_COLLECTIVES = (
  *('all-reduce', 'all-gather', 'reduce-scatter'),
  *('all-to-all', 'collective-permute'),
)

_CONFIG = config_flag.define('What to train.')
_WHAT = flags.DEFINE_enum('what', 'cost', list(_DEFAULTS), 'What is looked at.')
_WORKDIR = cli.define_path('workdir', None, 'Where runs are kept.')
_TOPOLOGIES = cli.define_names(
  'topologies', None, 'Compared with the first; default as above.'
)
_DIVIDED = flags.DEFINE_bool(
  'divided', True, 'Also with config.shard_state, but for the first.'
)
_MEASURE = cli.define_names('measure', list(MEASURED), 'What of the cost.')
_STEPS = cli.define_integer(
  'steps', None, 'Timed, by default 20, or in float32, by default 50.', 1
)
_FLOAT64_STEPS = cli.define_integer('float64_steps', 15, 'In float64.', 1)
_JOBS = flags.DEFINE_string(
  'jobs', '', 'What this process does; set by itself.'
)
_given_processes = cli.define_process_flags()
flags.mark_flag_as_required('config')


class Topology(NamedTuple):
  """Where a run is trained, and how its state lies there."""

  processes: int
  devices: int  # of each process
  divided: bool

  @property
  def name(self) -> str:
    """As in the table, and of its directory."""
    return f'{self.processes}x{self.devices}' + '_divided' * self.divided


def main() -> None:
  """Looks at all topologies; or does what another such process asks."""
  config = _CONFIG.value
  if _JOBS.value:
    with processes.joined(*_given_processes()):
      for job in json.loads(_JOBS.value):
        do = _JOBS_BY_NAME[job.pop('do')]
        do(config.copy_and_resolve_references(), **job)
    return
  common.exit_when_terminated()
  default, steps = _DEFAULTS[_WHAT.value]
  topologies = _parse(_TOPOLOGIES.value or default, config.batch_size)
  steps = _STEPS.value or steps
  if _WHAT.value == 'cost':
    common.print_records(_measure_all(topologies, steps))
  else:
    directory = epath.Path(cli.required(_WORKDIR))
    workdir.prepare(directory)
    _train_all(directory, topologies, steps)
    runs = {t.name: _read(directory, topologies, t) for t in topologies}
    common.print_records(compare(runs))
    draw_curves(directory / 'agreement.png', runs)


def _parse(texts: Sequence[str], batch_size: int) -> list[Topology]:
  topologies = []
  for text in texts:
    count, _, devices = text.partition('x')
    if not (count.isdigit() and devices.isdigit()):
      raise errors.UsageError(f'--topologies: {text} is not of the form 2x4')
    total = int(count) * int(devices)
    if not total or batch_size % total:
      raise errors.UsageError(
        f'--topologies: batch_size {batch_size} cannot be divided among {text} '
        'devices'
      )
    topologies.append(Topology(int(count), int(devices), False))
  if _DIVIDED.value:
    topologies += [t._replace(divided=True) for t in topologies[1:]]
  return topologies


def _run(
  topology: Topology,
  jobs: Sequence[Job],
  output: IO[str],
  environment: Mapping[str, str],
) -> None:
  """Does jobs in processes of a topology, which print to `output`."""
  command = [
    *(sys.executable, '-m', 'benchmarks.scaling'),
    *common.config_arguments(),
    f'--jobs={json.dumps(jobs)}',
  ]
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  joining = (
    f'--coordinator={address}',
    f'--num_processes={topology.processes}',
  )
  devices = {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(topology.devices),
  }
  children = []
  try:
    for i in range(topology.processes):
      numbered = (*joining, f'--process_id={i}') * (topology.processes > 1)
      children.append(
        subprocess.Popen(
          [*command, *numbered],
          cwd=common.ROOT,
          env={**os.environ, **devices, **environment},
          stdout=output,
          stderr=output,
        )
      )
    statuses = [child.wait() for child in children]
  finally:
    for child in children:
      child.kill()
  if any(statuses):
    raise errors.UserError(
      f'{topology.name} ended with {statuses}: see {output.name}'
    )


def _measure_all(
  topologies: Sequence[Topology], steps: int
) -> Iterator[dict[str, Any]]:
  """A record of the cost of each."""
  measure, most = _MEASURE.value, max(t.devices for t in topologies)
  if not measure or set(measure) - set(MEASURED):
    raise errors.UsageError(
      f'--measure={",".join(measure)}: {", ".join(MEASURED)}'
    )
  for t in topologies:
    if t.processes > 1 or most % t.devices:
      raise errors.UsageError(
        f'--topologies: the cost of {t.name} cannot be measured: it must be of '
        f'one process, and divide the most devices, {most}'
      )
  common.set_num_domains(_CONFIG.value)
  with tempfile.TemporaryDirectory() as directory:
    for t in topologies:
      out = f'{directory}/{t.name}.json'
      job = {'measure': measure, 'divided': t.divided, 'steps': steps}
      job |= {'do': 'measure', 'most': most, 'out': out}
      _run(t, [job], sys.stderr, {})
      yield json.loads(pathlib.Path(out).read_text())


def _measure(
  config: ml_collections.ConfigDict,
  measure: Sequence[str],
  most: int,
  divided: bool,
  steps: int,
  out: str,
) -> None:
  """Writes the record of all devices of this process."""
  host.keep_freed_memory()  # as the training loop does
  common.set_num_domains(config)
  config.shard_state = divided
  step = _Step(config)
  record = {
    'devices': jax.device_count(),
    'state': 'divided' if divided else 'replicated',
    'batch': config.batch_size,
    'px': config.data.img_size,
    'state MB a device': round(step.state_bytes() / 1e6, 4),
  }
  timed = 'time' in measure
  if timed or 'traffic' in measure:
    compiled = step.compile(None if timed else common.NOT_TO_BE_RUN)
  if 'traffic' in measure:
    record |= describe_traffic(compiled.as_text())
  if timed:
    record['ms strong'] = round(step.time(compiled, steps), 1)
    config.batch_size = config.batch_size // most * jax.device_count()
    weak = _Step(config)
    record['ms weak'] = round(weak.time(weak.compile(None), steps), 1)
  if 'checkpoint' in measure:
    record |= _time_checkpoint(step)
  pathlib.Path(out).write_text(json.dumps(record))


class _Step:
  """The training step on all devices, as the loop compiles it."""

  def __init__(self, config: ml_collections.ConfigDict):
    """Allocates nothing."""
    self._program = common.build(config)
    self._batch = common.example_batch(config)
    self._mesh = sharding.create_mesh(config.batch_size)
    self._key = jax.random.key(config.seed)
    shapes = jax.eval_shape(self._program.init, self._key)
    self._shardings = sharding.state_shardings(
      shapes, self._mesh, divided=config.shard_state
    )
    self.shapes = sharding.abstract(shapes, self._shardings)

  def state_bytes(self) -> int:
    """What one device holds of the state."""
    return sum(
      math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
      for x in jax.tree.leaves(self.shapes)
    )

  def compile(self, options: dict[str, Any] | None) -> jax.stages.Compiled:
    """For the devices, of which nothing is asked."""
    everywhere = sharding.replicated(self._mesh)
    step = common.jit_step(
      self._program, out_shardings=(self._shardings, everywhere)
    )
    by_slot = sharding.batch_sharding(self._mesh)
    return step.lower(
      self.shapes,
      common.abstract(self._program.frozen, everywhere),
      common.abstract(self._batch, by_slot),
      common.abstract(jax.eval_shape(lambda: self._key), everywhere),
    ).compile(options)

  def create_state(self) -> Tree:
    """A fresh one, on the devices."""
    init = jax.jit(self._program.init, out_shardings=self._shardings)
    return jax.block_until_ready(init(self._key))

  def time(self, compiled: jax.stages.Compiled, steps: int) -> float:
    """Milliseconds of a step, the median."""
    state = self.create_state()
    frozen, rng = sharding.replicate(
      (self._program.frozen, self._key), self._mesh
    )
    batch = jax.device_put(self._batch, sharding.batch_sharding(self._mesh))
    ms = []
    for _ in range(_WARMUP + steps):
      start = time.perf_counter()
      state, _ = compiled(state, frozen, batch, rng)
      jax.block_until_ready(state)
      ms.append(1e3 * (time.perf_counter() - start))
    return statistics.median(ms[_WARMUP:])


def describe_traffic(program: str) -> dict[str, Any]:
  """Columns for the collective operations of a compiled program.

  Bytes are of what an operation gives to one device. It is each counted once:
  a loop (config.micro_batches) would repeat it.
  """
  counts, sizes = dict.fromkeys(_COLLECTIVES, 0), dict.fromkeys(_COLLECTIVES, 0)
  pattern = rf' = (.*?) ({"|".join(_COLLECTIVES)})\('
  for shapes, name in re.findall(pattern, program):
    counts[name] += 1
    sizes[name] += sum(
      _item_size(dtype) * math.prod(map(int, filter(None, dims.split(','))))
      for dtype, dims in re.findall(r'(\w+)\[([\d,]*)\]', shapes)
    )
  columns = {}
  for name in _COLLECTIVES:
    columns[f'{name} MB'] = round(sizes[name] / 1e6, 4)
    columns[f'{name}s'] = counts[name]
  return columns


def _item_size(dtype: str) -> int:
  """Bytes of a type as XLA writes it: bf16, s32, pred."""
  return int(re.sub(r'\D', '', dtype) or 8) // 8


def _time_checkpoint(step: _Step) -> dict[str, Any]:
  """Writes and reads a fresh state."""
  state = step.create_state()
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory) / 'checkpoints'
    start = time.perf_counter()
    checkpointer = checkpoint.Checkpointer(root)
    checkpointer.save(1, state, {})
    checkpointer.close()
    saved = time.perf_counter()
    size = sum(p.stat().st_size for p in root.rglob('*') if p.is_file())
    del state
    reading = time.perf_counter()
    checkpointer = checkpoint.Checkpointer(root, read_only=True)
    jax.block_until_ready(checkpointer.restore(step.shapes))
    checkpointer.close()
    return {
      'checkpoint MB': round(size / 1e6, 2),
      'write s': round(saved - start, 2),
      'read s': round(time.perf_counter() - reading, 2),
    }


def _train_all(
  directory: epath.Path, topologies: Sequence[Topology], steps: int
) -> None:
  """Does what is left to do of all runs."""
  # A job compiles what another one of these has.
  environment = {'JAX_COMPILATION_CACHE_DIR': str(directory / 'compiled')}
  for plan in (_first_jobs, _later_jobs):
    for topology in topologies:
      jobs = plan(directory, topologies, topology, steps)
      jobs = [job for job in jobs if not _is_done(job)]
      if not jobs:
        continue
      names = ', '.join(epath.Path(job['path']).name for job in jobs)
      print(f'{topology.name}: {names} ...', file=sys.stderr, flush=True)
      with open(directory / f'{topology.name}.log', 'a') as log:
        _run(topology, jobs, log, environment)


def _first_jobs(
  directory: epath.Path,
  topologies: Sequence[Topology],
  topology: Topology,
  steps: int,
) -> list[Job]:
  """Runs from the seed."""
  del topologies
  own = {'shard_state': topology.divided, 'log_every_steps': 1}
  own |= dict.fromkeys(('sample_every_steps', 'checkpoint_every_steps'), 10**6)
  slow = {'optim.lr': 1e-4, 'optim.f_lr': 1e-4}
  jobs = []
  # float64 last, which a process does not go back from.
  for dtype, count, rates in (
    ('float32', steps, {}),
    ('float64', _FLOAT64_STEPS.value, slow),
  ):
    run = {'model.dtype': dtype, 'num_train_steps': count, **rates}
    path = str(directory / topology.name / dtype)
    jobs.append({'do': 'train', 'path': path, 'settings': own | run})
  return jobs


def _later_jobs(
  directory: epath.Path,
  topologies: Sequence[Topology],
  topology: Topology,
  steps: int,
) -> list[Job]:
  """One more step from each checkpoint, and the scores of the first."""
  (job, _) = _first_jobs(directory, topologies, topology, steps)
  job['settings']['num_train_steps'] += 1

  def copy(writer: Topology, name: str) -> str:
    target = directory / topology.name / name
    if not target.exists():
      shutil.copytree(directory / writer.name / 'float32', target)
    return str(target)

  jobs = [job | {'path': copy(t, f'from_{t.name}')} for t in topologies]
  return [*jobs, {'do': 'score', 'path': copy(topologies[0], 'scored')}]


def _is_done(job: Job) -> bool:
  path = epath.Path(job['path'])
  if job['do'] == 'score':
    return bool(list(path.glob('eval/*.json')))
  last = path / 'checkpoints' / str(job['settings']['num_train_steps'])
  return (last / 'sha256sums.txt').exists()


def _score(config: ml_collections.ConfigDict, path: str) -> None:
  del config
  evaluation.evaluate_run(path)


def _train(
  config: ml_collections.ConfigDict, path: str, settings: Mapping[str, Any]
) -> None:
  config.update_from_flattened_dict(settings)
  with mock.patch.object(stargan_v2, 'train_step', _train_step_with_sums):
    loop.train(config, path)


_JOBS_BY_NAME = {'measure': _measure, 'score': _score, 'train': _train}


def _train_step_with_sums(
  model: Any, state: Tree, frozen: Tree, batch: Mapping, rng: jax.Array
) -> tuple[Tree, dict[str, jax.Array]]:
  """The training step, with sums of what it sees and draws as metrics."""
  seen = {}
  inputs = batch
  if jax.config.jax_enable_x64:
    # R1 differentiates by the images, in their precision.
    inputs = {
      key: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
      for key, x in batch.items()
    }

  def update(model, state, frozen, drawn, rng):
    seen.update(drawn)
    return step_update(model, state, frozen, drawn, rng)

  step_update = step_lib.update
  with mock.patch.object(step_lib, 'update', update):
    state, metrics = step_lib.train_step(model, state, frozen, inputs, rng)
  seen |= batch  # as it was fed
  sums = {_PREFIX + name: _sum_of_bits(x) for name, x in seen.items()}
  return state, metrics | sums


def _sum_of_bits(x: jax.Array) -> jax.Array:
  """uint32: another one for any other value in any one place."""
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32).reshape(-1)
  # Odd weights: what differs in one place cannot come out the same.
  weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) * _FACTOR + 1
  return jnp.sum(bits * weights, dtype=jnp.uint32)


class Run(NamedTuple):
  """What a topology has come to."""

  float32: list[Metrics]  # of each step
  float64: list[Metrics]
  params: np.ndarray  # after the float64 steps, all in one row
  resumed: dict[str, Metrics]  # of the step after, by writer
  scores: Metrics


def _read(
  directory: epath.Path, topologies: Sequence[Topology], topology: Topology
) -> Run:
  root = directory / topology.name
  (evaluated,) = (root / 'scored').glob('eval/*.json')
  records = json.loads(evaluated.read_text())['scores']
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  run = contract.open_run(root / 'float64', placement)
  leaves = jax.tree.leaves(run.state.params)
  return Run(
    list(workdir.read_metrics(root / 'float32')),
    list(workdir.read_metrics(root / 'float64')),
    np.concatenate([np.ravel(leaf) for leaf in leaves]),
    {
      t.name: list(workdir.read_metrics(root / f'from_{t.name}'))[-1]
      for t in topologies
    },
    {r['name']: r['value'] for r in records if r['value'] is not None},
  )


def compare(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
  """A record of each run, compared with the first."""
  first, *_ = runs.values()
  return [
    {
      'processes x devices': name.replace('_', ', '),
      'images': _same_bits(run, first, ('x_', 'y_')),
      'z': _same_bits(run, first, ('z_',)),
      'losses, float64': max(map(_difference, run.float64, first.float64)),
      'parameters, float64': float(np.abs(run.params - first.params).max()),
      'losses, one step': max(
        _difference(run.resumed[w], first.resumed[w]) for w in runs
      ),
      'resumed': f'{len(run.resumed)} of {len(runs)}',
      'scores': _difference(run.scores, first.scores),
      'losses, free run': _difference(run.float32[-1], first.float32[-1]),
    }
    for name, run in runs.items()
  ]


def _same_bits(run: Run, first: Run, names: tuple[str, ...]) -> str:
  """Of all steps in either precision, and those after a resumption."""
  starts = tuple(_PREFIX + name for name in names)
  keys = [key for key in first.float32[0] if key.startswith(starts)]
  same = [
    all(a[key] == b[key] for key in keys)
    for a, b in (
      *zip(run.float32, first.float32, strict=True),
      *zip(run.float64, first.float64, strict=True),
      *((run.resumed[w], first.resumed[w]) for w in first.resumed),
    )
  ]
  return f'{sum(same)} of {len(same)} steps'


def _difference(a: Metrics, b: Metrics) -> float:
  """The largest relative one of all but the sums of bits."""
  return max(
    abs(a[key] - b[key]) / max(abs(b[key]), 1e-12)
    for key in b
    if not key.startswith(_PREFIX)
  )


def draw_curves(path: epath.Path, runs: Mapping[str, Run]) -> None:
  """The largest relative difference of a loss of the free runs, by step."""
  (base, first), *others = runs.items()

  def draw(title: str, panel: Any) -> dict[str, Any]:
    del title
    lines = {}
    for name, run in others:
      differences = list(map(_difference, run.float32, first.float32))
      steps = range(1, 1 + len(differences))
      (line,) = panel.semilogy(steps, differences)
      lines[name.replace('_', ', ')] = line
    return lines

  title = f'difference of a loss from {base}'
  common.write_panels(path, [title], draw)


if __name__ == '__main__':
  cli.run(main, sys.argv)
