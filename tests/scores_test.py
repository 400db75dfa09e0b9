import csv
import json
import shutil
import sys

import jax
import numpy as np
import pytest

from jaxgan import evaluation
from jaxgan.data.contracts import domains_ref
from jaxgan.inference.translator import Translator
from jaxgan.metrics import translations
from jaxgan.metrics.translations import Options, Score
from jaxgan.runs import checkpoint
from jaxgan.runtime import errors, sharding
from jaxgan.systems import contract, stargan_v2
from tests import tiny


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """A work directory with steps 2 and 4."""
  directory = tmp_path_factory.mktemp('runs') / 'run'
  tiny.write_run(directory, steps=(2, 4))
  return directory


@pytest.fixture
def run(written, tmp_path, monkeypatch):
  """A copy of it; a score is made of step and seed."""
  shutil.copytree(written, tmp_path / 'run')
  monkeypatch.delenv('JAXGAN_WEIGHTS', raising=False)
  fid = {2: 10.0, 4: 30.0}

  def scores(translator, config, scorer, data, *, seed, save_dir):
    assert isinstance(translator, Translator)
    assert isinstance(data, domains_ref.Data)
    assert [*config.data.domains] == ['circle', 'square', 'triangle']
    step = int(save_dir.name.split('_')[0])
    return [
      Score('fid/latent/mean', fid[step] + seed, 'stargan_v2', 'abc', 7, 8),
      Score('lpips/latent/mean', step / 10, 'stargan_v2', 'def', None, 8),
      Score('shapes/latent/diversity', None, 'factors'),
    ]

  monkeypatch.setattr(stargan_v2, 'scores', scores, raising=False)
  return tmp_path / 'run'


def test_every_number_carries_what_it_is_of(run, capsys):
  values = evaluation.evaluate_run(str(run))
  assert values['fid/latent/mean'] == 30.0
  with (run / 'eval' / 'scores.csv').open() as f:
    rows = list(csv.DictReader(f))
  row = {k: v for k, v in rows[0].items() if k != 'time'}
  assert row == {
    'step': '4',
    'seed': '0',
    'protocol': 'stargan_v2',
    'metric': 'fid/latent/mean',
    'value': '30.0',
    'weights': 'abc',
    'n_real': '7',
    'n_fake': '8',
  }
  assert rows[2]['value'] == ''
  content = json.loads((run / 'eval' / '4_stargan_v2.json').read_text())
  assert content['step'] == 4 and content['seeds'] == 1
  assert content['options']['num_outputs'] == 10 and content['weights'] == {}
  assert content['scores'][0] == {
    'name': 'fid/latent/mean',
    'value': 30.0,
    'std': None,
    'protocol': 'stargan_v2',
    'weights': 'abc',
    'n_real': 7,
    'n_fake': 8,
  }
  out = capsys.readouterr().out
  assert 'step 4, seed 0' in out and 'not measured' in out
  assert 'left out: fid: inception_v3_google-0cc3c7bd.pth is needed' in out
  assert list((run / 'eval' / 'stargan_v2').glob('events.out.tfevents*'))


def test_seeds_give_mean_and_deviation(run, capsys):
  values = evaluation.evaluate_run(str(run), seeds=3, step=2)
  assert values['fid/latent/mean'] == 11.0
  assert values['shapes/latent/diversity'] is None
  assert '11 +- 1 ' in capsys.readouterr().out
  lines = (run / 'eval' / 'scores.csv').read_text().splitlines()
  assert len(lines) == 1 + 3 * 3
  content = json.loads((run / 'eval' / '2_stargan_v2.json').read_text())
  assert content['seeds'] == 3 and content['scores'][0]['std'] == 1.0


def test_a_shortened_look_does_not_replace_the_protocol(run):
  evaluation.evaluate_run(str(run))
  for count in (2, 3):
    evaluation.evaluate_run(str(run), options=Options(num_outputs=count))
  names = sorted(path.name for path in (run / 'eval').glob('*.json'))
  assert len(names) == 3 and names[0] == '4_stargan_v2.json'
  assert names[1].startswith('4_stargan_v2_shortened_')


def test_scores_of_another_version_are_put_aside(run):
  (run / 'eval').mkdir()
  (run / 'eval' / 'scores.csv').write_text('time,step,value\n1,2,3\n')
  evaluation.evaluate_run(str(run))
  old = (run / 'eval' / 'scores.csv.old').read_text()
  assert old == 'time,step,value\n1,2,3\n'
  lines = (run / 'eval' / 'scores.csv').read_text().splitlines()
  assert len(lines) == 1 + 3 and lines[0].startswith('time,step,seed,protocol')


@pytest.mark.parametrize(
  'key, value', [('background', 'white'), ('img_size', 64)]
)
def test_other_data_is_seen_as_the_run_sees_its_own(key, value):
  own, other = tiny.config(), tiny.config(**{f'data__{key}': value})
  message = (
    f'config.data.{key} is {value!r}, that of the run is {own.data[key]!r}'
  )
  with pytest.raises(errors.ConfigMismatchError, match=f'^{message}$'):
    evaluation._adopt(own, other)


def test_follow_scores_each_step_once(run, capsys):
  # Step 4 of 4 is there: no waiting.
  assert evaluation.follow_run(str(run), timeout=5)
  out = capsys.readouterr().out
  assert out.count(' x cpu, 1 process, float32\n') == 1
  assert out.index(' x cpu') < out.index('evaluating step 2')
  assert out.index('evaluating step 2') < out.index('evaluating step 4')
  assert out.endswith('done: step 4 is reached\n')
  evaluation.follow_run(str(run), timeout=5)
  assert 'evaluating' not in capsys.readouterr().out
  evaluation.follow_run(
    str(run), timeout=5, seeds=2
  )  # asks for more than there is
  assert 'evaluating step 2' in capsys.readouterr().out


def test_follow_leaves_out_what_cannot_be_read(run, monkeypatch, capsys):
  restore = contract.open_run

  def vanishing(directory, placement, step):
    if step == 2:
      shutil.rmtree(run / 'checkpoints' / '2')  # by the training process
      raise FileNotFoundError('checkpoints/2/state')
    return restore(directory, placement, step)

  monkeypatch.setattr(contract, 'open_run', vanishing)
  assert evaluation.follow_run(str(run), timeout=5)
  out = capsys.readouterr().out
  assert 'step 2 is left out: checkpoints/2/state' in out
  assert 'evaluating step 4' in out


def test_follow_gives_up(run, monkeypatch, capsys):
  config = json.loads((run / 'config.json').read_text())
  (run / 'config.json').write_text(json.dumps(config | {'num_train_steps': 9}))
  assert not evaluation.follow_run(str(run), timeout=0.01)
  assert 'no new checkpoint for 0.01 s' in capsys.readouterr().out
  with pytest.raises(errors.UserError, match='no work directory'):
    evaluation.follow_run(str(run / 'typo'), timeout=5)


@pytest.mark.parametrize(
  'name, best', [('fid/latent/mean', 2), ('lpips/latent/mean', 4)]
)
def test_best_is_a_work_directory(run, name, best, monkeypatch):
  monkeypatch.setattr(
    translations.Scorer, 'labels', {'fid': 'abc', 'lpips': 'def'}
  )
  evaluation.follow_run(str(run), timeout=5, keep_best=name)
  assert json.loads((run / 'best' / 'best.json').read_text())['step'] == best
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  kept = contract.open_run(run / 'best', device)
  assert kept.step == best
  original = contract.open_run(run, device, best)
  jax.tree.map(np.testing.assert_array_equal, kept.state, original.state)
  steps = list((run / 'best' / 'checkpoints').iterdir())
  assert [path.name for path in steps] == [str(best)]


def test_best_is_kept_until_another_is_whole(run, monkeypatch):
  name = 'shapes/latent/accuracy'
  values = iter([0.5, 0.9, 0.9, 0.1])
  protocols = iter(['factors', 'factors', 'other', 'factors'])

  def scores(*args, **kwargs):
    return [Score(name, next(values), next(protocols))]

  def kept():
    return json.loads((run / 'best' / 'best.json').read_text())['value']

  monkeypatch.setattr(stargan_v2, 'scores', scores)
  evaluation.evaluate_run(str(run), step=2, keep_best=name)
  assert kept() == 0.5

  copy = checkpoint.copy_step
  with monkeypatch.context() as patch:

    def removed(directory, target, step):
      copy(directory, target, step)
      raise FileNotFoundError(step)

    patch.setattr(checkpoint, 'copy_step', removed)
    with pytest.raises(FileNotFoundError):
      evaluation.evaluate_run(str(run), step=4, keep_best=name)
  assert kept() == 0.5

  evaluation.evaluate_run(str(run), step=4, keep_best=name)
  assert kept() == 0.9
  evaluation.evaluate_run(
    str(run), step=2, keep_best=name
  )  # of another protocol
  evaluation.evaluate_run(str(run), step=2, keep_best=name)  # worse
  assert kept() == 0.9
  assert not (run / 'best.partial').exists() and not (run / 'best.old').exists()


def test_less_is_better_of_distances_and_errors_alone():
  less = (
    'fid/latent/mean',
    'kid/latent/a2b',
    'shapes/latent/colour_error',
    'paired/label/l1/a2b',
  )
  more = (
    'lpips/latent/kid2adult',
    'shapes/latent/diversity',
    'recall/x/mean',
    'inception_score/latent/mean',
    'conditional_inception_score/latent/a2b',
  )
  assert all(map(evaluation._less_is_better, less))
  assert not any(map(evaluation._less_is_better, more))


def test_a_score_that_will_not_be_is_named_before_the_work(run, monkeypatch):
  with pytest.raises(errors.UserError, match='shapes/x: .* fid/latent/mean'):
    evaluation.evaluate_run(str(run), keep_best='shapes/x')
  monkeypatch.setattr(stargan_v2, 'scores', None)
  with pytest.raises(errors.UserError, match='fid will not be measured .fid:'):
    evaluation.evaluate_run(str(run), keep_best='kid/latent/mean')
  for metric in ('inception_score', 'conditional_inception_score'):
    message = 'mean: inception_score will not be measured'
    with pytest.raises(errors.UserError, match=message):
      evaluation.evaluate_run(str(run), keep_best=f'{metric}/latent/mean')


def test_what_processes_are_to_score_is_compared(run, monkeypatch):
  compared = {}
  monkeypatch.setattr(sharding, 'check_same', compared.update)
  config = tiny.config(seed=5)
  evaluation.evaluate_run(str(run), config=config, step=2, seeds=3)
  assert compared['--step'] == 2 and compared['--seeds'] == 3
  assert compared['--protocol'] == 'stargan_v2'
  assert compared['--config.seed'] == 5
  evaluation.follow_run(str(run), timeout=0)
  assert compared['--step'] == 'each'


def test_scores_are_kept_where_there_is_no_tensorflow(run, monkeypatch, capsys):
  monkeypatch.delattr('clu.metric_writers', raising=False)
  monkeypatch.setitem(sys.modules, 'clu.metric_writers', None)
  evaluation.evaluate_run(str(run))
  assert 'no TensorBoard events: TensorFlow cannot' in capsys.readouterr().out
  assert (run / 'eval' / '4_stargan_v2.json').exists()
