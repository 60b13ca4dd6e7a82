"""Runs command lines in forked children of a process that has imported the large libraries already.

The libraries of others take half a second of each start, several hundred times. Nothing of the project is imported before
the fork. A request is one line of JSON on stdin, the answer one line with the exit code; output goes to files.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import sys
from typing import Any

_LIBRARIES = (
    "alembic.command", "alembic.migration", "click", "concurrent.futures.process", "crc32c", "email.message", "msgspec",
    "multiprocessing.context", "numpy", "psycopg", "pyarrow", "pyarrow.ipc", "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite", "sqlalchemy.orm", "sqlite3", "tenacity",
)  # fmt: skip
_KINDS = ("uts", "net", "time", "pid", "mnt")


def enter(pid: int, kinds: list[str]) -> None:
    """Enter namespaces of a process, the mount namespace last; the caller forks behind it, for pid and time."""
    descriptors = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in _KINDS if kind in kinds]
    setns = ctypes.CDLL(None, use_errno=True).setns
    for descriptor in descriptors:
        if setns(descriptor, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(descriptor)


def become(request: dict[str, Any]) -> None:
    """Be the program that the request names; returns in the child alone, whose exit is that of the interpreter."""
    if request["namespaces"]:
        enter(request["namespaces_of"], request["namespaces"])
        child = os.fork()
        if child:
            os._exit(code_of(os.waitpid(child, 0)[1]))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        opened = os.open(request[name], os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def code_of(status: int) -> int:
    """As a shell has it: 128 and the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # a child's collections and its exit leave alone what it inherited
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            return
        out.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        out.flush()


if __name__ == "__main__":
    main()
