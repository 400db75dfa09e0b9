"""A StarGAN from its training to the programs that use it."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from jax import export
from PIL import Image

from jaxgan import evaluation, loop
from jaxgan.apps import import_export, trained_model, translate_files
from jaxgan.metrics import factors
from jaxgan.runs import finetune, workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract, stargan
from tests import cells
from tests import tiny_stargan as tiny

ROOT = pathlib.Path(__file__).parent.parent


def _final(directory):
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return contract.open_run(directory, device)


def _lines(directory):
  return (directory / 'metrics.jsonl').read_text().splitlines()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run of four iterations, the generator's in the second and the last."""
  directory = tmp_path_factory.mktemp('runs') / 'finished'
  loop.train(tiny.config(sample_every_steps=3), str(directory))
  return directory


@pytest.fixture(scope='module')
def model(finished):
  return trained_model.load(finished)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """src/{a,b}.png."""
  rng = np.random.default_rng(0)
  root = tmp_path_factory.mktemp('pictures') / 'src'
  root.mkdir()
  for name in 'ab':
    pixels = rng.integers(0, 256, (20, 25, 3), np.uint8)
    Image.fromarray(pixels).save(root / f'{name}.png')
  return root


def test_run_leaves_what_it_promises(finished):
  lines = [json.loads(line) for line in _lines(finished)]
  assert [line['step'] for line in lines] == [1, 2, 3, 4]
  for key in ('D/loss_gp', 'lr'):
    assert np.isfinite([line[key] for line in lines]).all()
  for key in ('G/loss_rec', 'G/change'):
    assert [key in line for line in lines] == [False, True, False, True]
    assert np.isfinite([line[key] for line in lines[1::2]]).all()
  config = json.loads((finished / 'config.json').read_text())
  assert config['system'] == 'stargan'
  assert config['data']['domains'] == ['circle', 'square', 'triangle']
  assert config['model']['num_domains'] == 3
  for step in ('3', '4'):
    names = {p.name for p in (finished / 'samples' / step).iterdir()}
    assert names == {'targets.png', 'cycle.png'}
  with Image.open(finished / 'samples' / '4' / 'targets.png') as image:
    cells.read(np.asarray(image), 16, rows=4, columns=8)


def test_the_report_tells_of_the_run(finished):
  history = list(workdir.read_history(epath.Path(finished)))
  assert history[-1]['said'] == 'done: step 4 of 4'
  page = (finished / 'report' / 'index.html').read_text()
  for text in ('4 of 4', 'done: step 4 of 4', 'G change', 'targets'):
    assert text in page
  assert 'G joint' not in page


def test_another_form_of_convolution_may_go_on_and_another_loss_may_not(
  finished,
):
  with pytest.raises(errors.ConfigMismatchError, match='lambda_rec: 10.0 ->'):
    loop.train(tiny.config(hparams__lambda_rec=1.0), str(finished))
  # Nothing is left to do, so nothing is compiled.
  loop.train(tiny.config(model__resample='plain'), str(finished))


def test_eval_scores_a_run(finished, monkeypatch, capsys):
  monkeypatch.setattr(factors, 'MIN_PAIRS', 30)
  values = evaluation.evaluate_run(str(finished))
  assert 'shapes/label/domain_accuracy' in capsys.readouterr().out
  assert 0 <= values['shapes/label/domain_accuracy'] <= 1
  assert values['shapes/label/diversity'] in (0, None)
  assert (finished / 'eval' / '4_stargan_v2.json').exists()


def test_every_source_becomes_every_domain(model, pictures, tmp_path, capsys):
  assert model.kinds == ('label',) and model.latent_dim == 0
  paths = translate_files.find_sources([str(pictures)])
  styles = translate_files.label_styles(model, model.domains)
  assert translate_files.translate(model, paths, styles, tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
    [f'{x}_to_{d}.png' for x in 'ab' for d in model.domains] + ['grid.png']
  )
  said = capsys.readouterr().out
  assert said == (
    '6 translations: each of 2 sources in each of 3 styles\n'
    f'{tmp_path}: 6 translations, grid.png\n'
  )
  source = model.read(paths[1].path)
  [[expected]] = model.translate([source], 'square')
  with Image.open(tmp_path / 'b_to_square.png') as image:
    np.testing.assert_array_equal(image, expected)
  with pytest.raises(errors.UserError, match="no domain 'cat', but: circle"):
    translate_files.label_styles(model, ['cat'])


def test_exported_it_does_the_same(model, pictures):
  (program,) = model.export().values()
  program = export.deserialize(bytearray(program))
  paths = translate_files.find([str(pictures)])
  x = np.stack([model.read(path) for path in paths])
  got = program.call(x / np.float32(127.5) - 1, np.array([2, 2], np.int32))
  (expected,) = model.translate(x, 'triangle')
  pixels = np.clip((np.asarray(got) + 1) * 127.5, 0, 255)
  assert abs(pixels - np.stack(expected)).max() < 0.51


def _tool(name, *args):
  result = subprocess.run(
    [sys.executable, '-m', f'jaxgan.tools.{name}', *map(str, args)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )
  assert 'Traceback' not in result.stderr
  return result


@pytest.mark.parametrize('domain', [[], ['--domain=square']])
def test_the_program_takes_a_domain_or_all(
  finished, pictures, tmp_path, domain
):
  result = _tool(
    'translate',
    f'--workdir={finished}',
    f'--src={pictures / "a.png"}',
    f'--out={tmp_path / "out"}',
    *domain,
  )
  assert (result.returncode, result.stderr) == (0, '')
  domains = ['square'] if domain else ['circle', 'square', 'triangle']
  names = sorted(path.name for path in (tmp_path / 'out').iterdir())
  assert names == [*(f'a_to_{name}.png' for name in domains), 'grid.png']


@pytest.mark.parametrize('flag', ['--ref=x', '--video'])
def test_what_is_of_styles_is_refused_in_one_line(
  finished, pictures, tmp_path, flag
):
  result = _tool(
    'translate',
    f'--workdir={finished}',
    f'--src={pictures}',
    f'--out={tmp_path / "out"}',
    flag,
  )
  assert result.returncode == 2 and result.stderr.count('\n') == 1
  name = flag.split('=')[0]
  assert result.stderr.startswith(f'error: {name} is of systems with styles')
  assert not (tmp_path / 'out').exists()


def test_the_export_says_how_to_call_it(finished, tmp_path):
  out = tmp_path / 'out'
  result = _tool('export_model', f'--workdir={finished}', f'--out={out}')
  assert (result.returncode, result.stderr) == (0, '')
  assert sorted(p.name for p in out.iterdir()) == [
    'label.jaxexport',
    'model.json',
  ]
  about = json.loads((out / 'model.json').read_text())
  assert about['domains'] == ['circle', 'square', 'triangle']
  assert set(about['inputs']) == {'x', 'y'} and set(about['call']) == {'label'}
  scope = {
    'x': np.zeros((3, tiny.SIZE, tiny.SIZE, 3), np.float32),
    'y': np.arange(3, dtype=np.int32),
  }
  call = about['call']['label']
  assert call[1] == "data = open('label.jaxexport', 'rb').read()"
  scope['data'] = (out / 'label.jaxexport').read_bytes()
  exec('\n'.join([call[0], *call[2:]]), scope)
  image = np.asarray(scope['image'])
  assert image.shape == (3, tiny.SIZE, tiny.SIZE, 3)
  assert np.abs(image[0] - image[1]).max() > 0


def test_init_from_takes_the_weights(finished):
  old = _final(finished)
  fresh, _ = tiny.create()
  for name, tree in fresh.params.items():
    args = (
      tree,
      ('circle', 'square', 'triangle'),
      tuple(old.config.data.domains),
    )
    taken = finetune.transfer(old.state.params[name], *args)
    jax.tree.map(np.testing.assert_array_equal, taken, old.state.params[name])


@pytest.fixture
def old_run(tmp_path):
  """A run of two steps from when a step was N_CRITIC iterations."""
  directory = tmp_path / 'old'
  tiny.write_old_run(directory)
  return directory


def test_an_old_run_is_used_and_its_iterations_are_counted(
  old_run, pictures, monkeypatch, capsys
):
  run = _final(old_run)
  assert run.step == 2 and run.state.step == 2 * tiny.N_CRITIC
  fresh, _ = tiny.create()
  jax.tree.map(np.testing.assert_array_equal, run.state.params, fresh.params)

  monkeypatch.setattr(factors, 'MIN_PAIRS', 30)
  values = evaluation.evaluate_run(str(old_run))
  assert 0 <= values['shapes/label/domain_accuracy'] <= 1
  # By the number of its checkpoint.
  assert (old_run / 'eval' / '2_stargan_v2.json').exists()

  model = trained_model.load(old_run)
  [[image]] = model.translate([model.read(pictures / 'a.png')], 'square')
  assert image.size == (tiny.SIZE, tiny.SIZE)
  assert list(model.export()) == ['label']


def test_files_of_an_old_run_are_named_by_its_iterations(old_run, tmp_path):
  out = tmp_path / 'out'
  import_export.export_run(str(old_run), str(out), safetensors=True)
  names = sorted(path.name for path in out.iterdir())
  assert names == ['4-D.safetensors', '4-G.safetensors']


@pytest.mark.parametrize('n_critic', [tiny.N_CRITIC, 1])
def test_an_old_run_is_not_trained_on_and_says_how_far_it_is(old_run, n_critic):
  before = (old_run / 'config.json').read_text()
  with pytest.raises(errors.UserError) as error:
    loop.train(
      tiny.config(hparams__n_critic=n_critic),
      str(old_run),
      allow_config_change=n_critic == 1,
    )
  said = str(error.value)
  assert len(said.splitlines()) == 1
  assert '2 iterations in a step: its step 2 would be step 4 now' in said
  assert said.endswith(f'--init_from={old_run}')
  assert (old_run / 'config.json').read_text() == before


def test_an_old_run_whose_steps_were_iterations_goes_on(tmp_path):
  tiny.write_old_run(tmp_path, hparams__n_critic=1)
  config = tiny.config(hparams__n_critic=1, num_train_steps=2)
  loop.train(config, str(tmp_path))  # nothing to do, and no error
  assert _final(tmp_path).state.step == 2


def test_a_new_run_takes_the_weights_of_an_old_one(
  old_run, tmp_path, monkeypatch
):
  # They stay, so that what is saved is what was taken.
  monkeypatch.setattr(
    stargan,
    'train_step',
    lambda model, s, *_, phases: (s.replace(step=s.step + 1), {'x': 0.0}),
  )
  run = tmp_path / 'new'
  config = tiny.config(num_train_steps=1)
  loop.train(config, str(run), init_from=str(old_run))
  old, new = _final(old_run), _final(run)
  assert new.state.step == 1
  jax.tree.map(
    np.testing.assert_array_equal, new.state.params, old.state.params
  )


@pytest.mark.slow
def test_two_sets_train_together(tmp_path):
  config = tiny.config(
    data__name='shapes_attributes',
    data__joint_name='shapes',
    num_train_steps=2,
    sample_every_steps=2,
  )
  loop.train(config, str(tmp_path))
  line = json.loads(_lines(tmp_path)[-1])
  assert np.isfinite(line['G/joint_loss_cls']) and np.isfinite(line['G/change'])
  names = {p.name for p in (tmp_path / 'samples' / '2').iterdir()}
  assert names == {
    'targets.png',
    'cycle.png',
    'joint_targets.png',
    'joint_cycle.png',
  }
  model = trained_model.load(tmp_path)
  assert model.domains == (
    *('warm', 'large', 'outline'),
    *('circle', 'square', 'triangle'),
  )


def test_images_of_a_step_are_those_of_both_data_sets():
  for kind, sets in ((tiny.DOMAINS, 1), (tiny.JOINT, 2)):
    data = stargan.create_data(tiny.config(**kind)).training(0, 1)
    assert data.images_per_step == tiny.BATCH * sets
