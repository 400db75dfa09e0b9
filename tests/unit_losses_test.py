import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.systems.unit import losses
from jaxgan.systems.unit.config import default_config
from jaxgan.training import phases

# One number for each network of a domain, one pixel for an image: the code is
# e x, an image d z, and two scales score q x and 2 q x.
GENERATOR = {'e': jnp.array([1.0, 2.0]), 'd': jnp.array([3.0, 2.0])}
DISCRIMINATOR = jnp.array([1.0, 3.0])


class _Generator:
  """Stands in for the module; notes the keys of dropout."""

  def __init__(self):
    self.keys, self.trains = [], []

  def encode(self, x, domain, train=False):
    raise NotImplementedError

  def decode(self, z, domains, train=False):
    raise NotImplementedError

  def apply(self, variables, x, domain, *, method, train, rngs, mutable):
    del mutable
    self.keys.append(rngs and rngs['dropout'])
    self.trains.append(train)
    g = variables['params']
    if method == 'encode':
      return g['e'][domain] * x
    return tuple(g['d'][i] * x for i in domain)


class _Discriminator:
  """Stands in for the module."""

  def __call__(self, x, domain):
    raise NotImplementedError

  def apply(self, variables, x, domain, **_):
    score = variables['params'][domain] * x[..., 0]
    return score, 2 * score


def _forward(generator=GENERATOR, has_vgg=False, rng=None, train=True):
  """The networks; features of VGG are ten times x. And the generator."""
  nets = {'generator': _Generator(), 'discriminator': _Discriminator()}
  frozen_nets = {'vgg': lambda ten, x: ten * x} if has_vgg else {}
  f = phases.Forward(
    types.SimpleNamespace(nets=nets, frozen_nets=frozen_nets),
    {'generator': generator, 'discriminator': DISCRIMINATOR},
    frozen={'vgg': 10},
    variables={},
    rng=rng,
    train=train,
  )
  return f, nets['generator']


def _pixel(value):
  return jnp.full((1, 1, 1, 1), value)


NOISE = {'a': 1.0, 'b': -1.0, 'aba': 0.5, 'bab': 2.0, 'a2': 2.0, 'b2': 1.0}
BATCH = {
  'x_a': _pixel(4.0),
  'x_b': _pixel(-2.0),
  **{f'n_{key}': _pixel(value) for key, value in NOISE.items()},
}
# Codes 4 and -4, with noise 5 and -5; translations of b 3 * -5 = -15 and of a
# 2 * 5 = 10; their codes 20 of a, -15 of b. With the second noise the codes are
# 6 and -3, the translations -9 and 12.
NONE = {
  f'lambda_{name}': 0.0 for name in ('gan', 'x', 'kl', 'cyc', 'klc', 'vgg')
}


def _run(loss_fn, generator=GENERATOR, has_vgg=False, **settings):
  w = losses.Weights(kl='divergence', **default_config().hparams)
  f, _ = _forward(generator, has_vgg)
  return loss_fn(f, BATCH, w._replace(**settings))


def test_d_loss_by_hand():
  total, terms = _run(losses.d_loss, gan_type='lsgan', lambda_gan=2.0)
  # Real 4, 8 to be 1; fake -9, -18 to be 0.
  assert terms['a'] == 3**2 + 7**2 + 9**2 + 18**2
  # Real -6, -12; fake 36, 72.
  assert terms['b'] == 7**2 + 13**2 + 36**2 + 72**2
  assert total == terms['total'] == 2 * (terms['a'] + terms['b'])


def test_the_loss_of_the_paper_is_logistic():
  total, terms = _run(losses.d_loss)
  a = np.log1p(np.exp([-4.0, -8.0, -9.0, -18.0])).sum()
  b = np.log1p(np.exp([6.0, 12.0, 36.0, 72.0])).sum()
  np.testing.assert_allclose([terms['a'], terms['b']], [a, b], rtol=1e-5)
  np.testing.assert_allclose(total, 10 * (a + b), rtol=1e-6)
  _, terms = _run(losses.g_loss)
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
  settings = {f'lambda_{key}': weight for key, weight in weights.items()}
  total, terms = _run(losses.g_loss, kl=kl, gan_type='lsgan', **settings)
  wanted = EXPECTED | KL[kl]
  expected = sum(weights[key[:-2]] * value for key, value in wanted.items())
  got = {key: float(value) for key, value in terms.items()}
  logged = {'change_a': 13, 'change_b': 6}
  assert got == {'total': expected, **wanted, **logged}
  assert total == expected


def test_published_weights():
  total, terms = _run(losses.g_loss)
  weights = {'gan': 10, 'x': 100, 'kl': 0.1, 'cyc': 100, 'klc': 0.1}
  logged = 'total', 'change_a', 'change_b'
  expected = sum(
    weights[key[:-2]] * v for key, v in terms.items() if key not in logged
  )
  assert len(terms) == 10 + 3
  np.testing.assert_allclose(total, expected, rtol=1e-6)
  assert terms['kl_a'] == KL['divergence']['kl_a']


def _gradient(**settings):
  def total(generator):
    return _run(losses.g_loss, generator, **NONE | settings)[0]

  return jax.grad(total)(GENERATOR)


@pytest.mark.parametrize(
  'kl, of_a', [('divergence', 16), ('square', 32), ('noisy_square', 40)]
)
def test_the_released_term_has_twice_the_gradient(kl, of_a):
  # Of e_a: 4 h, and twice that, and 8 (h + 1).
  grads = _gradient(kl=kl, lambda_kl=1.0)
  assert grads['e'][0] == of_a
  assert not grads['d'].any()


def test_nothing_trains_what_is_left_out_and_what_is_logged():
  grads = _gradient()
  assert not any(np.any(x) for x in jax.tree.leaves(grads))
  _, terms = _run(losses.g_loss, lambda_cyc=0.0)
  assert 'cyc_a' not in terms and 'vgg_a' not in terms


def test_a_translation_looks_like_its_source(monkeypatch):
  calls = []

  def perceptual(features, x, y):
    assert features(x) == 10 * x
    calls.append((float(x.ravel()[0]), float(y.ravel()[0])))
    return jnp.float32(len(calls))

  monkeypatch.setattr(losses.distances, 'perceptual', perceptual)
  settings = NONE | {'lambda_vgg': 3.0}
  total, _ = _run(losses.g_loss, has_vgg=True, **settings)
  assert calls == [(-15, -2), (10, 4)]
  assert total == 3 * (1 + 2)


def _keys(loss_fn, rng, train=True):
  """What each pass of the generator draws from."""
  f, generator = _forward(rng=rng, train=train)
  w = losses.Weights(kl='divergence', **default_config().hparams)
  loss_fn(f, BATCH, w)
  assert set(generator.trains) == {train}
  return generator.keys


@pytest.mark.parametrize(
  'loss_fn, count', [(losses.d_loss, 4), (losses.g_loss, 8)]
)
def test_every_pass_drops_something_else(loss_fn, count):
  assert _keys(loss_fn, None, train=False) == [None] * count
  # Of two phases, or of two parts of a batch.
  data = [
    {tuple(jax.random.key_data(key).tolist()) for key in _keys(loss_fn, rng)}
    for rng in jax.random.split(jax.random.key(0), 2)
  ]
  assert len(data[0]) == count and len(data[0] | data[1]) == 2 * count
