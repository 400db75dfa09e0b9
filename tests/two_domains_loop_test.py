"""MUNIT and UNIT from their training to the programs that use them."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax import export
from PIL import Image

from jaxgan import evaluation, loop
from jaxgan.apps import trained_model, translate_files
from jaxgan.inference import translator
from jaxgan.metrics import factors, translations
from jaxgan.nets import vgg
from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract, frozen, munit, unit
from tests import pytorch_files, tiny_munit, tiny_unit
from tests.tiny_unit import UNSHARED

TINY = {'munit': tiny_munit, 'unit': tiny_unit}
SYSTEMS = {'munit': munit, 'unit': unit}
# One of them in `make test`: the same code is behind both.
BOTH = [pytest.param('munit', marks=pytest.mark.slow), 'unit']


def _final(directory):
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return contract.open_run(directory, device)


def _lines(directory):
  text = (directory / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Makes the run of a system, of four steps, once."""

  @functools.cache
  def run(name):
    directory = tmp_path_factory.mktemp('runs') / name
    loop.train(TINY[name].config(), str(directory))
    return directory

  return run


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """Writes a run of a system without training, once."""

  @functools.cache
  def write(name):
    directory = tmp_path_factory.mktemp('written') / name
    TINY[name].write_run(directory)
    return directory

  return write


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """circle/{a,b}.png and triangle/c.png."""
  rng = np.random.default_rng(0)
  root = tmp_path_factory.mktemp('pictures')
  for name in ('circle/a', 'circle/b', 'triangle/c'):
    path = root / f'{name}.png'
    path.parent.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (20, 25, 3), np.uint8)
    Image.fromarray(pixels).save(path)
  return root


SAMPLES = {
  'munit': {'latent', 'reference', 'cycle'},
  'unit': {''},
}


@pytest.mark.parametrize('name', BOTH)
def test_run_leaves_what_it_promises(runs, name):
  finished = runs(name)
  lines = _lines(finished)
  assert [line['step'] for line in lines] == [1, 2, 3, 4]
  assert all(np.isfinite(list(line.values())).all() for line in lines)
  for key in ('D/loss_total', 'G/loss_x_a', 'G/change_b', 'lr'):
    assert key in lines[-1]
  assert lines[0]['G/loss_total'] != lines[1]['G/loss_total']
  config = json.loads((finished / 'config.json').read_text())
  assert config['system'] == name
  assert config['data']['domains'] == ['circle', 'triangle']
  assert config['model']['num_domains'] == 2
  names = {p.name for p in (finished / 'samples' / '4').iterdir()}
  assert names == {
    '_'.join(filter(None, (pair, kind))) + '.png'
    for pair in ('circle2triangle', 'triangle2circle')
    for kind in SAMPLES[name]
  }
  page = (finished / 'report' / 'index.html').read_text()
  for text in ('done: step 4 of 4', 'circle2triangle'):
    assert text in page


def test_what_a_resumed_run_may_change_and_what_not(runs):
  with pytest.raises(errors.ConfigMismatchError, match='lambda_x: 100.0 -> 1'):
    config = tiny_unit.config(hparams__lambda_x=1.0)
    loop.train(config, str(runs('unit')))
  # Nothing is left to do, so nothing is compiled.
  config = tiny_unit.config(model__resample='phases', model__vgg_file='x')
  loop.train(config, str(runs('unit')))


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, settings',
  [
    ('munit', {'data__on_device': True, 'hparams__lambda_cyc': 1.0}),
    ('munit', {'model__dtype': 'bfloat16', 'shard_state': True}),
    ('unit', {'data__on_device': True, 'model__d_kind': 'shared'}),
    ('unit', {'model__dtype': 'bfloat16', 'model__dropout': 0.5}),
    ('unit', UNSHARED | {'micro_batches': 2, 'batch_size': 4}),
    (
      'unit',
      {'micro_batches': 2, 'batch_size': 4, 'model__dropout': 0.5}
      | {'model__d_kind': 'multiscale', 'model__normalize': False},
    ),
  ],
)
def test_other_settings_train_too(name, settings, tmp_path):
  # On-device data is of files.
  if settings.get('data__on_device'):
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
      for domain in ('circle', 'triangle'):
        folder = tmp_path / 'data' / split / domain
        folder.mkdir(parents=True)
        for i in range(3):
          pixels = rng.integers(0, 256, (20, 16, 3), np.uint8)
          Image.fromarray(pixels).save(folder / f'{i}.png')
    settings = settings | {
      'data__name': 'folder',
      'data__root': str(tmp_path / 'data'),
      'data__cache_dir': str(tmp_path / 'cache'),
    }
  config = TINY[name].config(num_train_steps=2, **settings)
  loop.train(config, str(tmp_path / 'run'))
  lines = _lines(tmp_path / 'run')
  assert [line['step'] for line in lines] == [1, 2]
  assert all(np.isfinite(list(line.values())).all() for line in lines)
  run = _final(tmp_path / 'run')
  assert {x.dtype for x in jax.tree.leaves(run.state.params)} == {
    np.dtype('float32')
  }


def test_init_from_refuses_other_domains(written, tmp_path):
  config = tiny_unit.config(data__domains=('triangle', 'circle'))
  with pytest.raises(errors.UserError, match='knows them by their order'):
    loop.train(config, str(tmp_path / 'run'), init_from=str(written('unit')))
  with pytest.raises(errors.UserError, match='is a run of unit'):
    loop.train(
      tiny_munit.config(),
      str(tmp_path / 'run'),
      init_from=str(written('unit')),
    )


def test_init_from_takes_the_weights(written, tmp_path, monkeypatch):
  monkeypatch.setattr(
    unit,
    'train_step',
    lambda model, s, *_: (s.replace(step=s.step + 1), {'x': 0.0}),
  )
  old = _final(written('unit')).state
  loop.train(
    tiny_unit.config(seed=5, num_train_steps=1),
    str(tmp_path / 'run'),
    init_from=str(written('unit')),
  )
  new = _final(tmp_path / 'run').state
  jax.tree.map(np.testing.assert_array_equal, new.params, old.params)


MODES = {'munit': ('latent', 'reference'), 'unit': ('label',)}


@pytest.mark.parametrize('name', ['munit', 'unit'])
def test_eval_scores_a_run(name, written, monkeypatch, capsys):
  monkeypatch.setattr(factors, 'MIN_PAIRS', 20)
  values = evaluation.evaluate_run(str(written(name)))
  assert capsys.readouterr().out
  names = ('domain_accuracy', 'position_error_px', 'size_error', 'colour_error')
  expected = {f'shapes/{m}/{n}' for m in MODES[name] for n in names[:3]}
  expected |= {f'shapes/real/{n}' for n in names[:3]}
  last = 'latent' if name == 'munit' else 'label'
  expected |= {f'shapes/{last}/diversity'}
  colour = 'reference' if name == 'munit' else 'label'
  expected |= {f'shapes/{colour}/colour_error', 'shapes/real/colour_error'}
  assert set(values) == expected
  assert 0 <= values[f'shapes/{last}/domain_accuracy'] <= 1
  if name == 'unit':
    assert values['shapes/label/diversity'] in (0, None)


def test_unit_has_no_distances_of_outputs():
  config = tiny_unit.config(data__name='folder')
  model, state = tiny_unit.create()
  system = contract.load('unit')
  made = translator.Translator(system, model, state.params)
  scorer = translations.Scorer(translations.Options(metrics=('lpips',)))
  with pytest.raises(errors.UserError, match='nothing can be measured'):
    system.scores(made, config, scorer, None, seed=0, save_dir=epath.Path())


def _png(path):
  with Image.open(path) as image:
    return np.asarray(image)


def test_munit_translates_files_by_latents_and_references(
  written, pictures, tmp_path
):
  model = trained_model.load(written('munit'))
  assert (model.kinds, model.latent_dim) == (('latent', 'reference'), 3)
  assert (model.sources, model.psi) == ('other', 1.0)
  paths = translate_files.find_sources([str(pictures / 'circle')])
  styles = translate_files.latent_styles(model, 'triangle', 2, seed=4, psi=None)
  assert translate_files.translate(model, paths, styles, tmp_path / 'latent')
  names = {p.name for p in (tmp_path / 'latent').iterdir()}
  assert names == {'grid.png'} | {
    f'{x}_to_triangle_seed4_{n}.png' for x in 'ab' for n in range(2)
  }
  sources = [model.read(source.path) for source in paths]
  codes = model.latent_styles('triangle', 2, seed=4)
  rows = model.translate(sources, 'triangle', codes)
  for n, row in enumerate(rows):
    path = tmp_path / 'latent' / f'b_to_triangle_seed4_{n}.png'
    np.testing.assert_array_equal(_png(path), row[1])
  assert np.any(np.asarray(rows[0][0]) != np.asarray(rows[1][0]))

  references = translate_files.find([str(pictures / 'triangle')])
  styles = translate_files.reference_styles(model, references, None)
  assert [(s.domain, s.name) for s in styles] == [('triangle', 'c')]
  assert styles[0].code.shape == (3,)
  assert translate_files.translate(model, paths, styles, tmp_path / 'reference')
  names = {p.name for p in (tmp_path / 'reference').iterdir()}
  assert names == {'grid.png', *(f'{x}_to_triangle_c.png' for x in 'ab')}


def test_unit_translates_files_by_labels(written, pictures, tmp_path):
  model = trained_model.load(written('unit'))
  assert (model.kinds, model.latent_dim) == (('label',), 0)
  assert model.sources == 'other'
  paths = translate_files.find_sources([str(pictures / 'circle')])
  styles = translate_files.label_styles(model, ['triangle'])
  assert translate_files.translate(model, paths, styles, tmp_path)
  names = {p.name for p in tmp_path.iterdir()}
  assert names == {'grid.png', *(f'{x}_to_triangle.png' for x in 'ab')}
  source = model.read(paths[1].path)
  [[expected]] = model.translate([source], 'triangle')
  np.testing.assert_array_equal(_png(tmp_path / 'b_to_triangle.png'), expected)


@pytest.mark.parametrize('name', ['munit', 'unit'])
def test_exported_they_do_the_same(name, written, pictures):
  model = trained_model.load(written(name))
  programs = model.export()
  assert set(programs) == set(MODES[name])
  paths = translate_files.find([str(pictures / 'circle')])
  x = np.stack([model.read(path) for path in paths])
  x = x / np.float32(127.5) - 1
  y = np.ones(len(x), np.int32)
  z = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3)), jnp.float32)
  made = model._translator
  for mode, program in programs.items():
    inputs, s = (x, y), None
    if mode == 'latent':
      inputs, s = (x, z, y), np.asarray(z)
    elif mode == 'reference':
      inputs, s = (x, x[::-1], y), made.style(y, x_ref=x[::-1])
    got = export.deserialize(bytearray(program)).call(*inputs)
    expected = made.translate(x, y, s)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def _write_vgg(path):
  rng = np.random.default_rng(0)
  state_dict, width = {}, 3
  for name in vgg.NAMES:
    kernel = rng.normal(0, np.sqrt(2 / (9 * width)), (2, width, 3, 3))
    state_dict[f'{name}.weight'] = kernel.astype(np.float32)
    state_dict[f'{name}.bias'] = np.full(2, 0.1, np.float32)
    width = 2
  pytorch_files.write(path, state_dict)


@pytest.mark.parametrize('name', ['munit', 'unit'])
def test_a_perceptual_term_needs_its_network(name, tmp_path):
  system, make = SYSTEMS[name], TINY[name].config
  settings = {'hparams__lambda_vgg': 1.0, 'data__img_size': 32}
  assert frozen.load(system.FROZEN, make()) == {}
  frozen.check(system.FROZEN, {}, make())
  with pytest.raises(errors.UserError, match='--config.model.vgg_file=vgg16'):
    frozen.load(system.FROZEN, make(**settings))
  with pytest.raises(errors.UserError, match='frozen.npz does not hold VGG-16'):
    frozen.check(system.FROZEN, {}, make(**settings))
  with pytest.raises(errors.UserError, match='images of 32 px or more'):
    loop.train(make(**settings | {'data__img_size': 16}), str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['unit'])
def test_a_run_keeps_its_perceptual_network(name, tmp_path):
  path, directory = tmp_path / 'vgg.pth', tmp_path / 'run'
  _write_vgg(path)
  settings = {
    'hparams__lambda_vgg': 1.0,
    'data__img_size': 32,
    'model__vgg_file': str(path),
  }
  config = functools.partial(TINY[name].config, **settings)
  loop.train(config(num_train_steps=1), str(directory))
  kept = workdir.load_frozen(epath.Path(directory))
  jax.tree.map(np.testing.assert_array_equal, kept['vgg'], vgg.load(path))
  path.unlink()
  loop.train(config(num_train_steps=2), str(directory))
  lines = _lines(directory)
  assert [line['step'] for line in lines] == [1, 2]
  assert all(line['G/loss_vgg_a'] > 1e-4 for line in lines)
