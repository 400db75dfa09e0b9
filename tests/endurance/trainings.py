"""Small trainings in processes of their own, and what they leave behind."""

import contextlib
import itertools
import json
import os
import pathlib
import pprint
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from jaxgan.runtime import errors
from jaxgan.systems.stargan_v2.config import default_config

EVERY = 5  # steps between two checkpoints

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PATIENCE = 300.0  # seconds of silence after which a run hangs

# Those that a user would change, for a network that compiles in seconds.
_SETTINGS = {
  'seed': 0,
  'batch_size': 2,
  'log_every_steps': 1,
  'sample_every_steps': 25,
  'checkpoint_every_steps': EVERY,
  'data.name': 'shapes',
  'data.root': '',
  'data.img_size': 32,
  'model.channel_base': 128,
  'model.max_conv_dim': 8,
  'model.hidden_dim': 8,
  'model.style_dim': 5,
  'model.latent_dim': 4,
  'hparams.ds_iter': 100,
  'hparams.ema_decay': 0.9,
}


class Lost(Exception):
  """Something did not survive, or was not said."""


class OutOfTime(Exception):
  """The minutes for all runs are over."""


class Training:
  """A process that trains, and what it prints."""

  def __init__(self, command: Sequence[str], log: pathlib.Path):
    self._log = log
    self._size = 0  # of what it has said
    self._since = time.monotonic()  # it is silent, or waited for
    with log.open('wb') as output:
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=_environment(),
        start_new_session=True,  # Ctrl-C is for this program to handle
      )

  @property
  def pid(self) -> int:
    """Of the process."""
    return self._process.pid

  def output(self) -> str:
    """All that was printed so far."""
    return self._log.read_text(errors='replace')

  def says(self, pattern: str) -> bool:
    """Whether that is in a line."""
    return bool(re.search(pattern, self.output(), re.MULTILINE))

  def steps(self) -> int:
    """How many steps it has told of."""
    return len(re.findall(r'^step \d+/', self.output(), re.MULTILINE))

  def resumed(self) -> int:
    """The step after which it went on; 0 where it began."""
    found = re.search(r'^resuming after step (\d+)', self.output(), re.M)
    return int(found[1]) if found else 0

  def lives(self) -> bool:
    """Whether it has not ended."""
    return self._process.poll() is None

  def reaches(self, happened: Callable[[], Any]) -> bool:
    """Waits for it; False if the process ended before."""
    self._since = time.monotonic()
    while not happened():
      if not self.lives():
        return bool(happened())
      self._give_up_if_silent()
      time.sleep(0.002)
    return True

  def reach_line(self, pattern: str) -> None:
    """Waits until that is in a line; Lost if the process ends before."""
    self._expect(self.reaches(lambda: self.says(pattern)), 'ends too early')

  def reach_step(self, count: int) -> None:
    """Waits until so many steps are told of."""
    reached = self.reaches(lambda: self.steps() >= count)
    self._expect(reached, 'ends too early')

  def send(self, number: int) -> None:
    """Sends a signal."""
    self._process.send_signal(number)

  def kill(self) -> None:
    """SIGKILL."""
    self._process.kill()
    self._process.wait()

  def finish(self) -> str:
    """The output of a run that ends well."""
    status = self._wait()
    self._expect(status == 0, f'ends with status {status} instead of 0')
    return self.output()

  def fail(self, pattern: str) -> None:
    """Waits for the end of a run that fails, saying why in one line."""
    status = self._wait()
    self._expect(status == 1, f'ends with status {status} instead of 1')
    self._expect(not self.says('^Traceback'), 'shows a traceback')
    *_, last = ['', *self.output().splitlines()]
    self._expect(
      re.match(f'error: .*{pattern}', last), f'does not end with {pattern!r}'
    )
    logging.info('%s', last)

  def _wait(self) -> int:
    self._since = time.monotonic()
    while self.lives():
      self._give_up_if_silent()
      time.sleep(0.01)
    return self._process.returncode

  def _give_up_if_silent(self) -> None:
    now, size = time.monotonic(), self._log.stat().st_size
    if size > self._size:
      self._size, self._since = size, now
    elif now - self._since > _PATIENCE:
      self.kill()
      self._expect(False, f'hangs for {_PATIENCE:.0f} s')

  def _expect(self, right: Any, what: str) -> None:
    if not right:
      raise Lost(f'a run {what}\n{self.output()[-3000:]}')


class Bench:
  """The work directories, and what all runs have in common.

  Args:
    directory: of all files.
    steps: where a run ends, unless it is told otherwise.
    seed: of `rng`.
    minutes: after these, no run starts.
  """

  def __init__(
    self, directory: pathlib.Path, steps: int, seed: int, minutes: float
  ):
    self.directory, self.steps = directory, steps
    self._seed = seed
    self._end = time.monotonic() + 60 * minutes
    self._numbers = itertools.count()
    self._undisturbed: dict[str, pathlib.Path] = {}
    self._trainings: list[Training] = []
    self._config = directory / 'config.py'
    _write_config(self._config, steps)

  def rng(self, fault: str) -> random.Random:
    """The same numbers for a fault, whichever others are tried."""
    return random.Random(f'{self._seed} {fault}')

  def new(self, name: str) -> pathlib.Path:
    """A directory that is not there yet."""
    paths = (self.directory / f'{name}_{i}' for i in self._numbers)
    return next(path for path in paths if not path.exists())

  def train(
    self,
    workdir: pathlib.Path,
    *options: str,
    python: Sequence[str] = (sys.executable,),
    **settings: Any,
  ) -> Training:
    """Starts train.py.

    Args:
      workdir: of the run.
      *options: other flags.
      python: what runs the script.
      **settings: data__root=... for --config.data.root=...
    """
    if time.monotonic() > self._end:
      raise OutOfTime
    command = [
      *python,
      str(_ROOT / 'train.py'),
      f'--config={self._config}',
      f'--workdir={workdir}',
      f'--compilation_cache={self.directory / "compilation_cache"}',
      *(f'--config.{k.replace("__", ".")}={v}' for k, v in settings.items()),
      *options,
    ]
    log = self.directory / f'{next(self._numbers)}_{workdir.name}.log'
    training = Training(command, log)
    self._trainings.append(training)
    return training

  def undisturbed(self, name: str, **settings: Any) -> pathlib.Path:
    """A run that nothing happens to, trained when it is first asked for."""
    if name not in self._undisturbed:
      logging.info('a run of %s that nothing happens to', name)
      workdir = self.directory / f'undisturbed_{name}'
      try:
        self.train(workdir, keep=self.steps, **settings).finish()
      except Lost as e:
        raise errors.UserError(f'undisturbed: {e}') from None
      self._undisturbed[name] = workdir
    return self._undisturbed[name]

  def close(self) -> None:
    """Ends what still runs."""
    for training in self._trainings:
      training.kill()


def _environment() -> dict[str, str]:
  """Of a run: one CPU device, every program from the compilation cache."""
  kept = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  return kept | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    'PYTHONPATH': str(_ROOT),
  }


def _write_config(path: pathlib.Path, steps: int) -> None:
  config = default_config()
  config.num_train_steps = steps
  config.update_from_flattened_dict(_SETTINGS)
  settings = pprint.pformat(config.to_dict())
  path.write_text(
    'import ml_collections\n\n\ndef get_config():\n'
    f'  return ml_collections.ConfigDict({settings})\n'
  )


def compare(
  workdir: pathlib.Path, undisturbed: pathlib.Path, step: int
) -> None:
  """Raises Lost unless a run ends at `step` as the other was there."""
  steps = kept(workdir)
  if not steps or steps[-1] != step:
    raise Lost(f'the last checkpoint is not of step {step}, there are {steps}')
  directory = workdir / 'checkpoints' / str(step)
  sums = ('sha256sum', '--quiet', '-c', 'sha256sums.txt')
  if subprocess.run(sums, cwd=directory, capture_output=True).returncode:
    raise Lost(f'checkpoint {step} does not match its sums')
  ours, theirs = read_arrays(workdir, step), read_arrays(undisturbed, step)
  odd = [
    name
    for name in sorted(ours.keys() | theirs.keys())
    if ours.get(name) != theirs.get(name)
  ]
  if odd:
    raise Lost(f'{len(odd)} of {len(theirs)} arrays differ, first {odd[0]}')
  ours, theirs = (
    (path / 'metrics.jsonl').read_text().splitlines()
    for path in (workdir, undisturbed)
  )
  if ours != [line for line in theirs if json.loads(line)['step'] <= step]:
    raise Lost('metrics.jsonl is not that of the undisturbed run')


def read_arrays(workdir: pathlib.Path, step: int) -> dict[str, tuple]:
  """The arrays of a checkpoint, as `bits` gives them."""
  path = workdir / 'checkpoints' / str(step) / 'state'
  tree = ocp.StandardCheckpointHandler().metadata(path).tree
  # As NumPy's: the devices that saved it need not be here.
  kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  with contextlib.closing(ocp.PyTreeCheckpointer()) as checkpointer:
    return bits(checkpointer.restore(path, restore_args=kinds))


def bits(tree: Any) -> dict[str, tuple]:
  """Arrays to be compared bit for bit: {name: (dtype, shape, bytes)}."""
  arrays = {
    jax.tree_util.keystr(path): np.asarray(x)
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }
  return {k: (x.dtype.str, x.shape, x.tobytes()) for k, x in arrays.items()}


def names(directory: pathlib.Path) -> list[str]:
  """What is in a directory, which need not be there."""
  try:
    return os.listdir(directory)
  except (FileNotFoundError, NotADirectoryError):
    return []


def kept(workdir: pathlib.Path) -> list[int]:
  """The steps of the checkpoints that are committed, in order."""
  found = names(workdir / 'checkpoints')
  return sorted(int(name) for name in found if name.isdigit())


def last_step(workdir: pathlib.Path) -> int:
  """The last step that metrics.jsonl has a whole line of."""
  path = workdir / 'metrics.jsonl'
  lines = path.read_bytes().split(b'\n')[:-1] if path.exists() else []
  return json.loads(lines[-1])['step'] if lines else 0
