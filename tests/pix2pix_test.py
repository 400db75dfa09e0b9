"""pix2pix: what is its own of networks, losses, step, use and scores."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from PIL import Image

from jaxgan import evaluation, loop
from jaxgan.apps import import_export, trained_model
from jaxgan.data import preprocess
from jaxgan.data.contracts import paired
from jaxgan.inference.translator import Translator
from jaxgan.metrics import translations
from jaxgan.nets import layers, unet
from jaxgan.runtime import errors, images
from jaxgan.systems import contract, pix2pix
from jaxgan.systems.pix2pix import losses, step
from jaxgan.training import phases
from tests import tiny_pix2pix as tiny

SIZE = tiny.SIZE


def _count(tree):
  return sum(np.prod(x.shape) for x in jax.tree.leaves(tree))


def test_published_networks_have_the_published_size():
  # Of the official networks: U-Net 256, 70 x 70 patches of six channels.
  config = pix2pix.default_config()
  init_state = functools.partial(
    pix2pix.init_state, pix2pix.create_model(config)
  )
  state = jax.eval_shape(init_state, jax.random.key(0))
  assert _count(state.params['generator']) == 54_413_955
  assert _count(state.params['discriminator']) == 2_768_705
  names = {'up_4_norm', 'up_7_norm'}
  assert names < state.params['generator'].keys()
  assert 'down_7_norm' not in state.params['generator']  # single pixels
  for name, tree in state.params['generator'].items():
    assert ('bias' in tree) == ('norm' in name or name == 'up_0'), name


def test_a_patch_is_of_70_pixels(monkeypatch):
  # Statistics of a batch see everything: without them.
  monkeypatch.setattr(unet, '_norm', lambda _: lambda name: lambda h: h)
  net = unet.PatchDiscriminator(1, 3)
  x = jnp.zeros((1, 256, 256, 6))
  variables = jax.eval_shape(net.init, jax.random.key(0), x)
  assert jax.eval_shape(net.apply, variables, x).shape == (1, 30, 30)
  x = jax.random.normal(jax.random.key(1), (1, 96, 96, 6))
  variables = net.init(jax.random.key(0), x)
  seen = jax.grad(lambda x: net.apply(variables, x)[0, 5, 5])(x)
  rows = np.flatnonzero(np.abs(seen).max(axis=(0, 2, 3)))
  assert (rows[0], rows[-1]) == (17, 86)


def test_batch_norm_has_the_numbers_of_pytorch():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
  norm = layers.BatchNorm()
  variables = norm.init(jax.random.key(0), x)
  out, left = norm.apply(variables, x, mutable=['batch_stats'])
  flat = x.reshape(-1, 5)
  mean, var = flat.mean(0), flat.var(0)
  np.testing.assert_allclose(
    out, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-5, atol=1e-6
  )
  # momentum 0.1, of an unbiased variance; at first 0 and 1
  stats = left['batch_stats']
  np.testing.assert_allclose(stats['mean'], 0.1 * mean, rtol=1e-5)
  unbiased = flat.var(0, ddof=1)
  np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * unbiased, rtol=1e-5)
  running = norm.apply({**variables, **left}, x, running=True)
  expected = (x - 0.1 * mean) / np.sqrt(0.9 + 0.1 * unbiased + 1e-5)
  np.testing.assert_allclose(running, expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_of_the_inner_levels_alone():
  x = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
  for depth, draws in ((5, False), (6, True)):
    net = unet.UNet(1, depth)
    variables = net.init(
      {'params': jax.random.key(0), 'dropout': jax.random.key(1)}, x, train=True
    )
    outs = [
      net.apply(variables, x, train=False, rngs={'dropout': jax.random.key(i)})
      for i in (1, 2)
    ]
    assert (np.abs(outs[0] - outs[1]).max() > 0) == draws
    running = unet.UNet(1, depth, running=True).apply(variables, x, train=False)
    assert np.isfinite(running).all()


class _Networks:
  """A Forward of a generator and a discriminator that are formulas."""

  def __call__(self, name, x, keep=True):
    if name == 'generator':
      return 0.5 * x
    return x.sum(axis=-1)


def test_losses_are_those_of_the_paper():
  rng = np.random.default_rng(0)
  x, y = rng.uniform(-1, 1, (2, 2, 4, 4, 3))
  batch, w = {'x_a': x, 'x_b': y}, losses.Weights(lambda_l1=7.0)

  def bce(logits, label):
    p = 1 / (1 + np.exp(-logits))
    return -np.log(p if label else 1 - p).mean()

  fake, real = (x + 0.5 * x).sum(-1), (x + y).sum(-1)
  total, terms = losses.d_loss(_Networks(), batch, w)
  expected = 0.5 * (bce(real, 1) + bce(fake, 0))
  np.testing.assert_allclose(total, expected, rtol=1e-5)
  np.testing.assert_allclose(terms['fake'], bce(fake, 0), rtol=1e-5)
  total, terms = losses.g_loss(_Networks(), batch, w)
  l1 = np.abs(0.5 * x - y).mean()
  np.testing.assert_allclose(total, bce(fake, 1) + 7 * l1, rtol=1e-5)
  np.testing.assert_allclose(terms['l1'], l1, rtol=1e-5)


@functools.cache
def _one_step():
  model, state = tiny.create()
  train_step = jax.jit(functools.partial(pix2pix.train_step, model))
  return state, *train_step(state, {}, tiny.batch(), jax.random.key(0))


def _max_change(a, b):
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)
  return jax.tree.leaves(moved)


def test_a_step_moves_both_networks_and_their_statistics_once():
  before, after, metrics = _one_step()
  assert after.step == 1
  for name in ('generator', 'discriminator'):
    moved = _max_change(before.params[name], after.params[name])
    # Of Adam's first step: the rate, where there is a gradient.
    assert 0.9e-3 < max(moved) < 1.01e-3
  # The generator's statistics are of one pass over the sources.
  model, x = tiny.create()[0], tiny.batch()['x_a']
  key = phases._phase_key(
    jax.random.fold_in(jax.random.key(0), 0), step.PHASES[1]
  )
  f = phases.Forward(
    model, before.params, frozen={}, variables=before.variables, rng=key
  )
  f('generator', x)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
    dict(f.variables['generator']),
    dict(after.variables['generator']),
  )
  # The discriminator's of three: fakes and reals of its phase, fakes of G's.
  f = phases.Forward(
    model, before.params, frozen={}, variables=before.variables, rng=key
  )
  fake, y = f('generator', x), tiny.batch()['x_b']
  f('discriminator', jnp.concatenate([x, fake], axis=-1))
  f('discriminator', jnp.concatenate([x, y], axis=-1))
  f = phases.Forward(
    model, after.params, frozen={}, variables=f.variables, rng=key
  )
  f('discriminator', jnp.concatenate([x, fake], axis=-1))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5),
    dict(f.variables['discriminator']),
    dict(after.variables['discriminator']),
  )
  metrics = {key: float(value) for key, value in metrics.items()}
  assert metrics['lr'] == pytest.approx(1e-3)
  assert metrics['D/loss_total'] == pytest.approx(
    0.5 * (metrics['D/loss_real'] + metrics['D/loss_fake']), rel=1e-5
  )


def test_the_rate_falls_to_zero():
  model, _ = tiny.create()
  rates = [
    float(model.rates(jnp.int32(n))['generator']) for n in (0, 2, 4, 6, 9)
  ]
  assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 0, 0])


def test_a_translation_is_by_itself_whatever_is_beside_it():
  model, state = tiny.create(model__depth=4)
  params = pix2pix_params(state)
  x = tiny.batch(6)['x_a']
  y = np.zeros(6, np.int32)
  by_six = Translator(contract.load('pix2pix'), model, params, chunk=6)
  changed = np.concatenate([x[:1], -x[1:]])
  np.testing.assert_allclose(
    by_six.translate(x, y)[0], by_six.translate(changed, y)[0], atol=1e-5
  )


def pix2pix_params(state):
  return contract.load('pix2pix').inference_params(state)


def test_running_statistics_are_used_where_they_are_asked_for():
  model, state = tiny.create(model__use='running')
  params = pix2pix_params(state)
  translator = Translator(contract.load('pix2pix'), model, params)
  x, y = tiny.batch()['x_a'], np.zeros(2, np.int32)
  first = translator.translate(x, y)
  stats = jax.tree.map(lambda v: 4 * v + 1, params['variables'])
  moved = Translator(
    contract.load('pix2pix'), model, {**params, 'variables': stats}
  )
  # The statistics are another scale of everything that follows them.
  assert not np.allclose(first, moved.translate(x, y), rtol=0.1, atol=0)
  of_image = tiny.create()[0]
  plain = Translator(contract.load('pix2pix'), of_image, params)
  other = Translator(
    contract.load('pix2pix'), of_image, {**params, 'variables': stats}
  )
  np.testing.assert_array_equal(plain.translate(x, y), other.translate(x, y))


@pytest.mark.parametrize(
  'override, message',
  [
    ({'data__img_size': 20}, 'img_size must be a multiple of 8'),
    ({'model__d_layers': 3}, 'leaves the discriminator no patch of 16 px'),
    ({'model__num_domains': 2}, 'num_domains must be 1'),
    ({'micro_batches': 2}, 'micro_batches must be 1: the losses of pix2pix'),
  ],
)
def test_settings_that_cannot_be_are_named(override, message):
  with pytest.raises(errors.UserError, match=message):
    contract.check_config(contract.load('pix2pix'), tiny.config(**override))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run of four steps."""
  directory = tmp_path_factory.mktemp('runs') / 'pix2pix'
  loop.train(tiny.config(), str(directory))
  return directory


def test_a_run_leaves_what_it_promises(run):
  config = json.loads((run / 'config.json').read_text())
  assert config['data']['domains'] == ['filled']
  assert config['model']['num_domains'] == 1
  (sample,) = (run / 'samples' / '4').iterdir()
  assert sample.name == 'contour2filled.png'
  with Image.open(sample) as grid:  # three rows, eight columns
    assert grid.width > 2 * grid.height


def test_a_run_is_scored_and_translates(run, tmp_path):
  few = translations.Options(num_sources=40)
  scores = evaluation.evaluate_run(str(run), options=few)
  for mode in ('label', 'source', 'mean_picture', 'nearest_pair'):
    assert 0 < scores[f'paired/{mode}/l1/contour2filled'] < 255
  _, val = paired.Data(tiny.config()).evaluation()
  x, y = (
    np.stack([x for _, x in val.images(side, range(40))]).astype(int)
    for side in (0, 1)
  )
  expected = pytest.approx(np.abs(x - y).mean())
  assert scores['paired/source/l1/contour2filled'] == expected
  assert scores['paired/chance/retrieval/contour2filled'] == 0.001
  assert all(name.startswith('paired/') for name in scores)
  rng = np.random.default_rng(0)
  source = tmp_path / 'in' / 'a.png'
  source.parent.mkdir()
  Image.fromarray(rng.integers(0, 256, (20, 25, 3), np.uint8)).save(source)
  model = trained_model.load(str(run))
  assert model.domains == ('filled',)
  pixels = model.read(str(source))
  with Image.open(source) as picture:  # all of it is seen
    np.testing.assert_array_equal(pixels, preprocess.resize(picture, SIZE))
  ((image,),) = model.translate([pixels], 'filled')
  exported = export.deserialize(bytearray(model.export()['label']))
  x = preprocess.to_float(pixels)[None]
  out = exported.call(x, np.zeros(1, np.int32))
  np.testing.assert_allclose(images.to_uint8(out[0]), np.asarray(image), atol=1)


def test_official_files_are_not_offered(run, tmp_path):
  message = 'checkpoints of the original pix2pix cannot be read or written'
  with pytest.raises(errors.UserError, match=message):
    import_export.export_run(str(run), str(tmp_path / 'out'))
  with pytest.raises(errors.UserError, match=message):
    import_export.import_run('x.pth', tiny.config(), str(tmp_path / 'run'))
