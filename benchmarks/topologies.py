"""Compares what one global batch is trained to on different devices.

  python -m benchmarks.topologies --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--topologies=1x1,1x8,2x4,4x2] [--steps=50] \\
    [--float64_steps=15] [--divided] [--config.x=...]

A topology is PROCESSES x DEVICES, on virtual CPU devices, the processes joined
over loopback. Each trains the config from its seed through the loop of
train.py, in processes of its own: --steps in float32, then --float64_steps in
float64 with both learning rates 1e-4; with --divided each again with
config.shard_state. Then each resumes the checkpoint of every other for one more
step, and scores that of the first. It prints a Markdown table, a row for each,
compared with the first topology:

  images, z: whether the batches and latents that every step saw are the same,
    bit for bit: sums of their bits, weighted by place, taken inside the step
  losses, parameters in float64: the largest relative and absolute difference
  one step: the largest relative difference of the losses of a float32 step
    from the same checkpoint, over all checkpoints
  resumed: how many of the others' checkpoints it has gone on from
  scores: the largest relative difference in evaluating the same checkpoint
  free run: the same of losses in float32 at the last step. Adam with beta1 = 0
    steps by signs, which rounding turns where a gradient is next to nothing:
    such runs part, and topologies.png (where matplotlib is installed) shows how
    soon.

The last line is the table as JSON. What is done is not done again: the same
command goes on where it was stopped.
"""

import importlib.util
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks import common
from jaxgan import evaluation, loop
from jaxgan.runtime import cli, errors, processes
from jaxgan.systems import contract, stargan_v2
from jaxgan.systems.stargan_v2 import step as step_lib

Tree = Any

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the runs are kept.')
_TOPOLOGIES = flags.DEFINE_list(
  'topologies', ['1x1', '1x8', '2x4', '4x2'], 'Compared with the first.'
)
_STEPS = flags.DEFINE_integer('steps', 50, 'In float32.', 1)
_FLOAT64_STEPS = flags.DEFINE_integer('float64_steps', 15, 'In float64.', 1)
_DIVIDED = flags.DEFINE_bool(
  'divided', True, 'Also with config.shard_state, but for the first.'
)
_JOBS = flags.DEFINE_string(
  'jobs', '', 'What this process does; set by itself.'
)
_given_processes = cli.define_process_flags()
flags.mark_flags_as_required(['config', 'workdir'])

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PREFIX = 'bits/'  # of the sums among the metrics
_FACTOR = 1_327_217_885  # odd


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
  """Trains, compares and prints; or does what another such process asks."""
  if _JOBS.value:
    with processes.joined(*_given_processes()):
      for job in json.loads(_JOBS.value):
        _do(_CONFIG.value.copy_and_resolve_references(), **job)
    return
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends its children
  topologies = _parse()
  directory = pathlib.Path(_WORKDIR.value)
  directory.mkdir(parents=True, exist_ok=True)
  for topology in topologies:
    _run(topology, _first_jobs(directory, topology))
  for topology in topologies:
    _run(topology, _later_jobs(directory, topologies, topology))
  runs = {t.name: _read(directory, topologies, t) for t in topologies}
  common.print_records(compare(runs))
  if importlib.util.find_spec('matplotlib') is not None:
    (directory / 'topologies.png').write_bytes(draw_curves(runs))


def _parse() -> list[Topology]:
  topologies = []
  for text in _TOPOLOGIES.value:
    count, _, devices = text.partition('x')
    if not (count.isdigit() and devices.isdigit()):
      raise errors.UsageError(f'--topologies: {text} is not of the form 2x4')
    total = int(count) * int(devices)
    if not total or _CONFIG.value.batch_size % total:
      raise errors.UsageError(
        f'--topologies: batch_size {_CONFIG.value.batch_size} cannot be '
        f'divided among {text} devices'
      )
    topologies.append(Topology(int(count), int(devices), False))
  if _DIVIDED.value:
    topologies += [t._replace(divided=True) for t in topologies[1:]]
  return topologies


def _first_jobs(
  directory: pathlib.Path, topology: Topology
) -> list[dict[str, Any]]:
  """Runs from the seed; float64 last, which a process does not go back from."""
  settings = {
    'shard_state': topology.divided,
    'log_every_steps': 1,
    'sample_every_steps': 10**6,
    'checkpoint_every_steps': 10**6,
  }
  root = directory / topology.name
  steps = {'float32': _STEPS.value, 'float64': _FLOAT64_STEPS.value}
  return [
    {
      'workdir': str(root / dtype),
      'settings': settings
      | {'model.dtype': dtype, 'num_train_steps': count}
      | ({'optim.lr': 1e-4, 'optim.f_lr': 1e-4} if dtype == 'float64' else {}),
    }
    for dtype, count in steps.items()
  ]


def _later_jobs(
  directory: pathlib.Path, topologies: Sequence[Topology], topology: Topology
) -> list[dict[str, Any]]:
  """One more step from each checkpoint, and the scores of the first."""
  (job, _), jobs = _first_jobs(directory, topology), []
  job['settings']['num_train_steps'] += 1
  for writer in topologies:
    source = directory / writer.name / 'float32'
    target = directory / topology.name / f'from_{writer.name}'
    if not target.exists():
      shutil.copytree(source, target)
    jobs.append(job | {'workdir': str(target)})
  scored = directory / topology.name / 'scored'
  if not scored.exists():
    shutil.copytree(directory / topologies[0].name / 'float32', scored)
  return [*jobs, {'workdir': str(scored), 'settings': None}]


def _run(topology: Topology, jobs: Sequence[Mapping[str, Any]]) -> None:
  """Does jobs in processes of a topology, if they are not done."""
  jobs = [job for job in jobs if not _is_done(job)]
  if not jobs:
    return
  names = ', '.join(pathlib.Path(job['workdir']).name for job in jobs)
  print(f'{topology.name}: {names} ...', file=sys.stderr, flush=True)
  command = [
    *(sys.executable, '-m', 'benchmarks.topologies'),
    *common.config_arguments(),
    f'--workdir={_WORKDIR.value}',
    f'--jobs={json.dumps(jobs)}',
  ]
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  log = pathlib.Path(jobs[0]['workdir']).parent.with_suffix('.log')
  children = []
  with open(log, 'a') as output:
    try:
      for i in range(topology.processes):
        joining = (
          f'--coordinator={address}',
          f'--num_processes={topology.processes}',
          f'--process_id={i}',
        )
        children.append(
          subprocess.Popen(
            [*command, *joining * (topology.processes > 1)],
            cwd=_ROOT,
            env={
              **os.environ,
              'JAX_PLATFORMS': 'cpu',
              'JAX_NUM_CPU_DEVICES': str(topology.devices),
              # A job compiles what another one of these has.
              'JAX_COMPILATION_CACHE_DIR': f'{_WORKDIR.value}/compiled',
            },
            stdout=output,
            stderr=output,
          )
        )
      statuses = [child.wait() for child in children]
    finally:
      for child in children:
        child.kill()
  if any(statuses):
    raise errors.UserError(f'{topology.name} ended with {statuses}: see {log}')


def _is_done(job: Mapping[str, Any]) -> bool:
  path = pathlib.Path(job['workdir'])
  if job['settings'] is None:
    return bool(list(path.glob('eval/*.json')))
  last = path / 'checkpoints' / str(job['settings']['num_train_steps'])
  return (last / 'sha256sums.txt').exists()


def _do(
  config: ml_collections.ConfigDict,
  workdir: str,
  settings: Mapping[str, Any] | None,
) -> None:
  """Trains, or scores where there are no settings to train with."""
  if settings is None:
    evaluation.evaluate_run(workdir)
    return
  config.update_from_flattened_dict(settings)
  with mock.patch.object(stargan_v2, 'train_step', _train_step_with_sums):
    loop.train_and_evaluate(config, workdir)


def _train_step_with_sums(
  state: Tree, frozen: Tree, batch: Mapping, rng: jax.Array, **static
) -> tuple[Tree, dict[str, jax.Array]]:
  """The training step, with sums of what it sees and draws as metrics."""
  drawn = []
  inputs = batch
  if jax.config.jax_enable_x64:
    # R1 differentiates by the images, in their precision.
    inputs = {
      key: x.astype(jnp.float64) if x.dtype == jnp.float32 else x
      for key, x in batch.items()
    }

  def update(state, frozen, batch, z_trg, z_trg2, **static):
    drawn.extend((z_trg, z_trg2))
    return step_update(state, frozen, batch, z_trg, z_trg2, **static)

  step_update = step_lib.update
  with mock.patch.object(step_lib, 'update', update):
    state, metrics = step_lib.train_step(state, frozen, inputs, rng, **static)
  seen = {**batch, **dict(zip(('z_trg', 'z_trg2'), drawn, strict=True))}
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

  float32: list[dict[str, float]]  # the metrics of each step
  float64: list[dict[str, float]]
  params: np.ndarray  # after the float64 steps, all in one row
  resumed: dict[str, dict[str, float]]  # by writer: metrics of the step after
  scores: dict[str, float]


def _read(
  directory: pathlib.Path, topologies: Sequence[Topology], topology: Topology
) -> Run:
  root = directory / topology.name
  (evaluated,) = (root / 'scored').glob('eval/*.json')
  records = json.loads(evaluated.read_text())['scores']
  placement = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  run = contract.restore_run(root / 'float64', placement)
  leaves = jax.tree.leaves(run.state.params)
  return Run(
    _metrics(root / 'float32'),
    _metrics(root / 'float64'),
    np.concatenate([np.ravel(leaf) for leaf in leaves]),
    {t.name: _metrics(root / f'from_{t.name}')[-1] for t in topologies},
    {r['name']: r['value'] for r in records if r['value'] is not None},
  )


def _metrics(workdir: pathlib.Path) -> list[dict[str, float]]:
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


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
  keys = [
    key
    for key in first.float32[0]
    if key.startswith(tuple(_PREFIX + name for name in names))
  ]
  same = [
    all(a[key] == b[key] for key in keys)
    for a, b in (
      *zip(run.float32, first.float32, strict=True),
      *zip(run.float64, first.float64, strict=True),
      *((run.resumed[w], first.resumed[w]) for w in first.resumed),
    )
  ]
  return f'{sum(same)} of {len(same)} steps'


def _difference(a: Mapping[str, float], b: Mapping[str, float]) -> float:
  """The largest relative one of all but the sums of bits."""
  return max(
    abs(a[key] - b[key]) / max(abs(b[key]), 1e-12)
    for key in b
    if not key.startswith(_PREFIX)
  )


def draw_curves(runs: Mapping[str, Run]) -> bytes:
  """PNG: how far the losses of the free runs are from those of the first."""
  from matplotlib import figure  # here alone: all else does without it

  (base, first), *others = runs.items()
  fig = figure.Figure(figsize=(6, 3.5), layout='constrained')
  panel = fig.subplots()
  for name, run in others:
    differences = list(map(_difference, run.float32, first.float32))
    steps = range(1, 1 + len(differences))
    panel.semilogy(steps, differences, label=name.replace('_', ', '))
  panel.set_xlabel('step, float32')
  panel.set_ylabel(f'largest relative difference\nof a loss from {base}')
  panel.grid(alpha=0.3)
  panel.legend(fontsize='small')
  buffer = io.BytesIO()
  fig.savefig(buffer, format='png', dpi=110)
  return buffer.getvalue()


if __name__ == '__main__':
  cli.run(main, sys.argv)
