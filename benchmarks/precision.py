"""Trains with several precisions of computation, and compares what is learned.

  python -m benchmarks.precision --config=configs/stargan_v2/shapes.py \\
    --workdir=DIR [--dtypes=float32,bfloat16] [--seeds=0,1,2] \\
    [--steps=1250] [--every=250] [--jobs=1] [--config.x=...]

trains a run of each seed and dtype in DIR/<dtype>_<seed>, the dtypes in turns,
and scores a checkpoint of every --every steps. All are scored on the images,
references and latents of one seed, that of the config, and each in the
precision it was trained in. The same command goes on where it was stopped, and
repeats nothing that is finished.

After every run precision.json, precision.csv and precision.png in DIR are
written anew; at the end Markdown tables of the last step are printed.
"""

import concurrent.futures
import copy
import csv
import fcntl
import io
import json
import math
import os
import pathlib
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import ml_collections
from absl import flags
from etils import epath
from ml_collections import config_flags
from PIL import Image, ImageDraw, ImageFont

from jaxgan import cli, errors, files, workdir

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A config of data.name=shapes.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where the runs are kept.')
_DTYPES = flags.DEFINE_list(
  'dtypes', ['float32', 'bfloat16'], 'Each is compared with the first.'
)
_SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Of the runs of a dtype.')
_STEPS = flags.DEFINE_integer('steps', 1250, 'Of a run; also ds_iter.', 1)
_EVERY = flags.DEFINE_integer('every', 250, 'Steps between two scores.', 1)
_JOBS = flags.DEFINE_integer(
  'jobs', 1, 'Runs side by side, each on its share of the cores.', 1
)
flags.mark_flags_as_required(['config', 'workdir'])

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_END = 0.2  # the part of a run that its losses are means over
_FROM_DATA = ('data.domains', 'model.num_domains')  # where the config has none
_PIN = """
import os, sys
os.sched_setaffinity(0, map(int, sys.argv[1].split(',')))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

# Of the picture.
_COLOURS = ('#1f6fb4', '#e0701a', '#3b9a4a', '#8a4fb0')
_GREY, _FAINT, _BLACK = '#666666', '#e4e4e4', '#222222'
_SMOOTH = 3  # drawn as many times larger, then made smaller
_COLUMNS = 4
_CELL = (330, 270)  # of a panel, with its title and labels
_MARGINS = (64, 36, 16, 50)  # left, top, right, bottom of its axes
_HEADER = 50
_WORDS = {  # title and axis of a score
  'domain_accuracy': ('accuracy', 'share of images'),
  'position_error_px': ('position error', 'median, pixels'),
  'size_error': ('size error', "median, share of the source's"),
  'colour_error': ('colour error', 'median, turns of the hue circle'),
  'diversity': ('diversity of hues', '0 one hue, 1 even'),
}

# {score: {dtype: [a value of each seed]}}
Values = Mapping[str, Mapping[str, Sequence[float | None]]]


class Plan(NamedTuple):
  """What the runs have in common."""

  directory: epath.Path
  steps: int
  every: int

  @property
  def scored(self) -> list[int]:
    """Steps whose checkpoints are scored; the last is one of them."""
    return [*range(self.every, self.steps, self.every), self.steps]


class Result(NamedTuple):
  """What a finished run has learned."""

  dtype: str
  seed: int
  scores: Mapping[int, Mapping[str, float | None]]  # by step
  losses: Mapping[str, float]  # means over the end of the run


class Run:
  """One training and its scores, in a directory of their own."""

  def __init__(self, plan: Plan, dtype: str, seed: int):
    self._plan, self._dtype, self._seed = plan, dtype, seed
    self.name = f'{dtype}_{seed}'
    self.log = plan.directory / f'{self.name}.log'
    self._path = plan.directory / self.name
    self._settings = {
      'seed': seed,
      'model.dtype': dtype,
      'num_train_steps': plan.steps,
      'hparams.ds_iter': plan.steps,
      'sample_every_steps': plan.steps,
      'checkpoint_every_steps': plan.every,
      'keep': 1,
      'keep_every_steps': plan.every,
    }

  def check_config(self, config: ml_collections.ConfigDict) -> None:
    """Raises ConfigMismatchError if there is a run with other settings."""
    saved = workdir.load_config(self._path)
    if saved is None:
      return
    config = copy.deepcopy(config)
    config.update_from_flattened_dict(self._settings)
    # Through JSON, as the saved one went: a tuple there is a list.
    new = _flatten(ml_collections.ConfigDict(json.loads(config.to_json())))
    old = _flatten(saved)
    free = {key for key in _FROM_DATA if not new[key]} | workdir.FREE_SETTINGS
    for key in sorted((old.keys() & new.keys()) - free):
      if old[key] != new[key]:
        raise errors.ConfigMismatchError(
          f'{self._path} holds a run of config.{key}={old[key]}, not '
          f'{new[key]}: take another --workdir'
        )

  def commands_left(self) -> list[list[str]]:
    """The arguments of Python for what is not done yet."""
    commands = []
    if not (self._path / 'checkpoints' / str(self._plan.steps)).exists():
      commands.append(self._command('train.py', self._settings))
    if not all(self._scores_path(step).exists() for step in self._plan.scored):
      options = ('--follow', '--follow_timeout=1', '--metrics=')
      of_net = {'model.dtype': self._dtype}
      commands.append([*self._command('eval.py', of_net), *options])
    return commands

  def read_result(self) -> Result:
    """Reads what the commands have written."""
    scores = {}
    for step in self._plan.scored:
      path = self._scores_path(step)
      if not path.exists():
        raise errors.UserError(
          f'{self.name} has no scores of step {step}: give the --every that it '
          f'was trained with, or remove {self._path} (see {self.log})'
        )
      records = json.loads(path.read_text())['scores']
      scores[step] = {
        r['name']: r['value'] for r in records if '/real/' not in r['name']
      }
    return Result(self._dtype, self._seed, scores, self._read_losses())

  def _read_losses(self) -> dict[str, float]:
    path = self._path / 'metrics.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    first = (1 - _END) * self._plan.steps
    rows = [row for row in map(json.loads, lines) if row['step'] > first]
    names = [key for key in (rows[0] if rows else ()) if key != 'step']
    return {key: statistics.fmean(row[key] for row in rows) for key in names}

  def _scores_path(self, step: int) -> epath.Path:
    return self._path / 'eval' / f'{step}_stargan_v2.json'

  def _command(self, script: str, settings: Mapping[str, Any]) -> list[str]:
    flag = flags.FLAGS['config']
    settings = config_flags.get_override_values(flag) | settings
    return [
      str(_ROOT / script),
      f'--config={config_flags.get_config_filename(flag)}',
      *(f'--config.{key}={value}' for key, value in settings.items()),
      f'--workdir={self._path}',
    ]


def _flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  return flax.traverse_util.flatten_dict(config.to_dict(), sep='.')


class Children:
  """Subprocesses, which end in order when this program is told to."""

  def __init__(self):
    self.cause: BaseException | None = None  # why they have to end
    self._running: set[subprocess.Popen] = set()
    self._lock = threading.RLock()  # one handler may interrupt another

  def handle_signals(self) -> None:
    """The first SIGINT or SIGTERM lets trainings save; the second kills."""
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._on_signal)

  def _on_signal(self, *_) -> None:
    if self.cause:
      self._send(signal.SIGKILL)
    self.stop(KeyboardInterrupt())

  def stop(self, cause: BaseException) -> None:
    """Starts no more and ends those that run."""
    with self._lock:
      if not self.cause:
        self.cause = cause
        self._send(signal.SIGTERM)

  def raise_if_stopped(self) -> None:
    """Raises KeyboardInterrupt, whatever the cause."""
    if self.cause:
      raise KeyboardInterrupt

  def _send(self, number: int) -> None:
    with self._lock:
      for child in self._running:
        child.send_signal(number)

  def run(
    self, command: Sequence[str], log: epath.Path, env: Mapping[str, str]
  ) -> None:
    """Waits for a command.

    Raises:
      UserError: it failed; what it said of that.
      KeyboardInterrupt: it was stopped.
    """
    with open(log, 'a') as output:
      try:
        # Held while the child lives, even if this program is killed.
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except OSError as e:
        raise errors.UserError(
          f'another process is at work on {log.stem}: wait for it, or end it'
        ) from e
      start = output.tell()
      status = self._wait(command, output, env)
    self.raise_if_stopped()
    if status:
      raise errors.UserError(
        f'{log.stem}: {_last_words(log, start)} (status {status}, see {log})'
      )

  def _wait(self, command: Sequence[str], output: Any, env: Any) -> int:
    with self._lock:
      self.raise_if_stopped()
      # In a session of its own: Ctrl-C reaches it through `stop` alone.
      child = subprocess.Popen(
        command,
        stdout=output,
        stderr=output,
        env=env,
        start_new_session=True,
      )
      self._running.add(child)
    status = child.wait()
    with self._lock:
      self._running.remove(child)
    return status


def _last_words(log: epath.Path, start: int) -> str:
  """The error that a log ends in, or its last line, from byte `start` on."""
  text = log.read_bytes()[start:].decode(errors='replace')
  lines = [line for line in text.splitlines() if line.strip()]
  told = [line for line in lines if line.startswith('error: ')]
  return (told or lines or ['it said nothing'])[-1].removeprefix('error: ')


def main() -> None:
  """Trains, scores, writes and prints."""
  if _CONFIG.value.data.name != 'shapes':
    raise errors.UserError('--config must be of data.name=shapes')
  dtypes, seeds = list(dict.fromkeys(_DTYPES.value)), _parse_seeds()
  if not dtypes or not seeds:
    raise errors.UsageError('--dtypes and --seeds must name one at least')
  directory = epath.Path(_WORKDIR.value)
  workdir.prepare(directory)
  plan = Plan(directory, _STEPS.value, _EVERY.value)
  runs = [Run(plan, dtype, seed) for seed in seeds for dtype in dtypes]
  for run in runs:
    run.check_config(_CONFIG.value)
  results = _run_all(runs, _split_cores(_JOBS.value), plan, dtypes)
  _print_tables(results, plan, dtypes)
  print(f'\nwritten: {directory}/precision.{{json,csv,png}}')


def _parse_seeds() -> list[int]:
  if not all(seed.isdigit() for seed in _SEEDS.value):
    raise errors.UsageError(f'--seeds={",".join(_SEEDS.value)} are no numbers')
  return list(dict.fromkeys(map(int, _SEEDS.value)))


def _split_cores(jobs: int) -> list[list[int]]:
  """A list of cores for each job; an empty one leaves it all of them."""
  if jobs == 1:
    return [[]]
  if not hasattr(os, 'sched_getaffinity'):
    raise errors.UserError(f'--jobs={jobs} needs Linux, to share the cores')
  cores = sorted(os.sched_getaffinity(0))
  if jobs > len(cores):
    raise errors.UserError(f'--jobs={jobs}: there are {len(cores)} cores')
  bounds = [len(cores) * job // jobs for job in range(jobs + 1)]
  return [cores[bounds[job] : bounds[job + 1]] for job in range(jobs)]


def _run_all(
  runs: Sequence[Run],
  shares: Sequence[list[int]],
  plan: Plan,
  dtypes: Sequence[str],
) -> list[Result]:
  """Does what is left of all runs; writes the results after each."""
  children, free = Children(), queue.SimpleQueue()
  for cores in shares:
    free.put(cores)
  children.handle_signals()
  results: dict[int, Result] = {}
  with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
    pending = {
      pool.submit(_finish, run, children, free): i for i, run in enumerate(runs)
    }
    try:
      for future in concurrent.futures.as_completed(pending):
        results[pending[future]] = future.result()
        ordered = [results[i] for i in sorted(results)]
        _write(ordered, plan, dtypes)
        print(f'{len(results)} of {len(runs)} runs are finished', flush=True)
    except BaseException as e:
      children.stop(e)
      raise children.cause from None  # not what it led to in other threads
  return ordered


def _finish(run: Run, children: Children, free: queue.SimpleQueue) -> Result:
  """Does what is left of a run, on cores that are free."""
  cores = free.get()
  try:
    for command in run.commands_left():
      children.raise_if_stopped()
      script = pathlib.Path(command[0]).name
      print(f'{run.name}: {script} ... (log: {run.log})', flush=True)
      start = time.monotonic()
      env = {**os.environ, 'PYTHONUNBUFFERED': '1'}
      if cores:
        command = ['-c', _PIN, ','.join(map(str, cores)), *command]
        # Else JAX takes most of a GPU's memory for the first of them.
        env.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
      children.run([sys.executable, *command], run.log, env)
      seconds = time.monotonic() - start
      print(f'{run.name}: {script} took {seconds:.0f} s', flush=True)
    return run.read_result()
  except BaseException as e:
    children.stop(e)  # before another one is begun
    raise
  finally:
    free.put(cores)


def _write(
  results: Sequence[Result], plan: Plan, dtypes: Sequence[str]
) -> None:
  """Writes all three files from the runs finished so far."""
  flag = flags.FLAGS['config']
  content = {
    'config': config_flags.get_config_filename(flag),
    'overrides': config_flags.get_override_values(flag),
    'steps': plan.steps,
    'every': plan.every,
    'scores_at_last_step': compare(_last_scores(results), dtypes),
    'losses_at_end': compare(_losses(results), dtypes),
    'runs': [result._asdict() for result in results],
  }
  path = plan.directory / 'precision.json'
  files.write_whole(path, json.dumps(content, indent=2) + '\n')

  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator='\n')
  writer.writerow(('dtype', 'seed', 'step', 'score', 'value'))
  for r in results:
    for step, scores in r.scores.items():
      writer.writerows(
        (r.dtype, r.seed, step, *item) for item in scores.items()
      )
  files.write_whole(plan.directory / 'precision.csv', buffer.getvalue())

  buffer = io.BytesIO()
  draw_chart(results, dtypes).save(buffer, 'png')
  files.write_whole(plan.directory / 'precision.png', buffer.getvalue())


def _last_scores(results: Iterable[Result]) -> Values:
  return _by_name((r.dtype, r.scores[max(r.scores)]) for r in results)


def _losses(results: Iterable[Result]) -> Values:
  return _by_name((r.dtype, r.losses) for r in results)


def _by_name(
  rows: Iterable[tuple[str, Mapping[str, float | None]]],
) -> Values:
  values: dict[str, dict[str, list[float | None]]] = {}
  for dtype, row in rows:
    for name, value in row.items():
      values.setdefault(name, {}).setdefault(dtype, []).append(value)
  return values


def compare(
  values: Values, dtypes: Sequence[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
  """Means and deviations, and how far a mean is from that of the first dtype.

  Args:
    values: of the seeds.
    dtypes: which to compare.

  Returns:
    {score: {dtype: {'mean', 'sd', 'difference'}}}, the difference in units of
    the pooled standard deviation; None for what cannot be told.
  """
  table = {}
  for name, of_dtypes in values.items():
    first, row = of_dtypes.get(dtypes[0], ()), {}
    for dtype in dtypes:
      given = of_dtypes.get(dtype, ())
      known = bool(given) and None not in given
      row[dtype] = {
        'mean': statistics.fmean(given) if known else None,
        'sd': statistics.stdev(given) if known and len(given) > 1 else None,
        'difference': None if dtype == dtypes[0] else _distance(first, given),
      }
    table[name] = row
  return table


def _distance(
  a: Sequence[float | None], b: Sequence[float | None]
) -> float | None:
  """How far b's mean is above a's, in pooled standard deviations."""
  if not a or not b or None in (*a, *b) or len(a) + len(b) < 3:
    return None
  means = statistics.fmean(a), statistics.fmean(b)
  squares = sum(
    (x - mean) ** 2 for xs, mean in zip((a, b), means, strict=True) for x in xs
  )
  if not squares:
    return None
  return (means[1] - means[0]) / math.sqrt(squares / (len(a) + len(b) - 2))


def format_table(
  title: str,
  table: Mapping[str, Mapping[str, Mapping[str, float | None]]],
  dtypes: Sequence[str],
) -> str:
  """What `compare` has returned, in Markdown."""
  rest = [f'{dtype} − {dtypes[0]}, pooled sd' for dtype in dtypes[1:]]
  rows = [(title, *(f'{dtype}, mean ± sd' for dtype in dtypes), *rest)]
  rows.append(('---',) * len(rows[0]))
  for name, row in table.items():
    cells = [_format_mean(**row[dtype]) for dtype in dtypes]
    for dtype in dtypes[1:]:
      difference = row[dtype]['difference']
      cells.append('-' if difference is None else f'{difference:+.1f}')
    rows.append((name, *cells))
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _format_mean(
  mean: float | None, sd: float | None, difference: float | None
) -> str:
  del difference
  if mean is None:
    return 'not measured'
  return f'{mean:.4g}' + ('' if sd is None else f' ± {sd:.2g}')


def _print_tables(
  results: Sequence[Result], plan: Plan, dtypes: Sequence[str]
) -> None:
  losses = _losses(results)
  totals = {k: v for k, v in losses.items() if k.endswith('_total')}
  for title, values in (
    (f'score at step {plan.steps}', _last_scores(results)),
    (f'loss, mean of the last {_END:.0%} of steps', totals),
  ):
    if values:
      print(f'\n{format_table(title, compare(values, dtypes), dtypes)}')
  seeds = len({r.seed for r in results})
  if seeds > 1 and len(dtypes) > 1:
    print(
      f'\nWith {seeds} seeds chance alone makes differences of about '
      f'±{math.sqrt(2 / seeds):.1f} pooled sd (one standard deviation).'
    )


def draw_chart(results: Sequence[Result], dtypes: Sequence[str]) -> Image.Image:
  """A panel for each score: its value by step, a line for each run."""
  names = list(results[0].scores[max(results[0].scores)])
  steps = list(results[0].scores)
  columns = min(_COLUMNS, len(names))
  rows = -(-len(names) // columns)
  canvas = _Canvas(columns * _CELL[0], _HEADER + rows * _CELL[1])
  colours = {d: _COLOURS[i % len(_COLOURS)] for i, d in enumerate(dtypes)}
  title = 'Scores while training, by precision'
  canvas.text(16, _HEADER / 2, title, 18, _BLACK, 'lm')
  x = 64 + canvas.width_of(title, 18)
  for dtype, colour in colours.items():
    count = sum(r.dtype == dtype for r in results)
    label = f'{dtype}, {count} {"seed" if count == 1 else "seeds"}'
    canvas.line([(x, _HEADER / 2), (x + 28, _HEADER / 2)], colour, 2)
    canvas.dot((x + 14, _HEADER / 2), colour)
    canvas.text(x + 36, _HEADER / 2, label, 15, _BLACK, 'lm')
    x += 36 + canvas.width_of(label, 15) + 32
  for i, name in enumerate(names):
    left, top = i % columns * _CELL[0], _HEADER + i // columns * _CELL[1]
    lines = [
      (colours[r.dtype], [(step, r.scores[step].get(name)) for step in steps])
      for r in results
    ]
    _draw_panel(canvas, left, top, name, steps, lines)
  return canvas.finish()


def _draw_panel(
  canvas: '_Canvas',
  left: int,
  top: int,
  name: str,
  steps: Sequence[int],
  lines: Sequence[tuple[str, Sequence[tuple[int, float | None]]]],
) -> None:
  """Axes, labels and the lines of one score."""
  x0, x1 = left + _MARGINS[0], left + _CELL[0] - _MARGINS[2]
  y0, y1 = top + _CELL[1] - _MARGINS[3], top + _MARGINS[1]
  *_, mode, score = name.split('/')
  title, unit = _WORDS.get(score, (score, ''))
  canvas.text(x0, y1 - 10, f'{mode}: {title}', 14, _BLACK, 'ls')
  canvas.text((x0 + x1) / 2, y0 + 38, 'training step', 12, _GREY, 'mm')
  canvas.upright_text(left + 18, (y0 + y1) / 2, unit, 12, _GREY)

  known = [v for _, line in lines for _, v in line if v is not None]
  ticks, digits = choose_ticks(min(known, default=0), max(known, default=1))

  def at(step: float, value: float) -> tuple[float, float]:
    up = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return x0 + step / steps[-1] * (x1 - x0), y0 + up * (y1 - y0)

  for tick in ticks:
    _, y = at(0, tick)
    canvas.line([(x0, y), (x1, y)], _FAINT, 1)
    canvas.text(x0 - 7, y, f'{tick:.{digits}f}', 12, _GREY, 'rm')
  canvas.line([(x0, y0), (x1, y0)], _GREY, 1)
  for step in steps[:: -max(1, len(steps) // 5)]:
    x, _ = at(step, ticks[0])
    canvas.line([(x, y0), (x, y0 + 4)], _GREY, 1)
    canvas.text(x, y0 + 15, str(step), 12, _GREY, 'mm')
  if not known:
    canvas.text((x0 + x1) / 2, (y0 + y1) / 2, 'not measured', 14, _GREY, 'mm')
  for colour, line in lines:
    points = [None if v is None else at(step, v) for step, v in line]
    for pair in zip(points, points[1:], strict=False):
      if None not in pair:
        canvas.line(pair, colour, 2)
    for point in points:
      if point:
        canvas.dot(point, colour)


def choose_ticks(low: float, high: float) -> tuple[list[float], int]:
  """Three to six round values that enclose both, and their decimals."""
  if high - low < 1e-6 * max(abs(low), abs(high), 1e-6):
    margin = abs(low) / 10 or 1
    low, high = low and low - margin, high + margin
  exponent = math.floor(math.log10((high - low) / 4))
  for exponent, factor in ((exponent, f) for f in (1, 2, 5, 10)):
    step = factor * 10.0**exponent
    first, last = math.floor(low / step), math.ceil(high / step)
    if last - first <= 5:
      break
  digits = max(0, -math.floor(math.log10(step)))
  return [i * step for i in range(first, last + 1)], digits


class _Canvas:
  """A white picture, drawn enlarged so that its lines become smooth."""

  def __init__(self, width: int, height: int):
    self._size = width, height
    self._image = Image.new('RGB', _enlarged(self._size), 'white')
    self._draw = ImageDraw.Draw(self._image)

  def line(
    self, points: Iterable[tuple[float, float]], colour: str, width: int
  ) -> None:
    self._draw.line(
      [_enlarged(point) for point in points], colour, width * _SMOOTH
    )

  def dot(self, point: tuple[float, float], colour: str) -> None:
    self._draw.circle(_enlarged(point), 3 * _SMOOTH, colour)

  def text(
    self, x: float, y: float, text: str, size: int, colour: str, anchor: str
  ) -> None:
    self._draw.text(_enlarged((x, y)), text, colour, _font(size), anchor)

  def upright_text(
    self, x: float, y: float, text: str, size: int, colour: str
  ) -> None:
    """Reads upwards, its middle at (x, y)."""
    width, height = _enlarged((self.width_of(text, size) + 4, 2 * size))
    label = Image.new('RGB', (width, height), 'white')
    middle = (width / 2, height / 2)
    ImageDraw.Draw(label).text(middle, text, colour, _font(size), 'mm')
    label = label.rotate(90, expand=True)
    x, y = _enlarged((x, y))
    self._image.paste(label, (x - height // 2, y - width // 2))

  def width_of(self, text: str, size: int) -> int:
    return round(_font(size).getlength(text) / _SMOOTH)

  def finish(self) -> Image.Image:
    return self._image.resize(self._size, Image.Resampling.LANCZOS)


def _enlarged(point: tuple[float, float]) -> tuple[int, int]:
  return round(point[0] * _SMOOTH), round(point[1] * _SMOOTH)


def _font(size: int) -> Any:
  return ImageFont.load_default(size * _SMOOTH)


if __name__ == '__main__':
  cli.run(main, sys.argv)
