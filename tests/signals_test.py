"""Signals that ask a run to end; that it then saves is tested by the loop."""

import signal

import pytest

from jaxgan.runtime import signals

DEFAULTS = dict.fromkeys(signals.STOPPING, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def as_of_a_terminal():
  """The handlers of a program that was started with none ignored."""
  before = {n: signal.signal(n, h) for n, h in DEFAULTS.items()}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_the_first_is_noted_and_the_second_kills(name, capsys):
  stop = signals.Stop()
  with stop.handled():
    assert not stop.requested(1)
    signal.raise_signal(signal.Signals[name])
    assert stop.requested(2) and stop.name == name
    for number in (signal.SIGINT, signal.SIGTERM):
      assert signal.getsignal(number) == DEFAULTS[number]
  out = capsys.readouterr().out
  assert out == f'{name}: saving after this step; again to kill\n'


@pytest.mark.parametrize('name', ['SIGHUP', 'SIGUSR1', 'SIGUSR2'])
def test_others_may_come_again(name, capsys):
  stop = signals.Stop()
  with stop.handled():
    for _ in range(3):  # of a terminal, of its shell
      signal.raise_signal(signal.Signals[name])
    signal.raise_signal(signal.SIGTERM)  # the first that would kill again
    assert stop.requested(1) and stop.name == name
  *lines, last = capsys.readouterr().out.splitlines()
  assert lines == [f'{name}: saving after this step'] * 3
  assert last == 'SIGTERM: saving after this step; again to kill'


def test_what_is_ignored_at_the_start_stays_ignored():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
  stop = signals.Stop()
  with stop.handled():
    signal.raise_signal(signal.SIGHUP)
    assert not stop.requested(1)
  assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_handlers_come_back():
  with signals.Stop().handled():
    assert signal.getsignal(signal.SIGUSR1) != DEFAULTS[signal.SIGUSR1]
  assert {n: signal.getsignal(n) for n in signals.STOPPING} == DEFAULTS
