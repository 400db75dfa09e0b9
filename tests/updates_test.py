import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import updates


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
