import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data.labels import Labels, LabelSet
from jaxgan.systems.stargan import losses

W = losses.Weights(lambda_cls=2.0, lambda_rec=3.0, lambda_gp=5.0)

# One number per network, one pixel per image: G(x, c) = g x + c_0, D(x) = d x,
# and the logits are d x and 0.
NETS = {
  'generator': lambda g, x, c: g * x + c[:, None, None, :1],
  'discriminator': lambda d, x: (
    d * x[..., 0],
    d * x[:, 0, 0] * jnp.array([[1.0, 0.0]]),
  ),
}
PARAMS = {'generator': 0.5, 'discriminator': 3.0}
DOMAINS = Labels((LabelSet(('a', 'b'), True),))
ATTRIBUTES = Labels((LabelSet(('a', 'b'), False),))
BATCH = {
  'x0': jnp.array([4.0, 6.0]).reshape(2, 1, 1, 1),
  'c0': jnp.eye(2),
  'c_trg0': jnp.eye(2)[::-1],
  'alpha0': jnp.array([0.75, 0.25]),
}


def _run(loss, labels=DOMAINS, params=PARAMS, nets=NETS, index=0):
  def f(name, *args):
    return nets[name](params[name], *args)

  batch = {f'{key[:-1]}{index}': value for key, value in BATCH.items()}
  return loss(f, batch, W, labels=labels, index=index)


@pytest.mark.parametrize(
  'labels, cls',
  [
    # Logits 12, 0 of an a, and 18, 0 of a b.
    (DOMAINS, 9.0),
    # Each attribute by itself, and added up: log 2 is that of a logit of 0.
    (ATTRIBUTES, 9.0 + np.log(2)),
  ],
  ids=['domains', 'attributes'],
)
def test_d_loss_by_hand(labels, cls):
  # Fakes 0.5 * 4 + 0 = 2 and 0.5 * 6 + 1 = 4.
  total, terms = _run(losses.d_loss, labels)
  assert terms['real'] == -(12 + 18) / 2
  assert terms['fake'] == (6 + 12) / 2
  assert terms['gp'] == (3 - 1) ** 2
  np.testing.assert_allclose(terms['cls'], cls, rtol=1e-6)
  np.testing.assert_allclose(total, -15 + 9 + 2 * cls + 5 * 4, rtol=1e-6)


def test_the_penalty_is_between_the_real_and_the_fake_image():
  def discriminator(d, x):
    return d * x[..., 0] ** 2 / 2, jnp.zeros((len(x), 2))

  nets = NETS | {'discriminator': discriminator}
  params = PARAMS | {'discriminator': 1.0}
  _, terms = _run(losses.d_loss, params=params, nets=nets)
  # The gradient is the image: 0.75 * 4 + 0.25 * 2, and 0.25 * 6 + 0.75 * 4.
  expected = ((3.5 - 1) ** 2 + (4.5 - 1) ** 2) / 2
  np.testing.assert_allclose(terms['gp'], expected)


@pytest.mark.parametrize(
  'labels, cls',
  [
    # Logits 6, 0 of what is to be a b, and 12, 0 of what is to be an a.
    (DOMAINS, 3.0012397),
    (ATTRIBUTES, 3.0012397 + np.log(2)),
  ],
  ids=['domains', 'attributes'],
)
def test_g_loss_by_hand(labels, cls):
  # Fakes 2 and 4; back 0.5 * 2 + 1 = 2 of 4, and 0.5 * 4 + 0 = 2 of 6.
  total, terms = _run(losses.g_loss, labels)
  assert terms['fake'] == -(6 + 12) / 2
  assert terms['rec'] == (2 + 4) / 2
  assert terms['src'] == (2 + 2) / 2
  np.testing.assert_allclose(terms['cls'], cls, rtol=1e-6)
  np.testing.assert_allclose(total, -9 + 3 * 3 + 2 * cls, rtol=1e-6)


def test_g_loss_gradient_by_hand():
  # fake: -d x; back: -(2 g x + c_trg), it falls short of x; cls: -(1 - p) or p
  # times d x, p the share of the first logit.
  def loss(trained):
    return _run(losses.g_loss, params=PARAMS | trained)[0]

  share = 1 / (1 + np.exp(-np.array([6.0, 12.0])))
  cls = (share[0] * 3 * 4 - (1 - share[1]) * 3 * 6) / 2
  expected = -3 * 5 + 3 * -(4 + (6 + 1)) / 2 + 2 * cls
  grads = jax.grad(loss)({'generator': 0.5})
  back = -((2 * 0.5 * 4 + 0) + (2 * 0.5 * 6 + 1)) / 2
  assert expected == -15 + 3 * back + 2 * cls
  np.testing.assert_allclose(grads['generator'], expected, rtol=1e-6)


def test_of_two_sets_each_has_its_own_logits_and_the_generator_the_mask():
  seen = []

  def generator(g, x, c):
    seen.append(c)
    return g * x + c[:, None, None, 2:3]

  def discriminator(d, x):
    logits = d * x[:, 0, 0] * jnp.array([[100.0, 100.0, 1.0, 0.0]])
    return d * x[..., 0], logits

  nets = {'generator': generator, 'discriminator': discriminator}
  labels = Labels((LabelSet(('p', 'q'), False), LabelSet(('a', 'b'), True)))
  for loss in (losses.d_loss, losses.g_loss):
    _, alone = _run(loss)
    _, terms = _run(loss, labels, nets=nets, index=1)
    assert terms == alone
  forth, back = [0, 0, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1]
  assert [c[0].tolist() for c in seen] == [forth, forth, back]
