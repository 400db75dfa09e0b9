"""Hurts trainings as real ones are hurt, and looks what is lost.

  python -m tests.endurance.faults [--only=kill,disk] [--kills=30] [--seed=0]

trains small runs through train.py, on the CPU. It hurts them, resumes them, and
compares what they end as with a run that nothing has happened to: every array
of the last checkpoint and every line of metrics.jsonl, bit for bit. It prints a
Markdown table, a row for each fault, and, as the last line of stdout, the same
as JSON. "Lost" is what had to be done again.

Exit status 1: something was lost that should not be, or --minutes were over.
--verbosity=0 tells of each try. With --workdir=DIR all files are kept, and what
an earlier call has left there, programs and undisturbed runs, is used again.
"""

import collections
import contextlib
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax
import jax
import numpy as np
from absl import flags, logging
from etils import epath
from PIL import Image

from benchmarks import common
from jaxgan.runs import checkpoint, workdir
from jaxgan.runtime import cli, errors
from tests.endurance import trainings
from tests.endurance.trainings import EVERY, Bench, Lost, Training

_SEED = flags.DEFINE_integer('seed', 0, 'Of the moments and the damage.')
_KILLS = flags.DEFINE_integer('kills', 30, 'How often to send SIGKILL.', 1)
_STEPS = flags.DEFINE_integer('steps', 100, 'Of a run.', 50)
_ONLY = flags.DEFINE_list('only', [], 'Some of the faults, by name.')
_MINUTES = flags.DEFINE_float('minutes', 120, 'No training starts after these.')
_WORKDIR = flags.DEFINE_string('workdir', '', 'Where to keep all files.')

_TIMEOUT = 5  # config.data.timeout, for a file that does not answer
_SAMPLES = 5  # files of a step
# Of metrics.jsonl, history.jsonl or events: the last block of one has room.
_NO_ROOM_FOR_RECORDS = (
  r'(No space left on device: .*(metrics|history)\.jsonl|'
  r'TensorBoard events: .*No space left on device)'
)
_DISK = 48  # MB; the report of a run takes 5, and 5 while it is written

# What a start prints, one after the other.
_STARTING = ('', '^discriminator:', '^compiling', '^compiled')

# Runs a script; in the steps of the first argument one loss and all networks
# become NaN.
_BREAKING = """
import runpy, sys
import jax
import jax.numpy as jnp
import numpy as np
from jaxgan.systems import stargan_v2

steps = np.array([int(step) for step in sys.argv[1].split(',')])
train_step = stargan_v2.train_step

def breaking(model, state, frozen, batch, rng):
  state, metrics = train_step(model, state, frozen, batch, rng)
  now = (state.step == steps).any()
  spoil = lambda x: jnp.where(now, jnp.nan, x)
  metrics['D/latent_real'] = spoil(metrics['D/latent_real'])
  return state.replace(params=jax.tree.map(spoil, state.params)), metrics

stargan_v2.train_step = breaking
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name='__main__')
"""

# Runs a script for which images do not answer, as on a file system that hangs,
# as long as there is a marker beside them.
_FREEZING = """
import os, runpy, sys, threading
from jaxgan.data import sources

read_file = sources.read_file

def freezing(path):
  if os.path.exists(f'{path}.frozen'):
    threading.Event().wait()
  return read_file(path)

sources.read_file = freezing
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


class Unavailable(Exception):
  """A fault that cannot be made here, and why."""


class Row:
  """What became of the tries of a fault."""

  def __init__(self, title: str):
    self.tries = self.survived = 0
    self.lost = 'nothing'
    self._title = title
    self._failures: list[str] = []

  def count(self, tries: int, failure: str = '') -> None:
    """Counts tries that have stood, or fallen, together."""
    self.tries += tries
    if failure:
      self.fail(failure)
    else:
      self.survived += tries

  def fail(self, reason: str) -> None:
    """Notes what went wrong; its first line comes into the table."""
    logging.warning('%s: %s', self._title, reason)
    self._failures.append(reason.partition('\n')[0])

  @contextlib.contextmanager
  def trying(self, what: str) -> Iterator[None]:
    """Inside is one try."""
    logging.info('%s: %s', self._title, what)
    try:
      yield
    except Lost as e:
      self.count(1, f'{what}: {e}')
    else:
      self.count(1)

  @property
  def failed(self) -> bool:
    """Whether something was lost that should not be."""
    return bool(self._failures)

  def record(self) -> dict[str, Any]:
    """A line of the table."""
    return {
      'fault': self._title,
      'tries': self.tries,
      'survived': self.survived,
      'lost': '; '.join(self._failures) or self.lost,
    }


def kill(bench: Bench, row: Row) -> None:
  """Kills a run again and again until it is done, then another one."""
  rng, undisturbed = bench.rng('kill'), bench.undisturbed('shapes')
  moments = itertools.cycle(
    ('checkpoint', 'start', 'metrics', 'step', 'seal', 'sample')
  )
  again, during = [0], collections.Counter()
  while row.tries < _KILLS.value:
    path, kills, done = bench.new('kill'), 0, 0
    try:
      while row.tries + kills < _KILLS.value:
        training = bench.train(path)
        if not _reaches_moment(training, path, next(moments), rng):
          break
        training.kill()
        kills += 1
        if training.says('^compiling'):
          again.append(done - training.resumed())
          done = trainings.last_step(path)
        during['in a checkpoint'] += _is_writing(path)
        during['before its sums'] += _is_unsealed(path)
        logging.info('kill %d: step %d', row.tries + kills, done)
      training = bench.train(path)
      training.finish()
      again.append(done - training.resumed())
      trainings.compare(path, undisturbed, bench.steps)
    except Lost as e:
      row.count(max(kills, 1), str(e))
    else:
      row.count(kills)
  hit = ', '.join(f'{count} died {where}' for where, count in during.items())
  row.lost = (
    f'{sum(again)} steps, at most {max(again)} at a time (a checkpoint every '
    f'{EVERY}); {hit}'
  )


def _reaches_moment(
  training: Training, path: pathlib.Path, moment: str, rng: random.Random
) -> bool:
  """Waits until it is time to kill; whether there is anything to kill then."""
  steps, part, mark = rng.randint(1, 5), rng.random(), rng.choice(_STARTING)
  if moment == 'start':
    most, happened = 1.0, lambda: training.says(mark)
  else:
    metrics = path / 'metrics.jsonl'
    if not training.reaches(lambda: training.steps() >= steps):
      return False
    size = metrics.stat().st_size
    most, happened = {  # seconds after what has happened
      'step': (3.0, lambda: True),
      'metrics': (0.001, lambda: metrics.stat().st_size > size),
      'checkpoint': (0.3, lambda: _is_writing(path)),
      'seal': (0.01, lambda: _is_unsealed(path)),
      'sample': (0.05, lambda: _is_sampling(path)),
    }[moment]
  if not training.reaches(happened):
    return False
  time.sleep(part * most)
  return training.lives()


def _is_writing(path: pathlib.Path) -> bool:
  """Whether a checkpoint was begun and is not committed."""
  found = trainings.names(path / 'checkpoints')
  return not all(name.isdigit() for name in found)


def _is_unsealed(path: pathlib.Path) -> bool:
  """Whether the last checkpoint is committed, but has no sums yet."""
  steps = trainings.kept(path)
  if not steps:
    return False
  found = trainings.names(path / 'checkpoints' / str(steps[-1]))
  return 'sha256sums.txt' not in found


def _is_sampling(path: pathlib.Path) -> bool:
  """Whether the last samples are not all written."""
  last = max(trainings.names(path / 'samples'), key=int, default='none')
  return 0 < len(trainings.names(path / 'samples' / last)) < _SAMPLES


def term(bench: Bench, row: Row) -> None:
  """Asks a run to stop while it compiles, and later."""
  rng, path = bench.rng('term'), bench.new('term')
  undisturbed = bench.undisturbed('shapes')
  for steps in (0, *(rng.randint(1, 9) for _ in range(3))):
    with row.trying(f'after {steps} steps'):
      training = bench.train(path)
      training.reach_line('^compiling')
      training.reach_step(steps)
      time.sleep(rng.random() / 2)
      training.send(signal.SIGTERM)
      _stopped_at(training.finish(), path)
  with row.trying('the end'):
    bench.train(path).finish()
    trainings.compare(path, undisturbed, bench.steps)


def _stopped_at(output: str, path: pathlib.Path) -> int:
  """The step of SIGTERM; Lost if there is no checkpoint of it."""
  found = re.search(r'^stopped by SIGTERM: step (\d+) of', output, re.M)
  if not found or trainings.kept(path)[-1:] != [int(found[1])]:
    raise Lost(f'no checkpoint of the step of SIGTERM\n{output[-3000:]}')
  return int(found[1])


def term_two(bench: Bench, row: Row) -> None:
  """Asks one of two processes, which divide the state, to stop."""
  with row.trying('process 1 of 2 gets SIGTERM'):
    undisturbed, path = bench.new('undisturbed_two'), bench.new('two')
    _train_two(bench, undisturbed)
    step = _stopped_at(_train_two(bench, path, stop_after=2), path)
    found = trainings.names(path / 'checkpoints' / str(step) / 'state')
    parts = [name for name in found if name.startswith('ocdbt.process_')]
    if len(parts) != 2:
      raise Lost(f'of two processes, {parts} have saved step {step}')
    _train_two(bench, path)
    trainings.compare(path, undisturbed, 4 * EVERY)


def _train_two(bench: Bench, path: pathlib.Path, stop_after: int = 0) -> str:
  """What process 0 says; process 1 may get SIGTERM after so many steps."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  first, second = (
    bench.train(
      path,
      f'--coordinator={address}',
      '--num_processes=2',
      f'--process_id={i}',
      shard_state=True,
      num_train_steps=4 * EVERY,
    )
    for i in (0, 1)
  )
  if stop_after:
    first.reach_step(stop_after)
    second.send(signal.SIGTERM)
  output = first.finish()
  second.finish()
  return output


def flip(path: pathlib.Path, rng: random.Random) -> None:
  """Flips a bit."""
  data = bytearray(path.read_bytes())
  data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
  path.write_bytes(data)


def truncate(path: pathlib.Path, rng: random.Random) -> None:
  """Takes the end away."""
  data = path.read_bytes()
  path.write_bytes(data[: rng.randrange(len(data))])


def empty(path: pathlib.Path, rng: random.Random) -> None:
  """Leaves nothing."""
  del rng
  path.write_bytes(b'')


def damage(bench: Bench, row: Row) -> None:
  """Damages the newest checkpoint of a run, which then goes on."""
  rng, path = bench.rng('damage'), bench.new('damage')
  undisturbed, step = bench.undisturbed('shapes'), 2 * EVERY
  bench.train(path, num_train_steps=step).finish()
  for hurt, pattern in (
    (flip, 'state/**/d/*'),
    (truncate, 'state/**/d/*'),
    (empty, 'state/**/d/*'),
    (flip, 'state/_METADATA'),
    (flip, 'facts/metadata'),
    (flip, 'sha256sums.txt'),
    (empty, 'sha256sums.txt'),
  ):
    with row.trying(f'{hurt.__name__} {pattern}'):
      newest = path / 'checkpoints' / str(step)
      files = newest.glob(pattern)
      hurt(max(files, key=lambda file: file.stat().st_size), rng)
      training = bench.train(path, num_train_steps=step + EVERY)
      output = training.finish()
      if f'{newest} is damaged and not used' not in output:
        raise Lost(f'{newest} is not named\n{output[-3000:]}')
      if training.resumed() != step - EVERY:
        raise Lost(f'resumed after step {training.resumed()}')
      if not (path / 'checkpoints.damaged' / str(step)).exists():
        raise Lost(f'{newest} is not moved aside')
      step += EVERY
      trainings.compare(path, undisturbed, step)
  row.lost = f'the {EVERY} steps since the checkpoint before'


def flips(bench: Bench, row: Row) -> None:
  """Damages every file of a checkpoint in turn, without training."""
  rng, path, newest = bench.rng('flips'), bench.new('flips'), 2 * EVERY
  undisturbed = bench.undisturbed('shapes')
  right = {s: trainings.read_arrays(undisturbed, s) for s in (EVERY, newest)}
  for step in right:
    name = f'checkpoints/{step}'
    shutil.copytree(undisturbed / name, path / name)
  config = workdir.load_config(epath.Path(undisturbed))
  like = jax.jit(common.build(config).init)(jax.random.key(0))
  refused = 0
  directory = path / 'checkpoints' / str(newest)
  for file in sorted(p for p in directory.rglob('*') if p.is_file()):
    for hurt in (flip, flip, truncate, empty):
      with row.trying(f'{hurt.__name__} {file.relative_to(directory)}'):
        whole = file.read_bytes()
        hurt(file, rng)
        checkpointer = checkpoint.Checkpointer(
          path / 'checkpoints', read_only=True
        )
        state, step = checkpointer.restore(like)
        checkpointer.close()
        file.write_bytes(whole)
        refused += step != newest
        if (
          trainings.bits(flax.serialization.to_state_dict(state))
          != (right[step])
        ):
          raise Lost(f'{hurt.__name__} {file.name}: restored, but not whole')
  row.lost = f'{refused} refused, {row.tries - refused} without effect'


def disk(bench: Bench, row: Row) -> None:
  """Fills the disk in the middle of what is written, and empties it."""
  undisturbed = bench.undisturbed('shapes')
  with _small_disk(bench.new('disk')) as (python, mount, view):
    path, seen = mount / 'run', view / 'run'
    bench.train(path, python=python, num_train_steps=EVERY).finish()
    rarely = {'checkpoint_every_steps': bench.steps}
    for what, room, settings, says in (
      ('checkpoint', 300_000, {}, 'cannot write a checkpoint .*No space left'),
      ('metrics', 0, rarely, _NO_ROOM_FOR_RECORDS),
      (
        'samples',
        0,
        {'log_every_steps': bench.steps, **rarely},
        r'No space left on device: .*samples/\d+/.*png',
      ),
    ):
      with row.trying(what):
        training = bench.train(path, python=python, **settings)
        training.reach_line('^compiled')
        _fill(view, room)
        try:
          training.fail(says)
        finally:
          (view / 'ballast').unlink()
        if trainings.kept(seen) != [EVERY]:
          raise Lost(f'kept are {trainings.kept(seen)} and not step {EVERY}')
    with row.trying('the end'):
      bench.train(path, python=python).finish()
      whole = bench.new('disk')
      shutil.copytree(seen, whole)
      trainings.compare(whole, undisturbed, bench.steps)
  row.lost = 'the steps since the last checkpoint'


@contextlib.contextmanager
def _small_disk(
  mount: pathlib.Path,
) -> Iterator[tuple[list[str], pathlib.Path, pathlib.Path]]:
  """(what runs Python there, its directory there, the same seen from here)."""
  mount.mkdir()
  script = f'mount -t tmpfs -o size={_DISK}m tmpfs "$0" && echo yes && exec cat'
  try:
    holder = subprocess.Popen(
      ['unshare', '-Urm', 'sh', '-c', script, str(mount)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
  except FileNotFoundError as e:
    raise Unavailable(str(e)) from None
  with holder:
    answer = holder.stdout.readline().strip()
    if answer != 'yes':
      raise Unavailable(f'no disk in a namespace of our own: {answer}')
    enter = ['nsenter', '--user', '--mount', '--preserve-credentials']
    target = f'--target={holder.pid}'
    view = pathlib.Path(f'/proc/{holder.pid}/root{mount}')
    yield [*enter, target, sys.executable], mount, view
    holder.stdin.close()


def _fill(directory: pathlib.Path, room: int) -> None:
  """Leaves so many bytes."""
  stats = os.statvfs(directory)
  size = stats.f_bavail * stats.f_bsize - room
  with (directory / 'ballast').open('wb') as f:
    os.posix_fallocate(f.fileno(), 0, max(size, 1))


def _undisturbed_folder(bench: Bench) -> pathlib.Path:
  root = bench.directory / 'images'
  if not root.exists():
    _write_images(root)
  return bench.undisturbed('folder', data__name='folder', data__root=root)


def _write_images(root: pathlib.Path) -> None:
  """A small `folder` data set of noise, the same at every call."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 8), ('val', 3)):
    for domain in ('a', 'b'):
      folder = root / split / domain
      folder.mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(0, 256, (40, 36, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')


def _remove(path: pathlib.Path) -> None:
  path.unlink()


def _halve(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _write_text(path: pathlib.Path) -> None:
  path.write_text('<html>404 Not Found</html>\n' * 100)


def _write_other(path: pathlib.Path) -> None:
  Image.new('L', (7, 300), 99).save(path)


def _freeze(path: pathlib.Path) -> None:
  _marker(path).touch()


def _marker(path: pathlib.Path) -> pathlib.Path:
  """What makes `_FREEZING` never answer when it is asked for an image."""
  return path.with_name(f'{path.name}.frozen')


def images(bench: Bench, row: Row) -> None:
  """Hurts image files in training, which is then resumed with whole ones."""
  root, path = bench.new('images'), bench.new('folder')
  _write_images(root)
  folder = {'data__name': 'folder', 'data__root': root}
  undisturbed = _undisturbed_folder(bench)
  for hurt in (_remove, _halve, _write_text):
    with row.trying(hurt.__name__):
      _hurt_and_repair(bench, path, root / 'train/b/5.png', hurt, 5, folder)
  with row.trying('the end'):
    bench.train(path, **folder).finish()
    trainings.compare(path, undisturbed, bench.steps)
  with row.trying('skip_bad_images'):
    path = bench.new('skipped')
    training = bench.train(path, data__skip_bad_images=True, **folder)
    training.reach_step(3)
    for i, hurt in enumerate((_remove, _halve, _write_text, _write_other)):
      hurt(root / f'train/b/{i}.png')
    training.finish()
    if not training.says(r'^[1-9]\d* draws of unreadable images were skipped'):
      raise Lost(f'what was skipped is not told\n{training.output()[-3000:]}')
  row.lost = 'nothing; another image in place of one is trained on'


def _hurt_and_repair(
  bench: Bench,
  path: pathlib.Path,
  image: pathlib.Path,
  hurt: Callable[[pathlib.Path], None],
  steps: int,
  settings: dict[str, Any],
  says: str = 'cannot be read',
) -> float:
  """Hurts an image after so many steps; the steps until then must be saved.

  Returns:
    Seconds until the training has ended.
  """
  whole = image.read_bytes()
  training = bench.train(path, **settings)
  training.reach_step(steps)
  hurt(image)
  start = time.monotonic()
  try:
    training.fail(f'{image} {says}')
    seconds = time.monotonic() - start
  finally:
    _marker(image).unlink(missing_ok=True)
    image.unlink(missing_ok=True)
    image.write_bytes(whole)
  last = trainings.last_step(path)
  if trainings.kept(path)[-1:] != [last]:
    raise Lost(f'step {last} is not saved')
  return seconds


def frozen(bench: Bench, row: Row) -> None:
  """Lets images never answer, as where a file system hangs."""
  root, path = bench.new('images'), bench.new('frozen')
  _write_images(root)
  folder = {'data__name': 'folder', 'data__root': root}
  undisturbed = _undisturbed_folder(bench)
  freezing = [sys.executable, '-c', _FREEZING]
  slow = {**folder, 'data__timeout': _TIMEOUT, 'python': freezing}
  says = f'could not be read in {_TIMEOUT} s'
  seconds = []
  for name, steps in (('train', 5), ('val', 5), ('train', 0)):
    with row.trying(f'{name} after {steps} steps'):
      image = root / name / 'a/2.png'
      seconds.append(
        _hurt_and_repair(bench, path, image, _freeze, steps, slow, says)
      )
  with row.trying('the end'):
    bench.train(path, **folder).finish()
    trainings.compare(path, undisturbed, bench.steps)
  row.lost = (
    f'nothing; over {max(seconds, default=0):.0f} s later at most, with '
    f'data.timeout={_TIMEOUT}'
  )


def nan(bench: Bench, row: Row) -> None:
  """Makes the networks and a loss NaN."""
  with row.trying('a learning rate of 1e30'):
    path = bench.new('nan')
    training = bench.train(path, optim__lr=1e30)
    training.fail(r'became NaN or infinite in step \d+: look for')
    if trainings.kept(path):
      raise Lost('a checkpoint of NaN is kept')
  with row.trying('in one step'):
    path, step = bench.new('nan'), EVERY + 2
    training = bench.train(path, python=_breaking(step))
    training.fail(f'D/latent_real.* became NaN or infinite in step {step}: ')
    if trainings.kept(path) != [EVERY]:
      raise Lost(f'kept are {trainings.kept(path)}, not step {EVERY} alone')
    bench.train(path).finish()
    trainings.compare(path, bench.undisturbed('shapes'), bench.steps)
  row.lost = 'the steps since the last checkpoint'


def nan_restore(bench: Bench, row: Row) -> None:
  """Makes them NaN where config.on_nan='restore' leaves the step out."""
  steps = EVERY + 2, 4 * EVERY
  settings = {'python': _breaking(*steps), 'on_nan': 'restore'}
  undisturbed = bench.undisturbed('nan_restore', **settings)
  with row.trying(f'steps {steps}'):
    facts = _facts(undisturbed, bench.steps)
    if facts['steps_left_out'] != list(steps):
      raise Lost(f'the last checkpoint does not tell of steps {steps}: {facts}')
  with row.trying('the same, and SIGKILL after each'):
    path = bench.new('nan_restore')
    for step in steps:
      training = bench.train(path, **settings)
      training.reach_line(f'NaN .*step {step}')
      training.kill()
    bench.train(path, **settings).finish()
    trainings.compare(path, undisturbed, bench.steps)
  with row.trying('more steps than it tries'):
    path = bench.new('nan_restore')
    settings['python'] = _breaking(*range(EVERY + 2, EVERY + 10))
    training = bench.train(path, **settings)
    training.fail('D/latent_real.* became NaN or infinite in step')
    if not trainings.kept(path):
      raise Lost('no checkpoint is left')
  row.lost = 'the steps that were NaN'


def _breaking(*steps: int) -> list[str]:
  """What runs train.py so that it has NaN in these steps."""
  return [sys.executable, '-c', _BREAKING, ','.join(map(str, steps))]


def _facts(path: pathlib.Path, step: int) -> dict[str, Any]:
  file = path / 'checkpoints' / str(step) / 'facts' / 'metadata'
  return json.loads(file.read_text())


def twice(bench: Bench, row: Row) -> None:
  """Starts a second training of a work directory, and one after SIGKILL."""
  path, undisturbed = bench.new('twice'), bench.undisturbed('shapes')
  first = bench.train(path, num_train_steps=100 * bench.steps)
  first.reach_step(EVERY)
  with row.trying('while the first lives'):
    bench.train(path).fail(f'{path} is in use by process {first.pid} on ')
    if not first.lives():
      raise Lost(f'the first has ended\n{first.output()[-3000:]}')
  with row.trying('after its SIGKILL'):
    first.kill()
    step = (trainings.last_step(path) // EVERY + 2) * EVERY
    bench.train(path, num_train_steps=step).finish()
    trainings.compare(path, undisturbed, step)


FAULTS = {
  'kill': (kill, 'SIGKILL'),
  'term': (term, 'SIGTERM'),
  'term_two': (term_two, 'SIGTERM to one of two processes'),
  'damage': (damage, 'the newest checkpoint is damaged'),
  'flips': (flips, 'any file of it is damaged'),
  'disk': (disk, 'the disk is full'),
  'images': (images, 'image files are removed, truncated, replaced'),
  'frozen': (frozen, 'an image file does not answer'),
  'nan': (nan, 'a loss and all networks become NaN'),
  'nan_restore': (nan_restore, "the same with config.on_nan='restore'"),
  'twice': (twice, 'two trainings of one work directory'),
}


def main() -> int:
  """Prints the table; the exit status."""
  names = _ONLY.value or list(FAULTS)
  for name in names:
    if name not in FAULTS:
      raise errors.UsageError(
        f'--only={name} is unknown, there is: {", ".join(FAULTS)}'
      )
  # This process only reads checkpoints.
  jax.config.update('jax_platforms', 'cpu')
  failed = []
  with contextlib.ExitStack() as stack:
    directory = _WORKDIR.value or stack.enter_context(
      tempfile.TemporaryDirectory()
    )
    directory = pathlib.Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    bench = Bench(directory, _STEPS.value, _SEED.value, _MINUTES.value)
    stack.callback(bench.close)
    common.print_records(_records(bench, names, failed))
  return 1 if failed else 0


def _records(
  bench: Bench, names: Sequence[str], failed: list[str]
) -> Iterator[dict[str, Any]]:
  """A line of each fault; notes in `failed` what has lost something."""
  for name in names:
    fault, title = FAULTS[name]
    row = Row(title)
    try:
      fault(bench, row)
    except Unavailable as e:
      row.lost = f'not tried: {e}'
    except trainings.OutOfTime:
      row.fail('not all was tried: --minutes are over')
    except Lost as e:
      row.count(1, str(e))
    failed += [name] * row.failed
    yield row.record()


if __name__ == '__main__':
  cli.run(main, sys.argv)
