"""Completion of runs, tickers and columns, by real shells; and runs of a project that was moved."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rsc
from journal import About, EndReason, JournalWriter
from rsc.runs import start_run

BIN = str(Path(sys.executable).parent)
SHELLS = {
    # What pressing Tab does: the shell calls the function that the program gave it.
    "bash": """eval "$(_{upper}_COMPLETE=bash_source {program})"; COMP_WORDS=({words}); COMP_CWORD={at}
_{program}_completion {program}; printf '%s\\n' "${{COMPREPLY[@]}}" """,
    # Outside of a line editor, zsh has no compadd: print what it gets.
    "zsh": """compadd() {{ print -l -- "${{(@P)@[-1]}}"; }}; compdef() {{ :; }}
eval "$(_{upper}_COMPLETE=zsh_source {program})"; words=({words}); CURRENT=$(( {at} + 1 )); _{program}_completion""",
    "fish": """_{upper}_COMPLETE=fish_source {program} | source; complete --do-complete "{line}" """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two runs."""
    folder = tmp_path_factory.mktemp("completing")
    for name in ("monday-1", "monday-2"):
        root = folder / "rsc-data" / "journal"
        with start_run(name, journal_root=root, database_url=f"sqlite:///{folder}/rsc-data/rsc.db"):
            about = About(env="E", initial_portfolio_value=1.0, periods_per_year=252)
            with JournalWriter(str(root), name, about=about) as writer:
                writer.append(portfolio_value=1.0)
                writer.close(EndReason.TERMINATED)
    return folder


def environment(folder: Path) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RSC_")}
    return {**known, "PATH": f"{BIN}:{known['PATH']}", "HOME": str(folder)}


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def completed(shell: str, folder: Path, line: str) -> list[str]:
    """The words that a shell offers at the end of a line."""
    *before, last = line.split(" ")
    words = " ".join(f"'{word}'" for word in (*before, last))
    script = SHELLS[shell].format(program=before[0], upper=before[0].upper(), words=words, at=len(before), line=line)
    done = called(folder, shell, "-c", script)
    return [word.split("\t")[0] for word in done.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion__shell__offers_the_runs(project: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed, so its completion is NOT tested")
    for line in ("rsc check mon", "reconcile --run-id mon"):
        offered = completed(shell, project, line)
        assert offered == (["monday-1", "monday-2"] if shell == "fish" else ["monday-2", "monday-1"]), line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rsc comp", ["compare"]),
        ("rsc check ", ["monday-2", "monday-1"]),
        ("rsc report monday-1 la", ["latest"]),
        ("rsc compare monday-1,monday-", ["monday-1,monday-2", "monday-1,monday-1"]),
        ("rsc compare a=mon", ["a=monday-2", "a=monday-1"]),
        ("rsc train --ticker ms", ["MSFT"]),
        ("rsc episodes latest --sort sharpe_r", ["sharpe_ratio"]),
        ("rsc compare --metric total_ret", ["total_return"]),
        ("rsc evaluate mon", []),
        ("journal ls monday-2", ["monday-2"]),
        ("reconcile --run-id nothing", []),
        ("reconcile mon", ["monday-2", "monday-1"]),
        ("reconcile --explain s", ["status"]),
    ],
)
def test_completion__words__are_those_of_their_place(project: Path, line: str, words: list[str]) -> None:
    assert completed("bash", project, line) == words


def test_completion__without_a_project__offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    assert completed("bash", tmp_path, "rsc check ") == []
    assert list(tmp_path.iterdir()) == []


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return called(folder, sys.executable, "-m", *arguments)


def test_relocate__moved_project__is_complete_again(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "old")
    first = run(tmp_path / "old", "rsc", "relocate", "monday-1", "rsc-data/journal")
    assert (first.returncode, "are still in" in first.stderr) == (1, True), "the database names the original project"
    aside = project.with_name("aside")
    project.rename(aside)
    try:
        moved = tmp_path / "old"
        assert run(moved, "rsc", "check", "monday-1").returncode == 3
        done = run(moved, "rsc", "relocate", "monday-1", "latest", "rsc-data/journal")
        assert (done.returncode, done.stdout.count("before:")) == (0, 2), done.stderr
        assert run(moved, "rsc", "check", "monday-1").returncode != 3
        again = run(moved, "rsc", "relocate", "monday-1", "rsc-data/journal")
        assert (again.returncode, "is there already" in again.stderr) == (0, True)
        url = f"sqlite:///{moved}/rsc-data/rsc.db"
        assert rsc.load_run("monday-1", database_url=url).folder == moved / "rsc-data" / "journal" / "monday-1"
        assert "there is no folder" in run(moved, "rsc", "relocate", "monday-1", ".").stderr
    finally:
        aside.rename(project)
