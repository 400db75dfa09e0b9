"""A run as a folder for others: what translations need, and a model card."""

import json
import os
from collections.abc import Sequence
from typing import Any

import ml_collections
from etils import epath

from jaxgan.runs import checkpoint, report, workdir
from jaxgan.runtime import errors, files
from jaxgan.systems import contract


def prepare(
  directory: epath.PathLike,
  out: epath.PathLike,
  *,
  licence: str,
  repo: str = '',
  step: int | None = None,
  samples: bool = True,
) -> int:
  """Writes the folder; no setting in it names a place of this machine.

  Args:
    directory: work directory of a run.
    out: the folder, new or empty.
    licence: of the weights, as the hub names it.
    repo: where it will be, for the card.
    step: of the checkpoint; None for the newest.
    samples: whether the sample grids go along, which show pictures of the data.

  Returns:
    The step.

  Raises:
    UserError: there is no such checkpoint, or `out` is in use.
  """
  source, target = files.user_path(directory), files.user_path(out)
  workdir.require_config(source)
  config = contract.read_config(source / 'config.json')
  step = _choose(source / 'checkpoints', step)
  if target.exists() and any(target.iterdir()):
    raise errors.UserError(f'{target} is not empty: take another --out')
  target.mkdir(parents=True, exist_ok=True)
  for name in ('data.json', 'frozen.npz'):
    if (source / name).exists():
      (source / name).copy(target / name)
  checkpoint.copy_step(source / 'checkpoints', target / 'checkpoints', step)
  checkpoint.forget_place(target / 'checkpoints' / str(step))
  config = without_places(config)
  workdir.save_config(target, config)
  grids = _copy_samples(source, target, step) if samples else []
  text = _card(source, config, step, licence, repo, grids)
  files.write_whole(target / 'README.md', text)
  return step


def without_places(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """A copy without folders; of settings that are files the names are left."""
  config = ml_collections.ConfigDict(config.to_dict())
  for key, value in workdir.flatten(config).items():
    if key in workdir.PLACES:
      kept = os.path.basename(value) if key.endswith('_file') else ''
      config.update_from_flattened_dict({key: kept})
  return config


def _choose(directory: epath.Path, step: int | None) -> int:
  steps = files.numbers_in(directory)
  if not steps or step not in (None, *steps):
    have = ', '.join(map(str, steps)) or 'none'
    wanted = (
      'no checkpoint' if step is None else f'no checkpoint of step {step}'
    )
    raise errors.UserError(f'{wanted} in {directory}, but: {have}')
  return steps[-1] if step is None else step


def _copy_samples(
  source: epath.Path, target: epath.Path, step: int
) -> list[str]:
  """Those of the last step up to the checkpoint; the names of their files."""
  drawn = [n for n in files.numbers_in(source / 'samples') if n <= step]
  if not drawn:
    return []
  paths = files.matching(source / 'samples' / str(drawn[-1]), '*.png')
  if paths:
    (target / 'samples').mkdir()
  for path in paths:
    path.copy(target / 'samples' / path.name)
  return [path.name for path in paths]


def _card(
  source: epath.Path,
  config: ml_collections.ConfigDict,
  step: int,
  licence: str,
  repo: str,
  grids: Sequence[str],
) -> str:
  """README.md of the repository."""
  about = contract.find_system(config).ABOUT
  domains = contract.domain_names(config)
  size = config.data.img_size
  address = f'hf://{repo or "USER/NAME"}'
  lines = [
    *('---', 'library_name: jaxgan', f'license: {json.dumps(licence)}'),
    'pipeline_tag: image-to-image',
    f'tags: [jax, flax, gan, image-to-image, {config.system}]',
    *('---', ''),
    f'# {about.title}: {", ".join(map(_escaped, domains))}',
    '',
    f'A {about.title} ({about.paper}) that translates pictures of {size} x '
    f'{size} pixels, at step {step} of its training. Outputs: {about.output}.',
    '',
    *('## Use', '', '```python', 'import jaxgan', ''),
    f"model = jaxgan.load('{address}')",
    '```',
    *('', '```bash'),
    f'python -m jaxgan.tools.translate --workdir={address} --src=PICTURES \\',
    f'  --out=OUT {_style_flags(config, domains)}',
    '```',
    '',
    *_data_section(source, config),
    *_scores_section(source, step),
  ]
  if grids:
    lines += ['## Samples', '']
    lines += [f'![{name}](samples/{name})\n' for name in grids]
  return '\n'.join([*lines, *_settings_section(config)]) + '\n'


def _style_flags(
  config: ml_collections.ConfigDict, domains: Sequence[str]
) -> str:
  domain = f'--domain={json.dumps(domains[0], ensure_ascii=False)}'
  kinds = contract.find_system(config).KINDS
  return domain if 'label' in kinds else f'{domain} --num_latents=4'


def _data_section(
  source: epath.Path, config: ml_collections.ConfigDict
) -> list[str]:
  lines = ['## Data', '', f'Data set `{config.data.name}`.']
  path = source / 'data.json'
  counts = files.read_json(path) if path.exists() else {}
  if counts:
    lines += ['', '| domain | training images |', '|---|---|']
    lines += [
      f'| {_escaped(name)} | {what.get("images", "")} |'
      for name, what in counts.items()
      if isinstance(what, dict)
    ]
  return [*lines, '']


def _scores_section(source: epath.Path, step: int) -> list[str]:
  """Tables of the step, floors beside the scores, as in the report."""
  of_step = [e for e in report.read_evaluations(source) if e.step == step]
  lines = ['## Scores', '']
  if not of_step:
    return [*lines, 'This checkpoint was not scored.', '']
  for table in report.tables(of_step):
    lines += [f'{_escaped(table.title)}:', '']
    lines += [
      _row(['', *table.columns]),
      '|---' * (1 + len(table.columns)) + '|',
    ]
    lines += [*map(_row, table.rows), '']
  return lines


def _settings_section(config: ml_collections.ConfigDict) -> list[str]:
  defaults = workdir.flatten(contract.default_config(config))
  lines = ['## Settings that are not the default', '']
  lines += [_row(['setting', 'value', 'default']), '|---|---|---|']
  for key, value in sorted(workdir.flatten(config).items()):
    default = defaults.get(key)
    if key not in workdir.PLACES and _plain(value) != _plain(default):
      lines.append(_row([f'`{key}`', str(_plain(value)), str(_plain(default))]))
  return lines


def _plain(value: Any) -> Any:
  return list(value) if isinstance(value, tuple | list) else value


def _row(cells: Sequence[str]) -> str:
  return f'| {" | ".join(map(_escaped, cells))} |'


def _escaped(text: str) -> str:
  """As text of Markdown: names are of anyone."""
  text = errors.printable(text)
  return ''.join(f'\\{c}' if c in '\\|<>[]*#!' else c for c in text)
