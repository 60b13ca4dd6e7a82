"""What the three programs share: numbers, colours, and what they say of system errors."""

from __future__ import annotations

import errno
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from journal.console import Count


def in_terminal(arguments: list[str], folder: Path, **environment: str) -> str:
    """What a command writes to a terminal of 80 columns, stdout and stderr."""
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    known |= {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=folder, env=known, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError as error:
        assert error.errno == errno.EIO, "the other end was closed"  # noqa: PT017 - how a terminal ends
    os.close(ours)
    process.wait(60)
    return written.decode()


@pytest.mark.parametrize(
    "arguments", [["rsc", "runs"], ["rsc", "zzz"], ["journal", "info", "zzz"], ["reconciler", "status"], ["reconciler"]]
)
def test_errors__terminal__are_red_unless_no_color(arguments: list[str], tmp_path: Path) -> None:
    red = in_terminal(arguments, tmp_path)
    assert "\x1b[31m\x1b[1m" in red
    assert "rror:\x1b[0m " in red
    plain = in_terminal(arguments, tmp_path, NO_COLOR="1")
    assert "\x1b" not in plain
    assert "rror: " in plain


@pytest.mark.parametrize("given", ["0", "2147483648", "many"])
def test_count__out_of_range__says_the_range(given: str) -> None:
    with pytest.raises(click.BadParameter, match=r"range from 1 to 2147483647|not a valid integer"):
        Count(1).convert(given, None, None)


def test_count__in_range__is_a_number() -> None:
    assert Count(1).convert("2147483647", None, None) == 2**31 - 1


@pytest.mark.parametrize(
    ("code", "hint"),
    [("EACCES", "change the owner or mode"), ("EROFS", "not read-only"), ("ENOSPC", "free some space")],
)
def test_system_error__known_cure__is_said(code: str, hint: str) -> None:
    number = getattr(errno, code)
    script = (
        "import click, os; from journal.console import run_main\n"
        f"@click.command()\ndef work(): raise OSError({number}, os.strerror({number}), '/data/x')\nrun_main(work)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: /data/x: {os.strerror(number)}; ")
    assert hint in done.stderr
    assert len(done.stderr.splitlines()) == 1
