"""Output is not the work: whatever happens to stdout and stderr, passes are made and exit codes are right."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys

import pytest

from tests.attacks.processes import environment, run
from tests.attacks.scene import Scene, until


def shell(scene: Scene, line: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which CMD stands for a command of the project; its own exit code is in the file ``code``."""
    command = shlex.join([sys.executable, "-m", module, *arguments])
    script = scene.folder / "command"
    script.write_text(f'#!/bin/bash\n{command}\necho "$?" > {scene.folder}/code\n')
    script.chmod(0o755)
    return subprocess.run(
        ["bash", "-c", line.replace("CMD", str(script))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
        cwd=scene.folder,
    )


def code_of(scene: Scene) -> int:
    return int((scene.folder / "code").read_text())


STREAMS = {
    "stdout full": "CMD >/dev/full",
    "both full": "CMD >/dev/full 2>&1",
    "stdout closed": "CMD >&-",
    "all closed": "CMD <&- >&- 2>&-",
    "pipe that closed": "CMD | true",
    "pipe that closed, both": "CMD 2>&1 | true",
}


def dead_run(scene: Scene, count: int = 3) -> None:
    writer = scene.live()
    for number in range(2, count + 1):
        scene.episode(writer, journal_id=f"j{number}", name=f"w{number}")
    writer.kill()


def damage(scene: Scene, journal_id: str) -> None:
    """Overwrite a part of the sixth step."""
    tail = scene.root / "r1" / f"{journal_id}.tail"
    data = bytearray(tail.read_bytes())
    data[5 * 96 + 10 : 5 * 96 + 50] = b"x" * 40
    tail.write_bytes(data)


def intact(scene: Scene) -> None:
    """Nothing that was printed went into a file that had got the descriptor of a closed stream."""
    with sqlite3.connect(scene.records.url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert run("journal", "verify", "-q", "r1", "--journal-root", scene.root).returncode == 0


@pytest.mark.parametrize("stream", ["both full", "stdout closed", "all closed", "pipe that closed, both"])
def test_reconcile__its_output_cannot_be_written__the_pass_is_made_and_exits_0(scene: Scene, stream: str) -> None:
    dead_run(scene)
    done = shell(scene, STREAMS[stream], "reconciler", "--all", "--database-url", scene.records.url)
    assert {row["status"] for row in scene.records.episodes()} == {"truncated"}, done.stderr
    assert [row["outcome"] for row in scene.records.passes()] == ["done"]
    assert "Traceback" not in done.stderr + done.stdout
    assert code_of(scene) == 0, done.stderr
    intact(scene)


@pytest.mark.parametrize("stream", ["both full", "pipe that closed, both"])
def test_reconcile__data_was_lost_and_nobody_can_be_told__exits_3(scene: Scene, stream: str) -> None:
    dead_run(scene)
    damage(scene, "j1")
    shell(scene, STREAMS[stream], "reconciler", "--all", "--database-url", scene.records.url)
    assert {row["status"] for row in scene.records.episodes()} == {"truncated"}
    assert code_of(scene) == 3


@pytest.mark.parametrize("stream", ["stdout full", "pipe that closed"])
def test_reconcile_json__its_output_cannot_be_written__the_pass_is_made(scene: Scene, stream: str) -> None:
    """The document is lost: the exit code may say so, the pass may not stop for it."""
    dead_run(scene, 30)
    done = shell(scene, STREAMS[stream], "reconciler", "--all", "--json", "--database-url", scene.records.url)
    assert {row["status"] for row in scene.records.episodes()} == {"truncated"}, done.stderr
    assert "Traceback" not in done.stderr
    assert code_of(scene) in (0, 1)


@pytest.mark.parametrize("stream", ["both full", "all closed", "pipe that closed, both"])
def test_daemon__its_log_cannot_be_written__passes_go_on(scene: Scene, stream: str) -> None:
    """A full log disk, or a log reader that died."""
    dead_run(scene)
    command = [sys.executable, "-m", "reconciler", "--all", "--every", "0.2s", "--database-url", scene.records.url]
    line = STREAMS[stream].replace("CMD", shlex.join(command))
    line = line if "|" in line else f"exec {line}"
    daemon = subprocess.Popen(["bash", "-c", line], env=environment(), start_new_session=True, cwd=scene.folder)
    try:
        until(lambda: {row["status"] for row in scene.records.episodes()} == {"truncated"}, what="the first pass")
        writer = scene.live(run_id="r2", journal_id="later")
        writer.kill()
        until(lambda: scene.records.episode("later")["status"] == "truncated", what="a later pass")
    finally:
        os.killpg(daemon.pid, 9)
        daemon.wait(timeout=30)


LOOKS = {
    "rsc check": ("rsc", "check", "r1", "--database-url", "URL"),
    "rsc runs": ("rsc", "runs", "--json", "--database-url", "URL"),
    "reconcile status": ("reconciler", "status", "--database-url", "URL"),
    "journal ls": ("journal", "ls", "r1", "--journal-root", "ROOT"),
    "journal cat": ("journal", "cat", "latest", "--journal-root", "ROOT"),
    "journal cat csv": ("journal", "cat", "latest", "--format", "csv", "--journal-root", "ROOT"),
    "journal cat arrow": ("journal", "cat", "latest", "--format", "arrow", "--journal-root", "ROOT"),
    "journal verify": ("journal", "verify", "r1", "--journal-root", "ROOT"),
    "journal plot": ("journal", "plot", "latest", "--journal-root", "ROOT"),
    "journal --help": ("journal", "--help"),
}
PROVES = ("rsc check", "journal verify")
"""Their exit code is the answer, whether or not its words can be written."""


@pytest.mark.parametrize("look", LOOKS)
def test_look__its_output_cannot_be_written__is_one_line_and_never_a_crash(shared_dead: Scene, look: str) -> None:
    """A look whose words are lost may exit 1; one that proves something exits as it always does."""
    module, *words = LOOKS[look]
    known = {"URL": shared_dead.records.url, "ROOT": str(shared_dead.root)}
    words = [known.get(word, word) for word in words]
    expected = run(module, *words).returncode
    for line in ("CMD >&-", "CMD >/dev/full"):
        done = shell(shared_dead, line, module, *words)
        told = f"{line}: exit {code_of(shared_dead)}: {done.stderr[-300:]}"
        assert "Traceback" not in done.stderr, told
        assert code_of(shared_dead) in ({expected} if look in PROVES else {expected, 1}), told
        assert len(done.stderr.splitlines()) <= 10, told


@pytest.fixture(scope="module")
def shared_dead(shared_scene: Scene) -> Scene:
    dead_run(shared_scene)
    return shared_scene


def test_check__its_reader_left__an_incomplete_run_still_exits_1(scene: Scene) -> None:
    """`rsc check RUN | head -1` in a script with pipefail."""
    dead_run(scene, 40)
    shell(scene, "CMD | head -1", "rsc", "check", "r1", "--database-url", scene.records.url)
    assert code_of(scene) == 1


def test_journal_verify__its_reader_left__damage_still_exits_3(scene: Scene) -> None:
    dead_run(scene, 40)
    damage(scene, "j9")
    shell(scene, "CMD | head -1", "journal", "verify", "r1", "--journal-root", str(scene.root))
    assert code_of(scene) == 3


def test_journal_export__the_disk_of_its_output_is_full__exits_1_and_leaves_no_half_file(scene: Scene) -> None:
    dead_run(scene)
    done = run("journal", "cat", "j1", "--journal-root", scene.root, "-o", "/dev/full", "--format", "csv")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
