"""The report of a run: one page that opens from disk and needs nothing else.

It is made of what lies in the work directory, whoever wrote it, and of nothing
else; so training and evaluation may both make it anew at any time.
"""

import base64
import datetime
import functools
import html
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from jaxgan.data import preprocess, sources
from jaxgan.runs import collapse, workdir
from jaxgan.runtime import errors, files, images

Record = Mapping[str, Any]

MAX_POINTS = 400  # of a curve; where there are more, means of as many bins
MAX_STEPS = 12  # of samples, spread evenly over the run, and the last
MAX_SIZE = (1024, 4096)  # pixels; larger grids are made smaller
MAX_SAID = 200  # last lines of what the run said
_BEST = '_best'  # ending of the names of scores of the best output
_LOSSLESS = 2**19  # pixels; smaller grids are kept as they are

# By the end of a grid's name: in a picture that is small, or of an earlier
# version, no labels can be read.
_LEGENDS = {
  'reference': 'Columns are sources. Rows are styles, each of the reference to '
  'the left.',
  'latent': 'Columns are sources. Rows are domains, in random styles.',
  'targets': 'Columns are sources. Rows are targets.',
  'cycle': 'Columns are sources. Rows lead to a translation, and back again.',
  '': 'Columns are sources. Rows are what becomes of them.',
}

_COLOURS = ('#1f6fb4', '#d9702b', '#3a9a5b', '#9467bd', '#8c564b', '#777777')


def update(directory: epath.PathLike, signs: Sequence[collapse.Sign]) -> None:
  """Writes the report, or warns: no run of days is to end for it."""
  try:
    write(directory, signs)
  except Exception as e:  # whatever others have left in the work directory
    logging.warning('the report of %s is not written: %s', directory, e)


def write(
  directory: epath.PathLike, signs: Sequence[collapse.Sign]
) -> epath.Path:
  """Writes `report/index.html` of a work directory, whole or not at all.

  Args:
    directory: work directory of a run.
    signs: of collapse, of the run's system.

  Returns:
    The file.

  Raises:
    UserError: there is no run, or what draws the report is not installed.
    OSError: the page cannot be written.
  """
  directory = files.user_path(directory)
  page = render(directory, signs)
  path = directory / 'report' / 'index.html'
  if os.path.islink(path.parent):  # it would lead elsewhere
    path.parent.unlink()
  path.parent.mkdir(exist_ok=True)
  # A training and an evaluation may write at the same time.
  own = path.with_name(f'{os.getpid()}.html')
  try:
    files.write_whole(own, page.encode(errors='replace'))
    own.replace(path)
  finally:
    own.unlink(missing_ok=True)
  return path


def render(directory: epath.Path, signs: Sequence[collapse.Sign]) -> str:
  """The page of a run, as HTML.

  Raises:
    UserError: there is no run, or what draws the report is not installed.
  """
  jinja2, plotly = _import_libraries()
  config = workdir.require_config(directory)
  metrics = list(workdir.read_metrics(directory))
  history = list(workdir.read_history(directory))
  evaluations = list(read_evaluations(directory))
  watcher = collapse.Watcher(signs, collapse.window_size(config))
  told = [line for record in metrics for line in watcher.update(record)]
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('jaxgan.runs'), autoescape=True
  )
  of_signs, of_losses = _metric_curves(metrics, signs)
  sections = {
    'Signs of collapse': of_signs,
    'Losses': of_losses,
    'Scores': _score_curves(evaluations),
    'Speed': _speed_curves(history),
  }
  samples = _samples(directory / 'samples')
  return environment.get_template('report.html').render(
    name=directory.name,
    updated=_now(),
    overview=_overview(
      config, metrics, history, files.numbers_in(directory / 'checkpoints')
    ),
    state=watcher.state(),
    last_look=watcher.last_look(),
    told=told,
    samples=samples,
    legends={name: _legend(name) for name in samples},
    domains=_list_domains(config.data),
    sections={
      title: [(curve.title, _draw(curve, plotly)) for curve in curves]
      for title, curves in sections.items()
    },
    tables=tables(evaluations),
    said=[r for r in history if isinstance(r.get('said'), str)][-MAX_SAID:],
    settings=workdir.flatten(config),
    plotly_js=plotly.offline.get_plotlyjs(),
  )


def _import_libraries() -> tuple[Any, Any]:
  """Jinja and Plotly, which trainings can do without."""
  try:
    import jinja2
    import plotly.graph_objects
    import plotly.offline
  except ImportError as e:
    raise errors.UserError(
      f'the report needs jinja2 and plotly ({e}): pip install jinja2 plotly'
    ) from e
  return jinja2, plotly


def _now() -> str:
  now = datetime.datetime.now(datetime.UTC)
  return now.strftime('%Y-%m-%d %H:%M UTC')


def _overview(
  config: ml_collections.ConfigDict,
  metrics: Sequence[Record],
  history: Sequence[Record],
  saved: Sequence[int],
) -> dict[str, str]:
  """What run this is, and how far it has come."""
  starts = [r for r in history if isinstance(r.get('start'), dict)]
  speeds = [r for r in history if collapse.is_number(r.get('images_per_s'))]
  said = [r['said'] for r in history if isinstance(r.get('said'), str)]
  step = max([0, *saved, *(record['step'] for record in metrics)])
  overview = {
    'step': f'{step} of {config.get("num_train_steps")}',
    'last said': said[-1] if said else '',
    'system': str(config.get('system')),
    'data': f'{config.data.get("name")}, {config.data.get("img_size")} px',
    'domains': ', '.join(map(str, config.data.get('domains', ()))),
    'batch size': str(config.get('batch_size')),
  }
  if speeds:
    overview['images/s'] = f'{speeds[-1]["images_per_s"]:.1f}'
  if starts:
    overview['started'] = f'{starts[0].get("time")}' + (
      f', {len(starts)} times in all, last {starts[-1].get("time")}'
      if len(starts) > 1
      else ''
    )
    overview |= {key: str(value) for key, value in starts[-1]['start'].items()}
  return {key: value for key, value in overview.items() if value}


class Curve(NamedTuple):
  """A chart: lines over the steps, and perhaps dotted limits."""

  title: str
  lines: dict[str, tuple[Sequence[float], Sequence[float]]]  # {name: (x, y)}
  limits: tuple[float, ...] = ()
  marked: bool = False  # a dot at each point


def _metric_curves(
  metrics: Sequence[Record], signs: Sequence[collapse.Sign]
) -> tuple[list[Curve], list[Curve]]:
  """Those of signs and outputs, with their limits, and all others."""
  limits = collapse.LIMITS | {sign.metric: sign.limit for sign in signs}
  of_signs, others = [], []
  for title, names, lines in _charts(metrics):
    if names <= limits.keys():
      dotted = tuple(sorted({limits[name] for name in names}))
      of_signs.append(Curve(title, lines, dotted))
    else:
      others.append(Curve(title, lines))
  return of_signs, others


def _charts(
  metrics: Sequence[Record],
) -> Iterator[tuple[str, set[str], dict[str, tuple]]]:
  """(title, names, lines) of metrics that belong together.

  G/latent_adv and G/ref_adv are two lines of one chart, `G adv`. What stands
  before the first underscore is the name of a line if it does so more than
  once: G/lambda_ds has a chart of its own.
  """
  logged = {key for record in metrics[-1:] for key in record} - {'step'}
  all_names = sorted(logged | collapse.LIMITS.keys())  # not in every record
  heads = [name.partition('_')[0] for name in all_names]
  charts: dict[str, dict[str, str]] = {}
  for name, head in zip(all_names, heads, strict=True):
    group, _, line = head.rpartition('/')
    if heads.count(head) > 1:
      title = f'{group} {name[len(head) + 1 :]}'
    else:
      title, line = name.replace('/', ' '), ''
    charts.setdefault(title, {})[line] = name
  for title, names in charts.items():
    found = {line: _points(metrics, name) for line, name in names.items()}
    lines = {line: _thin(*points) for line, points in found.items() if points}
    if lines:
      yield title, set(names.values()), lines


def _speed_curves(history: Sequence[Record]) -> list[Curve]:
  curves = []
  for title, key in (
    ('images/s', 'images_per_s'),
    ('peak memory, GB', 'peak_memory_gb'),
  ):
    if points := _points(history, key):
      curves.append(Curve(title, {'': _thin(*points)}))
  return curves


def _points(
  records: Iterable[Record], key: str
) -> tuple[list[float], list[float]] | None:
  """(steps, values) of a key, in order; of a step the last that was told."""
  values = {
    r['step']: r[key] for r in records if collapse.is_number(r.get(key))
  }
  steps = sorted(values)
  return (steps, [values[step] for step in steps]) if steps else None


def _thin(
  x: Sequence[float], y: Sequence[float]
) -> tuple[list[float], list[float]]:
  """No more than MAX_POINTS points: means of bins of equally many."""
  count = min(len(x), MAX_POINTS)
  means_x, means_y = (
    [float(np.mean(part)) for part in np.array_split(np.asarray(v), count)]
    for v in (x, y)
  )
  return means_x, means_y


def _draw(curve: Curve, plotly: Any) -> str:
  """The chart as a piece of HTML."""
  figure = plotly.graph_objects.Figure()
  for i, (name, (x, y)) in enumerate(curve.lines.items()):
    figure.add_scatter(
      x=x,
      y=[float(f'{value:.5g}') for value in y],
      name=html.escape(name) or html.escape(curve.title),
      mode='lines+markers' if curve.marked or len(x) == 1 else 'lines',
      line={'color': _COLOURS[i % len(_COLOURS)], 'width': 1.5},
    )
  for limit in curve.limits:
    figure.add_hline(limit, line_dash='dot', line_width=1, line_color='#b00')
  figure.update_layout(
    template='none',
    height=210,
    margin={'l': 48, 'r': 8, 't': 8, 'b': 28},
    hovermode='x unified',
    showlegend=len(curve.lines) > 1,
    legend={'orientation': 'h', 'y': 1, 'yanchor': 'bottom', 'x': 0},
    xaxis={'gridcolor': '#eee', 'zeroline': False},
    yaxis={'gridcolor': '#eee', 'zeroline': False},
    font={'size': 11},
  )
  return figure.to_html(
    full_html=False,
    include_plotlyjs=False,
    config={'responsive': True, 'displayModeBar': False},
  )


def _samples(directory: epath.Path) -> dict[str, list[tuple[int, str]]]:
  """{grid: [(step, picture as a data URI)]}, by step."""
  steps = files.numbers_in(directory)
  stride = 1  # doubled, so that the pictures of one report serve the next
  while len(steps[::stride]) > MAX_STEPS:
    stride *= 2
  steps = sorted({*steps[::stride], *steps[-1:]})
  grids: dict[str, list[tuple[int, str]]] = {}
  for step in steps:
    # As they were written: the system's own order.
    paths = files.matching(directory / str(step), '*.png')
    for path in sorted(paths, key=_changed):
      try:
        _check_inside(path, directory)
        picture = _embedded(path, _changed(path))
      except (OSError, ValueError) as e:  # UnreadableImage among them
        logging.warning('not in the report: %s: %s', path, e)
        continue
      grids.setdefault(path.stem, []).append((step, picture))
  return grids


def _legend(name: str) -> str:
  """What the columns and rows of a grid are."""
  name = re.sub(r'_psi[\d.]+$', '', name)
  return next(text for end, text in _LEGENDS.items() if name.endswith(end))


def _list_domains(data: ml_collections.ConfigDict) -> str:
  """The domains, with their numbers where labels have those alone."""
  names = data.get('pair') or (
    *data.get('domains', ()),
    *data.get('joint_domains', ()),
  )
  names = list(map(str, names))
  labels = images.name_all(names, 'domain')
  return ', '.join(
    f'{label}: {name}' if label == f'domain {i}' else name
    for i, (name, label) in enumerate(zip(names, labels, strict=True), 1)
  )


def _check_inside(path: epath.Path, directory: epath.Path) -> None:
  """Raises ValueError for a link to somewhere else."""
  real, root = os.path.realpath(path), os.path.realpath(directory)
  if not real.startswith(f'{root}{os.sep}'):
    raise ValueError('it leads elsewhere')


def _changed(path: epath.Path) -> int:
  """When a file was written; 0 in a bucket (gs://...)."""
  try:
    return os.stat(path).st_mtime_ns
  except OSError:
    return 0


@functools.lru_cache(maxsize=200)
def _embedded(path: epath.Path, changed: int) -> str:
  """A picture as a data URI, encoded once in the life of a process."""
  del changed
  image = preprocess.decode(sources.read_file(path))
  image.thumbnail(MAX_SIZE, Image.Resampling.LANCZOS)
  buffer = io.BytesIO()
  small = image.width * image.height <= _LOSSLESS
  image.save(buffer, 'WEBP', quality=80, lossless=small)
  encoded = base64.b64encode(buffer.getvalue()).decode()
  return f'data:image/webp;base64,{encoded}'


class Evaluation(NamedTuple):
  """What a file of scores holds."""

  step: int
  of_what: str  # protocol, seeds, weights
  scores: Sequence[Record]


def read_evaluations(directory: epath.Path) -> Iterator[Evaluation]:
  """By step; files that are no evaluations are passed over."""
  found = []
  for path in files.matching(directory / 'eval', '*.json'):
    try:
      _check_inside(path, directory)
      content = files.read_json(path)
      options, seeds = content['options'], int(content['seeds'])
      of_what = str(options['protocol'])
      shortened = {
        key: options[key]
        for key in ('domains', 'num_sources', 'num_outputs')
        if '_shortened_' in path.name and options.get(key)
      }
      if shortened:
        of_what += f', a shorter look ({json.dumps(shortened)})'
      of_what += f', {seeds} seeds' if seeds > 1 else ''
      # Names have two to four parts.
      scores = [
        {**score, 'parts': (*score['name'].split('/'), '', '', '')[:4]}
        for score in content['scores']
      ]
      found.append(Evaluation(int(content['step']), of_what, scores))
    except Exception as e:  # whatever others have left there
      logging.warning('not in the report: %s: %s', path, e)
  yield from sorted(found, key=lambda e: e.step)


def _score_curves(evaluations: Sequence[Evaluation]) -> list[Curve]:
  """Means over all pairs, and factors, against the step."""
  charts: dict[str, dict[str, list[tuple[int, float]]]] = {}
  for evaluation in evaluations:
    for score in evaluation.scores:
      metric, mode, what, pair = score['parts']
      if not collapse.is_number(score.get('value')):
        continue
      if score.get('protocol') == 'factors':
        title = f'{metric}: {what}'
      elif metric == 'paired' and pair == 'mean':
        title = f'paired {what}, {evaluation.of_what}'
      elif what == 'mean':
        title = f'{metric}, {evaluation.of_what}'
      else:
        continue
      lines = charts.setdefault(title, {}).setdefault(mode, [])
      lines.append((evaluation.step, score['value']))
  return [
    Curve(
      title,
      {
        mode: ([step for step, _ in points], [value for _, value in points])
        for mode, points in lines.items()
      },
      marked=True,
    )
    for title, lines in charts.items()
    if any(len(points) > 1 for points in lines.values())
  ]


class Table(NamedTuple):
  """Scores: a row of texts under each other's heads."""

  title: str
  columns: list[str]
  rows: list[list[str]]


def tables(evaluations: Sequence[Evaluation]) -> list[Table]:
  """Of each protocol the last evaluation, a table for each mode.

  Factors have one table, with a row for each mode; that of real images is what
  a perfect translation would reach.
  """
  last = {evaluation.of_what: evaluation for evaluation in evaluations}
  tables = []
  for of_what, evaluation in last.items():
    where = f'step {evaluation.step}'
    groups: dict[str, dict[str, dict[str, Record]]] = {}
    tables += paired_tables(evaluation.scores, where)
    for score in evaluation.scores:
      metric, mode, what, _ = score['parts']
      if metric == 'paired':
        continue  # in a table of its own
      if score.get('protocol') == 'factors':
        title, row, column = f'{metric}, {where}', mode, what
      else:
        title, row, column = f'{mode}: {of_what}, {where}', what, metric
      groups.setdefault(title, {}).setdefault(row, {})[column] = score
    tables += [
      _create_table(title + _seen_through(rows), rows)
      for title, rows in groups.items()
    ]
  return tables


def _create_table(
  title: str, rows: Mapping[str, Mapping[str, Record]]
) -> Table:
  columns = list(dict.fromkeys(c for row in rows.values() for c in row))
  return Table(
    title,
    columns,
    [
      [name, *(_format(row.get(column)) for column in columns)]
      for name, row in rows.items()
    ],
  )


def paired_tables(scores: Iterable[Record], where: str) -> list[Table]:
  """Scores beside true counterparts: a row for each mode, and each floor.

  There is a table for each pair of domains; of more than two pairs one, of
  their means.

  Args:
    scores: of an evaluation.
    where: the step, for the titles.
  """
  by_pair: dict[str, dict[str, dict[str, Record]]] = {}
  for score in scores:
    metric, *rest = score['name'].split('/')
    if metric == 'paired' and len(rest) == 3:
      mode, column, pair = rest
      if column.endswith(_BEST):
        mode, column = f'{mode}, best of its outputs', column[: -len(_BEST)]
      by_pair.setdefault(pair, {}).setdefault(mode, {})[column] = score
  mean = by_pair.pop('mean', {})
  if len(by_pair) > 2:
    by_pair = {f'mean of {len(by_pair)} pairs': mean}
  return [
    _create_table(f'{_of_sources(rows)}, {pair}, {where}', rows)
    for pair, rows in by_pair.items()
  ]


def _of_sources(rows: Mapping[str, Mapping[str, Record]]) -> str:
  """The protocol, and how many sources could be held beside the truth."""
  scores = [score for row in rows.values() for score in row.values()]
  counts = [score['n_fake'] for score in scores if score.get('n_fake')]
  protocol = scores[0].get('protocol') or 'paired'
  # Floors have one output for each source.
  return f'{protocol}, {min(counts)} sources' if counts else protocol


def _seen_through(rows: Mapping[str, Mapping[str, Record]]) -> str:
  weights = {
    f'{column} through {score["weights"]}'
    for row in rows.values()
    for column, score in row.items()
    if score.get('weights') and column in ('fid', 'lpips')
  }
  return ''.join(f', {text}' for text in sorted(weights))


def _format(score: Record | None) -> str:
  """A number; nothing where none was measured."""
  if score is None or not collapse.is_number(score.get('value')):
    return ''
  spread = score.get('std')
  return f'{score["value"]:.4g}' + (
    f' ± {spread:.2g}' if collapse.is_number(spread) else ''
  )
