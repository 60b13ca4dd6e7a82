"""A reconciler in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

START_S = 120.0  # with a machine on which others take the cores


def until(condition: Callable[[], Any], timeout_s: float = START_S, what: str = "") -> Any:
    """Poll until the condition holds; fail with what was awaited."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what or condition}"
        time.sleep(0.02)
    return found


class Process:
    """`reconcile` with some arguments; its stderr is collected line by line."""

    def __init__(self, *arguments: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def said(self, text: str) -> list[str]:
        """The lines so far that hold this text."""
        return [line for line in self.lines if text in line]

    def stop(self, number: int, timeout_s: float = 30.0) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=timeout_s)
        self._reader.join(timeout=5)
        return code

    def kill(self) -> None:
        """Whatever happens, no process stays behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def base_url(self) -> str:
        """Where a daemon with --metrics-port serves."""
        line = until(lambda: self.said("metrics on"), what="the metrics' address")[0]
        return str(line.split("metrics on ")[1].split("/metrics")[0])


def get(url: str) -> tuple[int, str]:
    """Status and text."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
