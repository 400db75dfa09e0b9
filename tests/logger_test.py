import functools
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from clu import asynclib
from etils import epath

from jaxgan.runs import collapse, logger
from jaxgan.runs.logger import Logger
from jaxgan.runtime import errors, images

_GRIDS = {'reference': np.zeros((4, 6, 3), np.uint8)}


def _logger(tmp_path, write_report=lambda: None):
  create_watcher = functools.partial(collapse.Watcher, [], 10)
  return Logger(epath.Path(tmp_path), 0, 10, 2, create_watcher, write_report)


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

  monkeypatch.setattr(log._writer, 'write_scalars', refuse)
  message = 'TensorBoard events: run/events; No space left on device$'
  with pytest.raises(errors.UserError, match=message):
    log.write_metrics(1, {'loss': np.float32(1)})
  log.close()
