import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.training import optim

# Rates of five steps, of which each is another one.
RATES = (0.1, 0.05, 0.2, 0.01, 0.1)
OPTIMISERS = {
  'Adam': (
    optim.adam(beta1=0.5, beta2=0.999, weight_decay=1e-2),
    {'betas': (0.5, 0.999), 'weight_decay': 1e-2},
  ),
  'Adam without momentum': (
    optim.adam(beta1=0.0, beta2=0.99),
    {'betas': (0.0, 0.99)},
  ),
  'RMSprop': (
    optim.rmsprop(alpha=0.9, weight_decay=1e-2),
    {'alpha': 0.9, 'weight_decay': 1e-2},
  ),
  'RMSprop of the defaults': (optim.rmsprop(), {}),
}


@pytest.mark.parametrize('name', OPTIMISERS)
def test_five_steps_are_those_of_pytorch(name):
  torch = pytest.importorskip('torch')
  tx, settings = OPTIMISERS[name]
  rng = np.random.default_rng(0)
  start, matrix = rng.normal(size=4), rng.normal(size=(4, 4))
  theirs = torch.tensor(start, requires_grad=True)
  kind = getattr(torch.optim, name.split()[0])
  optimiser = kind([theirs], **settings)
  with jax.enable_x64(True):
    params = {'net': {'w': jnp.asarray(start)}}
    opt_state = {'net': tx.init(params['net'])}
    for rate in RATES:
      grads = {'net': {'w': jnp.sin(matrix @ params['net']['w'])}}
      params, opt_state = optim.step(
        {'net': tx}, grads, params, opt_state, {'net': rate}
      )
      optimiser.param_groups[0]['lr'] = rate
      theirs.grad = torch.sin(torch.tensor(matrix) @ theirs.detach())
      optimiser.step()
      np.testing.assert_allclose(
        params['net']['w'], theirs.detach().numpy(), rtol=1e-13
      )


def test_weight_decay_is_l2_inside_the_gradient():
  # Adam's first step is the rate times the sign of the gradient: with no
  # gradient, the decay is the gradient, and its size does not matter; AdamW
  # would move by lr * wd * p.
  tx = optim.adam(beta1=0.0, beta2=0.99, weight_decay=1e-4)
  params = jnp.array([5.0, -2.0])
  change, _ = tx.update(jnp.zeros(2), tx.init(params), params)
  np.testing.assert_allclose(change, [-1, 1], rtol=1e-4)


def test_adam_by_hand():
  tx = optim.adam(beta1=0.0, beta2=0.99)
  p = jnp.array([1.0])
  opt_state = tx.init(p)
  change, opt_state = tx.update(jnp.array([3.0]), opt_state, p)
  np.testing.assert_allclose(change, [-1], rtol=1e-6)
  change, _ = tx.update(jnp.array([1.0]), opt_state, p)
  v = (0.99 * 0.01 * 9 + 0.01 * 1) / (1 - 0.99**2)
  np.testing.assert_allclose(change, [-1 / np.sqrt(v)], rtol=1e-4)


def test_rmsprop_by_hand():
  # The first mean square is a hundredth of the gradient's: its root a tenth.
  tx = optim.rmsprop()
  p = jnp.array([1.0, 1.0])
  change, opt_state = tx.update(jnp.array([3.0, -0.2]), tx.init(p), p)
  np.testing.assert_allclose(change, [-10, 10], rtol=1e-5)
  change, _ = tx.update(jnp.array([1.0, 0.0]), opt_state, p)
  v = 0.99 * 0.01 * 9 + 0.01 * 1
  np.testing.assert_allclose(change, [-1 / np.sqrt(v), 0], rtol=1e-5)
  # The epsilon is beside the root: inside of it, this would be a step of 1e-2.
  change, _ = tx.update(jnp.array([1e-6, 0.0]), tx.init(p), p)
  np.testing.assert_allclose(change[0], -1e-6 / (1e-7 + 1e-8), rtol=1e-4)


def test_a_part_of_a_network_is_trained():
  def is_trained(params):
    return {name: name != 'vgg' for name in params}

  adam = optim.adam(beta1=0.5, beta2=0.99, weight_decay=0.1)
  tx = optim.trained_part(adam, is_trained)
  params = {'own': jnp.array([2.0]), 'vgg': jnp.array([7.0, 8.0])}
  opt_state = tx.init(params)
  # Two moments of one number, and none of the rest.
  shapes = [jnp.shape(x) for x in jax.tree.leaves(opt_state)]
  assert sorted(shapes) == [(), (1,), (1,)]
  grads = jax.tree.map(jnp.ones_like, params)
  for _ in range(2):
    change, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, change)
  assert params['vgg'].tolist() == [7, 8]  # it neither moves nor decays
  np.testing.assert_allclose(params['own'], [0], atol=0.05)
  count = optax.tree_utils.tree_get(opt_state, 'count')
  assert count == 2


def test_each_network_has_its_rate_and_the_others_stay():
  tx = {name: optim.adam(beta1=0.5, beta2=0.99) for name in ('a', 'b', 'c')}
  params = {name: {'w': jnp.array([2.0])} for name in tx}
  opt_state = {name: tx[name].init(params[name]) for name in tx}
  grads = {'a': {'w': jnp.array([4.0])}, 'b': {'w': jnp.array([-0.3])}}
  lr = {'a': jnp.float32(0.1), 'b': jnp.float32(0.25), 'c': jnp.float32(9)}
  after, states = optim.step(tx, grads, params, opt_state, lr)
  moved = {name: float(tree['w'][0]) for name, tree in after.items()}
  assert moved == pytest.approx({'a': 1.9, 'b': 2.25, 'c': 2})
  counts = {name: int(s[1][0].count) for name, s in states.items()}
  assert counts == {'a': 1, 'b': 1, 'c': 0}
  # What was given is as it was.
  assert params['a']['w'] == 2 and opt_state['a'][1][0].count == 0


def test_the_rate_does_not_widen_the_parameters():
  tx = {'a': optim.rmsprop()}
  with jax.enable_x64(True):
    params = {'a': {'w': jnp.ones(1, jnp.bfloat16)}}
    opt_state = {'a': tx['a'].init(params['a'])}
    rate = {'a': jnp.float64(0.1)}
    after, _ = optim.step(tx, params, params, opt_state, rate)
  assert after['a']['w'].dtype == jnp.bfloat16
