"""Standard streams that fail: no reader, a full disk, a closed descriptor, names that no encoding knows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RESULT = """
import sys
import click
from journal.console import remark, run_main, work_without_output

@click.command()
@click.option("--optional", is_flag=True)
@click.option("--times", default=1)
def command(optional, times):
    if optional:
        work_without_output()
    for number in range(times):
        click.echo("line " * 50)
        remark("remark")
    with open("done", "w") as file:
        file.write("done")
    return 3

run_main(command)
"""


def shell(folder: Path, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its streams redirected as a shell does it."""
    (folder / "command.py").write_text(RESULT)
    line = f"set -o pipefail; {sys.executable} command.py {' '.join(arguments)} {redirection}"
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "redirection",
    ["2>&1 | head -2", "> /dev/full 2>&1", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2> /dev/full", "2>&-", "> /dev/null"],
)
def test_work__whatever_happens_to_its_output__is_done_with_its_own_exit_code(tmp_path: Path, redirection: str) -> None:
    outcome = shell(tmp_path, redirection, "--optional", "--times", "2000")
    assert (outcome.returncode, (tmp_path / "done").read_text() if (tmp_path / "done").exists() else "") == (3, "done")
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("| head -2", 0, ""),
        ("> /dev/full", 1, "error: standard output: No space left on device; free some space, or name another place"),
        (">&-", 1, "error: standard output: Bad file descriptor"),
    ],
)
def test_result__cannot_be_written__ends_the_command(tmp_path: Path, redirection: str, code: int, said: str) -> None:
    outcome = shell(tmp_path, redirection, "--times", "2000")
    assert (outcome.returncode, (tmp_path / "done").exists()) == (code, False)
    assert outcome.stderr.replace("remark\n", "").strip() == said


def test_work__full_disk_below_stdout__says_so_on_stderr(tmp_path: Path) -> None:
    outcome = shell(tmp_path, "> /dev/full", "--optional")
    assert outcome.returncode == 3
    assert "standard output: No space left on device" in outcome.stderr


def test_closed_stdout__no_file_takes_its_number(tmp_path: Path) -> None:
    """Else whatever is printed would end up in a database or a journal."""
    outcome = shell(tmp_path, ">&-", "--optional")
    assert outcome.returncode == 3
    assert (tmp_path / "done").read_text() == "done"


def test_pipe__that_is_full_and_does_not_block__is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(RESULT)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(
        [sys.executable, "command.py", "--times", "5000"], cwd=tmp_path, stdout=writer, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    assert (process.wait(timeout=60), text.count(b"\n")) == (3, 5000)


def test_name__that_is_not_utf_8__is_printed_with_escapes(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/r\xff"
    os.makedirs(root + b"/run-1")
    for verb in (["ls"], ["ls", "--json"], ["info", "latest"]):
        outcome = subprocess.run(
            [sys.executable, "-m", "journal", *verb, "--journal-root", root],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert outcome.returncode in (0, 1)
        assert b"Traceback" not in outcome.stderr
    assert b"r\\udcff" in outcome.stderr
