import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.systems.stargan_v2 import losses

W = losses.Weights(
  lambda_reg=2.0, lambda_sty=3.0, lambda_ds=5.0, lambda_cyc=7.0
)

# One number per network, one pixel per image: G(x, s) = g x + s, F(z) = f z,
# E(x) = e x, D(x) = d x.
NETS = {
  'generator': lambda g, x, s, masks: g * x + s[:, None, None, :],
  'mapping_network': lambda f, z, y: f * z,
  'style_encoder': lambda e, x, y: e * x[:, 0, 0],
  'discriminator': lambda d, x, y: d * x[:, 0, 0, 0],
}
PARAMS = {
  'generator': 0.5,
  'mapping_network': 2.0,
  'style_encoder': 0.25,
  'discriminator': 3.0,
}
BATCH = {
  'x_src': jnp.full((1, 1, 1, 1), 4.0),
  'x_ref': jnp.full((1, 1, 1, 1), 8.0),
  'x_ref2': jnp.full((1, 1, 1, 1), 24.0),
  'y_src': jnp.zeros(1, jnp.int32),
  'y_ref': jnp.zeros(1, jnp.int32),
  'z_trg': jnp.ones((1, 1)),
  'z_trg2': jnp.full((1, 1), 3.0),
}


class _Forward:
  """`phases.Forward` of networks that are functions of a number."""

  def __init__(self, params, nets):
    self._params, self._nets = params, nets

  def __call__(self, name, *args):
    return self._nets[name](self._params.get(name), *args)

  def has(self, name):
    return name in self._nets


def _run(loss_fn, params=PARAMS, nets=NETS, sources=losses.LATENT):
  return loss_fn(_Forward(params, nets), BATCH, W, sources=sources)


def test_d_loss_by_hand():
  # s = 2, fake = 0.5 * 4 + 2 = 4, D(real) = D(fake) = 12, R1 = 3^2 / 2
  total, terms = _run(losses.d_loss)
  assert terms['reg'] == 4.5
  np.testing.assert_allclose(terms['real'], np.log1p(np.exp(-12)), rtol=1e-3)
  np.testing.assert_allclose(terms['fake'], 12 + np.log1p(np.exp(-12)))
  np.testing.assert_allclose(total, 12 + 2 * np.log1p(np.exp(-12)) + 9)
  assert terms['total'] == total
  # sure of the real one and sure, but wrong, of the fake
  np.testing.assert_allclose(terms['doubt'], 0.5, rtol=1e-6)


@pytest.mark.parametrize(
  'd, f, doubt',
  [
    (0.0, 2.0, 0.5),  # cannot tell
    # D(4) = 2 and D(0.5 * 4 - 3) = -0.5, wrong by sigmoid(-2), sigmoid(-0.5)
    (0.5, -3.0, (0.119203 + 0.377541) / 2),
    (9.0, -6.0, 0.0),  # D(4) = 36, D(-4) = -36
  ],
)
def test_doubt_by_hand(d, f, doubt):
  params = PARAMS | {'discriminator': d, 'mapping_network': f}
  _, terms = _run(losses.d_loss, params)
  np.testing.assert_allclose(terms['doubt'], doubt, rtol=1e-5, atol=1e-12)


def test_g_loss_by_hand():
  # fake = 4, fake2 = 0.5 * 4 + 6 = 8, E(fake) = 1, s = 2,
  # back = 0.5 * 4 + E(4) = 3
  total, terms = _run(losses.g_loss)
  np.testing.assert_allclose(terms['adv'], np.log1p(np.exp(-12)), rtol=1e-3)
  assert (terms['sty'], terms['ds'], terms['cyc']) == (1.0, 4.0, 1.0)
  assert terms['src'] == 0.0  # the source is 4 as well
  np.testing.assert_allclose(total, 3 * 1 - 5 * 4 + 7 * 1, atol=1e-4)
  assert terms['total'] == total


def test_styles_of_references_are_those_of_the_encoder():
  # E(8) = 2 and E(24) = 6, as F(1) and F(3) above.
  for loss_fn in (losses.d_loss, losses.g_loss):
    _, latent = _run(loss_fn)
    _, reference = _run(loss_fn, sources=losses.REFERENCE)
    assert latent == reference


@pytest.mark.parametrize(
  'name, gradient',
  [
    # sty: -(e x); ds: -(-x) lambda through the first fake only; cyc: -(2 g x
    # + s + e x) falls short of x, hence d|x_rec - x| = -(fake + g x)
    ('generator', 3 * -(0.25 * 4) - 5 * -4 + 7 * -(4 + 0.5 * 4)),
    # z = 1: sty: |e(g x + f z) - f z|, so 1 - e; ds: +1 lambda; cyc: -g
    ('mapping_network', 3 * (1 - 0.25) - 5 * -1 + 7 * -0.5),
    # sty: -fake; cyc: -x
    ('style_encoder', 3 * -4 + 7 * -4),
  ],
)
def test_g_loss_gradients_by_hand(name, gradient):
  # A discriminator of 0 leaves the adversarial term out.
  params = PARAMS | {'discriminator': 0.0}
  grad = jax.grad(lambda p: _run(losses.g_loss, params | {name: p})[0])
  np.testing.assert_allclose(grad(PARAMS[name]), gradient, rtol=1e-6)


def test_masks_of_the_way_back_come_from_the_fake():
  seen = []

  def generator(g, x, s, masks):
    seen.append(float(masks))
    return g * x + s[:, None, None]

  nets = NETS | {'generator': generator, 'fan': lambda _, x: x.mean()}
  _run(losses.g_loss, nets=nets)
  assert seen == [4.0, 4.0, 4.0]  # source, source, fake: both are 4 here
  seen.clear()
  _run(losses.g_loss, PARAMS | {'mapping_network': 1.0}, nets)
  assert seen == [4.0, 4.0, 3.0]
  seen.clear()
  _run(losses.d_loss, nets=nets)
  assert seen == [4.0]
