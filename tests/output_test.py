"""Output that fails ends no program."""

import io
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from jaxgan.runtime import output

ROOT = pathlib.Path(__file__).parent.parent

_RUN = """
import sys
from absl import logging
from jaxgan.runtime import cli

def main():
  print('a' * 100_000, flush=True)
  print('\\u00fc')
  logging.warning('a warning')
  open(sys.argv[0] + '.done', 'w').close()

cli.run(main, sys.argv[:1]{})
"""


@pytest.fixture
def program(tmp_path):
  path = tmp_path / 'program.py'

  def run(shell, arguments=''):
    path.write_text(_RUN.format(arguments))
    done = path.with_name('program.py.done')
    done.unlink(missing_ok=True)
    result = subprocess.run(
      ['bash', '-c', f'{shell}; echo "status ${{PIPESTATUS[0]}}" >&2'],
      env={
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'P': f'{sys.executable} {path}',
      },
      capture_output=True,
      text=True,
    )
    assert done.exists(), result.stderr
    return result.stderr

  return run


def test_nobody_reads(program):
  assert program('$P | true').endswith('status 0\n')
  assert program('$P 2>&1 >&- | true').endswith('status 0\n')


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_a_full_disk_is_told_where_the_output_is_the_result(program):
  err = program('$P > /dev/full')
  assert err.endswith(
    'error: standard output cannot be written ([Errno 28] No space left on '
    'device)\nstatus 1\n'
  )
  err = program('$P > /dev/full', ', keeps_records=True')
  assert 'error' not in err and err.endswith('status 0\n')


def test_a_warning_is_told_once(program):
  assert program('$P > /dev/null').count('a warning') == 1


def test_an_encoding_without_the_letters(program):
  err = program('PYTHONIOENCODING=ascii:strict $P | tail -1 >&2')
  assert '\\xfc' in err and err.endswith('status 0\n')


def test_streams_come_back_unless_they_failed(monkeypatch):
  class Broken(io.StringIO):
    def write(self, text):
      raise BrokenPipeError

  good, broken = io.StringIO(), Broken()
  monkeypatch.setattr(sys, 'stdout', good)
  monkeypatch.setattr(sys, 'stderr', broken)
  with output.tolerant(), output.tolerant():
    print('a')
    print('b', file=sys.stderr)
  assert sys.stdout is good and good.getvalue() == 'a\n'
  sys.stderr.write('still')  # as Python at its end


def test_a_handler_that_prints_while_the_program_does(monkeypatch):
  class Busy(io.StringIO):
    def write(self, text):
      raise RuntimeError('reentrant call')

  monkeypatch.setattr(sys, 'stdout', Busy())
  with output.tolerant():
    signal.signal(signal.SIGALRM, lambda *_: print('alarm'))
    signal.raise_signal(signal.SIGALRM)
