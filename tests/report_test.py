import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import types

import ml_collections
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.runs import collapse, report, workdir
from jaxgan.runtime import errors
from tests import programs, tiny

ROOT = pathlib.Path(__file__).parents[1]
SIGNS = (collapse.Sign('G/ref_diversity', 0.3, 'all alike', 'raise it'),)


def _score(name, value, **facts):
  return {'name': name, 'value': value, 'std': None, **facts}


def _write_run(directory, steps=20):
  """A work directory as training and evaluation leave it."""
  path = epath.Path(directory)
  config = tiny.config(data__domains=('cat', 'dog'), num_train_steps=steps)
  path.mkdir(parents=True, exist_ok=True)
  workdir.save_config(path, config)
  metrics, history = workdir.MetricsFile(path, 0), workdir.History(path)
  history.append(0, start={'devices': '2 x H9', 'jax': '1.2.3'})
  for step in range(1, 1 + steps):
    metrics.append(
      step,
      {
        'G/latent_adv': step / 10,
        'G/ref_adv': step / 5,
        'G/latent_sty': 1.0,
        'G/lambda_ds': 2.0,
        'G/ref_diversity': 0.5 if step <= 5 else 0.1,
      },
    )
    history.append(step, images_per_s=10.0 * step, peak_memory_gb=1.5)
  history.append(steps, said='done: all of it')
  for step in (5, 10):
    folder = directory / 'samples' / str(step)
    folder.mkdir(parents=True)
    for name in ('cycle', 'reference'):
      Image.new('RGB', (40, 20), (step, 0, 0)).save(folder / f'{name}.png')
  (directory / 'eval').mkdir()
  clean = {'protocol': 'clean'}
  for step in (10, 20):
    content = {
      'step': step,
      'options': clean,
      'weights': {'fid': 'abc'},
      'seeds': 1,
      'scores': [
        _score('shapes/real/accuracy', 1.0, protocol='factors'),
        _score('shapes/latent/accuracy', step / 40, protocol='factors'),
        _score('fid/latent/cat2dog', 30.25 + step, weights='abc', **clean),
        _score('fid/latent/mean', 40.25 + step, weights='abc', **clean),
        _score('fid_floor/latent/cat2dog', 3.125, weights='abc', **clean),
        _score('recall/latent/cat2dog', None, weights='abc', **clean),
      ],
    }
    (directory / f'eval/{step}_clean.json').write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path):
  _write_run(tmp_path / 'cats')
  return tmp_path / 'cats'


def _read(run):
  """(the page without Plotly's own script, all data that charts are given)."""
  page = report.write(run, SIGNS).read_text()
  start, end = page.index('<script>'), page.index('</script>')
  assert end - start > 10**6  # Plotly
  page = page[:start] + page[end:]
  traces = re.findall(r'Plotly\.newPlot\(\s*"[^"]+",\s*(\[.*?\]),\s*{', page)
  return page, [json.loads(text) for text in traces]


def test_the_page_tells_what_the_run_is_and_how_it_went(run):
  page, charts = _read(run)
  for text in ('cats', '20 of 20', 'cat, dog', '2 x H9', '1.2.3', '200.0'):
    assert f'>{text}<' in page
  assert page.count('done: all of it') == 2  # above, and what it said
  (warning,) = re.findall(r'<p>(warning: .*)</p>', page)
  assert '<h2>There are signs of collapse.</h2>' in page
  assert 'step 13: G/ref_diversity' in warning and 'all alike' in warning
  by_line = {
    tuple(trace['name'] for trace in traces): traces for traces in charts
  }
  latent, ref = by_line['latent', 'ref']
  assert latent['x'] == list(range(1, 21)) == ref['x']
  assert latent['y'][2] == 0.3 and ref['y'][2] == 0.6
  assert by_line[('G lambda_ds',)][0]['y'] == [2.0] * 20
  assert by_line[('images/s',)][0]['y'][-1] == 200
  assert by_line[('ref',)][0]['y'][5] == 0.1
  # Scores against the step, of what was measured more than once.
  assert by_line['real', 'latent'][1]['y'] == [0.25, 0.5]
  assert by_line[('latent',)][0]['y'] == [50.25, 60.25]
  assert 'y":[0.3,0.3]' in page.replace(' ', '') or '"y0":0.3' in page


@pytest.mark.parametrize(
  'look, section, told',
  [
    ((1.25, 0.75), 'well', collapse.State.WELL.value),
    ((1.25, 0.01), 'warning', 'The run has not begun to work.'),
    ((6.0, 0.75), 'warning', 'The run has not begun to work.'),
    (None, '', 'Too little is recorded to say whether the run works.'),
  ],
)
def test_nothing_is_green_before_there_is_ground(tmp_path, look, section, told):
  path = epath.Path(tmp_path)
  workdir.save_config(path, tiny.config(log_every_steps=1, num_train_steps=99))
  metrics = workdir.MetricsFile(path, 0)
  for step in range(1, 13):
    values = {'G/ref_diversity': 0.5}
    if look and step % 4 == 0:
      values |= zip(collapse.LIMITS, look, strict=True)
    metrics.append(step, values)
  page, charts = _read(tmp_path)
  assert f'<section class="{section}">\n  <h2>{told}</h2>' in page
  by_line = {trace['name']: trace for (trace,) in charts}
  if look:
    assert f'At step 12 outputs are {look[0]:.2f} times as rough' in page
    assert by_line['outputs noise']['x'] == [4, 8, 12]
    assert by_line['outputs spread']['y'] == [look[1]] * 3


def test_tables_have_floors_beside_scores(run):
  page, _ = _read(run)
  rows = [
    re.findall(r'<t[hd]>(.*?)</t[hd]>', row)
    for row in re.findall(r'<tr>(.*?)</tr>', page, re.S)
  ]
  assert ['', 'fid', 'fid_floor', 'recall'] in rows
  assert ['cat2dog', '50.25', '3.125', ''] in rows  # of the last step alone
  assert ['mean', '60.25', '', ''] in rows
  assert ['real', '1'] in rows and ['latent', '0.5'] in rows
  assert 'latent: clean, step 20, fid through abc' in page


def _paired(mode, score, pair, value, n_fake):
  name = f'paired/{mode}/{score}/{pair}'
  counts = {'n_real': 9, 'n_fake': n_fake}
  return {'name': name, 'value': value, 'protocol': 'paired', **counts}


def test_paired_scores_have_a_row_for_each_mode():
  records = [
    _paired('latent', 'l1', 'a2b', 3.25, 70),
    _paired('latent', 'l1_best', 'a2b', 2.0, 70),
    _paired('source', 'l1', 'a2b', 4.0, 7),
    _paired('source', 'style', 'a2b', 0.5, 7),
    _paired('latent', 'l1', 'mean', 3.25, 70),
  ]
  (table,) = report.paired_tables(records, 'step 2')
  assert table.title == 'paired, 7 sources, a2b, step 2'
  assert table.columns == ['l1', 'style']
  assert table.rows == [
    ['latent', '3.25', ''],
    ['latent, best of its outputs', '2', ''],
    ['source', '4', '0.5'],
  ]
  others = [_paired('latent', 'l1', pair, 1, 7) for pair in ('b2c', 'c2a')]
  (table,) = report.paired_tables([*records, *others], 'step 2')
  assert table.title == 'paired, 70 sources, mean of 3 pairs, step 2'
  assert table.rows == [['latent', '3.25']]


def test_samples_are_in_the_page_by_step(run):
  page, _ = _read(run)
  samples = json.loads(re.search(r'const samples = (.*);', page)[1])
  assert [step for step, _ in samples['reference']] == [5, 10]
  assert samples.keys() == {'reference', 'cycle'}
  assert samples['cycle'][0][1].startswith('data:image/webp;base64,')


@pytest.mark.parametrize(
  'data, expected',
  [
    ({'domains': ('cat', 'café')}, 'cat, café'),
    ({'domains': ('cat', '猫')}, 'cat, domain 2: 猫'),
    (
      {'domains': ('a', '犬'), 'joint_domains': ('b', '猫')},
      'a, domain 2: 犬, b, domain 4: 猫',
    ),
    # Of pairs: the run's only domain is that of the targets.
    ({'pair': ('線', 'B'), 'domains': ('B',)}, 'domain 1: 線, B'),
  ],
)
def test_domains_are_named_that_labels_cannot_show(data, expected):
  data = ml_collections.ConfigDict(data)
  assert report._list_domains(data) == expected


def test_a_grid_is_said_in_words(run):
  page, _ = _read(run)
  assert 'Domains: cat, dog.' in page
  legends = json.loads(re.search(r'const legends = (.*);', page)[1])
  assert legends.keys() == {'reference', 'cycle'}
  assert legends['cycle'].endswith('lead to a translation, and back again.')
  for name, words in (
    ('latent_psi0.7', 'in random styles'),
    ('a2b_latent', 'in random styles'),
    ('a2b_reference', 'of the reference to the left'),
    ('joint_targets', 'Rows are targets'),
    ('a2b', 'what becomes of them'),
  ):
    assert words in report._legend(name), name


def test_the_page_asks_for_nothing_outside_of_it(run):
  page, _ = _read(run)
  page = page.replace('image.src =', '')
  assert not re.search(r'(src|href|url)\s*[=(]', page)
  assert "default-src 'none'" in page


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
  workdir.save_config(epath.Path(tmp_path), tiny.config())
  page, charts = _read(tmp_path)
  assert not charts and 'no samples yet' in page
  assert 'Too little is recorded to say whether the run works.' in page
  assert 'class="well"' not in page


def test_long_runs_are_thinned_to_means_and_even_steps(tmp_path, monkeypatch):
  monkeypatch.setattr(report, 'MAX_POINTS', 4)
  monkeypatch.setattr(report, 'MAX_STEPS', 3)
  _write_run(tmp_path)
  for step in (15, 20, 25):
    folder = tmp_path / 'samples' / str(step)
    folder.mkdir()
    Image.new('RGB', (3000, 1500)).save(folder / 'reference.png')
  _, charts = _read(tmp_path)
  (latent,) = (c[0] for c in charts if c[0]['name'] == 'latent' and len(c) > 1)
  assert latent['x'] == [3, 8, 13, 18]
  assert latent['y'] == pytest.approx([0.3, 0.8, 1.3, 1.8])
  grids = report._samples(epath.Path(tmp_path / 'samples'))
  assert [step for step, _ in grids['reference']] == [5, 15, 25]  # of 5, 10 ..
  assert len(grids['reference'][-1][1]) < 10_000  # made smaller


def test_what_others_have_written_is_text(run, caplog):
  evil = '</script><script>alert(1)</script>'
  with (run / 'metrics.jsonl').open('a') as f:
    f.write(json.dumps({'step': 21, evil: 1.0, 'G/latent_adv': evil}) + '\n')
    f.write(json.dumps({'step': 22, 'G/ref_adv': [1], evil: 2.0}) + '\n')
    f.write('{"step": 23\n')
    f.write('{"step": "24", "G/ref_adv": ' + 400 * '9' + '}\n')
  with (run / 'history.jsonl').open('a') as f:
    f.write('{"step": 1, "said": "\\ud800"}\n{"step": 1, "start": {"a": 1}}\n')
    for record in ({'said': evil}, {'start': {evil: evil}}, {'start': 3}):
      f.write(json.dumps({'step': 1, 'time': evil, **record}) + '\n')
    f.write(json.dumps({'step': 1, 'said': 'no time'}) + '\n')
  scores = [_score(f'{evil}/a/b', 1.0, weights=evil)]
  protocol = {'protocol': evil}
  for name, content in (
    ('evil', {'step': 1, 'seeds': 1, 'scores': scores}),
    ('30_a', {'step': 30, 'seeds': 1, 'scores': scores, 'options': protocol}),
    ('list', [1]),
    ('odd', {'step': 1, 'seeds': 1, 'options': protocol, 'scores': [1]}),
  ):
    (run / f'eval/{name}.json').write_text(json.dumps(content))
  (run / f'samples/10/{evil.replace("/", "")}.png').write_bytes(b'no picture')
  (run / 'samples/latest').mkdir()
  settings = json.loads((run / 'config.json').read_text())
  settings['data']['domains'] = [evil]
  (run / 'config.json').write_text(json.dumps(settings))
  page, _ = _read(run)
  assert 'alert(1)' in page and '<script>alert' not in page
  assert page.count('</script>') == page.count('<script') + 1  # Plotly's


def test_links_and_pipes_lead_nowhere(run, tmp_path):
  other = tmp_path / 'other'
  other.mkdir()
  Image.new('RGB', (40, 20)).save(tmp_path / 'secret.png')
  (run / 'samples/5/leak.png').symlink_to(tmp_path / 'secret.png')
  (run / 'report').symlink_to(other)
  (run / 'history.jsonl').unlink()
  os.mkfifo(run / 'history.jsonl')
  page, _ = _read(run)
  assert not list(other.iterdir())
  assert 'leak' not in page
  history = workdir.History(epath.Path(run))
  history.append(1, said='here')
  assert [r['said'] for r in workdir.read_history(epath.Path(run))] == ['here']


def test_half_a_line_of_history_loses_no_other(tmp_path):
  path = epath.Path(tmp_path)
  (path / 'history.jsonl').write_text(
    '{"step": 1, "said": "a"}\n{"step": 2, "sa'
  )
  workdir.History(path).append(3, said='c')
  assert [r['step'] for r in workdir.read_history(path)] == [1, 3]


def test_two_may_write_at_the_same_time(run):
  """Each writes under a name of its own; readers see whole pages."""
  command = [
    *(sys.executable, '-c'),
    'import sys; from jaxgan.runs import report\n'
    'for _ in range(5): report.write(sys.argv[1], ())',
    run,
  ]
  both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
  while any(p.poll() is None for p in both):
    if (run / 'report/index.html').exists():
      page = (run / 'report/index.html').read_text()
      assert page.endswith('</html>')
  assert [p.returncode for p in both] == [0, 0]
  assert [p.name for p in (run / 'report').iterdir()] == ['index.html']


def test_the_step_is_that_of_the_last_record_or_checkpoint(tmp_path):
  path = epath.Path(tmp_path)
  workdir.save_config(path, tiny.config(num_train_steps=2_000_000))
  (path / 'checkpoints' / '1234567').mkdir(parents=True)
  assert '>1234567 of 2000000<' in _read(tmp_path)[0]


def test_no_run_ends_for_its_report(tmp_path, monkeypatch, caplog):
  with caplog.at_level(logging.WARNING):
    report.update(tmp_path, SIGNS)
  assert 'is not the work directory of a run' in caplog.text
  _write_run(tmp_path)
  monkeypatch.setattr(report, 'render', lambda *_: 1 / 0)
  report.update(tmp_path, SIGNS)
  with pytest.raises(ZeroDivisionError):
    report.write(tmp_path, SIGNS)


def test_the_tool_says_where_the_page_is(run, monkeypatch, capsys):
  tool = programs.load('jaxgan.tools.report')
  flag = types.SimpleNamespace(value=str(run))
  monkeypatch.setattr(tool, '_WORKDIR', flag)
  tool.main()
  assert capsys.readouterr().out.strip() == str(run / 'report/index.html')
  with pytest.raises(errors.UserError, match='not the work directory'):
    report.write(run.parent, SIGNS)


def test_grids_of_any_kind_are_read(tmp_path):
  path = tmp_path / 'a.png'
  Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
  assert report._embedded(epath.Path(path), 0).startswith('data:image/webp')


def test_what_cannot_be_written_leaves_nothing(run):
  (run / 'report/index.html').mkdir(parents=True)
  with pytest.raises(OSError):
    report.write(run, SIGNS)
  assert [p.name for p in (run / 'report').iterdir()] == ['index.html']
