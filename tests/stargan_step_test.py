import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import stargan
from jaxgan.systems.stargan import step
from tests import tiny_stargan as tiny


def _equal(a, b) -> bool:
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


@functools.cache
def _step_fn(name):
  return jax.jit(
    functools.partial(step.step_network, name, index=0, **tiny.create()[1])
  )


@functools.cache
def _one_step():
  """(old state, new state, metrics)."""
  state, _ = tiny.create()
  return state, *tiny.train_fn()(state, {}, tiny.batch(), jax.random.key(5))


def _drawn(monkeypatch, batch, static, number=0, seed=0):
  """The iterations that `train_step` makes of a batch."""
  state = tiny.create()[0].replace(step=jnp.int32(number))
  with monkeypatch.context() as patch:
    patch.setattr(step, 'update', lambda state, iterations, **_: iterations)
    return step.train_step(state, {}, batch, jax.random.key(seed), **static)


@pytest.mark.parametrize(
  'name, other',
  [('discriminator', 'generator'), ('generator', 'discriminator')],
)
def test_each_phase_moves_its_network_alone(name, other):
  old, _ = tiny.create()
  new, _, grads = _step_fn(name)(old, tiny.iteration(), jnp.float32(1e-3))
  assert _equal(new.params[other], old.params[other])
  assert _equal(new.opt_state[other], old.opt_state[other])
  # Adam's first step is the rate against the sign of the gradient.
  for before, after, grad in zip(
    *map(jax.tree.leaves, (old.params[name], new.params[name], grads)),
    strict=True,
  ):
    assert grad.any()
    clear = np.abs(grad) > 1e-6
    expected = before - 1e-3 * np.sign(grad)
    np.testing.assert_allclose(after[clear], expected[clear], atol=2e-5)


def test_the_generator_moves_in_the_last_iteration_alone(monkeypatch):
  old, new, metrics = _one_step()
  _, static = tiny.create()
  counts = {name: int(opt[1][0].count) for name, opt in new.opt_state.items()}
  assert counts == {'generator': 1, 'discriminator': tiny.N_CRITIC}
  assert (old.step, new.step) == (0, 1)
  iterations = _drawn(monkeypatch, tiny.batch(), static, seed=5)
  lr, state = jnp.float32(1e-3), old
  for (batch,) in iterations:
    state, d_terms, _ = _step_fn('discriminator')(state, batch, lr)
  state, g_terms, _ = _step_fn('generator')(state, batch, lr)
  for a, b in zip(
    *map(jax.tree.leaves, (state.params, new.params)), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  for key, value in d_terms.items():
    np.testing.assert_allclose(metrics[f'D/loss_{key}'], value, rtol=1e-3)
  np.testing.assert_allclose(metrics['G/loss_rec'], g_terms['rec'], rtol=1e-4)
  x = batch['x']
  unit = np.mean(np.abs(x[0] - x[1]))
  np.testing.assert_allclose(
    metrics['G/change'], g_terms['src'] / unit, rtol=1e-4
  )


@pytest.mark.parametrize(
  'iteration, intended, released',
  [
    (0, 1.0, 1.0),
    (100_000, 1.0, 1.0),
    (100_001, 1 - 1e-5, 1.0),
    (100_999, 1 - 999e-5, 1.0),
    (101_000, 1 - 1000e-5, 1 - 1e-5),
    (150_000, 0.5, 1 - 50e-5),
    (199_999, 1e-5, 1 - 99e-5),  # of 0.1 %
    (200_000, 0.0, 0.999),
    (300_000, 0.0, 0.998),
  ],
)
def test_the_rate_falls_to_zero_or_as_released_hardly(
  iteration, intended, released
):
  settings = {'model__num_domains': 5, 'data__domains': tuple('abcde')}
  for parity, factor in (('', intended), ('yunjey/stargan', released)):
    config = tiny.config(parity=parity, optim__lr=1e-4, **settings)
    hp = stargan.create_training(config)[1]['hp']
    rate = step.learning_rate(jnp.int32(iteration), hp)
    np.testing.assert_allclose(rate, 1e-4 * factor, rtol=1e-6, atol=1e-11)


def test_the_rate_is_that_of_the_iteration():
  state, _ = tiny.create()
  _, static = tiny.create(optim__decay_start=10, optim__decay_steps=10)
  state = state.replace(step=jnp.int32(7))

  @jax.jit
  def last_rate(state):
    # Of the last iteration, 7 * 2 + 1.
    return step.update(state, [[], []], **static)[1]['lr']

  np.testing.assert_allclose(last_rate(state), 1e-3 * 0.5, rtol=1e-6)


def test_targets_are_the_labels_of_the_batch_in_another_order(monkeypatch):
  _, static = tiny.create()
  x = np.arange(8 * 2.0).reshape(8, 2, 1, 1, 1) + np.zeros((1, 1, 4, 4, 3))
  c = np.arange(8 * 2 * 3.0).reshape(8, 2, 3)
  batch = {'x0': jnp.asarray(x), 'c0': jnp.asarray(c)}
  iterations = _drawn(monkeypatch, batch, static)
  assert len(iterations) == 2
  for i, (made,) in enumerate(iterations):
    np.testing.assert_array_equal(made['x'], x[:, i])
    np.testing.assert_array_equal(made['c'], c[:, i])
    order = np.argsort(made['c_trg'][:, 0])
    np.testing.assert_array_equal(made['c_trg'][order], c[:, i])
    assert not np.array_equal(order, np.arange(8))
    assert made['alpha'].shape == (8,)
    assert 0 <= made['alpha'].min() < made['alpha'].max() < 1
  (first,), (second,) = iterations
  assert not _equal(first['alpha'], second['alpha'])
  assert not np.array_equal(second['c_trg'] - c[:, 1], first['c_trg'] - c[:, 0])
  (later,), _ = _drawn(monkeypatch, batch, static, number=1)
  assert not _equal(first['alpha'], later['alpha'])


def test_two_sets_have_batches_and_targets_of_their_own(monkeypatch):
  _, static = tiny.create(**tiny.JOINT)
  batch = tiny.batch(8, **tiny.JOINT)
  iterations = _drawn(monkeypatch, batch, static)
  for i, made in enumerate(iterations):
    assert len(made) == 2
    for k in (0, 1):
      np.testing.assert_array_equal(made[k]['x'], batch[f'x{k}'][:, i])
      rows = sorted(made[k]['c_trg'].tolist())
      assert rows == sorted(batch[f'c{k}'][:, i].tolist())
    assert not _equal(made[0]['alpha'], made[1]['alpha'])


def test_same_key_same_result():
  state, new, metrics = _one_step()
  again = tiny.train_fn()(state, {}, tiny.batch(), jax.random.key(5))
  assert _equal((new, metrics), again)
  _, other = tiny.train_fn()(state, {}, tiny.batch(), jax.random.key(6))
  assert other['D/loss_gp'] != metrics['D/loss_gp']
  later = state.replace(step=jnp.int32(3))
  _, other = tiny.train_fn()(later, {}, tiny.batch(), jax.random.key(5))
  assert other['D/loss_gp'] != metrics['D/loss_gp']


def test_metrics_have_the_names_of_the_original_and_the_sign():
  _, _, metrics = _one_step()
  d, g = ('real', 'fake', 'cls', 'gp', 'total'), ('fake', 'rec', 'cls', 'total')
  expected = {f'D/loss_{k}' for k in d} | {f'G/loss_{k}' for k in g}
  assert set(metrics) == expected | {'G/change', 'lr'}
  assert [s.metric for s in stargan.SIGNS] == ['G/change', 'G/joint_change']


@pytest.mark.parametrize(
  'name',
  ['discriminator', pytest.param('generator', marks=pytest.mark.slow)],
)
def test_micro_batches_have_the_gradient_of_the_batch(name):
  batch, state = tiny.iteration(4), tiny.create()[0]
  with jax.enable_x64(True):
    batch, state = jax.tree.map(
      lambda x: jnp.asarray(x, jnp.float64), (batch, state)
    )
    results = []
    for parts in (1, 2):
      overrides = {'model__dtype': 'float64', 'micro_batches': parts}
      config = tiny.config(**tiny.DOMAINS, **overrides)
      _, static = stargan.create_training(config)
      run = functools.partial(step.step_network, name, index=0, **static)
      results.append(jax.jit(run)(state, batch, jnp.float64(1e-3))[1:])
  for whole, parts in zip(*map(jax.tree.leaves, results), strict=True):
    assert whole.dtype == np.float64
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
  'setting, value',
  [
    ('data__img_size', 18),
    ('data__img_size', 0),
    ('model__d_repeat_num', 5),  # 16 px cannot be halved so often
    ('model__d_repeat_num', 0),
    ('model__g_conv_dim', 0),
    ('model__d_conv_dim', 0),
    ('model__dtype', 'float16'),
    ('model__resample', 'other'),
    ('micro_batches', 3),
    ('micro_batches', 0),
    ('parity', 'other'),
    ('hparams__n_critic', 0),
    ('optim__decay_steps', 0),
    ('optim__lr_update_step', 0),
    ('optim__decay_start', -1),
    ('model__g_repeat_num', -1),
    ('data__num_test', 0),
    ('data__crop_size', -1),
  ],
)
def test_settings_that_cannot_be(setting, value):
  with pytest.raises(errors.UserError, match=setting.replace('__', '.')):
    step.check_config(tiny.config(**{setting: value}))


def test_the_released_schedule_is_a_parity_and_both_are_allowed():
  for parity in ('', 'yunjey/stargan'):
    step.check_config(tiny.config(parity=parity))
