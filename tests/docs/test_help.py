"""Every command explains itself with an example, and starts without what it does not need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = [
    ("rsc",), ("rsc", "train"), ("rsc", "evaluate"), ("rsc", "compare"), ("rsc", "check"), ("rsc", "runs"),
    ("rsc", "episodes"), ("rsc", "export"), ("rsc", "prices"), ("rsc", "db", "upgrade"), ("rsc", "doctor"),
    ("rsc", "relocate"), ("rsc", "report"), ("rsc", "ui"), ("reconciler",), ("reconciler", "status"), ("journal", "ls"),
    ("journal", "export"), ("journal", "mirror"), ("journal", "plot"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help__each_command__shows_an_example_and_fits_a_terminal(command: tuple[str, ...]) -> None:
    """Somebody in a hurry copies an example. A terminal has 80 columns."""
    program, env = [sys.executable, "-m", *command, "--help"], {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert "xample" in done.stdout


@pytest.mark.parametrize("module", ["rsc.cli", "reconciler.cli", "journal.cli"])
def test_start__programs__import_nothing_heavy(module: str) -> None:
    """A command imports what it needs when it runs: half a second is the most that a start may cost."""
    heavy = ("ray", "torch", "gymnasium", "sqlalchemy.orm", "alembic", "apscheduler", "pandas")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.strip() == "[]"


def test_usage__reconcile_without_a_run__exits_2() -> None:
    """Nothing is reconciled by accident."""
    done = subprocess.run([sys.executable, "-m", "reconciler"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (("rsc", "trian"), "No such command 'trian'. Did you mean train?"),
        (("journal", "vrify"), "No such command 'vrify'. Did you mean verify?"),
        (("reconciler", "statsu"), "No such command 'statsu'. Did you mean status?"),
        (("rsc", "zzz"), "No such command 'zzz'."),
    ],
)
def test_usage__unknown_command__suggests_the_nearest(command: tuple[str, ...], last: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"Error: {last}")
