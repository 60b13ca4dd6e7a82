"""A signal ends the driver as that signal, whatever becomes of what its handler raises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rsc.rllib.stopping import Signals, Stopped

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
    signals = Signals(same_request_s=0.05)
    with pytest.raises(Stopped) as caught, signals.held():
        ask(number)
    assert caught.value.number == signals.asked == number
    assert signal.getsignal(number) is before


@BOTH
def test_believed__exception_was_turned_into_another__is_still_the_signals(number: signal.Signals) -> None:
    """Inside `ray.wait` a SystemError comes out: the run must not be called an error for it."""
    signals = Signals(same_request_s=0.05)
    with pytest.raises(Stopped) as caught, signals.held(), signals.believed():
        wait_as_ray_does(number)
    assert caught.value.number == number


def test_check__exception_was_swallowed__raises_it_again() -> None:
    """RLlib takes a SystemError for a runner's failure, and goes on."""
    signals = Signals(same_request_s=0.05)
    with signals.held():
        with pytest.raises(Stopped):
            ask(signal.SIGTERM)
        with pytest.raises(Stopped):
            signals.check()


def test_signals__none_came__an_error_stays_what_it_is() -> None:
    """And there is nothing to check."""
    signals = Signals(same_request_s=0.05)
    signals.check()
    with pytest.raises(ValueError, match="ours"), signals.held(), signals.believed():
        raise ValueError("ours")


SIGNALLED_BY_TIMEOUT = """
import os, signal, sys, threading, time
from rsc.rllib.stopping import Signals, Stopped

def group_too():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)

try:
    with Signals().held():
        threading.Thread(target=group_too).start()
        os.kill(os.getpid(), signal.SIGTERM)
except Stopped as stopped:
    print("in order", stopped.number)
"""


def test_signals__process_and_its_group_are_signalled__is_one_request() -> None:
    """As `timeout` and some supervisors do it: the second must not end what the first has only begun to end."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_BY_TIMEOUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "in order 15\n"), done.stderr


def test_signals__another_one_later__ends_the_program_at_once() -> None:
    """Whatever cleaning up hangs in."""
    script = "import os; from rsc.rllib.stopping import *\nwith Signals(0.05).held():\n try: os.kill(os.getpid(), 15)\n"
    script += " except Stopped: os.kill(os.getpid(), 2); time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == -signal.SIGINT


def test_signals__another_handler_was_installed__can_be_taken_again() -> None:
    """As Ray's init does with SIGTERM."""
    signals = Signals(same_request_s=0.05)
    with signals.held():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.take()
        with pytest.raises(Stopped):
            ask(signal.SIGTERM)
