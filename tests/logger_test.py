import functools
import inspect
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from clu import asynclib, metric_writers
from etils import epath

from jaxgan import loop
from jaxgan.runs import collapse, logger, wandb_writer
from jaxgan.runs.logger import Logger
from jaxgan.runtime import errors, images
from tests import tiny_pix2pix

_GRIDS = {'reference': np.zeros((4, 6, 3), np.uint8)}


def _logger(tmp_path, write_report=lambda: None, create_writer=None):
  create_watcher = functools.partial(collapse.Watcher, [], 10)
  return Logger(
    epath.Path(tmp_path),
    0,
    10,
    2,
    create_watcher,
    write_report,
    create_writer,
  )


def test_images_are_written_while_the_run_goes_on(tmp_path, monkeypatch):
  write_png, go_on = images.write_png, threading.Event()

  def write_slowly(path, image):
    assert go_on.wait(60)
    write_png(path, image)

  monkeypatch.setattr(images, 'write_png', write_slowly)
  log = _logger(tmp_path)
  log.write_images(3, _GRIDS)
  path = tmp_path / 'samples' / '3' / 'reference.png'
  assert not path.exists()
  go_on.set()
  log.close()
  assert path.exists()


def test_where_curves_are_is_said_where_there_are_events(
  tmp_path, monkeypatch, capsys
):
  directory = tmp_path / 'my run'
  directory.mkdir()
  _logger(directory).close()
  assert capsys.readouterr().out == (
    f"curves: tensorboard --logdir='{directory}', or "
    f"'{directory}'/report/index.html\n"
  )
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  _logger(directory).close()
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith('no TensorBoard events: ')


def test_the_report_is_made_with_samples_after_a_while_and_at_the_end(
  tmp_path, monkeypatch
):
  made = []
  log = _logger(tmp_path, lambda: made.append(len(made)))
  expected = []
  for seconds, act, count in (
    (300, lambda: log.write_metrics(1, {'loss': np.float32(1)}), 1),
    (300, lambda: log.write_metrics(2, {'loss': np.float32(1)}), 1),
    (300, lambda: log.write_images(2, _GRIDS), 2),
    (300, lambda: log.write_metrics(3, {'loss': np.float32(1)}), 2),
    (0, lambda: log.write_metrics(4, {'loss': np.float32(1)}), 3),
    (300, log.close, 4),
  ):
    monkeypatch.setattr(logger, '_REPORT_SECONDS', seconds)
    act()
    log.wait()
    expected.append((len(made), count))
  assert all(got == count for got, count in expected), expected


def test_images_that_cannot_be_written_are_told(tmp_path):
  (tmp_path / 'samples').write_text('not a directory')
  log = _logger(tmp_path)
  log.write_images(3, _GRIDS)
  with pytest.raises(OSError, match='samples'):
    log.write_images(6, _GRIDS)
  log.close()  # told once

  log = _logger(tmp_path)
  log.write_images(3, _GRIDS)
  with pytest.raises(OSError, match='samples'):
    log.close()


def test_events_that_cannot_be_written_are_told(tmp_path, monkeypatch):
  log = _logger(tmp_path)

  def refuse(*args):
    del args
    message = (
      '{{function_node x}} run/events; No space left on device\n\tFailed'
    )
    error = tf.errors.ResourceExhaustedError(None, None, message)
    raise asynclib.AsyncError('see its cause') from error

  monkeypatch.setattr(log._writers[0], 'write_scalars', refuse)
  message = 'TensorBoard events: run/events; No space left on device$'
  with pytest.raises(errors.UserError, match=message):
    log.write_metrics(1, {'loss': np.float32(1)})
  log.close()


class _Wandb:
  """Weights & Biases, whose calls are kept; `fails` raises in their place."""

  def __init__(self):
    self.started, self.logged, self.fails = [], [], None
    self.finished = 0
    self.url, self.offline = 'https://wandb.ai/me/cats/runs/1', False

  def Settings(self, **settings):
    return settings

  def Image(self, x):
    return x.shape, x.dtype

  def init(self, **options):
    self.started.append(options)
    return self

  def define_metric(self, name, step_metric):
    assert (name, step_metric) == ('*', 'step')

  def log(self, values):
    if self.fails:
      raise self.fails
    self.logged.append(values)

  def finish(self):
    self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
  module = _Wandb()
  monkeypatch.setitem(sys.modules, 'wandb', module)
  return module


def _create_writer(tmp_path, project='me/cats'):
  config = tiny_pix2pix.config(data__root='/home/me/photos')
  path = epath.Path(tmp_path)
  return functools.partial(wandb_writer.Writer, path, project, config)


def test_weights_and_biases_get_metrics_samples_and_settings(wandb, tmp_path):
  for _ in range(2):
    log = _logger(tmp_path, create_writer=_create_writer(tmp_path))
    log.write_metrics(1, {'loss': np.float32(3)})
    log.write_images(2, _GRIDS)
    log.close()
  first, second = wandb.started
  assert first['project'] == 'cats' and first['entity'] == 'me'
  assert first['name'] == tmp_path.name and first['dir'] == str(tmp_path)
  assert first['config']['model.dim'] == 2
  assert '/home/me' not in str(first['config'])
  assert first['settings']['console'] == 'off'
  assert first['settings']['x_disable_meta']
  assert second['id'] == first['id'] and second['resume'] == 'allow'
  scalars, samples = wandb.logged[:2]
  assert scalars['step'] == 1 and scalars['loss'] == 3
  assert samples == {'step': 2, 'samples/reference': ((4, 6, 3), np.uint8)}
  assert len(wandb.logged) == 4 and wandb.finished == 2
  _create_writer(tmp_path, 'dogs')(print)
  assert wandb.started[2]['id'] != first['id']
  assert wandb.started[2]['entity'] is None


def test_failures_of_weights_and_biases_end_no_run(wandb, tmp_path, capsys):
  log = _logger(tmp_path, create_writer=_create_writer(tmp_path))
  wandb.fails = ConnectionError('no\nnetwork')
  for step in (1, 2):
    log.write_metrics(step, {'loss': np.float32(1)})
  log.write_images(2, _GRIDS)
  log.close()
  line = 'nothing is sent to Weights & Biases from here on: no network'
  assert capsys.readouterr().out.splitlines().count(line) == 1
  assert not wandb.logged and not wandb.finished


def test_missing_weights_and_biases_are_told_before_the_work(
  monkeypatch, tmp_path
):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  path = tmp_path / 'run'
  with pytest.raises(errors.UserError, match='^--wandb needs wandb .*: pip in'):
    loop.train(tiny_pix2pix.config(), str(path), wandb='cats')
  assert not path.exists()


def test_weights_and_biases_offline(monkeypatch, tmp_path, capsys):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  log = _logger(tmp_path, create_writer=_create_writer(tmp_path))
  log.write_metrics(1, {'loss': np.float32(3)})
  log.write_images(2, _GRIDS)
  log.close()
  (folder,) = (tmp_path / 'wandb').glob('offline-run-*')
  said = capsys.readouterr().out
  assert f'offline, to be sent by: wandb sync {folder}\n' in said
  assert 'nothing is sent' not in said
  assert list(folder.glob('run-*.wandb'))
  assert list(folder.glob('files/media/images/samples/reference*.png'))


def test_the_writer_takes_what_those_of_clu_take():
  for name in ('write_scalars', 'write_images', 'close'):
    ours, theirs = (
      list(inspect.signature(getattr(kind, name)).parameters)
      for kind in (wandb_writer.Writer, metric_writers.MetricWriter)
    )
    assert ours == theirs
