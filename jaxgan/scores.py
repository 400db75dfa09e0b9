"""Evaluation of a run: scores on the screen, as JSON, and in one long CSV."""

import csv
import datetime
import io
import json
from collections.abc import Mapping

import jax
import ml_collections
from etils import epath

from jaxgan import errors, systems

_COLUMNS = ('time', 'step', 'seed', 'protocol', 'metric', 'value')


def evaluate_run(
  directory: str,
  *,
  step: int | None = None,
  config: ml_collections.ConfigDict | None = None,
) -> dict[str, float | None]:
  """Scores a checkpoint and records the scores under `directory/eval`.

  Args:
    directory: work directory of the run.
    step: of the checkpoint; None for the newest good one.
    config: where the data is, and the seed; None for those of the run.

  Raises:
    UserError: there is no such checkpoint, or the config is of other networks.
  """
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  run_config, state, step, frozen, static = systems.restore_run(
    directory, device, step
  )
  if config is not None:
    _adopt(run_config, config)
  print(f'evaluating step {step} of {directory} ...', flush=True)
  system = systems.get_system(run_config)
  scores = system.evaluate(
    system.inference_params(state), frozen, run_config, **static
  )
  path = epath.Path(directory) / 'eval'
  path.mkdir(parents=True, exist_ok=True)
  _write_json(path / f'{step}.json', scores)
  protocol = run_config.data.name
  _append_csv(path / 'scores.csv', step, run_config.seed, protocol, scores)
  _print_table(step, scores)
  print(f'scores: {path / f"{step}.json"}, {path / "scores.csv"}', flush=True)
  return scores


def _adopt(
  run_config: ml_collections.ConfigDict, config: ml_collections.ConfigDict
) -> None:
  """Takes data and seed from `config`, whose networks must be the run's."""
  for key, value in config.model.items():
    if key == 'num_domains' and value == 0:
      continue
    if run_config.model.get(key) != value:
      raise errors.ConfigMismatchError(
        f'config.model.{key} is {value}, that of the run is '
        f'{run_config.model.get(key)}'
      )
  if run_config.data.img_size != config.data.img_size:
    raise errors.ConfigMismatchError(
      f'config.data.img_size is {config.data.img_size}, that of the run is '
      f'{run_config.data.img_size}'
    )
  for key in ('name', 'root', 'val_split', 'train_split'):
    run_config.data[key] = config.data[key]
  run_config.seed = config.seed


def _write_json(path: epath.Path, scores: Mapping[str, float | None]) -> None:
  partial = path.parent / f'{path.name}.partial'
  partial.write_text(json.dumps(scores, indent=2, allow_nan=False) + '\n')
  partial.replace(path)


def _append_csv(
  path: epath.Path,
  step: int,
  seed: int,
  protocol: str,
  scores: Mapping[str, float | None],
) -> None:
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  if not path.exists():
    writer.writerow(_COLUMNS)
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  for metric, value in scores.items():
    value = '' if value is None else value
    writer.writerow((now, step, seed, protocol, metric, value))
  with path.open('a') as f:
    f.write(buffer.getvalue())


def _print_table(step: int, scores: Mapping[str, float | None]) -> None:
  width = max(map(len, scores))
  print(f'{"step " + str(step):<{width}}  value')
  for metric, value in scores.items():
    text = 'not measured' if value is None else f'{value:.4f}'
    print(f'{metric:<{width}}  {text}')
