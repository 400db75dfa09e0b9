"""Checkpoints that notice when they were damaged.

`DIR/<step>/` is an Orbax checkpoint of `step` finished iterations: item
`state`, a tree of plain dicts and arrays, item `facts`, a small JSON object of
metadata, and `sha256sums.txt`, the sums of all its files as `sha256sum -c`
reads them.
Orbax restores a flipped bit without a word; the sums do not. Files that others
leave there (.DS_Store, Thumbs.db, .nfs...) are no part of it.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from jax.experimental import multihost_utils

from jaxgan.runtime import errors, files

Tree = Any
# In 1, a step of some systems was several iterations: see
# `System.old_step_iterations`.
FORMAT = 2
# A fact: only what is evaluated with is real, the rest is freshly drawn. Named
# before there were systems without averages.
PARTIAL = 'ema_only'
_SUMS = 'sha256sums.txt'
# Of Orbax, in each checkpoint; its sum comes last: a list cut short lacks it.
_LAST = '_CHECKPOINT_METADATA'
_COMMITTED = 'commit_success.txt'  # of Orbax, with a path inside
# Of an array that lies whole on many devices each writes a slice, by default
# however small: with hundreds of arrays the time grows with the devices.
_MIN_SLICE = 2**20  # bytes
# Orbax makes patterns of paths, and finds nothing below such a folder; it takes
# a backslash for a slash, and no bytes that are not UTF-8.
_ODD = re.compile(r'[][*?\\\ud800-\udfff]')


class Checkpointer:
  """Saves and restores states of one run; knows no system.

  Args:
    directory: where the steps are kept; made if it is missing.
    keep: how many of the newest checkpoints to keep.
    keep_every_steps: keep those at multiples of this as well; 0 for none.
    read_only: do not touch what another process may be writing.
  """

  def __init__(
    self,
    directory: epath.PathLike,
    *,
    keep: int = 1,
    keep_every_steps: int = 0,
    read_only: bool = False,
  ):
    self._directory = absolute(directory)
    self._resources = contextlib.ExitStack()
    self._orbax_directory = self._resources.enter_context(
      _plain(self._directory)
    )
    policies = [ocp.checkpoint_managers.LatestN(keep)]
    if keep_every_steps:
      policies.append(ocp.checkpoint_managers.EveryNSteps(keep_every_steps))
    self._options = ocp.CheckpointManagerOptions(
      preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(
        policies
      ),
      cleanup_tmp_directories=not read_only,
      create=False,  # it may be a link
    )
    arrays = ocp.type_handlers.ArrayHandler(
      min_slice_bytes_for_replica_parallel=_MIN_SLICE
    )
    registry = ocp.type_handlers.create_type_handler_registry(
      (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    if not read_only:
      self._directory.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(
      self._orbax_directory,
      options=self._options,
      item_handlers={
        'state': ocp.PyTreeCheckpointHandler(type_handler_registry=registry),
        'facts': ocp.JsonCheckpointHandler(),
      },
    )
    self._executor = concurrent.futures.ThreadPoolExecutor(1)
    self._sealing: concurrent.futures.Future | None = None

  def steps(self) -> list[int]:
    """Steps with a checkpoint, good or bad, oldest first."""
    return sorted(s for s in self._manager.all_steps() if s < 2**31)

  def save(self, step: int, state: Tree, metadata: dict[str, Any]) -> None:
    """Starts writing a checkpoint; the state may be donated on return."""
    self.wait()
    _link_again(self._orbax_directory, self._directory)
    tree = flax.serialization.to_state_dict(state)
    args = ocp.args.Composite(
      state=ocp.args.PyTreeSave(tree),
      facts=ocp.args.JsonSave({'format': FORMAT, 'step': step, **metadata}),
    )
    with _failures_in_a_line(self._directory):
      self._manager.save(step, args=args)
    shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, tree)
    self._sealing = self._executor.submit(self._seal, step, shapes)

  def restore(
    self, like: Tree, step: int | None = None
  ) -> tuple[Tree, int] | None:
    """Restores the newest good checkpoint, or that of `step`.

    Args:
      like: a state of the same structure, arrays or their shapes with
        shardings.
      step: finished iterations; None for the newest. A damaged checkpoint is
        named in a warning and the one before it used.

    Returns:
      The state and its step, or None if there is no checkpoint.

    Raises:
      UserError: none of the checkpoints is good, or `step` has no good one.
    """
    self.wait()
    steps = self._agreed_steps()
    if step is not None:
      if step not in steps:
        have = ', '.join(map(str, steps)) or 'none'
        raise errors.UserError(
          f'no checkpoint of step {step} in {self._directory}, but: {have}'
        )
      steps = [step]
    for candidate in reversed(steps):
      sealed, problem = self._inspect(candidate)
      if not problem:
        try:
          return self._restore(like, candidate), candidate
        except Exception as e:  # Orbax has many kinds
          problem = str(e).partition('\n')[0]
          if sealed:
            raise errors.UserError(
              f'checkpoint {self._directory / str(candidate)} does not fit the '
              f'config: {problem}'
            ) from e
      logging.warning(
        'checkpoint %s is damaged and not used: %s',
        self._directory / str(candidate),
        problem,
      )
    if steps:
      raise errors.UserError(
        f'no undamaged checkpoint in {self._directory}: restore one from a '
        'copy, or start again in another work directory'
      )
    return None

  def metadata(self, step: int) -> dict[str, Any]:
    """What was saved beside the state of `step`."""
    args = ocp.args.Composite(facts=ocp.args.JsonRestore())
    return dict(self._manager.restore(step, args=args)['facts'])

  def drop_after(self, step: int) -> None:
    """Moves later, damaged checkpoints to `<directory>.damaged/`."""
    bad = [s for s in self.steps() if s > step]  # the same on all processes
    if bad and jax.process_index() == 0:
      attic = self._directory.parent / f'{self._directory.name}.damaged'
      attic.mkdir(exist_ok=True)
      for s in bad:
        if (attic / str(s)).exists():
          (attic / str(s)).rmtree()
        (self._directory / str(s)).rename(attic / str(s))
    if bad:
      _wait_for_all('damaged checkpoints moved')
      self._manager.reload()

  def close(self) -> None:
    """Waits until everything is on disk; raises what went wrong there."""
    try:
      self.wait()
      with _failures_in_a_line(self._directory):
        self._manager.close()
    finally:
      self._executor.shutdown()
      self._resources.close()

  def wait(self) -> None:
    """Waits until what was saved is on disk; raises what went wrong there."""
    if self._sealing is not None:
      sealing, self._sealing = self._sealing, None
      with _failures_in_a_line(self._directory):
        sealing.result()

  def _seal(self, step: int, shapes: Tree) -> None:
    """Reads a bit back and writes the sums, once a checkpoint is committed."""
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      directory = self._directory / str(step)
      try:
        _read_back(self._orbax_directory / str(step) / 'state', shapes)
      except Exception as e:  # Orbax has many kinds
        reason = str(e).partition('\n')[0]
        raise errors.UserError(
          f'checkpoint {directory} was written and cannot be read back '
          f'({reason[:200]}): it is not saved; continue in another --workdir'
        ) from e
      found = _own_files(directory)
      found[_LAST] = found.pop(_LAST)
      lines = [f'{_sha256(path)}  {name}\n' for name, path in found.items()]
      files.write_whole(directory / _SUMS, ''.join(lines))

  def _agreed_steps(self) -> list[int]:
    """Those that process 0 sees: a run may be adding to them."""
    steps = np.array(self.steps(), np.int32)
    if jax.process_count() > 1:
      count = int(multihost_utils.broadcast_one_to_all(np.array(len(steps))))
      steps = np.resize(steps, count) if len(steps) else np.zeros(count, int)
      steps = multihost_utils.broadcast_one_to_all(steps.astype(np.int32))
    return steps.tolist()

  def _inspect(self, step: int) -> tuple[bool, str]:
    """(has sums, what is wrong with it or ''), the same on all processes."""
    sealed, problem = False, ''
    if jax.process_index() == 0:
      try:
        sealed, problem = _verify(self._directory / str(step))
      except OSError as e:  # the others wait for what is said of it
        if jax.process_count() == 1:
          raise
        problem = f'it cannot be read ({e})'
    if jax.process_count() > 1:
      message = np.zeros(512, np.uint8)
      encoded = f'{int(sealed)}{problem}'.encode()[: len(message)]
      message[: len(encoded)] = np.frombuffer(encoded, np.uint8)
      message = multihost_utils.broadcast_one_to_all(message)
      text = bytes(np.asarray(message)).rstrip(b'\0').decode(errors='replace')
      sealed, problem = text[0] == '1', text[1:]
    return sealed, problem

  def _restore(self, like: Tree, step: int) -> Tree:
    whole = flax.serialization.to_state_dict(like)
    directory = self._orbax_directory / str(step) / 'state'
    stored = ocp.StandardCheckpointHandler().metadata(directory).tree
    # Parts without arrays: those that an older version did not know are not
    # there, and Orbax would miss them.
    template = {
      key: jax.tree.map(ocp.utils.to_shape_dtype_struct, part)
      for key, part in whole.items()
      if key in stored or jax.tree.leaves(part)
    }
    _check_shapes(stored, template)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.PyTreeRestore(
          template,
          restore_args=ocp.checkpoint_utils.construct_restore_args(template),
        ),
        facts=ocp.args.JsonRestore(),
      ),
    )
    if restored['facts']['format'] > FORMAT:
      raise ValueError(
        f'format {restored["facts"]["format"]}, and this program knows {FORMAT}'
      )
    return flax.serialization.from_state_dict(like, whole | restored['state'])


@contextlib.contextmanager
def _failures_in_a_line(directory: epath.Path) -> Iterator[None]:
  """Inside, what the file system refuses is a UserError."""
  try:
    yield
  except (OSError, ValueError) as e:  # TensorStore raises the latter
    code = re.search(r"os_error_code='(\d+)'", str(e))
    if isinstance(e, ValueError) and not code:
      raise
    reason = os.strerror(int(code[1])) if code else e
    raise errors.UserError(
      f'cannot write a checkpoint to {directory} ({reason}): mend that and run '
      'the same command again'
    ) from e


@contextlib.contextmanager
def _plain(directory: epath.Path) -> Iterator[epath.Path]:
  """Inside, a path of the directory in which Orbax finds no pattern.

  Raises:
    UserError: there is none, as for a bucket.
  """
  if not _ODD.search(str(directory)):
    yield directory
    return
  temporary = pathlib.Path(tempfile.gettempdir())
  if '://' in str(directory) or _ODD.search(str(temporary)):
    raise errors.UserError(
      f'no checkpoint can be kept in {directory}, because of [, ], *, ? or '
      'a backslash in its name: take another work directory'
    )
  with tempfile.TemporaryDirectory(prefix='jaxgan_') as folder:
    link = pathlib.Path(folder, 'checkpoints')
    link.symlink_to(directory)
    yield epath.Path(link)


def _link_again(path: epath.Path, directory: epath.Path) -> None:
  """Makes the link of `_plain`, where a long run has lost it to a clean-up."""
  if path != directory and not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).symlink_to(directory)


def _read_back(directory: epath.Path, shapes: Tree) -> None:
  """Raises unless all arrays are there and the smallest can be read."""
  handler = ocp.PyTreeCheckpointHandler()
  _check_shapes(handler.metadata(directory).tree, shapes)
  leaves, tree = jax.tree.flatten(shapes)
  smallest = min(leaves, key=lambda x: x.size, default=None)
  one = [x if x is smallest else ocp.PLACEHOLDER for x in leaves]
  ways = [ocp.RestoreArgs(restore_type=np.ndarray) for _ in leaves]
  handler.restore(
    directory,
    args=ocp.args.PyTreeRestore(
      jax.tree.unflatten(tree, one), restore_args=jax.tree.unflatten(tree, ways)
    ),
  )


def _check_shapes(stored: Tree, template: Tree) -> None:
  """Raises ValueError for the first array that is not as the template's.

  Orbax would notice too, but in the middle of reading, and less clearly.
  """
  stored, wanted = _shapes(stored), _shapes(template)
  for name in sorted(stored.keys() | wanted.keys()):
    there, here = stored.get(name), wanted.get(name)
    if there != here:
      raise ValueError(f'{name} has shape {there} there and {here} here')


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {k: tuple(v.shape) for k, v in flat.items() if hasattr(v, 'shape')}


def copy_step(directory: epath.Path, target: epath.Path, step: int) -> None:
  """Copies one checkpoint, sums and all, to another directory of them.

  Raises:
    OSError: it went away meanwhile, or is damaged.
  """
  source = directory / str(step)
  sums = (_SUMS,) if (source / _SUMS).exists() else ()
  names = [*_own_files(source), *sums]
  for name in names:
    path = target / str(step) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (source / name).copy(path)
  _, problem = _verify(target / str(step))
  if problem:
    raise OSError(f'{source}: {problem}')


def forget_place(directory: epath.Path) -> None:
  """Takes out of a copied checkpoint where it was written: Orbax notes it."""
  places = [n for n in _own_files(directory) if n.endswith(_COMMITTED)]
  for name in places:
    files.write_whole(directory / name, 'Checkpoint commit was successful\n')
  sums = directory / _SUMS
  if not sums.exists():
    return
  lines = []
  for line in sums.read_text().splitlines():
    digest, _, name = line.partition('  ')
    digest = _sha256(directory / name) if name in places else digest
    lines.append(f'{digest}  {name}\n')
  files.write_whole(sums, ''.join(lines))


def absolute(path: epath.PathLike) -> epath.Path:
  """The path as Orbax wants it; one like gs://bucket/run stays as it is."""
  path = epath.Path(path)
  return path if '://' in str(path) else path.resolve()


def _wait_for_all(what: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)


def _files(directory: epath.Path, prefix: str = '') -> dict[str, epath.Path]:
  """All files below a checkpoint but its sums, {relative name: path}."""
  found: dict[str, epath.Path] = {}
  for path in sorted(directory.iterdir()):
    name = prefix + path.name
    if path.is_dir() and not os.path.islink(path):  # links lead in circles
      found |= _files(path, f'{name}/')
    elif not name.startswith(_SUMS):
      found[name] = path
  return found


def _own_files(directory: epath.Path) -> dict[str, epath.Path]:
  """`_files` without the foreign ones whose names tell."""
  return {n: p for n, p in _files(directory).items() if not _is_foreign(n)}


def _is_foreign(name: str) -> bool:
  return any(map(files.is_foreign, name.split('/')))


def _sha256(path: epath.Path) -> str:
  """The sum of a file; '' for what is none, or cannot be read."""
  digest = hashlib.sha256()
  try:
    if not files.is_regular(path):
      return ''
    with path.open('rb') as f:
      while block := f.read(1 << 20):
        digest.update(block)
  except OSError as e:
    logging.warning('%s cannot be read: %s', path, e)
    return ''
  return digest.hexdigest()


def _verify(directory: epath.Path) -> tuple[bool, str]:
  """Compares a checkpoint with its sums: (has sums, what is wrong or '')."""
  sums = directory / _SUMS
  if not sums.exists():
    # The process died between the commit and the sums; the commit is atomic.
    logging.warning('%s has no %s: not verified', directory, _SUMS)
    return False, ''
  found, listed = _files(directory), {}
  for line in sums.read_bytes().decode(errors='replace').splitlines():
    digest, _, name = line.partition('  ')
    listed[name] = digest
  if _LAST not in listed:
    return True, f'{_SUMS} is not whole'
  if foreign := sorted(found.keys() - listed.keys()):
    logging.warning(
      '%s: no files of the checkpoint, and ignored: %s',
      directory,
      errors.printable(', '.join(foreign)),
    )
  for name, digest in listed.items():
    if _is_foreign(name):  # an earlier version summed it
      continue
    if name not in found:
      return True, f'{name} is missing'
    if _sha256(found[name]) != digest:
      return True, f'{name} is not what was written'
  return True, _step_problem(directory)


def _step_problem(directory: epath.Path) -> str:
  """Whether its name is that of another step: a copy, to go on from by hand."""
  with contextlib.suppress(OSError, ValueError):  # told when it is restored
    step = files.read_json(directory / 'facts' / 'metadata').get('step')
    if isinstance(step, int) and str(step) != directory.name:
      return f'it is a copy of step {step}'
  return ''
