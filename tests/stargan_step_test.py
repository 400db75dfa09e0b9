import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import contract, stargan
from jaxgan.systems.stargan import step
from tests import tiny_stargan as tiny


def _equal(a, b) -> bool:
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


@functools.cache
def _update_fn(phases):
  _, model = tiny.create()
  run = functools.partial(step.update, model, phases=phases)
  return jax.jit(lambda state, batch: run(state, {}, batch, jax.random.key(5)))


@functools.cache
def _two_steps():
  """The states 0, 1 and 2, and the metrics of both iterations."""
  first, model = tiny.create()
  state, states, records = first, [first], []
  for number in range(2):
    run = tiny.train_fn(stargan.phases_at(model, number))
    state, metrics = run(state, {}, tiny.batch(), jax.random.key(5))
    states.append(state)
    records.append(metrics)
  return states, records


def _drawn(monkeypatch, batch, model, number=0, seed=0):
  """The batch that `train_step` hands on, with targets and shares."""
  state = tiny.create()[0].replace(step=jnp.int32(number))
  with monkeypatch.context() as patch:
    patch.setattr(step, 'update', lambda m, s, frozen, made, *_: (made, None))
    made, _ = step.train_step(model, state, {}, batch, jax.random.key(seed), ())
  return made


@pytest.mark.parametrize(
  'phases, name, other',
  [
    (tiny.D, 'discriminator', 'generator'),
    (tiny.G, 'generator', 'discriminator'),
  ],
)
def test_each_phase_moves_its_network_alone(phases, name, other):
  old, _ = tiny.create()
  new, _, grads = _update_fn(phases)(old, tiny.drawn())
  assert _equal(new.params[other], old.params[other])
  assert _equal(new.opt_state[other], old.opt_state[other])
  # Adam's first step is the rate against the sign of the gradient.
  for before, after, grad in zip(
    *map(
      jax.tree.leaves,
      (old.params[name], new.params[name], grads[phases[0]][name]),
    ),
    strict=True,
  ):
    assert grad.any()
    clear = np.abs(grad) > 1e-6
    expected = before - 1e-3 * np.sign(grad)
    np.testing.assert_allclose(after[clear], expected[clear], atol=2e-5)


@pytest.mark.parametrize('n_critic', [1, 2, 3])
def test_the_generator_moves_in_every_nth_iteration_alone(n_critic):
  _, model = tiny.create(hparams__n_critic=n_critic)
  answers = [stargan.phases_at(model, number) for number in range(6)]
  for number, phases in enumerate(answers, 1):
    assert phases == (tiny.D if number % n_critic else tiny.D + tiny.G)


def test_of_two_sets_each_has_its_phases_in_the_original_order():
  _, model = tiny.create(**tiny.JOINT)
  assert stargan.phases_at(model, 0) == ('D/loss', 'D/joint_loss')
  whole = 'D/loss', 'G/loss', 'D/joint_loss', 'G/joint_loss'
  assert stargan.phases_at(model, 1) == whole


def test_an_iteration_is_its_phases_one_after_the_other(monkeypatch):
  (first, second, third), records = _two_steps()
  _, model = tiny.create()
  assert [int(s.step) for s in (first, second, third)] == [0, 1, 2]
  for state, expected in ((second, (1, 0)), (third, (2, 1))):
    counts = [
      int(state.opt_state[name][1][0].count)
      for name in ('discriminator', 'generator')
    ]
    assert tuple(counts) == expected
  assert _equal(second.params['generator'], first.params['generator'])

  batch = _drawn(monkeypatch, tiny.batch(), model, number=1, seed=5)
  state, d_terms, _ = _update_fn(tiny.D)(second, batch)
  state, g_terms, _ = _update_fn(tiny.G)(state, batch)
  for a, b in zip(
    *map(jax.tree.leaves, (state.params, third.params)), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  for key, value in {**d_terms, **g_terms}.items():
    np.testing.assert_allclose(records[1][key], value, rtol=1e-3)


def test_the_change_is_in_units_of_two_real_images():
  batch, (state, model) = tiny.drawn(), tiny.create()
  _, metrics, _ = _update_fn(tiny.G)(state, batch)
  x = batch['x0']
  translate = tiny.translate_fn(model)
  fake = translate(state.params, x, batch['c_trg0'])
  expected = np.mean(np.abs(fake - x)) / np.mean(np.abs(x[0] - x[1]))
  np.testing.assert_allclose(metrics['G/change'], expected, rtol=1e-4)


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
    rates = stargan.create_model(config).rates(jnp.int32(iteration))
    assert rates.keys() == {'generator', 'discriminator'}
    for rate in rates.values():
      np.testing.assert_allclose(rate, 1e-4 * factor, rtol=1e-6, atol=1e-11)


def test_the_rate_is_that_of_the_iteration():
  state, _ = tiny.create()
  _, model = tiny.create(optim__decay_start=10, optim__decay_steps=10)
  state = state.replace(step=jnp.int32(15))

  @jax.jit
  def rate(state):
    return step.update(model, state, {}, {}, jax.random.key(0), ())[1]['lr']

  np.testing.assert_allclose(rate(state), 1e-3 * 0.5, rtol=1e-6)


@pytest.mark.parametrize(
  'given, expected',
  [
    ({'g_lr': 2e-4, 'd_lr': 6e-4}, (2e-4, 6e-4)),
    ({'d_lr': 6e-4}, (1e-3, 6e-4)),
    ({'g_lr': 2e-4}, (2e-4, 1e-3)),
    ({}, (1e-3, 1e-3)),
  ],
)
def test_each_network_has_its_rate(given, expected, monkeypatch):
  settings = {f'optim__{key}': value for key, value in given.items()}
  _, model = tiny.create(
    optim__decay_start=10, optim__decay_steps=10, **settings
  )
  state = tiny.create()[0].replace(step=jnp.int32(15))
  used, run = {}, step.engine.run

  def spy(*args, lr, **kwargs):
    used.update(lr)
    return run(*args, lr=lr, **kwargs)

  monkeypatch.setattr(step.engine, 'run', spy)
  metrics = step.update(model, state, {}, {}, jax.random.key(0), ())[1]
  halved = [value / 2 for value in expected]
  rates = [used['generator'], used['discriminator']]
  np.testing.assert_allclose(rates, halved, rtol=1e-6)
  logged = [metrics['lr'], metrics.get('d_lr', metrics['lr'])]
  np.testing.assert_allclose(logged, halved, rtol=1e-6)


def test_targets_are_the_labels_of_the_batch_in_another_order(monkeypatch):
  _, model = tiny.create()
  c = np.arange(8 * 3.0).reshape(8, 3)
  batch = {'x0': jnp.zeros((8, 4, 4, 3)), 'c0': jnp.asarray(c)}
  made = _drawn(monkeypatch, batch, model)
  assert _equal({key: made[key] for key in batch}, batch)
  order = np.argsort(made['c_trg0'][:, 0])
  np.testing.assert_array_equal(made['c_trg0'][order], c)
  assert not np.array_equal(order, np.arange(8))
  assert made['alpha0'].shape == (8,)
  assert 0 <= made['alpha0'].min() < made['alpha0'].max() < 1
  later = _drawn(monkeypatch, batch, model, number=1)
  for key in ('alpha0', 'c_trg0'):
    assert not _equal(made[key], later[key])


def test_two_sets_have_batches_and_targets_of_their_own(monkeypatch):
  _, model = tiny.create(**tiny.JOINT)
  batch = tiny.batch(8, **tiny.JOINT)
  made = _drawn(monkeypatch, batch, model)
  for k in (0, 1):
    np.testing.assert_array_equal(made[f'x{k}'], batch[f'x{k}'])
    rows = sorted(made[f'c_trg{k}'].tolist())
    assert rows == sorted(batch[f'c{k}'].tolist())
  assert not _equal(made['alpha0'], made['alpha1'])


def test_metrics_have_the_names_of_the_original_and_the_sign():
  _, (critic, whole) = _two_steps()
  d = {f'D/loss_{k}' for k in ('real', 'fake', 'cls', 'gp', 'total')}
  g = {f'G/loss_{k}' for k in ('fake', 'rec', 'cls', 'total')}
  assert set(critic) == d | {'lr'}
  assert set(whole) == d | g | {'G/change', 'lr'}
  signs = [sign.metric for sign in stargan.COLLAPSE_SIGNS]
  assert signs == ['G/change', 'G/joint_change']


def test_metrics_of_a_second_set_have_names_of_their_own():
  state, model = tiny.create(**tiny.JOINT)
  phases = stargan.phases_at(model, 1)
  run = functools.partial(stargan.train_step, model, phases=phases)
  batch = tiny.batch(**tiny.JOINT)
  _, metrics = jax.eval_shape(run, state, {}, batch, jax.random.key(0))
  both = 'D/{}loss_gp', 'G/{}loss_rec', 'G/{}change'
  for name in both:
    assert {name.format(''), name.format('joint_')} <= set(metrics)
  assert len(metrics) == 2 * 10 + 1


@pytest.mark.parametrize(
  'phases',
  [tiny.D, pytest.param(tiny.G, marks=pytest.mark.slow)],
)
def test_micro_batches_have_the_gradient_of_the_batch(phases):
  batch, state = tiny.drawn(4), tiny.create()[0]
  with jax.enable_x64(True):
    batch, state = jax.tree.map(
      lambda x: jnp.asarray(x, jnp.float64), (batch, state)
    )
    results = []
    for parts in (1, 2):
      overrides = {'model__dtype': 'float64', 'micro_batches': parts}
      model = stargan.create_model(tiny.config(**tiny.DOMAINS, **overrides))
      run = jax.jit(functools.partial(step.update, model, phases=phases))
      results.append(run(state, {}, batch, jax.random.key(0))[1:])
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
  system = contract.load('stargan')
  with pytest.raises(errors.UserError, match=setting.replace('__', '.')):
    contract.check_config(system, tiny.config(**{setting: value}))


def test_the_released_schedule_is_a_parity_and_both_are_allowed():
  for parity in ('', 'yunjey/stargan'):
    config = tiny.config(parity=parity)
    contract.check_config(contract.load('stargan'), config)
