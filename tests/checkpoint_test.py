import contextlib
import json
import logging
import os
import resource
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import tensorstore
from absl import logging as absl_logging

from jaxgan.runs import checkpoint
from jaxgan.runtime import errors, sharding
from jaxgan.training.state import State


def _state(value: float) -> State:
  params = {'net': {'w': jnp.full((64, 3), value), 'b': jnp.arange(3.0)}}
  return State(
    step=jnp.int32(value),
    params=params,
    opt_state={'net': optax.adam(1e-3).init(params['net'])},
    ema_params=jax.tree.map(jnp.copy, params),
  )


@pytest.fixture
def saved(tmp_path):
  """Checkpoints of steps 1, 2 and 3 in a directory."""
  checkpointer = checkpoint.Checkpointer(tmp_path / 'checkpoints', keep=5)
  for step in (1, 2, 3):
    checkpointer.save(step, _state(step), {'domains': ['a', 'b']})
  checkpointer.close()
  return tmp_path / 'checkpoints'


def _restore(directory, step=None, read_only=False):
  checkpointer = checkpoint.Checkpointer(directory, read_only=read_only)
  restored = checkpointer.restore(_state(0), step)
  if restored and not read_only:
    checkpointer.drop_after(restored[1])
  checkpointer.close()
  return restored


def _largest_file(directory):
  return max(
    (p for p in directory.rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )


def test_what_is_saved_comes_back(saved):
  state, step = _restore(saved)
  assert step == 3
  jax.tree.map(np.testing.assert_array_equal, state, _state(3))
  state, step = _restore(saved, step=2)
  assert step == 2 and int(state.step) == 2


def test_nothing_to_restore(tmp_path):
  assert _restore(tmp_path / 'none') is None


def test_layout_is_plain(saved):
  facts = json.loads((saved / '3' / 'facts' / 'metadata').read_text())
  assert facts == {'format': 2, 'step': 3, 'domains': ['a', 'b']}
  tree = ocp.StandardCheckpointer().restore(saved / '3' / 'state')
  parts = {'step', 'params', 'opt_state', 'ema_params', 'memory', 'variables'}
  assert set(tree) == parts
  np.testing.assert_array_equal(tree['params']['net']['w'], np.full((64, 3), 3))
  np.testing.assert_array_equal(tree['opt_state']['net']['0']['count'], 0)


def test_sums_are_what_sha256sum_reads(saved):
  subprocess.run(
    ['sha256sum', '--quiet', '-c', 'sha256sums.txt'],
    cwd=saved / '3',
    check=True,
  )


def _flip_a_bit(directory):
  path = _largest_file(directory / 'state')
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def _truncate(directory):
  path = _largest_file(directory / 'state')
  path.write_bytes(path.read_bytes()[:-1])


def _remove(directory):
  _largest_file(directory / 'state').unlink()


def _empty(directory):
  for path in directory.rglob('*'):
    if path.is_file():
      path.write_bytes(b'')


@pytest.mark.parametrize('damage', [_flip_a_bit, _truncate, _remove, _empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
  saved, damage, caplog
):
  absl_logging.get_absl_logger().propagate = True
  damage(saved / '3')
  with caplog.at_level(logging.WARNING):
    state, step = _restore(saved, read_only=True)
  assert step == 2 and int(state.step) == 2
  assert str(saved / '3') in caplog.text
  assert (saved / '3').exists()  # a reader moves nothing

  _restore(saved)
  assert not (saved / '3').exists()
  assert (saved.parent / 'checkpoints.damaged' / '3').exists()
  checkpointer = checkpoint.Checkpointer(saved, keep=5)
  checkpointer.save(3, _state(3), {})
  checkpointer.close()
  assert _restore(saved)[1] == 3


def test_paths_become_absolute_but_for_buckets():
  assert str(checkpoint.absolute('runs/x')) == os.path.abspath('runs/x')
  assert str(checkpoint.absolute('gs://bucket/x')) == 'gs://bucket/x'


def test_all_damaged_is_an_error(saved):
  for step in (1, 2, 3):
    _flip_a_bit(saved / str(step))
  with pytest.raises(errors.UserError, match='no undamaged checkpoint'):
    _restore(saved)


def test_unknown_step_is_an_error(saved):
  with pytest.raises(errors.UserError, match='step 7 .* but: 1, 2, 3'):
    _restore(saved, step=7)


def test_committed_without_sums_is_used(saved):
  (saved / '3' / 'sha256sums.txt').unlink()
  assert _restore(saved)[1] == 3


def test_keeps_the_newest_and_the_multiples(tmp_path):
  checkpointer = checkpoint.Checkpointer(tmp_path, keep=2, keep_every_steps=4)
  for step in range(1, 8):
    checkpointer.save(step, _state(step), {})
  checkpointer.close()
  kept = checkpoint.Checkpointer(tmp_path, read_only=True).steps()
  assert kept == [4, 6, 7]


def test_a_state_of_another_shape_is_an_error(saved):
  checkpointer = checkpoint.Checkpointer(saved)
  other = _state(0)
  other.params['net']['w'] = jnp.zeros((5, 5))
  message = r'does not fit the config: params/net/w has shape \(64, 3\) there'
  with pytest.raises(errors.UserError, match=message):
    checkpointer.restore(other)
  checkpointer.close()


def test_what_cannot_be_written_is_told_in_a_line(saved):
  checkpointer = checkpoint.Checkpointer(saved, keep=5)
  size, most = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
  try:
    checkpointer.save(4, _state(4), {})
    message = r'cannot write a checkpoint to .*checkpoints \(File too large\)'
    with pytest.raises(errors.UserError, match=message):
      checkpointer.close()
    with pytest.raises(errors.UserError, match=message):
      checkpointer.close()  # as often as the loop asks
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
  assert _restore(saved)[1] == 3


def test_a_small_array_that_lies_on_many_devices_is_written_by_one(tmp_path):
  mesh = sharding.create_mesh(2)
  assert mesh.size == 2
  state = sharding.replicate({'a': np.ones((4, 6)), 'b': np.ones(8)}, mesh)
  with contextlib.closing(checkpoint.Checkpointer(tmp_path)) as checkpointer:
    checkpointer.save(1, state, {})
  store = {'driver': 'ocdbt', 'base': f'file://{tmp_path}/1/state/'}
  keys = tensorstore.KvStore.open(store).result().list().result()
  pieces = [key.decode() for key in keys if not key.endswith(b'.zarray')]
  assert sorted(pieces) == ['a/0.0', 'b/0']


def test_a_part_that_an_older_version_did_not_know_is_empty(tmp_path):
  old = {'step': jnp.int32(3), 'params': {'a': jnp.arange(4.0)}}
  checkpointer = checkpoint.Checkpointer(tmp_path)
  checkpointer.save(3, old, {})
  new = {**old, 'memory': {}}
  restored, step = checkpointer.restore(new)
  assert step == 3 and restored['memory'] == {}
  np.testing.assert_array_equal(restored['params']['a'], np.arange(4.0))
  with pytest.raises(errors.UserError, match='memory/pool has shape None'):
    checkpointer.restore({**new, 'memory': {'pool': jnp.zeros(2)}})
  checkpointer.close()


@pytest.mark.parametrize(
  'name', ['[old] run', 'run*', 'what?', '100%#1 ü', 'back\\slash', 'x\udcff']
)
def test_any_folder_name_will_do(tmp_path, name):
  directory = tmp_path / name / 'checkpoints'
  with contextlib.closing(checkpoint.Checkpointer(directory)) as checkpointer:
    checkpointer.save(1, _state(1), {})
  assert (directory / '1' / 'sha256sums.txt').exists()
  state, step = _restore(directory)
  assert step == 1
  jax.tree.map(np.testing.assert_array_equal, state, _state(1))


def test_a_bucket_that_orbax_cannot_use_is_refused_at_once():
  with pytest.raises(
    errors.UserError, match=r'in gs://a/\[b\]/checkpoints, be'
  ):
    checkpoint.Checkpointer('gs://a/[b]/checkpoints')


def test_what_cannot_be_read_back_is_not_saved(tmp_path, monkeypatch):
  # As Orbax below such a folder: it commits a checkpoint without arrays.
  monkeypatch.setattr(checkpoint, '_plain', contextlib.nullcontext)
  directory = tmp_path / '[old] run'
  checkpointer = checkpoint.Checkpointer(directory)
  checkpointer.save(1, _state(1), {})
  with pytest.raises(errors.UserError, match='1 was written and cannot be rea'):
    checkpointer.close()
  assert not (directory / '1' / 'sha256sums.txt').exists()


@pytest.mark.parametrize(
  'name',
  [
    '.DS_Store',
    'Thumbs.db',
    'desktop.ini',
    '.nfs0001',
    '@eaDir/x',
    'copy of d',
  ],
)
@pytest.mark.parametrize('folder', ['', 'state', 'state/d', 'facts'])
def test_foreign_files_are_named_and_ignored(saved, folder, name, caplog):
  absl_logging.get_absl_logger().propagate = True
  path = saved / '3' / folder / name
  path.parent.mkdir(exist_ok=True)
  path.touch()
  (saved / name.partition('/')[0]).touch()
  with caplog.at_level(logging.WARNING):
    assert _restore(saved)[1] == 3
  assert f'ignored: {path.relative_to(saved / "3")}\n' in caplog.text


def test_foreign_files_that_are_there_early_are_not_summed(
  tmp_path, monkeypatch
):
  read_back = checkpoint._read_back

  def and_a_file_manager(directory, shapes):
    read_back(directory, shapes)
    (tmp_path / '1' / '.DS_Store').touch()

  monkeypatch.setattr(checkpoint, '_read_back', and_a_file_manager)
  with contextlib.closing(checkpoint.Checkpointer(tmp_path)) as checkpointer:
    checkpointer.save(1, _state(1), {})
  sums = tmp_path / '1' / 'sha256sums.txt'
  assert '.DS_Store' not in sums.read_text()
  # An earlier version summed it; now it is gone.
  (tmp_path / '1' / '.DS_Store').unlink()
  sums.write_text(f'0  .DS_Store\n{sums.read_text()}')
  assert _restore(tmp_path)[1] == 1


def test_a_list_of_sums_cut_short_is_noticed(saved):
  sums = saved / '3' / 'sha256sums.txt'
  sums.write_text(''.join(sums.read_text().splitlines(keepends=True)[:-1]))
  assert _restore(saved)[1] == 2


def test_a_copy_under_another_number_is_not_gone_on_from(saved, caplog):
  absl_logging.get_absl_logger().propagate = True
  shutil.copytree(saved / '3', saved / '20260101')
  (saved / '202601011200').mkdir()  # named by a date
  with caplog.at_level(logging.WARNING):
    assert _restore(saved)[1] == 3
  assert '20260101 is damaged and not used: it is a copy of step 3' in (
    caplog.text
  )


def test_a_link_that_was_cleaned_away_is_made_again(tmp_path):
  directory = tmp_path / '[a]'
  with contextlib.closing(checkpoint.Checkpointer(directory)) as checkpointer:
    checkpointer.save(1, _state(1), {})
    checkpointer.wait()
    shutil.rmtree(os.path.dirname(checkpointer._orbax_directory))
    checkpointer.save(2, _state(2), {})
  assert _restore(directory)[1] == 2
