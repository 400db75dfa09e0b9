import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.systems.stargan_v2 import losses

HP = losses.HParams(
  lambda_reg=2.0, lambda_sty=3.0, lambda_ds=5.0, lambda_cyc=7.0
)


def _net(fn):
  return types.SimpleNamespace(
    apply=lambda variables, *args: fn(variables['params'], *args)
  )


# One number per network, one pixel per image: G(x, s) = g x + s, F(z) = f z,
# E(x) = e x, D(x) = d x.
NETS = types.SimpleNamespace(
  generator=_net(lambda g, x, s, masks: g * x + s[:, None, None, :]),
  mapping_network=_net(lambda f, z, y: f * z),
  style_encoder=_net(lambda e, x, y: e * x[:, 0, 0]),
  discriminator=_net(lambda d, x, y: d * x[:, 0, 0, 0]),
)
PARAMS = {
  'generator': 0.5,
  'mapping_network': 2.0,
  'style_encoder': 0.25,
  'discriminator': 3.0,
}
BATCH = {
  'x_src': jnp.full((1, 1, 1, 1), 4.0),
  'y_src': jnp.zeros(1, jnp.int32),
  'y_ref': jnp.zeros(1, jnp.int32),
}
SOURCE = {'z': jnp.ones((1, 1))}, {'z': jnp.full((1, 1), 3.0)}


def _run(loss_fn, trained, params=PARAMS):
  return loss_fn(
    {name: params[name] for name in trained},
    params,
    nets=NETS,
    hp=HP,
    batch=BATCH,
    source=SOURCE,
    masks_fn=lambda x: None,
  )


def test_d_loss_by_hand():
  # s = 2, fake = 0.5 * 4 + 2 = 4, D(real) = D(fake) = 12, R1 = 3^2 / 2
  total, terms = _run(losses.d_loss, ['discriminator'])
  assert terms['reg'] == 4.5
  np.testing.assert_allclose(terms['real'], np.log1p(np.exp(-12)), rtol=1e-3)
  np.testing.assert_allclose(terms['fake'], 12 + np.log1p(np.exp(-12)))
  np.testing.assert_allclose(total, 12 + 2 * np.log1p(np.exp(-12)) + 9)
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
  _, terms = _run(losses.d_loss, ['discriminator'], params)
  np.testing.assert_allclose(terms['doubt'], doubt, rtol=1e-5, atol=1e-12)


def test_g_loss_by_hand():
  # fake = 4, fake2 = 0.5 * 4 + 6 = 8, E(fake) = 1, s = 2,
  # back = 0.5 * 4 + E(4) = 3
  total, terms = _run(losses.g_loss, ['generator'])
  np.testing.assert_allclose(terms['adv'], np.log1p(np.exp(-12)), rtol=1e-3)
  assert (terms['sty'], terms['ds'], terms['cyc']) == (1.0, 4.0, 1.0)
  assert terms['src'] == 0.0  # the source is 4 as well
  np.testing.assert_allclose(total, 3 * 1 - 5 * 4 + 7 * 1, atol=1e-4)


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
  def loss(trained):
    return _run_with(trained)[0]

  def _run_with(trained):
    return losses.g_loss(
      trained,
      PARAMS | {'discriminator': 0.0},  # leaves the adversarial term out
      nets=NETS,
      hp=HP,
      batch=BATCH,
      source=SOURCE,
      masks_fn=lambda x: None,
    )

  grads = jax.grad(loss)({name: PARAMS[name]})
  np.testing.assert_allclose(grads[name], gradient, rtol=1e-6)


def test_masks_of_the_way_back_come_from_the_fake():
  seen = []
  nets = types.SimpleNamespace(**vars(NETS))
  nets.generator = _net(
    lambda g, x, s, masks: seen.append(float(masks)) or g * x + s[:, None, None]
  )
  losses.g_loss(
    {},
    PARAMS,
    nets=nets,
    hp=HP,
    batch=BATCH,
    source=SOURCE,
    masks_fn=lambda x: x.mean(),
  )
  assert seen == [4.0, 4.0, 4.0]  # source, source, fake: both are 4 here
  seen.clear()
  losses.g_loss(
    {},
    PARAMS | {'mapping_network': 1.0},
    nets=nets,
    hp=HP,
    batch=BATCH,
    source=SOURCE,
    masks_fn=lambda x: x.mean(),
  )
  assert seen == [4.0, 4.0, 3.0]
