import functools
import threading

import numpy as np
import pytest
import tensorflow as tf
from clu import asynclib
from etils import epath

from jaxgan import collapse, errors, images
from jaxgan.logger import Logger

_GRIDS = {'reference': np.zeros((4, 6, 3), np.uint8)}


def _logger(tmp_path):
  create_watcher = functools.partial(collapse.Watcher, [], 10)
  return Logger(epath.Path(tmp_path), 0, 10, 2, create_watcher, lambda: None)


def test_images_are_written_while_the_run_goes_on(tmp_path, monkeypatch):
  write_png, go_on = images.write_png, threading.Event()

  def write_slowly(path, image):
    assert go_on.wait(60)
    write_png(path, image)

  monkeypatch.setattr(images, 'write_png', write_slowly)
  logger = _logger(tmp_path)
  logger.write_images(3, _GRIDS)
  path = tmp_path / 'samples' / '3' / 'reference.png'
  assert not path.exists()
  go_on.set()
  logger.close()
  assert path.exists()


def test_images_that_cannot_be_written_are_told(tmp_path):
  (tmp_path / 'samples').write_text('not a directory')
  logger = _logger(tmp_path)
  logger.write_images(3, _GRIDS)
  with pytest.raises(OSError, match='samples'):
    logger.write_images(6, _GRIDS)
  logger.close()  # told once

  logger = _logger(tmp_path)
  logger.write_images(3, _GRIDS)
  with pytest.raises(OSError, match='samples'):
    logger.close()


def test_events_that_cannot_be_written_are_told(tmp_path, monkeypatch):
  logger = _logger(tmp_path)

  def refuse(*args):
    del args
    message = (
      '{{function_node x}} run/events; No space left on device\n\tFailed'
    )
    error = tf.errors.ResourceExhaustedError(None, None, message)
    raise asynclib.AsyncError('see its cause') from error

  monkeypatch.setattr(logger._writer, 'write_scalars', refuse)
  message = 'TensorBoard events: run/events; No space left on device$'
  with pytest.raises(errors.UserError, match=message):
    logger.write_metrics(1, {'loss': np.float32(1)})
  logger.close()
