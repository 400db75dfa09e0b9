"""What every system keeps to, from a small case of each."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.inference import outputs
from jaxgan.inference.translator import Translator
from jaxgan.runs import checkpoint, collapse
from jaxgan.runtime import images, sharding
from jaxgan.systems import contract
from jaxgan.training.state import State
from tests.systems import cases
from tests.systems.cases import Case

# Not a multiple of the chunks, so that one is filled up.
COUNT = 5
PARTS = ('params', 'opt_state', 'ema_params')  # by network

BY_NAME = {case.name: case for case in cases.CASES}
every_system = pytest.mark.parametrize('name', BY_NAME)
every_answer = pytest.mark.parametrize(
  'name, iteration',
  [(case.name, number) for case in cases.CASES for number in case.steps],
)
every_kind = pytest.mark.parametrize(
  'name, kind',
  [(name, kind) for name in BY_NAME for kind in contract.load(name).KINDS],
)


class _System(NamedTuple):
  """A system as a test uses it."""

  case: Case
  names: contract.System
  model: Any
  batch: dict[str, np.ndarray]

  def config(self, **overrides):
    """The settings, with what the data would add."""
    return self.case.config(**{**self.case.found, **overrides})


@functools.cache
def _system(name: str) -> _System:
  case = BY_NAME[name]
  config = case.config(**case.found)
  names = contract.get_system(config)
  contract.check_config(names, config)
  batch = names.create_data(config).noise()
  return _System(case, names, names.create_model(config), batch)


@functools.cache
def _init_fn(name: str):
  system = _system(name)
  return jax.jit(functools.partial(system.names.init_state, system.model))


def _fresh(name: str, step: int = 0) -> State:
  """A new state of the same numbers at every call: a step takes it away."""
  state = _init_fn(name)(jax.random.key(0))
  return state.replace(step=jnp.int32(step)) if step else state


def _answer(name: str, iteration: int) -> dict[str, Any]:
  """The keywords that an iteration has for `train_step`."""
  system = _system(name)
  if not system.names.phases_at:
    return {}
  return {'phases': system.names.phases_at(system.model, iteration)}


def _train_step(name: str, iteration: int):
  system = _system(name)
  return functools.partial(
    system.names.train_step, system.model, **_answer(name, iteration)
  )


@functools.cache
def _step_fn(name: str, iteration: int):
  """The one program of a system and an answer; as in training, it donates."""
  return jax.jit(_train_step(name, iteration), donate_argnums=0)


def _run(name: str, iteration: int, state: State, key: int = 0):
  """(state, metrics) of an iteration; the state before is gone."""
  fn = _step_fn(name, iteration)
  return fn(state, {}, _system(name).batch, jax.random.key(key))


@functools.cache
def _one_step(name: str, iteration: int) -> tuple[State, State, Any]:
  """(state before, state after, metrics), as arrays of NumPy."""
  before = jax.device_get(_fresh(name, iteration))
  after, metrics = _run(name, iteration, _fresh(name, iteration))
  return before, *jax.device_get((after, metrics))


def _same(a: Any, b: Any) -> bool:
  """Whether two trees are the same, to the bit."""
  if jax.tree.structure(a) != jax.tree.structure(b):
    return False
  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


def _kinds_of(tree: Any) -> Any:
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def _check_own_buffers(tree: Any) -> None:
  buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)]
  assert len(set(buffers)) == len(buffers)


def test_every_system_has_a_case():
  names = [case.name for case in cases.CASES]
  assert sorted(names) == sorted(contract.SYSTEMS)


@every_system
def test_a_case_has_every_answer(name):
  system = _system(name)
  steps = system.case.steps
  if not system.names.phases_at:
    assert len(steps) == 1
    return
  answers = [_answer(name, number)['phases'] for number in steps]
  assert len(set(answers)) == len(answers)
  assert set(answers) == {
    system.names.phases_at(system.model, number) for number in range(50)
  }


@every_answer
def test_a_step_keeps_what_a_state_is(name, iteration):
  before, after, metrics = _one_step(name, iteration)
  assert metrics
  for key, value in metrics.items():
    assert np.shape(value) == () and np.isfinite(value), (key, value)
  assert after.step == iteration + 1
  assert jax.tree.structure(after) == jax.tree.structure(before)
  assert _kinds_of(after) == _kinds_of(before)
  for path, x in jax.tree.leaves_with_path(after):
    assert np.isfinite(x).all(), path


@every_answer
def test_a_step_moves_the_networks_of_its_phases_alone(name, iteration):
  before, after, _ = _one_step(name, iteration)
  stepped = set(_system(name).case.steps[iteration])
  assert stepped <= before.params.keys() == before.opt_state.keys()
  for network in before.params:
    for part in PARTS:
      old = getattr(before, part).get(network)
      new = getattr(after, part).get(network)
      if network not in stepped:
        assert _same(old, new), (part, network)
        continue
      pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
      moved = [not np.array_equal(x, y) for x, y in pairs]
      # Not all of it: a norm can take a bias away.
      assert sum(moved) >= 0.6 * len(moved), (part, network)


@every_answer
def test_a_step_is_a_function_of_its_arguments(name, iteration):
  case = _system(name).case

  def run(step, key):
    return jax.device_get(_run(name, iteration, _fresh(name, step), key))

  state, metrics = run(iteration, 1)
  assert _same((state, metrics), run(iteration, 1))
  # What is drawn follows the key, and the number of the iteration.
  for _, other in (run(iteration, 2), run(iteration + 4, 1)):
    for term in case.drawn:
      assert other[term] != metrics[term], term
    for term in case.fixed:
      assert other[term] == metrics[term], term


@every_system
def test_signs_of_collapse_are_metrics(name):
  system = _system(name)
  told = set()
  for iteration in system.case.steps:
    told |= _one_step(name, iteration)[2].keys()
  signs = {sign.metric for sign in system.names.COLLAPSE_SIGNS}
  assert signs and signs - told == set(system.case.untold)


@every_system
def test_a_state_can_be_donated_again_and_again(name):
  system = _system(name)
  init_state = functools.partial(system.names.init_state, system.model)
  made = jax.make_jaxpr(init_state)(jax.random.key(0)).jaxpr.outvars
  # Outside of jit, one value twice is one buffer twice.
  assert len(set(map(id, made))) == len(made)
  state = _fresh(name)
  for iteration in system.case.steps:
    _check_own_buffers(state)
    old = state
    state, _ = _run(name, iteration, old)
    # Else the memory of two states is needed.
    assert all(x.is_deleted() for x in jax.tree.leaves(old))
  _check_own_buffers(state)
  assert state.step == len(system.case.steps)


@every_system
def test_a_checkpoint_is_the_state_and_training_goes_on_from_it(name, tmp_path):
  steps = _system(name).case.steps
  last = max(steps)
  state, _ = _run(name, last, _fresh(name, last))
  checkpointer = checkpoint.Checkpointer(tmp_path)
  checkpointer.save(last + 1, state, {})
  restored, step = checkpointer.restore(_fresh(name))
  checkpointer.close()
  assert step == last + 1 == restored.step
  assert _kinds_of(restored) == _kinds_of(state)
  assert _same(restored, state)
  # Committed to no device, as a fresh one: the same program takes it.
  restored = jax.tree.map(jnp.array, jax.device_get(restored))
  for iteration in steps:
    state, metrics = _run(name, iteration, state)
    restored, resumed = _run(name, iteration, restored)
    assert _same(resumed, metrics)
  assert _same(restored, state)


@functools.cache
def _translator(name: str, chunk: int) -> Translator:
  system = _system(name)
  params = system.names.inference_params(_fresh(name))
  return Translator(system.names, system.model, params, chunk=chunk)


def _translations(name: str, kind: str, chunk: int) -> np.ndarray:
  """What the data ask for, of a batch of noise, in styles of a kind."""
  system = _system(name)
  data = system.names.create_data(system.config(batch_size=COUNT))
  x, y, source = data.requests(data.noise())
  y = np.broadcast_to(np.asarray(y, np.int32), [COUNT])
  translator = _translator(name, chunk)
  if kind == 'label':
    return translator.translate(x, y)
  if kind == 'latent':
    shape = (COUNT, system.model.latent_dim)
    source = {'z': np.asarray(jax.random.normal(jax.random.key(1), shape))}
  return translator.translate(x, y, translator.style(y, **source))


@every_kind
def test_translations_are_pictures_whatever_the_chunk(name, kind):
  fake = _translations(name, kind, 8)
  largest = _system(name).case.largest
  size = _system(name).config().data.img_size
  assert fake.shape == (COUNT, size, size, 3) and fake.dtype == np.float32
  assert np.abs(fake).max() <= largest  # nor is anything NaN
  # Of five sources five pictures.
  assert len({picture.tobytes() for picture in fake}) == COUNT
  np.testing.assert_allclose(
    _translations(name, kind, 1), fake, rtol=0, atol=1e-5 * largest
  )


@every_system
def test_grids_are_of_pictures(name, monkeypatch):
  monkeypatch.setattr(images, 'labelled_grid', lambda *args: args)
  system = _system(name)
  config = system.config()
  val = system.names.create_data(config).training(0, 1).val
  grids = system.names.grids(_translator(name, 8), val, jax.random.key(0))
  assert grids
  size = config.data.img_size
  for key, (rows, top, left) in grids.items():
    assert len(rows) == len(left) >= 2 and all(left), key
    for row, column in np.ndindex(len(rows), len(top)):
      cell = rows[row][column]
      # A corner is empty, where there are pictures above and to the left.
      if cell is None:
        assert (row, column) == (0, 0)
        continue
      assert cell.shape == (size, size, 3)
      assert cell.min() < cell.max(), (key, row, column)
    assert all(len(row) == len(top) for row in rows), key


@every_system
def test_a_run_that_has_learned_nothing_is_never_well(name):
  """What fresh networks make is noise, or one picture for every source."""
  system = _system(name)
  data = system.names.create_data(system.config())
  _, val = data.evaluation()
  targets = outputs.read_targets(val, data.training(0, 1).domains)
  look = functools.partial(
    outputs.look, _translator(name, 8), targets, jax.random.key(0)
  )
  found = look()
  assert found == look() and np.isfinite(list(found.values())).all()
  watcher = collapse.Watcher(system.names.COLLAPSE_SIGNS, 2)
  told = [watcher.update({'step': step, **found}) for step in (1, 2, 3)]
  assert watcher.state() is collapse.State.NOT_BEGUN, found
  assert told[:2] == [[], []] and len(told[2]) == 1


@pytest.mark.slow
@pytest.mark.parametrize('divided', [False, True])
@every_answer
def test_two_devices_have_the_metrics_of_one(name, iteration, divided):
  system = _system(name)
  _, _, metrics = _one_step(name, iteration)
  mesh = sharding.create_mesh(len(jax.tree.leaves(system.batch)[0]))
  assert mesh.size == 2
  state = _fresh(name, iteration)
  shardings = sharding.state_shardings(state, mesh, divided)
  state = sharding.place(state, shardings)
  batch = jax.device_put(system.batch, sharding.batch_sharding(mesh))
  key = sharding.replicate(jax.random.key(0), mesh)
  after, got = jax.jit(_train_step(name, iteration))(state, {}, batch, key)
  assert after.step == iteration + 1
  assert got.keys() == metrics.keys()
  for term, value in metrics.items():
    np.testing.assert_allclose(
      got[term], value, rtol=1e-4, atol=1e-5, err_msg=term
    )
  largest = max(jax.tree.leaves(after.params), key=np.size)
  assert largest.sharding.is_fully_replicated != divided
