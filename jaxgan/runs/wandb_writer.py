"""Metrics and samples to Weights & Biases, for runs that ask for it.

Nothing here ends a run: the first failure is told, and nothing is sent from
there on.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epath

from jaxgan.runs import workdir
from jaxgan.runtime import errors, files

_FILE = 'wandb.json'  # which run of Weights & Biases a work directory is
_FINISH_SECONDS = 300  # for what is not sent yet when a run ends


def import_library() -> Any:
  """Weights & Biases; raises UserError where it is not installed."""
  try:
    import wandb
  except ImportError as e:
    raise errors.UserError(
      f'--wandb needs wandb ({e}): pip install wandb'
    ) from e
  return wandb


class Writer:
  """What a run uses of clu's `MetricWriter`, with the same arguments.

  It is none, because clu imports TensorFlow, which a run can do without.

  Args:
    directory: work directory; a run resumed there goes on in the same run of
      Weights & Biases.
    project: PROJECT, or ENTITY/PROJECT.
    config: all settings; those that are places of files are not sent.
    say: takes a line for the user.
  """

  def __init__(
    self,
    directory: epath.Path,
    project: str,
    config: ml_collections.ConfigDict,
    say: Callable[[str], None],
  ):
    self._say, self._run = say, None
    with self._failures_told():
      self._wandb = import_library()
      self._run = self._start(directory, project, config)
      where = self._run.url
      if self._run.offline:
        folder = os.path.dirname(self._run.dir)
        where = f'offline, to be sent by: wandb sync {folder}'
      say(f'Weights & Biases: {where}')

  def _start(
    self,
    directory: epath.Path,
    project: str,
    config: ml_collections.ConfigDict,
  ) -> Any:
    entity, _, name = project.rpartition('/')
    settings = {
      key: value
      for key, value in workdir.flatten(config).items()
      if key not in workdir.PLACES
    }
    is_local = '://' not in os.fspath(directory)
    run = self._wandb.init(
      project=name,
      entity=entity or None,
      name=directory.name,
      id=_run_id(directory, project),
      resume='allow',
      config=settings,
      dir=os.fspath(directory) if is_local else None,
      # Neither the command, which names places, nor code.
      settings=self._wandb.Settings(
        console='off',
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        finish_timeout=_FINISH_SECONDS,
      ),
    )
    # A run that goes back would be refused smaller steps of W&B's own.
    run.define_metric('*', step_metric='step')
    return run

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Sends numbers of a step."""
    self._log({'step': step, **scalars})

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Sends images [1, H, W, 3], uint8, of a step."""
    if self._run:
      with self._failures_told():
        made = {key: self._wandb.Image(x[0]) for key, x in images.items()}
        self._log({'step': step, **made})

  def close(self) -> None:
    """Waits until all is sent."""
    if self._run:
      with self._failures_told():
        self._run.finish()

  def _log(self, values: dict[str, Any]) -> None:
    if self._run:
      with self._failures_told():
        self._run.log(values)

  @contextlib.contextmanager
  def _failures_told(self) -> Iterator[None]:
    try:
      yield
    except Exception as e:  # of the network, an account, a full disk
      self._run = None
      reason = ' '.join(str(e).split()) or type(e).__name__
      self._say(f'nothing is sent to Weights & Biases from here on: {reason}')


def _run_id(directory: epath.Path, project: str) -> str:
  """That of the work directory in the project, kept there."""
  path = directory / _FILE
  with contextlib.suppress(OSError, ValueError):
    kept = files.read_json(path)
    if kept.get('project') == project and isinstance(kept.get('id'), str):
      return kept['id']
  made = {'project': project, 'id': secrets.token_hex(4)}
  files.write_whole(path, f'{json.dumps(made)}\n')
  return made['id']
