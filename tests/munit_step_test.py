import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runtime import errors
from jaxgan.systems import munit
from jaxgan.systems.munit import losses, step
from tests import tiny_munit as tiny


def _equal(a, b) -> bool:
  return all(
    np.array_equal(x, y)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def _flat(tree):
  flat = flax.traverse_util.flatten_dict(tree, sep='/')
  return {key: np.asarray(value) for key, value in flat.items()}


def _is_unused(key):
  """Whether a norm takes the bias away."""
  normed = ('content_encoder', 'decoder_0/block', 'decoder_1/block')
  return key.endswith('bias') and key.startswith(normed)


def test_both_networks_move_against_their_gradients():
  old, new, _, grads = tiny.one_update()
  assert set(grads) == {'generator', 'discriminator'}
  for name, tree in grads.items():
    before, after, gradient = map(
      _flat, (old.params[name], new.params[name], tree)
    )
    for key, grad in gradient.items():
      if _is_unused(key):
        assert not grad.any(), key
        continue
      assert grad.any(), key
      # Adam's first step is the rate against the sign of the gradient.
      clear = np.abs(grad) > 1e-4
      moved = (after[key] - before[key])[clear]
      np.testing.assert_allclose(
        moved, -1e-3 * np.sign(grad[clear]), rtol=2e-2, err_msg=key
      )
    assert int(new.opt_state[name][1][0].count) == 1
  assert (int(old.step), int(new.step)) == (0, 1)


def test_what_no_gradient_reaches_decays():
  state, _ = tiny.create()
  shifted = state.replace(params=jax.tree.map(lambda x: x + 0.25, state.params))
  new, _, grads = tiny.update_fn()(shifted, {}, tiny.batch(), *tiny.styles())
  unused = [k for k in _flat(grads['generator']) if _is_unused(k)]
  # Stem, halving, and two of a block, and two of the decoder's: of each domain.
  assert len(unused) == 2 * (1 + 1 + 2 + 2)
  after = _flat(new.params['generator'])
  for key in unused:
    # The decay is all the gradient there is, and Adam takes its sign.
    np.testing.assert_allclose(after[key], 0.25 - 1e-3, rtol=1e-5)


def test_the_discriminator_moves_first():
  old, new, metrics, _ = tiny.one_update()
  nets = tiny.create()[1]['nets']
  batch, (d_styles, g_styles) = tiny.batch(), tiny.styles()
  translate = tiny.jitted(nets, 'translate', 0)
  judge = tiny.jitted(nets, 'discriminate', 0)
  fake = translate(old.params, batch['x_b'], d_styles['a'])
  expected = sum(
    np.mean((m - 1) ** 2) for m in judge(old.params, batch['x_a'])
  ) + sum(np.mean(m**2) for m in judge(old.params, fake))
  np.testing.assert_allclose(metrics['D/loss_a'], expected, rtol=1e-4)
  # The generator is judged by the discriminator that has moved.
  fake = translate(old.params, batch['x_b'], g_styles['a'])
  maps = judge(new.params, fake), judge(old.params, fake)
  now, before = (float(sum(np.mean((m - 1) ** 2) for m in ms)) for ms in maps)
  assert abs(now - before) > 1e-4
  np.testing.assert_allclose(metrics['G/loss_gan_a'], now, rtol=1e-5)


def test_terms_are_those_of_the_pieces_and_signs_in_units():
  old, _, metrics, _ = tiny.one_update()
  nets, params = tiny.create()[1]['nets'], old.params
  batch, (d_styles, g_styles) = tiny.batch(), tiny.styles()

  def run(name, domain, *arrays):
    return tiny.jitted(nets, name, domain)(params, *arrays)

  c, s = run('content', 1, batch['x_b']), run('style', 1, batch['x_b'])
  x_bb = run('decode', 1, c, s)
  x_ba = run('decode', 0, c, g_styles['a'])
  other = run('decode', 0, c, d_styles['a'])
  unit = np.mean(np.abs(batch['x_a'] - batch['x_b']))
  assert unit > 0.5
  for key, value in {
    'loss_x_b': np.mean(np.abs(x_bb - batch['x_b'])),
    'loss_c_b': np.mean(np.abs(run('content', 0, x_ba) - c)),
    'loss_s_a': np.mean(np.abs(run('style', 0, x_ba) - g_styles['a'])),
    'change_a': np.mean(np.abs(x_ba - batch['x_b'])) / unit,
    'diversity_a': np.mean(np.abs(x_ba - other)) / unit,
  }.items():
    np.testing.assert_allclose(
      metrics[f'G/{key}'], value, rtol=1e-4, err_msg=key
    )


def test_metrics_have_the_names_of_the_terms_and_the_signs():
  _, _, metrics, _ = tiny.one_update()
  terms = {f'{k}_{domain}' for k in ('x', 's', 'c', 'gan') for domain in 'ab'}
  expected = {f'G/loss_{term}' for term in terms | {'total'}}
  expected |= {f'D/loss_{term}' for term in ('a', 'b', 'total')}
  signs = {sign.metric for sign in munit.SIGNS}
  assert signs == {
    f'G/{k}_{domain}' for k in ('change', 'diversity') for domain in 'ab'
  }
  assert set(metrics) == expected | signs | {'lr'}
  assert all(np.isfinite(value) for value in metrics.values())


def _drawn(monkeypatch, number=0, seed=0):
  """The styles that `train_step` draws."""
  state, static = tiny.create()
  state = state.replace(step=jnp.int32(number))
  with monkeypatch.context() as patch:
    patch.setattr(step, 'update', lambda s, f, b, *drawn, **_: (drawn, {}, {}))
    drawn, _ = step.train_step(
      state, {}, tiny.batch(), jax.random.key(seed), **static
    )
  return drawn


def test_styles_are_new_for_each_phase_domain_step_and_key(monkeypatch):
  drawn = _drawn(monkeypatch)
  assert [set(d) for d in drawn] == [{'a', 'b'}] * 2
  arrays = jax.tree.leaves(
    [drawn, _drawn(monkeypatch, number=1), _drawn(monkeypatch, seed=1)]
  )
  assert {x.shape for x in arrays} == {(tiny.BATCH, tiny.LATENT_DIM)}
  rows = np.concatenate(arrays)
  assert len(np.unique(rows, axis=0)) == len(rows) == 12 * tiny.BATCH
  assert _equal(_drawn(monkeypatch), drawn)
  # Of 72 numbers of N(0, 1).
  assert abs(rows.mean()) < 0.4 and 0.7 < rows.std() < 1.3


@pytest.mark.parametrize(
  'iteration, intended, released',
  [
    (0, 1, 1),
    (99_998, 1, 1),
    (99_999, 1, 0.5),
    (100_000, 0.5, 0.5),
    (199_999, 0.5, 0.25),
    (250_000, 0.25, 0.25),
  ],
)
def test_the_rate_is_halved_or_as_released_an_iteration_earlier(
  iteration, intended, released
):
  for parity, factor in (('', intended), ('NVlabs/MUNIT', released)):
    config = tiny.config(**tiny.DOMAINS, parity=parity, optim__lr=1e-4)
    hp = munit.create_training(config)[1]['hp']
    rate = step.learning_rate(jnp.int32(iteration), hp)
    np.testing.assert_allclose(rate, 1e-4 * factor, rtol=1e-6)
    assert hp.fourth_pool == (not parity)


@pytest.mark.slow
def test_micro_batches_have_the_gradient_of_the_batch():
  with jax.enable_x64(True):
    state = jax.tree.map(
      lambda x: jnp.asarray(x, jnp.float64), tiny.create()[0].params
    )
    batch, drawn = jax.tree.map(np.float64, (tiny.batch(4), tiny.styles(4)))
    results = []
    for parts in (1, 2):
      config = tiny.config(
        **tiny.DOMAINS,
        model__dtype='float64',
        micro_batches=parts,
        batch_size=4,
        hparams__lambda_cyc=1.0,
      )
      init_fn, static = munit.create_training(config)
      fresh = jax.eval_shape(init_fn, jax.random.key(0))
      zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), fresh)
      run = jax.jit(functools.partial(step.update, **static))
      results.append(run(zeros.replace(params=state), {}, batch, *drawn)[1:])
  for whole, parts in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(parts, whole, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
  'setting, value',
  [
    ('data__img_size', 8),  # halved four times by the style encoder
    ('data__img_size', 17),
    ('model__n_downsample', 0),
    ('model__n_downsample', 4),
    ('model__dim', 0),
    ('model__n_res', 0),  # they alone see the style
    ('model__latent_dim', 0),
    ('model__mlp_dim', 0),
    ('model__d_dim', 0),
    ('model__d_layers', 0),
    ('model__d_scales', 0),
    ('model__dtype', 'float16'),
    ('model__resample', 'strided'),
    ('model__num_domains', 3),
    ('hparams__gan_type', 'hinge'),
    ('micro_batches', 3),
    ('micro_batches', 0),
    ('parity', 'mingyuliutw/UNIT'),
    ('optim__step_size', -1),
    ('data__load_size', -1),
  ],
)
def test_settings_that_cannot_be(setting, value):
  with pytest.raises(
    errors.UserError, match=setting.replace('__', '.')
  ) as error:
    step.check_config(tiny.config(**{setting: value}))
  assert len(str(error.value).splitlines()) == 1


def test_as_many_halvings_as_an_image_allows():
  step.check_config(tiny.config(model__d_layers=3, model__d_scales=2))
  for layers, scales in ((3, 3), (4, 2)):
    with pytest.raises(errors.UserError, match='must be 32 or more'):
      step.check_config(
        tiny.config(model__d_layers=layers, model__d_scales=scales)
      )


@pytest.mark.parametrize('layers, scales', [(3, 2), (2, 3), (4, 1)])
def test_what_the_check_allows_can_be_built(layers, scales):
  config = tiny.config(
    **tiny.DOMAINS,
    model__d_layers=layers,
    model__d_scales=scales,
    model__n_downsample=3,
    model__resample='phases',
  )
  init_fn, static = munit.create_training(config)
  state = jax.eval_shape(init_fn, jax.random.key(0))
  fn = functools.partial(losses.discriminate, static['nets'], domain=0)
  maps = jax.eval_shape(fn, state.params, x=tiny.batch()['x_a'])
  sides = [tiny.SIZE >> (layers + k) for k in range(scales)]
  assert [m.shape for m in maps] == [(tiny.BATCH, n, n) for n in sides]
