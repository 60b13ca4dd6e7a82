"""Ctrl-C while a program is still importing: exit code 130, and no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {"journal": ["journal", "ls"], "rsc": ["rsc", "runs"], "reconcile": ["reconciler", "--all"]}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("imports", [1, 10, 40, 90])
def test_start__interrupt_after_some_imports__exits_130_without_traceback(
    program: str, imports: int, tmp_path: Path
) -> None:
    """Python prints a line after each import, so the signal comes after a known one."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *PROGRAMS[program]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.endswith(" journal.start\n"):
            break
    for _ in range(imports):
        assert process.stderr.readline().startswith("import time:"), "the program imports less than the test expects"
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, said) == (130, ["interrupted"])


def test_run_main__interrupt_inside_exec__exits_130_under_python_m(tmp_path: Path) -> None:
    """A dataclass calls exec() while its module is imported."""
    code = "import click\nfrom journal.console import run_main\n"
    code += "run_main(click.command('stop')(lambda: exec('raise KeyboardInterrupt')))\n"
    (tmp_path / "stop.py").write_text(code)
    done = subprocess.run([sys.executable, "-m", "stop"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_start__ignored_interrupts__stay_ignored(tmp_path: Path) -> None:
    """As in a job that a script starts in the background."""
    code = "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.argv = ['journal', '--help']\n"
    code += "try: runpy.run_module('journal', run_name='__main__')\n"
    code += "finally: print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "True")
