import errno
import io
import itertools
import json
import os
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan import evaluation, loop
from jaxgan.data.contracts import paired
from jaxgan.inference import outputs
from jaxgan.nets import unet
from jaxgan.runs import checkpoint, collapse, workdir
from jaxgan.runtime import errors, sharding
from jaxgan.systems import contract, pix2pix, stargan_v2
from jaxgan.training import state as state_lib
from tests import cells, tiny, tiny_pix2pix


def _final_run(workdir):
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return contract.open_run(workdir, device)


def _said(directory):
  history = workdir.read_history(epath.Path(directory))
  return [record['said'] for record in history if 'said' in record]


def _lines(workdir):
  return (workdir / 'metrics.jsonl').read_text().splitlines()


@pytest.fixture(scope='module', autouse=True)
def every_run_draws():
  """Dropout in the smallest U-Net, too: else its runs need no random key."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(unet, 'FIRST_DROPPED', 1)
    yield


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run of four steps."""
  workdir = tmp_path_factory.mktemp('runs') / 'finished'
  loop.train(tiny.config(sample_every_steps=3), str(workdir))
  return workdir


@pytest.fixture(scope='module')
def smallest(tmp_path_factory):
  """The same of the system that compiles fastest, for what the loop does."""
  workdir = tmp_path_factory.mktemp('runs') / 'smallest'
  config = tiny_pix2pix.config(sample_every_steps=3)
  with pytest.MonkeyPatch.context() as patch:
    _look_often(patch)
    loop.train(config, str(workdir))
  return workdir


def _look_often(monkeypatch):
  """At outputs, in every second step; else runs of four are never looked at."""
  monkeypatch.setattr(outputs, 'LOOK_EVERY_STEPS', 2)


def _assert_same_run(a, b):
  run_a, run_b = _final_run(a), _final_run(b)
  assert run_a.step == run_b.step
  jax.tree.map(np.testing.assert_array_equal, run_a.state, run_b.state)
  assert (a / 'metrics.jsonl').read_bytes() == (
    b / 'metrics.jsonl'
  ).read_bytes()


def test_run_leaves_what_it_promises(finished):
  assert [json.loads(line)['step'] for line in _lines(finished)] == [1, 2, 3, 4]
  assert all(np.isfinite(list(json.loads(_lines(finished)[-1]).values())))
  config = json.loads((finished / 'config.json').read_text())
  assert config['system'] == 'stargan_v2'
  assert config['data']['domains'] == ['circle', 'square', 'triangle']
  assert config['model']['num_domains'] == 3
  assert sorted(p.name for p in (finished / 'checkpoints').iterdir()) == [
    '2',
    '4',
  ]
  for step in ('3', '4'):
    names = {p.name for p in (finished / 'samples' / step).iterdir()}
    assert names == {
      'reference.png',
      'latent_psi0.5.png',
      'latent_psi0.7.png',
      'latent_psi1.0.png',
      'cycle.png',
    }
  with Image.open(finished / 'samples' / '4' / 'reference.png') as image:
    shown = cells.read(np.asarray(image), 32, rows=9, columns=9)
  assert shown[0, 0].min() == 255  # no source is there, and no reference
  assert list(finished.glob('events.out.tfevents*'))


def test_outputs_are_looked_at_now_and_then(smallest):
  records = list(workdir.read_metrics(epath.Path(smallest)))
  assert [collapse.NOISE in record for record in records] == [
    *(False, True),
    *(False, True),
  ]
  run = _final_run(smallest)
  val = run.system.create_data(run.config).evaluation()[1]
  key = jax.random.split(jax.random.key(run.config.seed), 3)[2]
  targets = outputs.read_targets(val, run.config.data.domains)
  found = outputs.look(run.translator(8), targets, key)
  assert found == {key: records[-1][key] for key in collapse.LIMITS}
  page = (smallest / 'report' / 'index.html').read_text()
  assert 'At step 4 outputs are ' in page


def test_history_and_report_tell_of_every_start(finished):
  history = list(workdir.read_history(epath.Path(finished)))
  (start,) = [r['start'] for r in history if 'start' in r]
  assert start['devices'] == '2 x cpu' and start['jax'] == jax.__version__
  speeds = [r for r in history if 'images_per_s' in r]
  assert [r['step'] for r in speeds] == [1, 2, 3, 4]
  assert '2 x cpu, 1 process, float32' in _said(finished)
  assert _said(finished)[-2:] == [
    f'step 4: samples in {finished}/samples/4',
    'done: step 4 of 4',
  ]
  assert 'step 4: drawing samples ...' in _said(finished)
  page = (finished / 'report' / 'index.html').read_text()
  for text in ('4 of 4', '2 x cpu', 'done: step 4 of 4', 'G diversity'):
    assert text in page


def test_an_error_is_told_in_the_report(tmp_path, monkeypatch):
  monkeypatch.setattr(stargan_v2, 'train_step', lambda *a, **k: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    loop.train(tiny.config(), str(tmp_path))
  page = (tmp_path / 'report' / 'index.html').read_text()
  assert 'ended by an error: ZeroDivisionError: division by zero' in page


def test_stopped_and_resumed_is_never_stopped(
  smallest, tmp_path, monkeypatch, capsys
):
  sign = collapse.Sign('lr', 3.0, 'low', 'raise it')
  monkeypatch.setattr(pix2pix, 'COLLAPSE_SIGNS', (sign,))
  monkeypatch.setattr(collapse, 'MIN_WINDOW', 2)
  _look_often(monkeypatch)
  config = {'checkpoint_every_steps': 100}
  for end in (1, 3, 4):
    loop.train(
      tiny_pix2pix.config(num_train_steps=end, **config), str(tmp_path)
    )
  _assert_same_run(smallest, tmp_path)
  # Of values of the first two runs; the third knows that it was told.
  out = capsys.readouterr().out
  assert out.count('warning: ') == 1
  assert 'step 2: lr 0.001, below 3 in 2 of the last 2 values' in out


def test_metrics_are_cut_back_to_the_resumed_step(
  smallest, tmp_path, monkeypatch
):
  _look_often(monkeypatch)
  loop.train(tiny_pix2pix.config(num_train_steps=2), str(tmp_path))
  with (tmp_path / 'metrics.jsonl').open('a') as f:
    f.write('{"step": 3, "D/loss_real": 9.0}\n{"step": 4, "D/lo')
  loop.train(tiny_pix2pix.config(), str(tmp_path))
  _assert_same_run(smallest, tmp_path)


class _Lost(io.StringIO):
  """As standard output whose reader is gone, or whose disk is full."""

  def write(self, text):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_any_signal_to_stop_saves_though_nobody_reads(
  smallest, tmp_path, monkeypatch
):
  training = paired.Data.training

  def killing(*args):
    data = training(*args)
    slots = data.source.feed.__self__
    real = slots.batches

    def send_at_batch_three(start_step):
      for i, batch in enumerate(real(start_step)):
        if i == 3:
          os.kill(os.getpid(), signal.SIGTERM)
        yield batch

    slots.batches = send_at_batch_three
    return data

  monkeypatch.setattr(paired.Data, 'training', killing)
  _look_often(monkeypatch)
  monkeypatch.setattr(sys, 'stdout', _Lost())
  loop.train(tiny_pix2pix.config(num_train_steps=50), str(tmp_path))
  assert _said(tmp_path)[-1].startswith('stopped by SIGTERM: step ')
  assert 1 <= _final_run(tmp_path).step <= 3
  monkeypatch.undo()
  _look_often(monkeypatch)
  loop.train(tiny_pix2pix.config(), str(tmp_path))
  _assert_same_run(smallest, tmp_path)


def test_broken_data_does_not_lose_the_steps_before_it(tmp_path, monkeypatch):
  training = paired.Data.training

  def breaking(*args):
    data = training(*args)
    slots = data.source.feed.__self__
    real = slots.batches

    def end_at_step_three(start_step):
      yield from itertools.islice(real(start_step), 3)
      raise errors.UserError('x.png cannot be read')

    slots.batches = end_at_step_three
    return data

  monkeypatch.setattr(paired.Data, 'training', breaking)
  config = tiny_pix2pix.config(num_train_steps=9, checkpoint_every_steps=100)
  with pytest.raises(errors.UserError, match='x.png'):
    loop.train(config, str(tmp_path))
  assert _final_run(tmp_path).step >= 1


@pytest.mark.slow
@pytest.mark.parametrize('span', [(1, 2), (2, 100)])
def test_profile_is_written_whatever_the_span(tmp_path, span):
  for end in (2, 3):  # the second begins inside the span, or after it
    loop.train(
      tiny_pix2pix.config(num_train_steps=end), str(tmp_path), profile=span
    )
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


@pytest.mark.slow
@pytest.mark.parametrize(
  'overrides',
  [{'model__dtype': 'bfloat16'}, {'data__domains': ('square',)}],
  ids=['bfloat16', 'one_domain'],
)
def test_other_settings_train(tmp_path, overrides):
  loop.train(tiny.config(num_train_steps=2, **overrides), str(tmp_path))
  run = _final_run(tmp_path)
  assert run.step == 2 and len(_lines(tmp_path)) == 2
  leaves = jax.tree.leaves(run.state.params)
  assert {x.dtype for x in leaves} == {np.dtype('float32')}


def test_nothing_is_saved_after_a_nan(tmp_path, monkeypatch):
  real = pix2pix.train_step

  def breaking(*args):
    new, metrics = real(*args)
    value = metrics['D/loss_real']
    metrics['D/loss_real'] = jnp.where(new.step >= 3, jnp.nan, value)
    return new, metrics

  monkeypatch.setattr(pix2pix, 'train_step', breaking)
  with pytest.raises(
    errors.UserError, match='^D/loss_real became NaN .* step 3'
  ):
    loop.train(tiny_pix2pix.config(log_every_steps=100), str(tmp_path))
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['2']


def _break_loss(step, metrics, params):
  """Loss and parameters become NaN in step 3."""
  broken = jnp.where(step == 3, jnp.nan, 0.0)
  params = jax.tree.map(lambda x: x + broken.astype(x.dtype), params)
  return {key: x + broken for key, x in metrics.items()}, params


def _break_update(step, metrics, params):
  """Parameters become NaN in step 3, and the losses after it."""
  return metrics, _break_loss(step, metrics, params)[1]


def _break_always(step, metrics, params):
  return {key: x + jnp.nan for key, x in metrics.items()}, params


def _train_breaking(monkeypatch, breaking, workdir, **overrides):
  real = pix2pix.train_step

  def step_fn(*args):
    new, metrics = real(*args)
    metrics, params = breaking(new.step, metrics, new.params)
    return new.replace(params=params), metrics

  with monkeypatch.context() as patch:
    patch.setattr(pix2pix, 'train_step', step_fn)
    loop.train(tiny_pix2pix.config(on_nan='restore', **overrides), str(workdir))


@pytest.mark.parametrize(
  'breaking, left_out, tries',
  [(_break_loss, [3], 1), (_break_update, [3, 4], 2)],
)
def test_a_step_that_breaks_the_run_is_left_out(
  tmp_path, monkeypatch, capsys, breaking, left_out, tries
):
  whole, stopped = tmp_path / 'whole', tmp_path / 'stopped'
  _train_breaking(monkeypatch, breaking, whole, num_train_steps=6)
  said = capsys.readouterr().out
  assert f'back to step 2, try {tries} of 3 without step 3' in said
  assert said.count('compiling the step') == 1
  steps = [json.loads(line)['step'] for line in _lines(whole)]
  assert steps == [i for i in range(1, 7) if i not in left_out]
  checkpointer = checkpoint.Checkpointer(whole / 'checkpoints', read_only=True)
  metadata = checkpointer.metadata(6)
  checkpointer.close()
  assert (metadata['steps_left_out'], metadata['tries']) == (left_out, tries)
  for end in (5, 6):
    _train_breaking(monkeypatch, breaking, stopped, num_train_steps=end)
  _assert_same_run(whole, stopped)


def test_a_run_that_breaks_always_gives_up(tmp_path, monkeypatch):
  with pytest.raises(
    errors.UserError,
    match='step 4, after try 3 of 3 without step 1, 2, 3: look for black',
  ):
    _train_breaking(monkeypatch, _break_always, tmp_path)


def test_a_changed_setting_stops_a_resumed_run(finished):
  with pytest.raises(
    errors.ConfigMismatchError, match='lambda_cyc: 1.0 -> 3.0'
  ) as error:
    loop.train(tiny.config(hparams__lambda_cyc=3.0), str(finished))
  assert error.value.exit_status == 2


def test_init_from_takes_weights_by_domain(finished, tmp_path, monkeypatch):
  # The networks stay, so that what is saved is what was taken.
  monkeypatch.setattr(
    stargan_v2,
    'train_step',
    lambda model, s, *_: (s.replace(step=s.step + 1), {'x': 0.0}),
  )
  monkeypatch.setattr(stargan_v2, 'grids', lambda *_: {}, raising=False)
  loop.train(
    tiny.config(num_train_steps=1, data__domains=('square', 'circle')),
    str(tmp_path),
    init_from=str(finished),
  )
  old, run = _final_run(finished).state, _final_run(tmp_path)
  assert run.step == 1
  assert list(run.config.data.domains) == ['circle', 'square']
  kernels = []
  for expected, got in (
    (old.params, run.state.params),
    (old.ema_params, run.state.ema_params),
  ):
    expected, got = expected['style_encoder'], got['style_encoder']
    kernels.append(expected['conv4']['kernel'])
    np.testing.assert_array_equal(got['conv4']['kernel'], kernels[-1])
    np.testing.assert_array_equal(
      got['heads']['kernel'], expected['heads']['kernel'][:2]
    )
  live, ema = kernels
  assert np.any(live != ema)


def test_what_processes_must_have_alike_is_compared(tmp_path, monkeypatch):
  compared = {}
  monkeypatch.setattr(sharding, 'check_same', compared.update)
  with pytest.raises(errors.UserError, match='not divisible'):
    loop.train(tiny.config(batch_size=3), str(tmp_path))
  assert compared['--workdir'] == str(tmp_path)
  assert compared['--config.batch_size'] == 3
  assert '--config.optim.lr' in compared and '--init_from' in compared
  assert '--config.data.root' not in compared  # hosts may differ


@pytest.fixture
def by_turns(monkeypatch):
  """A system of one number: D in each iteration, G in each second one.

  Returns:
    The phases of each iteration that has been traced.
  """
  traced = []

  def init_state(model, rng):
    return state_lib.create({'net': {'w': jnp.zeros(3)}}, {})

  def train_step(model, state, frozen, batch, rng, phases):
    traced.append(phases)
    params = jax.tree.map(lambda x: x + len(phases), state.params)
    state = state.replace(step=state.step + 1, params=params)
    return state, {f'{name}_loss': 10.0 * state.step for name in phases}

  names = {
    'init_state': init_state,
    'train_step': train_step,
    'inference_params': lambda state: state.params,
    'phases_at': lambda model, step: ('D', 'G') if step % 2 else ('D',),
    'grids': lambda *args: {},
  }
  for name, value in names.items():
    monkeypatch.setattr(stargan_v2, name, value, raising=False)
  return traced


def test_iterations_of_other_phases_are_compiled_at_the_start(
  by_turns, tmp_path, monkeypatch, capsys
):
  traced_at_calls = []
  call = loop._Program.__call__

  def noting(self, *args):
    traced_at_calls.append(set(by_turns))
    return call(self, *args)

  monkeypatch.setattr(loop._Program, '__call__', noting)
  loop.train(tiny.config(num_train_steps=5), str(tmp_path))
  both = {('D',), ('D', 'G')}
  assert traced_at_calls == 5 * [both]
  assert capsys.readouterr().out.count('compiling the step') == 1
  # One line for each, of what it has computed.
  lines = [json.loads(line) for line in _lines(tmp_path)]
  assert lines == [
    {'step': 1, 'D_loss': 10},
    {'step': 2, 'D_loss': 20, 'G_loss': 20},
    {'step': 3, 'D_loss': 30},
    {'step': 4, 'D_loss': 40, 'G_loss': 40},
    {'step': 5, 'D_loss': 50},
  ]
  w = _final_run(tmp_path).state.params['net']['w']
  np.testing.assert_array_equal(w, 3 * [7])


def test_iterations_that_do_not_come_are_not_compiled(by_turns, tmp_path):
  loop.train(tiny.config(num_train_steps=1), str(tmp_path))
  assert set(by_turns) == {('D',)}
  loop.train(tiny.config(num_train_steps=2), str(tmp_path))
  assert by_turns[-1] == ('D', 'G')
  assert [len(json.loads(line)) for line in _lines(tmp_path)] == [2, 3]


@pytest.mark.parametrize('last', [4, 5])
def test_a_nan_in_a_phase_that_runs_now_and_then_is_noticed(
  by_turns, tmp_path, monkeypatch, last
):
  real = stargan_v2.train_step

  def breaking(*args, phases):
    state, metrics = real(*args, phases=phases)
    if 'G' in phases:
      broken = state.step == 4
      metrics['G_loss'] = jnp.where(broken, jnp.nan, metrics['G_loss'])
    return state, metrics

  monkeypatch.setattr(stargan_v2, 'train_step', breaking)
  config = tiny.config(
    num_train_steps=last, log_every_steps=100, checkpoint_every_steps=3
  )
  message = '^G_loss became NaN or infinite in step 4: look'
  with pytest.raises(errors.UserError, match=message):
    loop.train(config, str(tmp_path))
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['3']


# With the loop's feed. The battery does every system, without it and slowly.
@pytest.mark.parametrize('divided', [False, True])
def test_two_devices_learn_what_one_learns(divided):
  model, state = tiny_pix2pix.create()
  run = jax.jit(
    lambda s, b: pix2pix.train_step(model, s, {}, b, jax.random.key(0))
  )
  one, metrics_one = run(state, tiny_pix2pix.batch())
  mesh = sharding.create_mesh(tiny_pix2pix.BATCH)
  assert mesh.size == 2
  batch = next(sharding.prefetch_to_devices([tiny_pix2pix.batch()], mesh))
  shardings = sharding.state_shardings(state, mesh, divided)
  shared = jax.device_put(state, shardings)
  two, metrics_two = run(shared, batch)
  assert one.step == two.step == 1
  assert len(batch['x_a'].addressable_shards[0].data) == 1
  for key, value in metrics_one.items():
    np.testing.assert_allclose(metrics_two[key], value, rtol=2e-4, err_msg=key)
  kernel = two.params['generator']['down_1']['kernel']
  assert kernel.sharding.is_fully_replicated != divided


def test_a_divided_state_trains_samples_and_resumes_as_a_whole_one(
  smallest, tmp_path
):
  workdir = str(tmp_path / 'run')
  for end, divided in ((1, True), (2, False), (4, True)):
    overrides = {'num_train_steps': end, 'shard_state': divided}
    loop.train(tiny_pix2pix.config(**overrides, sample_every_steps=3), workdir)
  first, whole = (
    json.loads(_lines(path)[0]) for path in (tmp_path / 'run', smallest)
  )
  for key, value in whole.items():
    # Later steps part company: Adam divides by what is nearly 0 at first.
    np.testing.assert_allclose(first[key], value, rtol=2e-4, err_msg=key)
  assert len(_lines(tmp_path / 'run')) == 4
  assert (tmp_path / 'run/samples/4/contour2filled.png').exists()


def test_eval_scores_a_run(finished):
  values = evaluation.evaluate_run(str(finished))
  assert values['shapes/real/domain_accuracy'] == 1.0
  assert values['shapes/real/position_error_px'] < 0.1
  assert 0 <= values['shapes/latent/domain_accuracy'] <= 1
  with pytest.raises(errors.UserError, match='step 3 .* but: 2, 4'):
    evaluation.evaluate_run(str(finished), step=3)
