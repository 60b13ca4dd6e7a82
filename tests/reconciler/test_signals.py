"""The first signal asks a pass to end, and a later one insists."""

from __future__ import annotations

import os
import signal

import pytest

from reconciler.signals import stop_on_signals


def ask(number: signal.Signals) -> None:
    """A real signal to this process, handled when this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop__process_and_its_group_are_signalled__is_one_request(number: signal.Signals, capsys):
    """As `timeout` and some supervisors do it: the batch is still written to its end."""
    before = signal.getsignal(number)
    with stop_on_signals("stopping") as stop:
        assert not stop.is_set()
        for _ in range(3):
            ask(number)
        assert stop.is_set()
    assert (capsys.readouterr().err, signal.getsignal(number)) == ("stopping\n", before)


def test_stop__another_signal_later__ends_at_once():
    with stop_on_signals("stopping", same_request_s=0.0) as stop:
        ask(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            ask(signal.SIGINT)
        assert stop.is_set()


def test_signal__while_the_event_is_waited_for__sets_it():
    """A handler that interrupts `wait` must not wait for the lock that `wait` holds."""
    with stop_on_signals("stopping") as asked, asked._cond:
        signal.raise_signal(signal.SIGTERM)
        assert asked.wait(5)
