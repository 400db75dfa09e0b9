import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import stargan_v2
from jaxgan.systems.stargan_v2 import losses, step
from tests import tiny


def _equal(a, b) -> bool:
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def test_each_phase_steps_its_networks():
  assert [(p.name, p.source, p.trained) for p in step.PHASES] == [
    ('D/latent', 'latent', ('discriminator',)),
    ('D/ref', 'ref', ('discriminator',)),
    (
      'G/latent',
      'latent',
      ('generator', 'mapping_network', 'style_encoder'),
    ),
    ('G/ref', 'ref', ('generator',)),
  ]
  _, state, _, grads = tiny.one_update()
  for phase in step.PHASES:
    assert set(grads[phase.name]) == set(phase.trained)
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
  _, _, static = tiny.create()
  tx = static['tx']['style_encoder']
  updates, _ = tx.update(
    grads['G/latent']['style_encoder'],
    old.opt_state['style_encoder'],
    old.params['style_encoder'],
  )
  expected = jax.tree.map(jnp.add, old.params['style_encoder'], updates)
  for a, b in zip(
    jax.tree.leaves(expected),
    jax.tree.leaves(new.params['style_encoder']),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


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
  state, _, _ = tiny.create()
  for name in step.EMA_NETWORKS:
    assert _equal(state.ema_params[name], state.params[name])
  buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
  assert len(set(buffers)) == len(buffers)


@pytest.mark.parametrize(
  'number, expected', [(0, 2.0), (5, 1.0), (10, 0.0), (11, 0.0), (10**6, 0.0)]
)
def test_lambda_ds_falls_to_zero_and_stays(number, expected):
  hp = losses.HParams(lambda_ds=2.0, ds_iter=10)
  assert step.lambda_ds(jnp.int32(number), hp) == expected


def test_lambda_ds_is_not_frozen_by_jit():
  old, new, metrics, _ = tiny.one_update()
  z = jnp.zeros((2, tiny.BATCH, 4))
  _, later, _ = tiny.update_fn()(new, {}, tiny.batch(), *z)
  assert metrics['G/lambda_ds'] == 2.0
  np.testing.assert_allclose(later['G/lambda_ds'], 2.0 * 0.9, rtol=1e-6)


@pytest.fixture(scope='module')
def train_step():
  return jax.jit(functools.partial(stargan_v2.train_step, **tiny.create()[2]))


def test_same_key_same_result_and_latents_change_by_step(train_step):
  state, frozen, _ = tiny.create()
  rng = jax.random.key(5)
  a, metrics = train_step(state, frozen, tiny.batch(), rng)
  b, again = train_step(state, frozen, tiny.batch(), rng)
  assert _equal(a, b) and _equal(metrics, again)
  _, other_key = train_step(state, frozen, tiny.batch(), jax.random.key(6))
  assert other_key['D/latent_fake'] != metrics['D/latent_fake']
  assert other_key['D/ref_fake'] != metrics['D/ref_fake']  # D has moved
  assert other_key['D/latent_real'] == metrics['D/latent_real']
  shifted = state.replace(step=state.step + 1)
  _, other_step = train_step(shifted, frozen, tiny.batch(), rng)
  assert other_step['D/latent_fake'] != metrics['D/latent_fake']


def test_metrics_have_the_names_of_the_original_and_the_signs(train_step):
  state, frozen, _ = tiny.create()
  _, metrics = train_step(state, frozen, tiny.batch(), jax.random.key(0))
  d, g = ('real', 'fake', 'reg'), ('adv', 'sty', 'ds', 'cyc')
  expected = {f'D/{mode}_{k}' for mode in ('latent', 'ref') for k in d}
  expected |= {f'G/{mode}_{k}' for mode in ('latent', 'ref') for k in g}
  totals = {f'{phase.name}_total' for phase in step.PHASES}
  signs = {sign.metric for sign in stargan_v2.SIGNS}
  assert len(signs) == 6
  assert set(metrics) == expected | totals | signs | {'G/lambda_ds'}


def test_signs_are_in_units_of_the_distance_of_two_references():
  old, _, metrics, _ = tiny.one_update()
  batch = tiny.batch()
  unit = np.mean(np.abs(batch['x_ref'] - batch['x_ref2']))
  assert unit > 0.5  # noise
  np.testing.assert_allclose(
    metrics['G/ref_diversity'], metrics['G/ref_ds'] / unit, rtol=1e-5
  )
  # The first phase that moves the generator is from old parameters.
  nets, z = tiny.create()[2]['nets'], tiny.latents()[0]
  s = losses.style(nets, old.params, batch['y_ref'], z=z)
  fake = losses.translate(nets, old.params, batch['x_src'], s)
  expected = np.mean(np.abs(fake - batch['x_src'])) / unit
  np.testing.assert_allclose(metrics['G/latent_change'], expected, rtol=1e-4)


def test_references_that_are_copies_leave_the_signs_finite():
  state, frozen, _ = tiny.create()
  batch = tiny.batch()
  batch['x_ref2'] = batch['x_ref']
  _, metrics, _ = tiny.update_fn()(state, frozen, batch, *tiny.latents())
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
  with pytest.raises(errors.UserError, match=setting.replace('__', '.')):
    step.check_config(tiny.config(**{setting: value}))
