import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import vgg
from jaxgan.runtime import errors
from jaxgan.systems import contract, unit
from jaxgan.systems.unit import step
from tests import tiny_two_domains
from tests import tiny_unit as tiny
from tests.tiny_two_domains import BATCH, DOMAINS, jitted

OFFICIAL = 'mingyuliutw/UNIT'


def _flat(tree):
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {key: np.asarray(value) for key, value in flat.items()}


def _shapes(model):
  """The state, without a number in it."""
  init_state = functools.partial(unit.init_state, model)
  return jax.eval_shape(init_state, jax.random.key(0))


def _is_unused(key):
  """Whether a norm takes the bias away."""
  normed = any(part in key for part in ('block_', 'down_', 'up_'))
  return key.endswith('bias') and normed


def test_both_networks_move_against_their_gradients():
  old, new, _, grads = tiny.one_update()
  stepped = {phase: tuple(trees) for phase, trees in grads.items()}
  assert stepped == {'D/loss': ('discriminator',), 'G/loss': ('generator',)}
  for name, tree in (*grads['D/loss'].items(), *grads['G/loss'].items()):
    before, after, gradient = map(
      _flat, (old.params[name], new.params[name], tree)
    )
    for key, grad in gradient.items():
      if _is_unused(key):
        assert not grad.any(), key
        continue
      assert grad.any(), key
      clear = np.abs(grad) > 1e-4
      moved = (after[key] - before[key])[clear]
      np.testing.assert_allclose(
        moved, -1e-3 * np.sign(grad[clear]), rtol=2e-2, err_msg=key
      )
    assert int(new.opt_state[name][1][0].count) == 1
  assert (int(old.step), int(new.step)) == (0, 1)


def test_what_no_gradient_reaches_decays():
  old, new, _, grads = tiny.one_update()
  unused = [k for k in _flat(grads['G/loss']['generator']) if _is_unused(k)]
  # Of each domain four in blocks, a halving and a doubling; four are shared.
  assert len(unused) == 2 * (4 + 2) + 4
  before, after = _flat(old.params['generator']), _flat(new.params['generator'])
  for key in unused:
    # The decay is all the gradient there is, and Adam takes its sign.
    clear = np.abs(before[key]) > 1e-2
    assert clear.any()
    moved = (after[key] - before[key])[clear]
    expected = -1e-3 * np.sign(before[key][clear])
    np.testing.assert_allclose(moved, expected, rtol=2e-2, err_msg=key)


def test_the_discriminator_moves_first_and_sees_noisy_codes():
  old, new, metrics, _ = tiny.one_update()
  (model, _), batch = tiny.create(), tiny.drawn()
  scores = jitted(model, 'discriminate', 0)
  h = jitted(model, 'encode', 1)(old.params, batch['x_b'])

  def fake(noise):
    return jitted(model, 'decode', (0,))(old.params, h + noise)[0]

  def softplus(score):
    return float(np.mean(np.log1p(np.exp(np.asarray(score)))))

  real = softplus(-scores(old.params, batch['x_a'])[0])
  expected = real + softplus(scores(old.params, fake(batch['n_b2']))[0])
  np.testing.assert_allclose(metrics['D/loss_a'], expected, rtol=1e-4)
  # The generator is judged by the discriminator that has moved.
  now, before = (
    softplus(-scores(params, fake(batch['n_b']))[0])
    for params in (new.params, old.params)
  )
  assert abs(now - before) > 1e-5
  np.testing.assert_allclose(metrics['G/loss_gan_a'], now, rtol=1e-6)


def test_terms_are_those_of_the_pieces_and_signs_in_units():
  old, _, metrics, _ = tiny.one_update()
  (model, _), batch = tiny.create(), tiny.drawn()

  def run(name, domain, *arrays):
    return jitted(model, name, domain)(old.params, *arrays)

  h = run('encode', 0, batch['x_a'])
  (x_aa,) = run('decode', (0,), h + batch['n_a'])
  (x_ab,) = run('decode', (1,), h + batch['n_a'])
  h_aba = run('encode', 1, x_ab)
  (x_aba,) = run('decode', (0,), h_aba + batch['n_aba'])
  scale = np.mean(np.abs(batch['x_a'] - batch['x_b']))
  for key, value in {
    'loss_x_a': np.mean(np.abs(x_aa - batch['x_a'])),
    'loss_cyc_a': np.mean(np.abs(x_aba - batch['x_a'])),
    'loss_kl_a': np.mean(np.square(h)) / 2,
    'loss_klc_a': np.mean(np.square(h_aba)) / 2,
    'change_b': np.mean(np.abs(x_ab - batch['x_a'])) / scale,
  }.items():
    np.testing.assert_allclose(
      metrics[f'G/{key}'], value, rtol=1e-4, err_msg=key
    )


def test_metrics_have_the_names_of_the_terms_and_the_signs():
  _, _, metrics, _ = tiny.one_update()
  names = ('x', 'kl', 'klc', 'gan', 'cyc')
  terms = {f'{name}_{domain}' for name in names for domain in 'ab'}
  expected = {f'G/loss_{term}' for term in terms | {'total'}}
  expected |= {f'D/loss_{term}' for term in ('a', 'b', 'total')}
  signs = {sign.metric for sign in unit.COLLAPSE_SIGNS}
  assert signs == {'G/change_a', 'G/change_b'}
  assert set(metrics) == expected | signs | {'lr'}
  assert all(np.isfinite(value) for value in metrics.values())


def _drawn(monkeypatch, number=0, seed=0, **overrides):
  """The noise that `train_step` draws, and the key of its iteration."""
  model, state = tiny.create(**overrides)
  state = state.replace(step=jnp.int32(number))
  with monkeypatch.context() as patch:
    patch.setattr(step, 'update', lambda m, s, f, batch, rng: (batch, rng))
    drawn, rng = step.train_step(
      model, state, {}, tiny.batch(), jax.random.key(seed)
    )
  noise = {key: drawn[key] for key in drawn.keys() - tiny.batch().keys()}
  return noise, jax.random.key_data(rng)


@pytest.mark.parametrize('overrides', [{}, tiny.UNSHARED], ids=['', 'unshared'])
def test_noise_is_new_for_each_code_step_and_key(monkeypatch, overrides):
  draw = functools.partial(_drawn, monkeypatch, **overrides)
  drawn, _ = draw()
  names = ('a', 'b', 'aba', 'bab', 'a2', 'b2')
  assert drawn.keys() == {f'n_{name}' for name in names}
  arrays = jax.tree.leaves([drawn, draw(number=1)[0], draw(seed=1)[0]])
  assert {x.shape for x in arrays} == {(BATCH, *tiny.CODE)}
  rows = np.concatenate([x.reshape(BATCH, -1) for x in arrays])
  assert len(np.unique(rows, axis=0)) == len(rows) == 18 * BATCH
  np.testing.assert_allclose(rows.mean(), 0, atol=0.05)
  np.testing.assert_allclose(rows.std(), 1, atol=0.05)
  jax.tree.map(np.testing.assert_array_equal, draw()[0], drawn)


def test_the_noise_fits_the_codes_of_the_networks():
  settings = {'model__n_downsample': 2, 'model__dim': 3, 'data__img_size': 20}
  model = unit.create_model(tiny.config(**DOMAINS, **settings))
  params = _shapes(model).params
  x = jnp.zeros((2, 20, 20, 3))
  h = jax.eval_shape(jitted(model, 'encode', 0), params, x)
  assert (2, *model.code_shape) == h.shape == (2, 5, 5, 12)


def test_each_step_and_run_has_its_key_of_dropout(monkeypatch):
  draw = functools.partial(_drawn, monkeypatch, model__dropout=0.5)
  keys = [draw()[1], draw(number=1)[1], draw(seed=1)[1]]
  assert len(np.unique(np.stack(keys), axis=0)) == 3
  np.testing.assert_array_equal(draw()[1], keys[0])


@pytest.mark.parametrize(
  'iteration, shared, released, unshared',
  [
    (0, 1, 1, 1),
    (99_999, 1, 0.5, 1),
    (100_000, 1, 0.5, 0.5),
    (250_000, 1, 0.25, 0.25),
  ],
)
def test_the_rate_of_the_later_code_is_halved(
  iteration, shared, released, unshared
):
  for factor, settings in (
    (shared, {}),
    (shared, {'parity': OFFICIAL}),
    (unshared, tiny.UNSHARED),
    (released, tiny.UNSHARED | {'parity': OFFICIAL}),
  ):
    config = tiny.config(**DOMAINS, optim__lr=1e-4, **settings)
    rates = unit.create_model(config).rates(jnp.int32(iteration))
    assert rates.keys() == {'generator', 'discriminator'}
    for rate in rates.values():
      np.testing.assert_allclose(rate, 1e-4 * factor, rtol=1e-6)


@pytest.mark.parametrize(
  'settings, kl, fourth_pool',
  [
    ({}, 'divergence', True),
    ({'parity': OFFICIAL}, 'noisy_square', True),
    (tiny.UNSHARED, 'divergence', True),
    (tiny.UNSHARED | {'parity': OFFICIAL}, 'square', False),
  ],
)
def test_what_a_parity_changes(settings, kl, fourth_pool):
  config = tiny.config(**DOMAINS, hparams__lambda_vgg=1.0, **settings)
  model = unit.create_model(config)
  features = model.frozen_nets['vgg']
  assert features.func is vgg.features
  assert features.keywords == {'fourth_pool': fourth_pool}
  assert model.weights(jnp.int32(0)).kl == kl
  assert tiny.create()[0].frozen_nets == {}


@pytest.mark.slow
@pytest.mark.parametrize('dropout', [0.0, 0.5])
def test_micro_batches_have_the_gradient_of_the_batch(dropout):
  with jax.enable_x64(True):
    params = jax.tree.map(np.float64, tiny.create()[1].params)
    batch = jax.tree.map(np.float64, tiny.drawn(4))
    results = []
    for parts in (1, 2):
      config = tiny.config(
        **DOMAINS,
        model__dtype='float64',
        model__dropout=dropout,
        micro_batches=parts,
        batch_size=4,
      )
      model = unit.create_model(config)
      zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), _shapes(model)
      )
      run = tiny_two_domains.update_fn(step, model)
      results.append(run(zeros.replace(params=params), batch)[1:])
  (whole, parts) = results
  assert all(np.isfinite(x) for x in parts[0].values())
  if not dropout:  # other images drop other features
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
      np.testing.assert_allclose(b, a, rtol=1e-8, atol=1e-10)
  else:
    assert parts[0]['G/loss_x_a'] != whole[0]['G/loss_x_a']


@pytest.mark.parametrize(
  'setting, value',
  [
    ('data__img_size', 2),
    ('data__img_size', 17),
    ('model__n_downsample', 0),
    ('model__n_downsample', 4),
    ('model__dim', 0),
    ('model__n_res', -1),
    ('model__n_shared', -1),
    ('model__d_dim', 0),
    ('model__d_layers', 0),
    ('model__d_front', 0),
    ('model__d_scales', 0),
    ('model__dropout', 1.0),
    ('model__dropout', -0.1),
    ('model__d_kind', 'other'),
    ('model__dtype', 'float16'),
    ('model__resample', 'strided'),
    ('model__num_domains', 1),
    ('hparams__gan_type', 'hinge'),
    ('micro_batches', 3),
    ('parity', 'NVlabs/MUNIT'),
    ('optim__step_size', -1),
    ('data__load_size', -1),
  ],
)
def test_settings_that_cannot_be(setting, value):
  name = setting.replace('__', '.')
  if name == 'model.n_downsample' and value:
    name = 'data.img_size'
  with pytest.raises(errors.UserError, match=name) as error:
    contract.check_config(
      contract.load('unit'), tiny.config(**{setting: value})
    )
  assert len(str(error.value).splitlines()) == 1


def test_settings_that_cannot_be_together():
  for settings, message in (
    ({'model__d_kind': 'shared', 'model__d_front': 3}, 'model.d_front must be'),
    (tiny.UNSHARED | {'model__dropout': 0.5}, 'model.dropout must be 0 where'),
    ({'model__pad_type': 'zero'}, "pad_type must be 'reflect' where model.sha"),
    ({'model__d_norm': 'in'}, "model.d_norm must be 'none' where model.shared"),
    (tiny.UNSHARED | {'model__d_layers': 4}, 'data.img_size must be 32'),
  ):
    with pytest.raises(errors.UserError, match=message):
      step.check_config(tiny.config(**settings))


@pytest.mark.parametrize(
  'settings',
  [
    {'data__img_size': 20, 'model__n_downsample': 2, 'model__d_layers': 6},
    {'model__d_kind': 'shared', 'model__n_shared': 0},
    {'model__d_kind': 'multiscale', 'model__d_scales': 5},
    {'model__normalize': False, 'model__resample': 'phases'},
    tiny.UNSHARED | {'model__d_layers': 3, 'model__resample': 'phases'},
    {'model__input_dim_a': 1, 'model__input_dim_b': 1},
  ],
)
def test_what_the_check_allows_can_be_built(settings):
  config = tiny.config(**DOMAINS, **settings)
  step.check_config(config)
  model = unit.create_model(config)
  params = _shapes(model).params
  x = jnp.zeros((1, config.data.img_size, config.data.img_size, 3))
  y = jax.eval_shape(tiny.translator(model, 1), params, x)
  maps = jax.eval_shape(jitted(model, 'discriminate', 0), params, x)
  assert y.shape == x.shape
  assert all(m.size > 0 for m in maps)
