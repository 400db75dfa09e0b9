import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import contract, stargan_v2
from jaxgan.systems.stargan_v2 import losses, step
from tests import tiny


def _equal(a, b) -> bool:
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_each_phase_steps_its_networks():
  phases = [(p.name, p.loss.func, p.steps) for p in step.PHASES]
  assert phases == [
    ('D/latent', losses.d_loss, ('discriminator',)),
    ('D/ref', losses.d_loss, ('discriminator',)),
    (
      'G/latent',
      losses.g_loss,
      ('generator', 'mapping_network', 'style_encoder'),
    ),
    ('G/ref', losses.g_loss, ('generator',)),
  ]
  assert [p.loss.keywords['sources'] for p in step.PHASES] == [
    ('z_trg', 'z_trg2'),
    ('x_ref', 'x_ref2'),
  ] * 2
  _, state, _, grads = tiny.one_update()
  for phase in step.PHASES:
    assert set(grads[phase.name]) == set(phase.steps)
  counts = {name: int(opt[1][0].count) for name, opt in state.opt_state.items()}
  assert counts == {
    'generator': 2,
    'mapping_network': 1,
    'style_encoder': 1,
    'discriminator': 2,
  }


def test_every_parameter_moves():
  old, new, _, _ = tiny.one_update()
  for path, before in jax.tree.leaves_with_path(old.params):
    name = path[0].key
    after = functools.reduce(lambda tree, k: tree[k.key], path, new.params)
    assert not _equal(before, after) or not np.any(before), (name, path)


def test_style_encoder_is_moved_by_the_latent_phase_alone():
  old, new, _, grads = tiny.one_update()
  model, name = tiny.create()[0], 'style_encoder'
  change, _ = model.tx[name].update(
    grads['G/latent'][name], old.opt_state[name], old.params[name]
  )
  expected = jax.tree.map(lambda x, y: x + 1e-4 * y, old.params[name], change)
  for a, b in zip(
    jax.tree.leaves(expected), jax.tree.leaves(new.params[name]), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_mapping_network_has_a_rate_of_its_own():
  rates = tiny.create(optim__lr=0.5, optim__f_lr=0.25)[0].rates()
  assert rates == {
    'generator': 0.5,
    'mapping_network': 0.25,
    'style_encoder': 0.5,
    'discriminator': 0.5,
  }
  # Adam's first step is the rate, whatever the gradient.
  old, new, _, _ = tiny.one_update()
  for name, rate in (('mapping_network', 1e-6), ('style_encoder', 1e-4)):
    changes = jax.tree.map(jnp.subtract, new.params[name], old.params[name])
    largest = max(jnp.max(jnp.abs(x)) for x in jax.tree.leaves(changes))
    np.testing.assert_allclose(largest, rate, rtol=0.05)


def test_ema_follows_its_formula():
  old, new, _, _ = tiny.one_update()
  assert set(new.ema_params) == set(step.EMA_NETWORKS)
  for name in step.EMA_NETWORKS:
    for before, live, ema in zip(
      *map(
        jax.tree.leaves,
        (old.ema_params[name], new.params[name], new.ema_params[name]),
      ),
      strict=True,
    ):
      np.testing.assert_allclose(ema, (before + live) / 2, rtol=1e-6, atol=1e-8)


def test_ema_starts_equal_to_the_networks_in_other_buffers():
  _, state = tiny.create()
  for name in step.EMA_NETWORKS:
    assert _equal(state.ema_params[name], state.params[name])
  buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
  assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize(
  'number, expected', [(0, 2.0), (5, 1.0), (10, 0.0), (11, 0.0), (10**6, 0.0)]
)
def test_lambda_ds_falls_to_zero_and_stays(number, expected):
  w = tiny.create()[0].weights(jnp.int32(number))
  assert w.lambda_ds == expected


def test_weights_are_those_of_the_config():
  hparams = {
    'hparams__lambda_reg': 3.0,
    'hparams__lambda_sty': 4.0,
    'hparams__lambda_ds': 5.0,
    'hparams__lambda_cyc': 6.0,
  }
  w = tiny.create(**hparams)[0].weights(jnp.int32(0))
  assert w == losses.Weights(3.0, 4.0, 5.0, 6.0)


def test_lambda_ds_is_not_frozen_by_jit():
  _, new, metrics, _ = tiny.one_update()
  later = tiny.update_fn()(new, tiny.drawn()).metrics
  assert metrics['G/lambda_ds'] == 2.0
  np.testing.assert_allclose(later['G/lambda_ds'], 2.0 * 0.9, rtol=1e-6)


@pytest.fixture(scope='module')
def train_step():
  """(state, key) -> (state, metrics)."""
  model, _ = tiny.create()
  train_step = jax.jit(functools.partial(stargan_v2.train_step, model))
  return lambda state, rng: train_step(state, {}, tiny.batch(), rng)


def test_metrics_have_the_names_of_the_original_and_the_signs(train_step):
  _, metrics = train_step(tiny.create()[1], jax.random.key(0))
  d, g = ('real', 'fake', 'reg'), ('adv', 'sty', 'ds', 'cyc')
  expected = {f'D/{mode}_{k}' for mode in ('latent', 'ref') for k in d}
  expected |= {f'G/{mode}_{k}' for mode in ('latent', 'ref') for k in g}
  totals = {f'{phase.name}_total' for phase in step.PHASES}
  signs = {sign.metric for sign in stargan_v2.COLLAPSE_SIGNS}
  assert len(signs) == 6
  assert set(metrics) == expected | totals | signs | {'G/lambda_ds'}


def test_signs_are_in_units_of_the_distance_of_two_references():
  old, _, metrics, _ = tiny.one_update()
  batch = tiny.drawn()
  scale = np.mean(np.abs(batch['x_ref'] - batch['x_ref2']))
  assert scale > 0.5  # noise
  np.testing.assert_allclose(
    metrics['G/ref_diversity'], metrics['G/ref_ds'] / scale, rtol=1e-5
  )
  # The first phase that moves the generator is from old parameters.
  model, x, y = tiny.create()[0], batch['x_src'], batch['y_ref']
  s = stargan_v2.style(model, old.params, y, z=batch['z_trg'])
  fake = stargan_v2.translate(model, old.params, {}, x, y, s, None)
  expected = np.mean(np.abs(fake - x)) / scale
  np.testing.assert_allclose(metrics['G/latent_change'], expected, rtol=1e-4)


def test_references_that_are_copies_leave_the_signs_finite():
  batch = tiny.drawn()
  batch['x_ref2'] = batch['x_ref']
  metrics = tiny.update_fn()(tiny.create()[1], batch).metrics
  assert all(np.isfinite(value) for value in metrics.values())
  assert metrics['G/ref_diversity'] == 0
  np.testing.assert_allclose(
    metrics['G/latent_diversity'], metrics['G/latent_ds'] * 127.5, rtol=1e-5
  )


@pytest.mark.parametrize(
  ('setting', 'value'),
  [('micro_batches', 3), ('micro_batches', 0), ('model__resample', 'other')],
)
def test_settings_that_cannot_be(setting, value):
  system = contract.load('stargan_v2')
  with pytest.raises(errors.UserError, match=setting.replace('__', '.')):
    contract.check_config(system, tiny.config(**{setting: value}))
