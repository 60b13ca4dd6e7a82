"""A signal ends the driver as that signal, whatever becomes of what its handler raises."""

from __future__ import annotations

import os
import signal

import pytest

from rsc.stopping import Signals, Stopped

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def ask(number: signal.Signals) -> None:
    """A real signal to this process."""
    os.kill(os.getpid(), number)


def wait_as_ray_does(number: signal.Signals) -> None:
    """Its C code replaces what the handler raised."""
    try:
        ask(number)
    except Stopped as stopped:
        raise SystemError("returned a result with an exception set") from stopped


@BOTH
def test_signals__one_comes__raises_stopped_and_gives_the_handlers_back(number: signal.Signals) -> None:
    """What handled it before handles it after."""
    before = signal.getsignal(number)
    signals = Signals()
    with pytest.raises(Stopped) as caught, signals.held():
        ask(number)
    assert caught.value.number == signals.asked == number
    assert signal.getsignal(number) is before


@BOTH
def test_believed__exception_was_turned_into_another__is_still_the_signals(number: signal.Signals) -> None:
    """Inside `ray.wait` a SystemError comes out: the run must not be called an error for it."""
    signals = Signals()
    with pytest.raises(Stopped) as caught, signals.held(), signals.believed():
        wait_as_ray_does(number)
    assert caught.value.number == number


def test_check__exception_was_swallowed__raises_it_again() -> None:
    """RLlib takes a SystemError for a runner's failure, and goes on."""
    signals = Signals()
    with signals.held():
        with pytest.raises(Stopped):
            ask(signal.SIGTERM)
        with pytest.raises(Stopped):
            signals.check()


def test_signals__none_came__an_error_stays_what_it_is() -> None:
    """And there is nothing to check."""
    signals = Signals()
    signals.check()
    with pytest.raises(ValueError, match="ours"), signals.held(), signals.believed():
        raise ValueError("ours")


def test_signals__another_handler_was_installed__can_be_taken_again() -> None:
    """As Ray's init does with SIGTERM."""
    signals = Signals()
    with signals.held():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.take()
        with pytest.raises(Stopped):
            ask(signal.SIGTERM)
