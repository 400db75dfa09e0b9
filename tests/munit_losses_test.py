import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.systems.munit import losses
from jaxgan.systems.munit.config import default_config

# One number for each network of a domain, one pixel for an image: the content
# is e x, the style t x, an image d c + s, and two scales score q x and 2 q x.
GENERATOR = {
  'e': jnp.array([1.0, 2.0]),
  't': jnp.array([0.5, 1.0]),
  'd': jnp.array([3.0, 2.0]),
}
DISCRIMINATOR = jnp.array([1.0, 3.0])


class _Forward:
  """`phases.Forward` of these networks; features of VGG are ten times x."""

  def __init__(self, generator, has_vgg):
    self._g, self._has_vgg = generator, has_vgg

  def __call__(self, name, *args, method=None):
    g = self._g
    match name, method:
      case 'generator', 'content':
        x, domain = args
        return g['e'][domain] * x
      case 'generator', 'style':
        x, domain = args
        return g['t'][domain] * x[:, 0, 0]
      case 'generator', 'decode':
        c, s, domain = args
        return g['d'][domain] * c + s[:, None, None]
      case 'discriminator', None:
        x, domain = args
        score = DISCRIMINATOR[domain] * x[..., 0]
        return score, 2 * score
      case 'vgg', None:
        return 10 * args[0]
    raise ValueError(name, method)

  def has(self, name):
    return name == 'vgg' and self._has_vgg


def _pixel(value):
  return jnp.full((1, 1, 1, 1), value)


BATCH = {
  'x_a': _pixel(4.0),
  'x_b': _pixel(-2.0),
  's_a': jnp.array([[1.0]]),
  's_b': jnp.array([[-1.0]]),
  's_a2': jnp.array([[3.0]]),
  's_b2': jnp.array([[0.5]]),
}
# Contents 4 and -4, styles 2 and -2; translations of b 3 * -4 + 1 = -11 and of
# a 2 * 4 - 1 = 7. Those in the second styles are -9 and 8.5.
NONE = {f'lambda_{name}': 0.0 for name in ('gan', 'x', 's', 'c', 'cyc', 'vgg')}


def _run(loss_fn, generator=GENERATOR, has_vgg=False, **settings):
  w = losses.Weights(**default_config().hparams)._replace(**settings)
  return loss_fn(_Forward(generator, has_vgg), BATCH, w)


def test_d_loss_by_hand():
  total, terms = _run(losses.d_loss, lambda_gan=2.0)
  # Real 4, 8 to be 1; fake -9, -18 to be 0.
  assert terms['a'] == 3**2 + 7**2 + 9**2 + 18**2
  # Real -6, -12; fake 25.5, 51.
  assert terms['b'] == 7**2 + 13**2 + 25.5**2 + 51**2
  assert total == terms['total'] == 2 * (terms['a'] + terms['b'])


def test_d_loss_of_the_logistic_kind():
  _, terms = _run(losses.d_loss, gan_type='nsgan')
  scores = -4.0, -8.0, -9.0, -18.0
  expected = np.log1p(np.exp(scores)).sum()
  np.testing.assert_allclose(terms['a'], expected, rtol=1e-5)


EXPECTED = {
  'x_a': 3 * 4 + 2 - 4,
  'x_b': 10 - 2,  # 2 * -4 - 2 for -2
  's_a': 0.5 * 11 + 1,  # -5.5 for 1
  's_b': 7 + 1,
  'c_a': 2 * 7 - 4,
  'c_b': 11 - 4,
  'gan_a': 12**2 + 23**2,
  'gan_b': 20**2 + 41**2,
  'cyc_a': 3 * 14 + 2 - 4,
  'cyc_b': 22,  # 2 * -11 - 2 for -2
}
LOGGED = {'change_a': 9, 'change_b': 3, 'diversity_a': 2, 'diversity_b': 1.5}


def test_g_loss_by_hand():
  weights = {'gan': 0.5, 'x': 2.0, 's': 3.0, 'c': 5.0, 'cyc': 7.0}
  settings = {f'lambda_{key}': weight for key, weight in weights.items()}
  total, terms = _run(losses.g_loss, **settings)
  expected = sum(weights[k[:-2]] * value for k, value in EXPECTED.items())
  got = {key: float(value) for key, value in terms.items()}
  assert got == {'total': expected, **EXPECTED, **LOGGED}
  assert total == expected


def test_published_weights():
  total, terms = _run(losses.g_loss)
  assert 'cyc_a' not in terms and 'vgg_a' not in terms
  weights = {'gan': 1, 'x': 10, 's': 1, 'c': 1, 'cyc': 0}
  assert total == sum(weights[k[:-2]] * v for k, v in EXPECTED.items())


def _gradient(**settings):
  def total(generator):
    return _run(losses.g_loss, generator, **NONE | settings)[0]

  return jax.grad(total)(GENERATOR)


def test_targets_of_contents_are_trained_and_those_of_styles_are_drawn():
  grads = _gradient(lambda_c=1.0)
  # |2 (2 e 4 - 1) - 4 e|, whose target has a share of -4, and |-11 e + 4|.
  assert grads['e'][0] == (16 - 4) + 11
  grads = _gradient(lambda_s=1.0)
  # |-11 t - 1| alone, and |7 t + 1|.
  np.testing.assert_array_equal(grads['t'], [11, 7])
  # A decoder is trained by what its images are encoded to: -12 t_a, 8 e_a t_b.
  assert grads['d'].tolist() == [0.5 * 4, 4]


def test_the_cycle_takes_the_style_of_the_image_itself():
  grads = _gradient(lambda_cyc=1.0)
  np.testing.assert_array_equal(grads['t'], [4, 2])


def test_what_is_logged_trains_nothing():
  grads = _gradient()
  assert not any(np.any(x) for x in jax.tree.leaves(grads))


def test_a_translation_looks_like_its_source(monkeypatch):
  calls = []

  def perceptual(features, x, y):
    assert features(x) == 10 * x
    calls.append((float(x.ravel()[0]), float(y.ravel()[0])))
    return jnp.float32(len(calls))

  monkeypatch.setattr(losses.distances, 'perceptual', perceptual)
  settings = NONE | {'lambda_vgg': 3.0}
  total, terms = _run(losses.g_loss, has_vgg=True, **settings)
  assert calls == [(-11, -2), (7, 4)]
  assert total == 3 * (1 + 2) and terms['vgg_b'] == 2
