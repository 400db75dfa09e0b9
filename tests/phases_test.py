"""The engine of phases, with networks whose numbers are worked out by hand."""

import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan.training import phases, state
from jaxgan.training.phases import Phase

KEY = jax.random.key(0)
SGD = optax.sgd(1.0)  # so that a step is the rate times the gradient


class Number(nn.Module):
  """w x, or w + x."""

  def setup(self):
    self.w = self.param('w', nn.initializers.ones, ())

  def __call__(self, x):
    return self.w * x

  def add(self, x):
    return self.w + x


class Normed(nn.Module):
  """x less its mean; the running one goes half of the way to it."""

  @nn.compact
  def __call__(self, x, train):
    norm = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.5,
      use_scale=False,
      use_bias=False,
    )
    return norm(x)


class Noisy(nn.Module):
  """A mask of dropout on w x, or what its keys draw."""

  @nn.compact
  def __call__(self, x, train):
    w = self.param('w', nn.initializers.ones, ())
    return w * nn.Dropout(0.5, deterministic=not train)(x)

  def draw(self, x):
    keys = self.make_rng('dropout'), self.make_rng('noise')
    return jnp.stack([jax.random.uniform(key, x.shape) for key in keys])


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  nets: dict[str, nn.Module]
  tx: dict[str, Any] = dataclasses.field(default_factory=dict)
  frozen_nets: dict[str, Any] = dataclasses.field(default_factory=dict)
  micro_batches: int = 1


NETS = {'a': Number(), 'b': Number(), 'noisy': Noisy(), 'n': Normed()}
MODEL = Model(NETS, {name: SGD for name in ('a', 'b', 'noisy')})
PARAMS = {
  'a': {'w': jnp.float32(2)},
  'b': {'w': jnp.float32(3)},
  'noisy': {'w': jnp.float32(1)},
  'n': {},
}
X = jnp.array([1.0, 3.0])
ONES = jnp.ones(64)


def _state(**changes):
  stats = {'BatchNorm_0': {'mean': jnp.zeros(1), 'var': jnp.ones(1)}}
  first = state.create(
    PARAMS,
    MODEL.tx,
    averaged=('a',),
    variables={'n': {'batch_stats': stats}},
    memory={'pool': jnp.float32(5)},
  )
  return first.replace(**changes)


def _run(*given, model=MODEL, before=None, rng=KEY, x=X, frozen=None, w=None):
  lr = {'a': jnp.float32(0.1), 'b': jnp.float32(0.5), 'noisy': jnp.float32(0)}
  before = _state() if before is None else before
  return phases.run(
    given, model, before, frozen or {}, {'x': x}, rng, lr=lr, w=w
  )


def _product(f, batch, w):
  value = jnp.mean(f('a', f('b', batch['x'])))
  return value, {'total': value}


def test_only_the_networks_of_a_phase_step():
  before = _state()
  after, metrics, grads = _run(Phase('P', _product, ('a',)), before=before)
  # The mean of a b x is 2 * 3 * 2; its gradient to a is 3 * 2.
  assert metrics == {'P_total': 12}
  assert grads == {'P': {'a': {'w': 6}}}
  np.testing.assert_allclose(after.params['a']['w'], 2 - 0.1 * 6, rtol=1e-6)
  for name in ('b', 'noisy'):
    assert after.params[name] == before.params[name]
  # Steps and averages are counted elsewhere, and nothing changes in place.
  assert after.step == 0 and after.ema_params['a']['w'] == 2
  assert before.params['a']['w'] == 2


def test_optimisers_of_other_networks_stay():
  adam = optax.adam(1.0)
  model = dataclasses.replace(MODEL, tx={'a': adam, 'b': adam})
  before = _state(
    opt_state={name: adam.init(PARAMS[name]) for name in model.tx}
  )
  after = _run(Phase('P', _product, ('a',)), model=model, before=before).state
  counts = {name: int(s[0].count) for name, s in after.opt_state.items()}
  assert counts == {'a': 1, 'b': 0}


def test_a_phase_sees_what_those_before_have_left():
  result = _run(Phase('P', _product, ('a',)), Phase('Q', _product, ('a', 'b')))
  a, b = 1.4, 3
  np.testing.assert_allclose(result.metrics['Q_total'], a * b * 2, rtol=1e-6)
  assert set(result.metrics) == {'P_total', 'Q_total'}
  grads = result.grads['Q']
  np.testing.assert_allclose(grads['a']['w'], b * 2, rtol=1e-6)
  np.testing.assert_allclose(grads['b']['w'], a * 2, rtol=1e-6)
  params = result.state.params
  np.testing.assert_allclose(params['a']['w'], a - 0.1 * 6, rtol=1e-6)
  np.testing.assert_allclose(params['b']['w'], b - 0.5 * 2.8, rtol=1e-6)


def test_weights_and_methods_reach_the_networks():
  def loss(f, batch, w):
    value = w.scale * jnp.mean(f('a', batch['x'], method='add'))
    return value, {}

  w = types.SimpleNamespace(scale=7.0)
  result = _run(Phase('P', loss, ('a',)), w=w)
  assert result.metrics == {} and result.grads['P']['a']['w'] == 7


@pytest.mark.parametrize('parts', [2, 3, 6])
def test_micro_batches_equal_the_whole(parts):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x = jnp.asarray(rng.normal(size=6))

    def loss(f, batch, w):
      y = jnp.sin(f('a', batch['x']) * f('b', batch['x']))
      return jnp.mean(y), {'total': jnp.mean(y), 'cos': jnp.mean(jnp.cos(y))}

    def grads_and_terms(parts):
      model = dataclasses.replace(MODEL, micro_batches=parts)
      before = _state(params=jax.tree.map(np.float64, PARAMS), variables={})
      phase = Phase('P', loss, ('a', 'b'))
      return _run(phase, model=model, before=before, x=x)

    whole, split = grads_and_terms(1), grads_and_terms(parts)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-13), split, whole
    )
    assert len(whole.metrics) == 2


_SEEN: list[np.ndarray] = []


def _see(value):
  jax.debug.callback(lambda x: _SEEN.append(np.asarray(x)), value, ordered=True)


def _masks(*given, x=ONES, **settings):
  """What was shown to `_see`, in its order."""
  _SEEN.clear()
  _run(*given, x=x, before=_state(variables={}), **settings)
  jax.effects_barrier()
  return list(_SEEN)


def _noisy(f, batch, w):
  value = f('noisy', batch['x'])
  _see(value)
  return jnp.mean(value), {}


P = Phase('P', _noisy, ('noisy',))
SHARED = dataclasses.replace(P, shared_draws=True)


def test_no_two_micro_batches_draw_the_same():
  model = dataclasses.replace(MODEL, micro_batches=4)
  parts = _masks(P, model=model)
  assert [len(part) for part in parts] == [16] * 4
  assert len({part.tobytes() for part in parts}) == 4


def test_micro_batches_of_what_is_no_mean_are_refused():
  model = dataclasses.replace(MODEL, micro_batches=2)

  def carrying(f, batch, w):
    value = jnp.mean(f('a', batch['x']))
    return value, {}, value

  def normed(f, batch, w):
    return jnp.mean(f('n', batch['x'][:, None])), {}

  for loss in (carrying, normed):
    with pytest.raises(ValueError, match='^P: micro-batches need a loss that'):
      _run(Phase('P', loss, ('a',)), model=model)


def _draws(*pair, **settings):
  """Whether two phases see the same masks."""
  a, b = _masks(*pair, **settings)
  assert set(a) == {0, 2}  # half of them, doubled
  return np.array_equal(a, b)


def test_phases_that_say_so_share_their_draws():
  q = dataclasses.replace(P, name='Q')
  q_shared = dataclasses.replace(SHARED, name='Q')
  assert _draws(SHARED, q_shared)
  assert not _draws(P, q)
  assert not _draws(P, q_shared)


def test_draws_are_a_function_of_the_key_of_the_iteration():
  (a,), (b,), (other,) = (
    _masks(P, rng=jax.random.key(seed)) for seed in (0, 0, 1)
  )
  assert np.array_equal(a, b) and not np.array_equal(a, other)


def test_another_call_network_or_stream_draws_anew():
  def loss(f, batch, w):
    for name in ('noisy', 'noisy', 'more'):
      _see(f(name, batch['x']))
      dropout, noise = f(name, batch['x'], method='draw')
      _see(dropout)
      _see(noise)
    return jnp.mean(f('noisy', batch['x'])), {}

  model = dataclasses.replace(MODEL, nets={**NETS, 'more': Noisy()})
  before = _state(params={**PARAMS, 'more': PARAMS['noisy']})
  _SEEN.clear()
  _run(Phase('P', loss, ('noisy',)), model=model, before=before, x=ONES)
  jax.effects_barrier()
  assert len({x.tobytes() for x in _SEEN}) == 9


def test_calls_of_other_networks_change_no_draw():
  def late(f, batch, w):
    f('fan', batch['x'])
    f('a', batch['x'])
    return _noisy(f, batch, w)

  model = dataclasses.replace(MODEL, frozen_nets={'fan': lambda _, x: x})
  late_phase = dataclasses.replace(P, loss=late)
  (a,), (b,) = _masks(P), _masks(late_phase, model=model, frozen={'fan': {}})
  np.testing.assert_array_equal(a, b)


def _mean_of(after, name='n'):
  stats = after.variables[name]['batch_stats']['BatchNorm_0']
  return float(stats['mean'][0])


def _normed(f, batch, w, keep=True):
  x = batch['x'][:, None]  # of mean 2
  value = jnp.mean(f('n', x, keep=keep) ** 2) + f('a', 1.0)
  return value, {'total': value}


def test_statistics_move_with_each_call_that_keeps_them():
  kept = Phase('Q', _normed, ('a',))
  dropped = Phase('P', functools.partial(_normed, keep=False), ('a',))
  assert _mean_of(_run(kept).state) == 1  # half of the way from 0 to 2
  # Once an iteration, where the first of two phases makes the same call.
  assert _mean_of(_run(dropped, kept).state) == 1
  assert _mean_of(_run(dropped).state) == 0
  # They are handed from phase to phase, and on to the next iteration.
  assert _mean_of(_run(kept, kept).state) == 1.5
  once = _run(kept).state
  assert _mean_of(_run(kept, before=once).state) == 1.5

  def twice(f, batch, w):
    _normed(f, batch, w)
    return _normed(f, batch, w)

  assert _mean_of(_run(Phase('P', twice, ('a',))).state) == 1.5


def test_a_network_sees_its_batch_and_not_what_is_kept():
  # (x - 2)^2 is 1, of variance 1; a is 2.
  result = _run(Phase('P', _normed, ('a',)))
  np.testing.assert_allclose(result.metrics['P_total'], 1 + 2, rtol=1e-4)


def test_averages_are_networks_with_statistics_of_their_own():
  averages = {'a': {'w': jnp.float32(11)}, 'n': {}}
  variables = _state().variables
  ones = jax.tree.map(jnp.ones_like, variables['n'])
  variables = {'n': variables['n'], 'n_ema': ones}
  before = _state(ema_params=averages, variables=variables)

  def loss(f, batch, w):
    x = batch['x']
    f('n_ema', 2 * x[:, None])
    value = jnp.mean(f('a_ema', x) * f('a', x))
    return value, {'total': value}

  result = _run(Phase('P', loss, ('a',)), before=before)
  assert result.metrics['P_total'] == 11 * 2 * 5
  assert result.grads['P']['a']['w'] == 11 * 5  # and none to the average
  assert result.state.ema_params == averages
  assert _mean_of(result.state, 'n_ema') == 2.5  # half of the way to 4
  assert _mean_of(result.state) == 0


def test_frozen_networks_have_parameters_of_their_own():
  def fan(params, x):
    return params['scale'] * x

  def loss(f, batch, w):
    assert f.has('fan') and f.has('a') and not f.has('vgg')
    return jnp.mean(f('fan', f('a', batch['x']))), {}

  model = dataclasses.replace(MODEL, frozen_nets={'fan': fan})
  frozen = {'fan': {'scale': jnp.float32(10)}}
  result = _run(Phase('P', loss, ('a',)), model=model, frozen=frozen)
  assert result.grads['P']['a']['w'] == 10 * 2


def test_carry_is_read_without_a_gradient():
  def hands_on(f, batch, w):
    fake = f('a', batch['x'])
    return jnp.mean(fake), {}, {'fake': fake}

  def reads(f, batch, w):
    # From before the step, and a constant; the memory as well.
    value = jnp.mean(f('b', f.carry['fake'])) + f.memory['pool']
    return value, {'total': value}

  result = _run(
    Phase('P', hands_on, ('a',)),
    Phase('Q', _product, ('a',)),  # hands on nothing: what was stays
    Phase('R', reads, ('a', 'b')),
  )
  assert result.metrics['R_total'] == 3 * (2 * 2) + 5
  assert result.grads['R']['a']['w'] == 0
  assert result.grads['R']['b']['w'] == 2 * 2

  def first(f, batch, w):
    assert f.carry is None
    return _product(f, batch, w)

  _run(Phase('P', first, ('a',)))


def test_what_comes_after_a_step_writes_the_memory():
  keys = []

  def hands_on(f, batch, w):
    fake = f('a', batch['x'])
    return jnp.mean(fake), {'pool': f.memory['pool']}, fake

  def after(memory, carry, rng):
    keys.append(rng)
    pool = memory['pool'] + jnp.sum(carry)
    return {'pool': pool}, 10 * carry

  def reads(f, batch, w):
    return f('b', f.memory['pool']), {'carry': jnp.sum(f.carry)}

  before = _state()
  result = _run(
    Phase('P', hands_on, ('a',), after=after),
    Phase('Q', reads, ('b',), after=after),
    before=before,
  )
  # a x is (2, 6) before the step of a.
  assert result.metrics == {'P_pool': 5, 'Q_carry': 10 * 8}
  assert result.grads['Q']['b']['w'] == 5 + 8
  assert result.state.memory == {'pool': 5 + 8 + 80}
  assert before.memory == {'pool': 5}
  # A key of each phase and iteration, which no network has had.
  _run(Phase('P', hands_on, ('a',), after=after), rng=jax.random.key(1))
  numbers = {jax.random.key_data(key).tobytes() for key in keys}
  assert len(keys) == len(numbers) == 3


@pytest.mark.parametrize('transform', ['grad', 'vmap', 'grad of vmap'])
def test_a_call_inside_a_transformation_keeps_nothing(transform):
  """As gradient penalties and one-by-one calls of `loss` itself do."""

  def loss(f, batch, w):
    x = batch['x'][:, None]
    if 'vmap' in transform:
      y = jax.vmap(lambda x: f('n', x[None]))(x)
    if 'grad' in transform:
      y = jax.grad(lambda x: jnp.sum(f('n', x) ** 3))(x)
    if transform == 'grad of vmap':
      y = jax.grad(lambda x: jnp.sum(jax.vmap(lambda x: f('n', x[None]))(x)))(x)
    return jnp.mean(y) + f('a', 1.0), {}

  def then_kept(f, batch, w):
    loss(f, batch, w)
    return _normed(f, batch, w)

  with jax.checking_leaks():
    for fn, mean in ((loss, 0), (then_kept, 1)):
      run = jax.jit(functools.partial(_run, Phase('P', fn, ('a',))))
      assert _mean_of(run(before=_state()).state) == mean


def test_inference_uses_running_statistics_and_drops_nothing():
  variables = {
    'n': {'batch_stats': {'BatchNorm_0': {'mean': X[:1], 'var': 4 * X[:1]}}}
  }
  params = {**PARAMS, 'variables': variables}
  frozen = {'fan': {'scale': 10.0}}
  fan = {'fan': lambda params, x: params['scale'] * x}
  model = dataclasses.replace(MODEL, frozen_nets=fan)
  f = phases.inference(model, params, frozen)
  # (x - 1) / sqrt(4)
  np.testing.assert_allclose(f('n', X[:, None])[:, 0], [0, 1], atol=1e-5)
  assert f.variables == variables  # nothing is kept
  np.testing.assert_array_equal(f('noisy', ONES), ONES)
  np.testing.assert_array_equal(f('fan', X), 10 * X)
  np.testing.assert_array_equal(f('a', X), 2 * X)


def test_inference_draws_by_its_key():
  def draw(seed):
    f = phases.inference(MODEL, PARAMS, rng=jax.random.key(seed))
    return f('noisy', ONES, method='draw')

  np.testing.assert_array_equal(draw(0), draw(0))
  assert not np.array_equal(draw(0), draw(1))
