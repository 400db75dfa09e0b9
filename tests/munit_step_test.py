import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import vgg
from jaxgan.runtime import errors
from jaxgan.systems import contract, munit
from jaxgan.systems.munit import step
from jaxgan.training import phases
from tests import tiny_munit as tiny
from tests import tiny_two_domains
from tests.tiny_two_domains import BATCH, DOMAINS, SIZE, jitted


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
      # Adam's first step is the rate against the sign of the gradient.
      clear = np.abs(grad) > 1e-4
      moved = (after[key] - before[key])[clear]
      np.testing.assert_allclose(
        moved, -1e-3 * np.sign(grad[clear]), rtol=2e-2, err_msg=key
      )
    assert int(new.opt_state[name][1][0].count) == 1
  assert (int(old.step), int(new.step)) == (0, 1)


def test_what_no_gradient_reaches_decays():
  _, state = tiny.create()
  shifted = state.replace(params=jax.tree.map(lambda x: x + 0.25, state.params))
  new, _, grads = tiny.update_fn()(shifted, tiny.drawn())
  unused = [k for k in _flat(grads['G/loss']['generator']) if _is_unused(k)]
  # Stem, halving, and two of a block, and two of the decoder's: of each domain.
  assert len(unused) == 2 * (1 + 1 + 2 + 2)
  after = _flat(new.params['generator'])
  for key in unused:
    # The decay is all the gradient there is, and Adam takes its sign.
    np.testing.assert_allclose(after[key], 0.25 - 1e-3, rtol=1e-5)


def test_the_discriminator_moves_first():
  old, new, metrics, _ = tiny.one_update()
  (model, _), batch = tiny.create(), tiny.drawn()
  translate = tiny.translator(model, 0)
  scores = jitted(model, 'discriminate', 0)
  fake = translate(old.params, batch['x_b'], batch['s_a2'])
  expected = sum(
    np.mean((m - 1) ** 2) for m in scores(old.params, batch['x_a'])
  ) + sum(np.mean(m**2) for m in scores(old.params, fake))
  np.testing.assert_allclose(metrics['D/loss_a'], expected, rtol=1e-4)
  # The generator is judged by the discriminator that has moved.
  fake = translate(old.params, batch['x_b'], batch['s_a'])
  maps = scores(new.params, fake), scores(old.params, fake)
  now, before = (float(sum(np.mean((m - 1) ** 2) for m in ms)) for ms in maps)
  assert abs(now - before) > 1e-4
  np.testing.assert_allclose(metrics['G/loss_gan_a'], now, rtol=1e-5)


def test_terms_are_those_of_the_pieces_and_signs_in_units():
  old, _, metrics, _ = tiny.one_update()
  (model, _), batch = tiny.create(), tiny.drawn()

  def run(name, domain, *arrays):
    return jitted(model, name, domain)(old.params, *arrays)

  c, s = run('content', 1, batch['x_b']), run('style', 1, batch['x_b'])
  x_bb = run('decode', 1, c, s)
  x_ba = run('decode', 0, c, batch['s_a'])
  other = run('decode', 0, c, batch['s_a2'])
  scale = np.mean(np.abs(batch['x_a'] - batch['x_b']))
  assert scale > 0.5
  for key, value in {
    'loss_x_b': np.mean(np.abs(x_bb - batch['x_b'])),
    'loss_c_b': np.mean(np.abs(run('content', 0, x_ba) - c)),
    'loss_s_a': np.mean(np.abs(run('style', 0, x_ba) - batch['s_a'])),
    'change_a': np.mean(np.abs(x_ba - batch['x_b'])) / scale,
    'diversity_a': np.mean(np.abs(x_ba - other)) / scale,
  }.items():
    np.testing.assert_allclose(
      metrics[f'G/{key}'], value, rtol=1e-4, err_msg=key
    )


def test_metrics_have_the_names_of_the_terms_and_the_signs():
  _, _, metrics, _ = tiny.one_update()
  terms = {f'{k}_{domain}' for k in ('x', 's', 'c', 'gan') for domain in 'ab'}
  expected = {f'G/loss_{term}' for term in terms | {'total'}}
  expected |= {f'D/loss_{term}' for term in ('a', 'b', 'total')}
  signs = {sign.metric for sign in munit.COLLAPSE_SIGNS}
  assert signs == {
    f'G/{k}_{domain}' for k in ('change', 'diversity') for domain in 'ab'
  }
  assert set(metrics) == expected | signs | {'lr'}
  assert all(np.isfinite(value) for value in metrics.values())


def _drawn(monkeypatch, number=0, seed=0):
  """The styles that `train_step` draws."""
  model, state = tiny.create()
  state = state.replace(step=jnp.int32(number))
  with monkeypatch.context() as patch:
    patch.setattr(step, 'update', lambda m, s, f, batch, rng: (batch, rng))
    drawn, _ = step.train_step(
      model, state, {}, tiny.batch(), jax.random.key(seed)
    )
  return {key: drawn[key] for key in drawn.keys() - tiny.batch().keys()}


def test_styles_are_new_for_each_phase_domain_step_and_key(monkeypatch):
  drawn = _drawn(monkeypatch)
  assert drawn.keys() == {'s_a', 's_b', 's_a2', 's_b2'}
  arrays = jax.tree.leaves(
    [drawn, _drawn(monkeypatch, number=1), _drawn(monkeypatch, seed=1)]
  )
  assert {x.shape for x in arrays} == {(BATCH, tiny.LATENT_DIM)}
  rows = np.concatenate(arrays)
  assert len(np.unique(rows, axis=0)) == len(rows) == 12 * BATCH
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
    config = tiny.config(**DOMAINS, parity=parity, optim__lr=1e-4)
    rates = munit.create_model(config).rates(jnp.int32(iteration))
    assert rates.keys() == {'generator', 'discriminator'}
    for rate in rates.values():
      np.testing.assert_allclose(rate, 1e-4 * factor, rtol=1e-6)


@pytest.mark.parametrize('parity', ['', 'NVlabs/MUNIT'])
def test_the_released_code_has_no_fourth_pool(parity):
  config = tiny.config(**DOMAINS, parity=parity, hparams__lambda_vgg=1.0)
  features = munit.create_model(config).frozen_nets['vgg']
  assert features.func is vgg.features
  assert features.keywords == {'fourth_pool': not parity}
  assert tiny.create()[0].frozen_nets == {}


@pytest.mark.slow
def test_micro_batches_have_the_gradient_of_the_batch():
  with jax.enable_x64(True):
    params = jax.tree.map(
      lambda x: jnp.asarray(x, jnp.float64), tiny.create()[1].params
    )
    batch, results = jax.tree.map(np.float64, tiny.drawn(4)), []
    for parts in (1, 2):
      config = tiny.config(
        **DOMAINS,
        model__dtype='float64',
        micro_batches=parts,
        batch_size=4,
        hparams__lambda_cyc=1.0,
      )
      model = munit.create_model(config)
      fresh = jax.eval_shape(
        functools.partial(munit.init_state, model), jax.random.key(0)
      )
      zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), fresh)
      run = tiny_two_domains.update_fn(step, model)
      results.append(run(zeros.replace(params=params), batch)[1:])
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
    ('model__pad_type', 'circular'),
    ('model__activ', 'gelu'),
    ('model__d_activ', 'gelu'),
    ('model__d_pad_type', 'none'),
    ('model__d_norm', 'sn'),
    ('model__input_dim_a', 2),
    ('model__input_dim_b', 4),
    ('parity', 'mingyuliutw/UNIT'),
    ('optim__step_size', -1),
    ('data__load_size', -1),
  ],
)
def test_settings_that_cannot_be(setting, value):
  with pytest.raises(
    errors.UserError, match=setting.replace('__', '.')
  ) as error:
    contract.check_config(
      contract.load('munit'), tiny.config(**{setting: value})
    )
  assert len(str(error.value).splitlines()) == 1


def test_a_norm_needs_pixels_and_a_whole_batch():
  small = {'model__d_layers': 4, 'model__d_scales': 1}
  step.check_config(tiny.config(**small, model__d_norm='ln'))
  for norm, batch_size in (('in', 2), ('bn', 1)):
    with pytest.raises(errors.UserError, match='leaves nothing of a single pi'):
      step.check_config(
        tiny.config(**small, model__d_norm=norm, batch_size=batch_size)
      )
  step.check_config(tiny.config(**small, model__d_norm='bn', batch_size=2))
  with pytest.raises(
    errors.UserError, match='micro_batches must be 1 with mod'
  ):
    step.check_config(tiny.config(model__d_norm='bn', micro_batches=2))


def test_grey_domains_are_compared_in_grey(monkeypatch):
  """Colours of domain a are not asked for; those of b are."""
  model = munit.create_model(tiny.config(**DOMAINS, model__input_dim_a=1))
  seen = {}

  def run(phases_, model_, state, frozen, batch, *args, **kwargs):
    seen.update(batch)
    raise StopIteration

  monkeypatch.setattr(phases, 'run', run)
  batch = tiny.drawn()
  with pytest.raises(StopIteration):
    step.update(model, tiny.create()[1], {}, batch, jax.random.key(0))
  grey = batch['x_a'] @ np.float32([0.299, 0.587, 0.114])
  for channel in range(3):
    np.testing.assert_allclose(seen['x_a'][..., channel], grey, atol=1e-6)
  np.testing.assert_array_equal(seen['x_b'], batch['x_b'])


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
    **DOMAINS,
    model__d_layers=layers,
    model__d_scales=scales,
    model__n_downsample=3,
    model__resample='phases',
  )
  step.check_config(config)
  model = munit.create_model(config)
  init_state = functools.partial(munit.init_state, model)
  params = jax.eval_shape(init_state, jax.random.key(0)).params
  run = jitted(model, 'discriminate', 0)
  maps = jax.eval_shape(run, params, tiny.batch()['x_a'])
  sides = [SIZE >> (layers + k) for k in range(scales)]
  assert [m.shape for m in maps] == [(BATCH, n, n) for n in sides]
