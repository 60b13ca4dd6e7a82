"""The processes of an attack: writers that do what a test says, and the three command lines."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.attacks.places import Place

ACTOR = Path(__file__).with_name("actor.py")
TRAINER = Path(__file__).with_name("trainer.py")
PRELOADED = Path(__file__).with_name("preloaded.py")
TIMEOUT_S = 180.0


def environment(more: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """This process's environment without settings of the project, with these changes; None removes one."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(("RSC_", "PG"))}
    for name, value in (more or {}).items():
        if value is None:
            names.pop(name, None)
        else:
            names[name] = value
    return names


def inside(place: Place | None, words: list[str]) -> list[str]:
    return words if place is None else place.command(*words)


class AttackError(Exception):
    """What the code in a writer process raised."""


class Writer:
    """A process that runs the Python lines it is sent; see `tests.attacks.actor` for the names it knows."""

    def __init__(
        self,
        place: Place | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        prefix: tuple[str, ...] = (),
        program: Path = ACTOR,
    ) -> None:
        command = inside(place, [*prefix, sys.executable, str(program)])
        # A file: a full pipe would stop the process.
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `close` closes it
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=environment(env),
            cwd=cwd,
        )

    def do(self, code: str) -> Any:
        """Run the lines; return the value of the last one. Raises AttackError with what they raised."""
        self.send(code)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], TIMEOUT_S)[0], f"no answer in {TIMEOUT_S} s: {code}"
        line = self.process.stdout.readline()
        if not line:
            raise AttackError(f"the process ended, exit {self.process.wait(timeout=TIMEOUT_S)}: {self.stderr()}")
        reply = json.loads(line)
        if "error" in reply:
            raise AttackError(f"{reply['error']}\n{reply['trace']}")
        return reply.get("value")

    def send(self, code: str) -> None:
        """Have the lines run, and wait for nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"code": code}) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, by itself: from outside of a pid namespace its number is another."""
        self.send("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        self.process.wait(timeout=TIMEOUT_S)

    def slay(self) -> None:
        """SIGKILL from outside, for a process that is the first of its pid namespace."""
        self.process.kill()
        self.process.wait(timeout=TIMEOUT_S)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stderr(self) -> str:
        """What it printed so far."""
        self._stderr.seek(0)
        return self._stderr.read()

    def close(self) -> None:
        """Whatever happened, it ends."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            if self.process.stdin is not None:
                self.process.stdin.close()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=TIMEOUT_S)
        for stream in (self.process.stdin, self.process.stdout, self._stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


class Preloaded:
    """A server that starts command lines in a tenth of a second; see `tests.attacks.preloaded`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, module: str, arguments: list[str], place: Place | None, env: dict[str, str], cwd: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        with self._lock, tempfile.TemporaryDirectory(prefix="rsc-attack-out-") as folder:
            request = {
                "module": module,
                "arguments": arguments,
                "namespaces": [] if place is None else place.kinds,
                "namespaces_of": 0 if place is None else place.pid,
                "env": env,
                "cwd": cwd,
                "stdin": os.devnull,
                "stdout": f"{folder}/stdout",
                "stderr": f"{folder}/stderr",
            }
            code = self._ask(json.dumps(request), timeout)
            texts = [Path(folder, name).read_bytes().decode(errors="surrogateescape") for name in ("stdout", "stderr")]
            if code is None:
                raise subprocess.TimeoutExpired([module, *arguments], timeout, *texts)
            return subprocess.CompletedProcess([module, *arguments], code, *texts)

    def _ask(self, request: str, timeout: float) -> int | None:
        if self._server is None or self._server.poll() is not None:
            self._server = subprocess.Popen(
                [sys.executable, str(PRELOADED)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(request + "\n")
        self._server.stdin.flush()
        if not select.select([self._server.stdout], [], [], timeout)[0]:
            self.close()
            return None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the server and whatever it runs."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()
            self._server = None


preloaded = Preloaded()


def run(
    module: str,
    *arguments: str | Path,
    place: Place | None = None,
    env: Mapping[str, str | None] | None = None,
    timeout: float = TIMEOUT_S,
    prefix: tuple[str, ...] = (),
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end: ``journal``, ``rsc`` or ``reconciler``.

    With a ``prefix`` or settings of `subprocess.run` a new interpreter is started, else a preloaded one forks.
    """
    if not prefix and not set(more) - {"cwd"}:
        cwd = str(more.get("cwd") or os.getcwd())
        return preloaded.run(module, list(map(str, arguments)), place, environment(env), cwd, timeout)
    words = inside(place, [*prefix, sys.executable, "-m", module, *map(str, arguments)])
    streams = {} if {"stdout", "stderr"} & set(more) else {"capture_output": True}
    settings = {"text": True, "errors": "surrogateescape", **streams, **more}
    return subprocess.run(words, env=environment(env), timeout=timeout, check=False, **settings)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Everything that a command printed."""
    return (done.stdout or "") + (done.stderr or "")


def no_traceback(done: subprocess.CompletedProcess[str]) -> None:
    text = said(done)
    assert "Traceback" not in text, "a traceback, which ends so: " + "\n".join(text.splitlines()[-3:])
