import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.systems.unit import losses

# One number for each network of a domain, one pixel for an image: the code is
# e x, an image d z, and two scales score q x and 2 q x.
GENERATOR = {'e': jnp.array([1.0, 2.0]), 'd': jnp.array([3.0, 2.0])}
PARAMS = {'generator': GENERATOR, 'discriminator': jnp.array([1.0, 3.0])}
SEEN = []  # keys of dropout


def _generate(variables, x, domain, train, *, method, rngs):
  assert train == (rngs is not None)
  SEEN.append(rngs and rngs['dropout'])
  g = variables['params']
  if method == 'encode':
    return g['e'][domain] * x
  return tuple(g['d'][i] * x for i in domain)


def _discriminate(variables, x, domain):
  score = variables['params'][domain] * x[..., 0]
  return score, 2 * score


NETS = types.SimpleNamespace(
  generator=types.SimpleNamespace(apply=_generate),
  discriminator=types.SimpleNamespace(apply=_discriminate),
)


def _pixel(value):
  return jnp.full((1, 1, 1, 1), value)


BATCH = {'x_a': _pixel(4.0), 'x_b': _pixel(-2.0)}
NOISE = {
  key: _pixel(value)
  for key, value in {'a': 1.0, 'b': -1.0, 'aba': 0.5, 'bab': 2.0}.items()
}
# Codes 4 and -4, with noise 5 and -5; translations of b 3 * -5 = -15 and of a
# 2 * 5 = 10; their codes 20 of a, -15 of b.
NONE = {
  f'lambda_{name}': 0.0 for name in ('gan', 'x', 'kl', 'cyc', 'klc', 'vgg')
}


def _d_loss(noise=NOISE, **settings):
  trained = {'discriminator': PARAMS['discriminator']}
  hp = losses.HParams(**settings)
  return losses.d_loss(
    trained, PARAMS, nets=NETS, hp=hp, batch=BATCH, noise=noise
  )


def _g_loss(generator=GENERATOR, noise=NOISE, vgg_params=None, **settings):
  return losses.g_loss(
    {'generator': generator},
    PARAMS,
    nets=NETS,
    hp=losses.HParams(**settings),
    batch=BATCH,
    noise=noise,
    vgg_params=vgg_params,
  )


def test_d_loss_by_hand():
  total, terms = _d_loss(gan_type='lsgan', lambda_gan=2.0)
  # Real 4, 8 to be 1; fake -15, -30 to be 0.
  assert terms['a'] == 3**2 + 7**2 + 15**2 + 30**2
  # Real -6, -12; fake 30, 60.
  assert terms['b'] == 7**2 + 13**2 + 30**2 + 60**2
  assert total == terms['total'] == 2 * (terms['a'] + terms['b'])


def test_the_loss_of_the_paper_is_logistic():
  total, terms = _d_loss()
  a = np.log1p(np.exp([-4.0, -8.0, -15.0, -30.0])).sum()
  b = np.log1p(np.exp([6.0, 12.0, 30.0, 60.0])).sum()
  np.testing.assert_allclose([terms['a'], terms['b']], [a, b], rtol=1e-5)
  np.testing.assert_allclose(total, 10 * (a + b), rtol=1e-6)
  _, terms = _g_loss()
  np.testing.assert_allclose(terms['gan_a'], 15 + 30, rtol=1e-6)


EXPECTED = {
  'x_a': 3 * 5 - 4,
  'x_b': 10 - 2,  # 2 * -5 for -2
  'gan_a': 16**2 + 31**2,
  'gan_b': 29**2 + 59**2,
  'cyc_a': 3 * 20.5 - 4,
  'cyc_b': 26 - 2,  # 2 * (-15 + 2)
}
KL = {
  'divergence': {
    'kl_a': 4**2 / 2,
    'kl_b': 4**2 / 2,
    'klc_a': 20**2 / 2,
    'klc_b': 15**2 / 2,
  },
  'square': {'kl_a': 4**2, 'kl_b': 4**2, 'klc_a': 20**2, 'klc_b': 15**2},
  'noisy_square': {
    'kl_a': 5**2,
    'kl_b': 5**2,
    'klc_a': 20.5**2,
    'klc_b': 13**2,
  },
}


@pytest.mark.parametrize('kl', KL)
def test_g_loss_by_hand(kl):
  weights = {'gan': 0.5, 'x': 2.0, 'kl': 3.0, 'cyc': 5.0, 'klc': 7.0}
  total, terms = _g_loss(
    kl=kl,
    gan_type='lsgan',
    **{f'lambda_{key}': weight for key, weight in weights.items()},
  )
  wanted = EXPECTED | KL[kl]
  expected = sum(weights[key[:-2]] * value for key, value in wanted.items())
  got = {key: float(value) for key, value in terms.items()}
  told = {'change_a': 13, 'change_b': 6}
  assert got == {'total': expected, **wanted, **told}
  assert total == expected


def test_published_weights():
  total, terms = _g_loss()
  weights = {'gan': 10, 'x': 100, 'kl': 0.1, 'cyc': 100, 'klc': 0.1}
  told = 'total', 'change_a', 'change_b'
  expected = sum(
    weights[key[:-2]] * v for key, v in terms.items() if key not in told
  )
  assert len(terms) == 10 + 3
  np.testing.assert_allclose(total, expected, rtol=1e-6)
  assert terms['kl_a'] == KL['divergence']['kl_a']


def _gradient(**settings):
  return jax.grad(lambda g: _g_loss(g, **NONE | settings)[0])(GENERATOR)


@pytest.mark.parametrize(
  'kl, of_a', [('divergence', 16), ('square', 32), ('noisy_square', 40)]
)
def test_the_released_term_has_twice_the_gradient(kl, of_a):
  # Of e_a: 4 h, and twice that, and 8 (h + 1).
  grads = _gradient(kl=kl, lambda_kl=1.0)
  assert grads['e'][0] == of_a
  assert not grads['d'].any()


def test_nothing_trains_what_is_left_out_and_what_is_told():
  grads = _gradient()
  assert not any(np.any(x) for x in jax.tree.leaves(grads))
  _, terms = _g_loss(lambda_cyc=0.0)
  assert 'cyc_a' not in terms


def test_a_translation_looks_like_its_source(monkeypatch):
  calls = []

  def distance(params, x, y, *, fourth_pool):
    assert params == 'vgg'
    calls.append((float(x.ravel()[0]), float(y.ravel()[0]), fourth_pool))
    return jnp.float32(len(calls))

  monkeypatch.setattr(losses.vgg, 'distance', distance)
  settings = NONE | {'lambda_vgg': 3.0, 'fourth_pool': False}
  total, _ = _g_loss(vgg_params='vgg', **settings)
  assert calls == [(-15, -2, False), (10, 4, False)]
  assert total == 3 * (1 + 2)


@pytest.mark.parametrize('loss_fn, count', [(_d_loss, 4), (_g_loss, 8)])
def test_every_pass_drops_something_else(loss_fn, count):
  SEEN.clear()
  loss_fn(noise=NOISE)
  assert SEEN == [None] * count
  SEEN.clear()
  keys = jax.random.split(jax.random.key(0), 2)
  loss_fn(noise=NOISE | {'dropout': keys[:1]})
  data = {tuple(jax.random.key_data(key).tolist()) for key in SEEN}
  assert len(data) == count
  SEEN.clear()
  # Of another part of a batch.
  loss_fn(noise=NOISE | {'dropout': keys[1:]})
  other = {tuple(jax.random.key_data(key).tolist()) for key in SEEN}
  assert len(data | other) == 2 * count
