import os
import subprocess
import sys

import pytest

from jaxgan.data import reading
from jaxgan.runtime.errors import UserError

STUCK = """
import pathlib, sys
from jaxgan.data import reading
try:
  reading.read_in_time(pathlib.Path(sys.argv[1]).read_bytes, 0.1, lambda: 'x')
except reading.UserError:
  raise SystemExit(3)
"""


def _read(read, seconds=60.0):
  return reading.read_in_time(read, seconds, lambda: 'x.png')


def test_a_read_returns_and_raises_as_it_would(monkeypatch):
  monkeypatch.setattr(reading, '_idle', [])
  assert [_read(lambda i=i: i) for i in range(3)] == [0, 1, 2]
  with pytest.raises(FileNotFoundError, match='x.png'):
    _read(lambda: open('x.png'))
  assert len(reading._idle) == 1  # one thread has read all


def test_a_late_result_is_nobodys(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  with pytest.raises(UserError, match=r'x.png could not be read in 0.1 s: is'):
    _read((tmp_path / 'pipe').read_bytes, 0.1)
  (tmp_path / 'pipe').write_bytes(b'late')  # the reader left behind takes it
  assert [_read(lambda i=i: i) for i in range(3)] == [0, 1, 2]


def test_a_program_ends_although_a_read_does_not(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  command = [sys.executable, '-c', STUCK, str(tmp_path / 'pipe')]
  assert subprocess.run(command, timeout=60).returncode == 3
