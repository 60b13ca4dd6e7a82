"""`journal tail`: the last rows, and a live episode followed until it is closed, killed, silent or torn."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal import EndReason, read_journal
from journal.read.follow import Follower
from tests.journal.cli.world import EVERY, World, play, run, tear_tail, writer

PROGRAM = [sys.executable, "-c", "from journal.cli import main; main()"]
PATIENCE_S = 120.0  # with a machine on which others take the cores


@pytest.mark.parametrize(
    ("kind", "last"), [("finished", 300), ("killed", 210), ("torn", 209), ("live", 100), ("cut", 176)]
)
def test_tail__any_kind__prints_the_last_rows(world: World, kind: str, last: int):
    rows = world.run("tail", kind, "-n", 3, "--format", "ndjson").ndjson()
    assert [row["step"] for row in rows] == [last - 2, last - 1, last]


def test_tail__damaged__exits_3(world: World):
    result = world.run("tail", "flipped", "-n", 200, "--format", "ndjson", "--columns", "step")
    assert (result.code, result.ndjson()[0]["step"]) == (3, 119)


def test_tail__trades_and_conditions__last_of_those(world: World):
    trades = read_journal(world.path("finished")).trades()
    rows = world.run("tail", "finished", "-n", 2, "--trades", "--format", "ndjson").ndjson()
    assert [row["trade_number"] for row in rows] == trades["trade_number"].to_pylist()[-2:]
    rows = world.run("tail", "finished", "-n", 2, "--where", "step < 50", "--format", "ndjson").ndjson()
    assert [row["step"] for row in rows] == [48, 49]
    assert world.run("tail", "finished", "-n", 0, "--format", "ndjson").out == ""


def test_tail__follow_a_closed_journal__says_at_once_how_it_ended(world: World):
    result = world.run("tail", "-f", "finished", "-n", 1)
    assert (result.code, len(result.lines)) == (0, 2)
    assert result.err == "finished: ended as terminated after step 300\n"


def test_tail__idle_timeout__ends_with_a_clear_line(world: World):
    result = world.run("tail", "-f", "live", "-n", 1, "--idle-timeout", "0.3s")
    assert result.code == 0
    assert result.err == "live: no row for 0.3 s after step 100; its writer may continue\n"


def test_tail__follow_a_torn_one_whose_writer_is_dead__gives_every_row_and_says_so(world: World):
    result = world.run("tail", "-f", "torn", "-n", 300, "--format", "ndjson")
    assert [row["step"] for row in result.ndjson()] == list(range(1, 210))
    assert "torn: its writer died after step 209: its lock is free" in result.err
    assert "torn: torn: its last write is incomplete" in result.err


def test_follower__each_growth__is_given_once_in_order(tmp_path: Path):
    """A list walks beside it as its model, over seals, with looks at odd moments."""
    journal = play(writer(tmp_path, "growing"), 5)
    follower = Follower(read_journal(journal.path))
    seen = list(range(1, 6))
    for steps in (0, 1, 3, EVERY, 2, 5 * EVERY, 0, 7):
        play(journal, steps)
        for batch in follower.look().batches:
            seen += batch.column("step").to_pylist()
        assert seen == list(range(1, journal.steps + 1))
    journal.close(EndReason.CLOSED)
    growth = follower.look()
    assert (growth.batches, growth.end.reason, follower.steps_lost) == ((), "closed", 0)


def test_follower__write_seen_half_done__waits_for_it(tmp_path: Path):
    journal = play(writer(tmp_path, "half"), 5)
    follower = Follower(read_journal(journal.path))
    tail = journal.path.with_suffix(".tail")
    play(journal, 3)
    whole = tail.read_bytes()
    tear_tail(tail)
    assert [batch.num_rows for batch in follower.look().batches] == [2]
    tail.write_bytes(whole)
    assert [batch.num_rows for batch in follower.look().batches] == [1]
    stream = journal.path.read_bytes()
    journal.checkpoint()
    sealed = journal.path.read_bytes()
    journal.path.write_bytes(sealed[: len(stream) + 100])
    assert follower.look().batches == ()
    journal.path.write_bytes(sealed)
    play(journal, 1)
    assert [batch.column("step").to_pylist() for batch in follower.look().batches] == [[9]]
    assert follower.steps_lost == 0


WRITER = """
import sys
from pathlib import Path
from tests.journal.cli.world import play, writer
from journal import EndReason
journal = writer(Path(sys.argv[1]), "followed")
print("ready", flush=True)
for line in sys.stdin:
    if line.startswith("close"):
        journal.close(EndReason.TIME_LIMIT, "enough")
    else:
        play(journal, int(line))
    print("done", flush=True)
"""


@pytest.fixture
def episode(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that plays an episode, some steps at a time."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.wait(timeout=PATIENCE_S)


def tell(child: subprocess.Popen[str], what: object) -> None:
    child.stdin.write(f"{what}\n")
    child.stdin.flush()
    assert child.stdout.readline() == "done\n"


def follow(root: Path) -> subprocess.Popen[str]:
    path = str(root / "run-1" / "followed.arrows")
    return subprocess.Popen(
        [*PROGRAM, "tail", "-f", path, "--format", "ndjson", "--columns", "step", "-n", "5"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def read_up_to(child: subprocess.Popen[str], step: int) -> list[int]:
    """Steps as they come, until this one, within the test's timeout."""
    steps: list[int] = []
    while not steps or steps[-1] < step:
        steps.append(json.loads(child.stdout.readline())["step"])
    return steps


def test_tail__episode_killed_while_followed__gives_every_step_and_says_that_its_writer_died(episode, tmp_path: Path):
    tell(episode, 20)
    tail = follow(tmp_path)
    steps = read_up_to(tail, 20)
    for more in (1, 90, 3):
        tell(episode, more)
    steps += read_up_to(tail, 114)
    os.kill(episode.pid, signal.SIGKILL)
    out, err = tail.communicate(timeout=PATIENCE_S)
    assert (tail.returncode, out) == (0, "")
    assert steps == list(range(16, 115))
    assert err == "followed: its writer died after step 114: its lock is free, on this host and boot\n"


def test_tail__episode_closed_while_followed__says_how_it_ended(episode, tmp_path: Path):
    tell(episode, 20)
    tail = follow(tmp_path)
    assert read_up_to(tail, 20)[0] == 16
    tell(episode, 200)
    tell(episode, "close")
    out, err = tail.communicate(timeout=PATIENCE_S)
    assert [json.loads(line)["step"] for line in out.splitlines()] == list(range(21, 221))
    assert err == "followed: ended as time_limit after step 220: enough\n"


def test_tail__interrupted__exits_130_without_a_traceback(episode, tmp_path: Path):
    tell(episode, 5)
    tail = follow(tmp_path)
    read_up_to(tail, 5)
    deadline = time.monotonic() + PATIENCE_S
    tail.send_signal(signal.SIGINT)
    code = tail.wait(timeout=max(1.0, deadline - time.monotonic()))
    assert (code, tail.stderr.read().strip()) == (130, "interrupted")


def test_tail__idle_timeout_without_follow__is_wrong_usage(world: World):
    assert run("tail", world.path("live"), "--idle-timeout", "1s").code == 2


def test_follower__write_failed_where_the_tail_could_not_be_renamed__says_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As on a file system that turned read-only: the last slot says it."""
    journal = play(writer(tmp_path, "j"), 10)
    if not journal.header.tail_mapped:
        pytest.skip("tails are not mapped on this file system")
    follower = Follower(read_journal(journal.path))
    assert not follower.look().failed

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        journal.hand_over(OSError(errno.EROFS, os.strerror(errno.EROFS)))
        play(journal, 1)
    assert journal.failure is not None
    assert follower.look().failed
