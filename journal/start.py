"""Start a program so that Ctrl-C during its imports ends it with exit code 130 and without a traceback."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED = 130


def start(program: str, module: str) -> None:
    """Import a program's module and call its `main`.

    Args:
        program: The program's name, for its help and usage errors.
        module: The module to import.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it instead
        signal.signal(signal.SIGINT, _end)
    if os.path.basename(sys.argv[0]) == "__main__.py":
        sys.argv[0] = program
    importlib.import_module(module).main()


def raise_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, once the program can handle it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: Any) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
