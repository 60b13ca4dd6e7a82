"""The lock that the helpers of a pass share."""

from __future__ import annotations

import fcntl
import os
import signal
import time

import pytest

from reconciler.executors import Turn


def test_turn__holder_is_killed__the_next_process_has_it() -> None:
    turn = Turn()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with turn:
            os.write(tell, b"held")
            time.sleep(60)
        os._exit(1)
    try:
        assert os.read(told, 4) == b"held"
        with pytest.raises(BlockingIOError):
            fcntl.lockf(turn._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        os.close(told)
        os.close(tell)
    fcntl.lockf(turn._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
