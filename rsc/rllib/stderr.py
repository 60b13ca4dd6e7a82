"""Keep one misleading line of Ray's native code from stderr."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LINE = b"has constructor arguments in the object store and max_restarts > 0"
_LAST_LINES_S = 1.0


@contextmanager
def without_restart_warning() -> Iterator[None]:
    """Leave out Ray's line that an env runner cannot restart once its config has left the object store.

    It does not hold for RLlib, which keeps a reference to the config as long as the algorithm lives. All other output on
    descriptor 2 passes.
    """
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    reader = threading.Thread(target=_pass_on, args=(reading, os.dup(kept)), daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        reader.join(_LAST_LINES_S)  # a process that started meanwhile keeps the pipe open


def _pass_on(reading: int, target: int) -> None:
    with open(reading, "rb") as pipe, open(target, "wb", buffering=0) as out:
        for line in pipe:
            if _LINE not in line:
                out.write(line)
