"""Signals that ask a run to end; that it then saves is tested by the loop."""

import signal

import pytest

from jaxgan.runtime import signals

DEFAULTS = {n: signal.getsignal(n) for n in signals.STOPPING}


@pytest.fixture(autouse=True)
def as_at_the_start():
  yield
  for number, handler in DEFAULTS.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('name', ['INT', 'TERM', 'HUP', 'USR1', 'USR2'])
def test_the_first_is_noted_and_the_second_acts(name, capsys):
  stop = signals.Stop()
  number = signal.Signals[f'SIG{name}']
  with stop.handled():
    assert not stop.requested(1)
    signal.raise_signal(number)
    assert stop.requested(2) and stop.name == f'SIG{name}'
    assert {n: signal.getsignal(n) for n in signals.STOPPING} == DEFAULTS
  assert capsys.readouterr().out == (
    f'SIG{name}: saving after this step; again to kill\n'
  )


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
