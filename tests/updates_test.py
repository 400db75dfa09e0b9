import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.training import updates


def test_weight_decay_is_l2_inside_the_gradient():
  # Adam's first step is lr * sign(gradient): with no gradient, the decay is
  # the gradient, and its size does not matter; AdamW would move by lr * wd * p.
  tx = updates.adam(0.1, beta1=0.0, beta2=0.99, weight_decay=1e-4)
  params = jnp.array([5.0, -2.0])
  change, _ = tx.update(jnp.zeros(2), tx.init(params), params)
  np.testing.assert_allclose(change, [-0.1, 0.1], rtol=1e-4)


def test_adam_by_hand():
  tx = updates.adam(0.1, beta1=0.0, beta2=0.99, weight_decay=0.0)
  p = jnp.array([1.0])
  opt_state = tx.init(p)
  _, opt_state = tx.update(jnp.array([3.0]), opt_state, p)
  change, _ = tx.update(jnp.array([1.0]), opt_state, p)
  v = (0.99 * 0.01 * 9 + 0.01 * 1) / (1 - 0.99**2)
  np.testing.assert_allclose(change, [-0.1 / np.sqrt(v)], rtol=1e-4)


def test_the_mean_over_parts_is_that_of_the_batch():
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    data = {'x': jnp.asarray(rng.normal(size=(6, 3)))}
    trained, params = {'w': jnp.asarray(rng.normal(size=3))}, {'c': 2.0}

    def loss_fn(trained, params, x):
      loss = jnp.mean(jnp.sin(x @ trained['w'])) * params['c']
      return loss, {'total': loss}

    def mean_grads(parts):
      return updates.mean_grads(loss_fn, trained, params, data, parts)

    for parts in (2, 3, 6):
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13),
        mean_grads(parts),
        mean_grads(1),
      )


def _step(names, lr=None, parts=1):
  params = {'a': {'w': jnp.array([2.0])}, 'b': {'w': jnp.array([3.0])}}
  rate = 0.1 if lr is None else 1.0
  adam = updates.adam(rate, beta1=0.5, beta2=0.99, weight_decay=0.0)
  tx = {'a': adam, 'b': adam}
  opt_state = {name: tx[name].init(params[name]) for name in tx}

  def loss_fn(trained, params, x):
    both = {**params, **trained}
    loss = jnp.mean(x) * both['a']['w'][0] * both['b']['w'][0]
    return loss, {'total': loss}

  data = {'x': jnp.array([1.0, 3.0])}
  after, states, terms, grads = updates.step_networks(
    loss_fn, names, params, opt_state, data, tx, parts=parts, lr=lr
  )
  assert params['a']['w'] == 2 and params['b']['w'] == 3  # not changed here
  counts = {name: int(s[1][0].count) for name, s in states.items()}
  return after, counts, terms, grads


def test_only_the_named_networks_step():
  after, counts, terms, grads = _step(['a'])
  assert counts == {'a': 1, 'b': 0}
  np.testing.assert_allclose(after['a']['w'], [2 - 0.1], rtol=1e-6)
  assert after['b']['w'] == 3
  assert terms['total'] == 2 * 2 * 3
  assert set(grads) == {'a'} and grads['a']['w'] == 2 * 3
  after, counts, _, grads = _step(['a', 'b'], parts=2)
  assert counts == {'a': 1, 'b': 1}
  assert (grads['a']['w'], grads['b']['w']) == (6, 4)
  np.testing.assert_allclose(after['b']['w'], [3 - 0.1], rtol=1e-6)


def test_a_given_rate_is_that_of_the_step():
  after, *_ = _step(['b'], lr=jnp.float32(0.25))
  np.testing.assert_allclose(after['b']['w'], [3 - 0.25], rtol=1e-6)


def test_a_rate_falls_every_so_many_steps_or_never():
  steps = jnp.array([0, 9, 10, 19, 20, 35])
  rates = updates.step_decay(steps, 0.8, 10, 0.5)
  np.testing.assert_allclose(rates, [0.8, 0.8, 0.4, 0.4, 0.2, 0.1], rtol=1e-6)
  rates = updates.step_decay(steps, 0.8, 0, 0.5)
  np.testing.assert_allclose(rates, [0.8] * 6, rtol=1e-6)
