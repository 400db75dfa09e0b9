"""The records of a run in its work directory.

config.json, data.json (what the training data holds), frozen.npz (parameters
that are never trained), metrics.jsonl, history.jsonl (what happened when), and
lock, which names the training at work there.
"""

import contextlib
import datetime
import fcntl
import io
import json
import math
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import flax
import ml_collections
import numpy as np
from absl import logging
from etils import epath

from jaxgan.runtime import errors, files

Tree = Any
_FROZEN = 'frozen.npz'
_DATA = 'data.json'

# Settings that a resumed run may change: they do not touch what is learned, or
# by rounding alone (from `micro_batches` on).
RESUMABLE = frozenset(
  {
    'num_train_steps',
    'log_every_steps',
    'sample_every_steps',
    'checkpoint_every_steps',
    'keep',
    'keep_every_steps',
    'on_nan',
    'data.timeout',
    'data.paired_names',
    'micro_batches',
    'shard_state',
    'model.remat',
    'model.resample',
    'model.select_heads',
  }
)

# Settings that say where files lie, and nothing of what is in them: a resumed
# run may change them (`check_data` compares what is there), and the processes
# of a run may differ in them.
PLACES = frozenset(
  {
    'data.root',
    'data.joint_root',
    'data.cache_dir',
    'model.vgg_file',
    'model.wing_file',
  }
)


def prepare(workdir: epath.Path) -> None:
  """Makes the directory; raises UserError if nothing can be written there."""
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    probe = files.partial_path(workdir / 'config.json')
    probe.write_text('')
    probe.unlink()
  except OSError as e:
    raise errors.UserError(
      f'cannot write to the work directory {workdir} ({e}): take another '
      '--workdir'
    ) from e


@contextlib.contextmanager
def opened(workdir: epath.Path) -> Iterator[None]:
  """Inside, the directory is there, and no other training takes it.

  A start that fails before anything is written leaves nothing behind.

  Raises:
    UserError: it cannot be written to, or another training is at work there.
  """
  new = not workdir.exists()
  prepare(workdir)
  try:
    with locked(workdir):
      yield
  except BaseException:
    with contextlib.suppress(OSError):
      if {path.name for path in workdir.iterdir()} <= {'lock', 'checkpoints'}:
        if (workdir / 'checkpoints').exists():
          (workdir / 'checkpoints').rmdir()  # OSError: it is not empty
        (workdir / 'lock').unlink()
        if new:
          workdir.rmdir()
    raise


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
  """Inside, no other training takes the directory; a lock dies with its owner.

  A bucket (gs://...) has no locks; a file system without them makes it warn.

  Raises:
    UserError: another training is at work there.
  """
  if '://' in os.fspath(workdir):
    yield
    return
  with contextlib.ExitStack() as stack:
    try:
      file = stack.enter_context(
        open(workdir / 'lock', 'ab+', buffering=0, opener=_open_no_link)
      )
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      file.truncate(0)
      file.write(f'process {os.getpid()} on {socket.gethostname()}'.encode())
    except BlockingIOError as e:
      file.seek(0)
      owner = file.read(200).decode(errors='replace') or 'another process'
      raise errors.UserError(
        f'{workdir} is in use by {owner}: wait for it, end it, or take another '
        '--workdir'
      ) from e
    except OSError as e:
      logging.warning('no lock keeps another training out: %s', e)
    yield


def _open_no_link(path: str, flags: int) -> int:
  # What is written into the lock must not go elsewhere.
  return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def load_config(workdir: epath.Path) -> ml_collections.ConfigDict | None:
  """The config a run was started with, or None if there is no run."""
  path = workdir / 'config.json'
  return read_config(path) if path.exists() else None


def read_config(path: epath.Path) -> ml_collections.ConfigDict:
  """The settings in a file; raises UserError if there are none."""
  try:
    return ml_collections.ConfigDict(files.read_json(path))
  # The last two: of keys that a ConfigDict cannot have.
  except (ValueError, TypeError, AttributeError, KeyError) as e:
    raise errors.UserError(f'{path} is no JSON object of settings ({e})') from e


def require_config(workdir: epath.Path) -> ml_collections.ConfigDict:
  """`load_config`; raises UserError if there is no run."""
  config = load_config(workdir)
  if config is None:
    raise errors.UserError(
      f'{workdir} is not the work directory of a run: no config.json in it'
    )
  return config


def add_missing(
  path: epath.Path,
  config: ml_collections.ConfigDict,
  defaults: ml_collections.ConfigDict,
) -> None:
  """Adds the settings that a run of an earlier version does not have.

  Args:
    path: of the file that the config was read from.
    config: what it holds.
    defaults: all settings there are.

  Raises:
    UserError: others are unknown, or of another kind than their defaults.
  """
  odd = _find_odd(config.to_dict(), defaults.to_dict())
  if odd:
    raise errors.UserError(f'{path} is damaged, or of a later version: {odd}')
  old = flatten(config)
  for key, value in flatten(defaults).items():
    if key not in old:
      config.update_from_flattened_dict({key: value})


def _find_odd(
  values: Mapping[str, Any], defaults: Mapping[str, Any], group: str = ''
) -> str:
  """Says what cannot be among the settings; '' if all can."""
  for key in sorted(values.keys() | defaults.keys()):
    name, value, default = f'{group}{key}', values.get(key), defaults.get(key)
    if key not in defaults:
      return f'no setting is called {name!r}'
    if isinstance(default, dict):
      if not isinstance(value, dict):
        return f'{name} is no group of settings'
      if odd := _find_odd(value, default, f'{name}.'):
        return odd
    elif key in values and not _is_like(value, default):
      return f'{name} is {str(value)[:40]!r}, and {default!r} by default'
  return ''


def _is_like(value: Any, default: Any) -> bool:
  """Whether a setting is of the kind of its default."""
  match default:
    case bool() | str():
      return type(value) is type(default)
    case int():  # No count, size or seed is larger, or negative.
      return type(value) is int and 0 <= value < 2**32
    case float():  # Not NaN, nor infinite.
      return type(value) in (int, float) and abs(value) < math.inf
    case tuple() | list():
      return isinstance(value, tuple | list) and all(
        isinstance(item, str) for item in value
      )
  return False


def save_config(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
  """Writes config.json whole or not at all."""
  text = json.dumps(config.to_dict(), indent=2) + '\n'
  files.write_whole(workdir / 'config.json', text)


def load_frozen(workdir: epath.Path) -> Tree:
  """The parameters that the run never trains; {} if there are none.

  Nor are there any before the first checkpoint: what a start that failed has
  left behind may come from the wrong file.
  """
  path = workdir / _FROZEN
  if not path.exists() or not _has_checkpoints(workdir):
    return {}
  try:
    flat = files.read_npz(path)
    if not all(value.dtype.kind in 'biuf' for value in flat.values()):
      raise ValueError('not all are numbers')
    return flax.traverse_util.unflatten_dict(flat, sep='/')
  # The last two: names that are both of an array and of a group.
  except (OSError, ValueError, TypeError, IndexError) as e:
    raise errors.UserError(
      f'{path} is damaged ({e}): restore it from a copy'
    ) from e


def save_frozen(workdir: epath.Path, frozen: Tree) -> None:
  """Writes what `load_frozen` reads."""
  if not frozen:
    return
  buffer = io.BytesIO()
  np.savez(buffer, **flax.traverse_util.flatten_dict(frozen, sep='/'))
  files.write_whole(workdir / _FROZEN, buffer.getvalue())


def copy_records(workdir: epath.Path, target: epath.Path) -> None:
  """Copies what a checkpoint needs beside it, to a new work directory."""
  target.mkdir(parents=True)
  for name in ('config.json', _DATA, _FROZEN):
    if (workdir / name).exists():
      (workdir / name).copy(target / name)


def check_config(
  workdir: epath.Path,
  config: ml_collections.ConfigDict,
  allow_change: bool,
  defaults: ml_collections.ConfigDict,
) -> None:
  """Raises ConfigMismatchError if a run here was started with other settings.

  Args:
    workdir: of the run, new or to be resumed.
    config: complete, nothing left to the data.
    allow_change: continue all the same.
    defaults: what settings were before the run's version had them.
  """
  if allow_change:
    return
  saved = load_config(workdir)
  if saved is None:
    if _has_checkpoints(workdir):
      raise errors.ConfigMismatchError(
        f'{workdir} has checkpoints but no config.json to compare with. Take '
        'another --workdir, or continue with --allow_config_change'
      )
    return
  add_missing(workdir / 'config.json', saved, defaults)
  # Through JSON, as the saved one went: a tuple there is a list.
  old = flatten(saved)
  new = flatten(ml_collections.ConfigDict(json.loads(config.to_json())))
  differences = [
    f'{key}: {old.get(key, "not set")} -> {new.get(key, "not set")}'
    for key in sorted((old.keys() | new.keys()) - RESUMABLE - PLACES)
    if old.get(key) != new.get(key)
  ]
  if differences:
    raise errors.ConfigMismatchError(
      f'{workdir} holds a run with other settings: {"; ".join(differences)}. '
      'Take another --workdir, or continue with --allow_config_change'
    )


def check_data(
  workdir: epath.Path, contents: Mapping[str, Any], allow_change: bool
) -> None:
  """Raises ConfigMismatchError if a run here was trained on other images.

  A run without a checkpoint passes, and, with a warning, one of a version that
  kept no record of its data.

  Args:
    workdir: of the run, new or to be resumed.
    contents: of the training data, {domain: {'images': count, 'sum': text}}.
    allow_change: continue all the same.
  """
  path = workdir / _DATA
  if allow_change or not contents or not _has_checkpoints(workdir):
    return
  if not path.exists():
    logging.warning(
      '%s has no record of what it was trained on: the data is taken to be the '
      'same',
      workdir,
    )
    return
  try:
    saved = files.read_json(path)
    if not all(isinstance(value, dict) for value in saved.values()):
      raise ValueError('not of domains')
  except ValueError as e:
    raise errors.UserError(
      f'{path} is damaged ({e}): restore it from a copy, or continue with '
      '--allow_config_change'
    ) from e
  for domain in sorted(saved.keys() | contents.keys()):
    old, new = saved.get(domain, {}), contents.get(domain, {})
    if old != new:
      was, now = (x.get('images', 0) for x in (old, new))
      how = f'{now} images, and had {was}'
      if was == now:
        how = 'other images, names or labels than before'
      raise errors.ConfigMismatchError(
        f'{workdir} was trained on other data: {domain!r} has {how}. Give it '
        'the same images, take another --workdir, or continue with '
        '--allow_config_change'
      )


def save_data(workdir: epath.Path, contents: Mapping[str, Any]) -> None:
  """Writes what the training data holds, for `check_data`."""
  text = json.dumps(contents, indent=2) + '\n'
  files.write_whole(workdir / _DATA, text)


def shared_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """The settings that all processes of a run must have alike, as flags."""
  return {
    f'--config.{key}': value
    for key, value in flatten(config).items()
    if key not in PLACES
  }


def _has_checkpoints(workdir: epath.Path) -> bool:
  return bool(files.numbers_in(workdir / 'checkpoints'))


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """{'group.name': value} of all settings."""
  return flax.traverse_util.flatten_dict(config.to_dict(), sep='.')


class MetricsFile:
  """`metrics.jsonl`: one JSON object per logged step, nothing of the clock."""

  def __init__(self, workdir: epath.Path, resumed_step: int):
    """Cuts the file back to the lines up to `resumed_step`."""
    self._path = workdir / 'metrics.jsonl'
    if self._path.exists():
      lines = self._path.read_bytes().decode(errors='replace').splitlines()
      kept = [line for line in lines if _step_of(line) <= resumed_step]
      files.write_whole(self._path, ''.join(f'{line}\n' for line in kept))
    elif os.path.islink(self._path):  # to nothing: it would make that
      self._path.unlink()

  def append(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds a line."""
    values = {key: float(value) for key, value in sorted(metrics.items())}
    with files.naming(self._path), self._path.open('a') as f:
      f.write(json.dumps({'step': step, **values}) + '\n')


def read_metrics(workdir: epath.Path) -> Iterator[dict[str, float]]:
  """The whole lines of `metrics.jsonl`; none where there is no such file."""
  yield from _read_lines(workdir / 'metrics.jsonl')


class History:
  """`history.jsonl`: what happened when, a JSON object a line.

  Each has `time` (UTC) and `step`, and one of `start`, what the run is computed
  by; `said`, a line; `images_per_s` and `peak_memory_gb`. It is of the clock,
  unlike `metrics.jsonl`, and nothing in it is taken back.
  """

  def __init__(self, workdir: epath.Path):
    self._path = workdir / 'history.jsonl'
    files.remove_unless_regular(self._path)
    if self._path.exists() and not self._path.read_bytes().endswith(b'\n'):
      with self._path.open('a') as f:  # after half a line
        f.write('\n')

  def append(self, step: int, **what: Any) -> None:
    """Adds a line."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
    with files.naming(self._path), self._path.open('a') as f:
      f.write(json.dumps({'time': now, 'step': step, **what}) + '\n')


def read_history(workdir: epath.Path) -> Iterator[dict[str, Any]]:
  """The whole lines of `history.jsonl`; none where there is no such file."""
  yield from _read_lines(workdir / 'history.jsonl')


def _read_lines(path: epath.Path) -> Iterator[dict[str, Any]]:
  if path.exists() and files.is_regular(path):
    for line in path.read_bytes().decode(errors='replace').splitlines():
      if math.isfinite(step := _step_of(line)):
        yield json.loads(line) | {'step': int(step)}


def _step_of(line: str) -> float:
  """Step of a line; infinity for one that a killed process left half done."""
  try:
    return float(json.loads(line)['step'])
  except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
    return float('inf')
