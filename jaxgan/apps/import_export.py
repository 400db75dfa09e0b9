"""Work directories made of the original's PyTorch files, and the way back."""

import os
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from jaxgan.pytorch import torch_files
from jaxgan.runs import checkpoint, workdir
from jaxgan.runtime import errors, files, host, sharding
from jaxgan.systems import contract


def import_run(
  file: str,
  config: ml_collections.ConfigDict,
  directory: str,
  *,
  step: int | None = None,
) -> None:
  """Makes a run of a checkpoint of the original, and prints what it was.

  Args:
    file: the checkpoint.
    config: of the run, with the settings that the checkpoint was made with.
    directory: work directory, new or empty.
    step: finished iterations; None if the file's name tells them.

  Raises:
    UserError: the directory is not empty, or the file is not what it should be.
  """
  path, file = files.user_path(directory), os.fspath(files.user_path(file))
  if path.is_dir() and any(path.iterdir()):
    raise errors.UserError(f'{path} is not empty: take another --workdir')
  host.check_devices()
  system = contract.get_system(config)
  contract.check_config(system, config)
  for name in contract.domain_names(config):  # no data will tell
    files.check_part(name, 'config.data.domains names')
  imported = _offered(system.import_official, config)(file, config, step)
  config, state, partial = imported.config, imported.state, imported.partial
  workdir.prepare(path)
  domains = contract.domain_names(config)
  metadata = {'system': config.system, 'domains': list(domains)}
  if partial:
    metadata[checkpoint.PARTIAL] = True
  step = int(state.step)
  checkpointer = checkpoint.Checkpointer(path / 'checkpoints')
  checkpointer.save(step, jax.device_put(state), metadata)
  checkpointer.close()
  workdir.save_frozen(path, imported.frozen)
  workdir.save_config(path, config)  # last: without it there is no run

  print(f'{path} is a run at step {step}: {imported.what} of {file}')
  print(f'domains, in this order: {", ".join(domains)}')
  if imported.untold:
    told = ', '.join(f'{k}={v!r}' for k, v in imported.untold.items())
    print(f'not told by the file, taken from the config: {told}')
  params = system.inference_params(state) if partial else state.params
  for name, tree in params.items():
    size = sum(x.size for x in jax.tree.leaves(tree))
    print(f'{name}: {size:,} parameters')


def export_run(
  directory: str,
  out: str,
  *,
  step: int | None = None,
  safetensors: bool = False,
) -> None:
  """Writes a checkpoint of a run as files of the original, and names them.

  Args:
    directory: work directory of the run.
    out: folder for the files, made if it is missing.
    step: of the checkpoint; None for the newest good one.
    safetensors: write files of that format, which holds no optimisers.

  Raises:
    UserError: there is no such checkpoint, `out` cannot be written to, or
      PyTorch is missing, which writes its own files.
  """
  path, folder = files.user_path(directory), files.user_path(out)
  placement = sharding.replicated(sharding.create_local_mesh())
  run = contract.open_run(path, placement, step)
  checkpointer = checkpoint.Checkpointer(path / 'checkpoints', read_only=True)
  partial = checkpointer.metadata(run.step).get(checkpoint.PARTIAL, False)
  checkpointer.close()
  trees = _offered(run.system.export_official, run.config)(
    jax.device_get(run.state), run.frozen, run.config, partial
  )
  if safetensors:
    trees = _as_safetensors(trees)
  existing = [name for name in trees if (folder / name).exists()]
  if existing:
    raise errors.UserError(f'{folder / existing[0]} exists: take another --out')
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for name, tree in trees.items():
      torch_files.save(folder / name, tree)
      print(f'wrote {folder / name}', flush=True)
  except OSError as e:
    raise errors.UserError(f'cannot write to {folder} ({e})') from e


def _as_safetensors(trees: dict[str, Any]) -> dict[str, Any]:
  """The files that are weights, by their names in that format."""
  result = {}
  for name, tree in trees.items():
    if torch_files.is_weights(tree):
      result[os.path.splitext(name)[0] + torch_files.SAFETENSORS] = tree
    else:
      print(f'left out {name}: files of safetensors hold weights alone')
  return result


def _offered(
  convert: Callable[..., Any] | None, config: ml_collections.ConfigDict
) -> Callable[..., Any]:
  if convert is None:
    raise errors.UserError(
      f'checkpoints of the original {config.system} cannot be read or written'
    )
  return convert
