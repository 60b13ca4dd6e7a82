"""One mirror process on each node: it starts by itself, outlives kills, says what is wrong once, and ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from journal import About, JournalWriter
from journal.mirror import open_mirror
from journal.mirror.node import COMPLETE, NodeMirror, Order
from tests.support.s3 import CREDENTIALS, free_port, wait_until

pytestmark = pytest.mark.xdist_group("mirror")


def _mirror(root: Path, url: str, said: list[str], every_s: float = 0.1) -> NodeMirror:
    return NodeMirror(Order(str(root), "run1", url, every_s), said.append, lambda: "node1")


def _append(writer: JournalWriter, steps: int) -> None:
    for number in range(steps):
        writer.append(action=1, reward=0.001, portfolio_value=10_000.0 + number, price=25.0)


def _writer(root: Path, steps: int = 30) -> JournalWriter:
    writer = JournalWriter(root, "run1", about=About("Env", 10_000.0, 252), checkpoint_every_steps=20)
    _append(writer, steps)
    return writer


def _agents(root: Path) -> list[psutil.Process]:
    """The mirror processes of this root that run now."""
    found = []
    for one in psutil.process_iter():
        try:
            command = one.cmdline()  # empty for one that has ended and that PID 1 has not reaped
        except psutil.Error:
            continue
        if "journal.mirror.agent" in command and str(root) in command[-1] and command[0] != "/bin/sh":
            found.append(one)
    return found


def _log(root: Path) -> str:
    return "".join(path.read_text() for path in (root / "run1" / ".mirror").glob("*.log"))


def _stored_step(url: str, journal_id: str) -> int:
    run = open_mirror(url).run("run1")
    if journal_id not in run.journals:
        return 0
    with run.read(journal_id) as journal:
        return journal.last_step


@pytest.fixture
def store(tmp_path: Path) -> str:
    from journal.mirror.store import Store

    Store(str(tmp_path / "store"), make=True).test()
    return str(tmp_path / "store")


def test_finish__all_is_stored_and_the_process_is_gone(tmp_path: Path, store: str) -> None:
    said: list[str] = []
    mirror = _mirror(tmp_path / "root", store, said)
    writer = _writer(tmp_path / "root")
    wait_until(lambda: _stored_step(store, writer.journal_id) == 30)
    (agent,) = _agents(tmp_path / "root")
    assert agent.ppid() != os.getpid()
    _append(writer, 5)
    writer.close()
    assert mirror.finish(20)
    assert not _agents(tmp_path / "root")
    assert _stored_step(store, writer.journal_id) == 35
    (chain,) = open_mirror(store).run("run1").chains
    assert (chain.node_id, len(chain.root_id)) == ("node1", 16)
    assert said == []


def test_finish__at_once__stores_what_is_there(tmp_path: Path, store: str) -> None:
    writer = _writer(tmp_path / "root")
    mirror = _mirror(tmp_path / "root", store, [])
    assert mirror.finish(20)
    assert _stored_step(store, writer.journal_id) == 30


def test_mirror__killed__is_started_again_and_said_once(tmp_path: Path, store: str, monkeypatch) -> None:
    monkeypatch.setattr("journal.mirror.node.CHECK_S", 0.1)
    said: list[str] = []
    mirror = _mirror(tmp_path / "root", store, said)
    writer = _writer(tmp_path / "root")
    before: set[int] = set()
    for turn in range(2):
        wait_until(lambda: {one.pid for one in _agents(tmp_path / "root")} - before)
        (agent,) = _agents(tmp_path / "root")
        before.add(agent.pid)
        agent.kill()
        _append(writer, 10)
        assert turn < 2
    wait_until(lambda: _stored_step(store, writer.journal_id) == 50)
    assert mirror.finish(20)
    assert len([line for line in said if "started again" in line]) == 1
    assert len(said) == 1


RUNNER = """
import sys, time
from journal import About, JournalWriter
from journal.mirror.node import NodeMirror, Order
root, url = sys.argv[1:]
mirror = NodeMirror(Order(root, "run1", url, 0.1), print, lambda: "node1")
writer = JournalWriter(root, "run1", about=About("Env", 10_000.0, 252))
step = 0
while True:
    step += 1
    writer.append(action=1, reward=0.0, portfolio_value=1e4, price=2.0)
    print(writer.journal_id, step, flush=True)
    time.sleep(0.002)
"""


def test_mirror__both_processes_of_a_run_are_killed__one_process_stores_every_step_and_ends(
    tmp_path: Path, store: str
) -> None:
    root = tmp_path / "root"
    command = [sys.executable, "-c", RUNNER, str(root), store]
    runners = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        ids = [runner.stdout.readline().split()[0] for runner in runners]
        wait_until(lambda: all(_stored_step_or_none(store, one) for one in ids))
        assert len(_agents(root)) == 1
        steps = {}
        for runner in runners:  # the second is alone for a moment
            runner.kill()
            last = [line for line in runner.stdout.read().splitlines() if len(line.split()) == 2][-1].split()
            steps[last[0]] = int(last[1])
    finally:
        for runner in runners:
            runner.kill()
            runner.wait()
    wait_until(lambda: not _agents(root))
    assert _log(root).rstrip().endswith(COMPLETE)
    for journal_id, step in steps.items():
        assert _stored_step(store, journal_id) >= step


def _stored_step_or_none(store: str, journal_id: str) -> int:
    try:
        return _stored_step(store, journal_id)
    except OSError:
        return 0


def test_mirror__store_silent_for_a_while__one_warning_and_all_is_caught_up(
    s3: str, server: subprocess.Popen[bytes], tmp_path: Path, monkeypatch
) -> None:
    from journal.mirror.store import Store

    monkeypatch.setattr("journal.mirror.node.CHECK_S", 0.1)
    Store(s3, make=True).test()
    said: list[str] = []
    mirror = _mirror(tmp_path / "root", s3, said)
    writer = _writer(tmp_path / "root")
    wait_until(lambda: _stored_step(s3, writer.journal_id) == 30)
    server.send_signal(signal.SIGSTOP)
    try:
        _append(writer, 20)
        wait_until(lambda: said, 60)
    finally:
        server.send_signal(signal.SIGCONT)
    wait_until(lambda: len(said) == 2)
    writer.close()
    assert mirror.finish(20)
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "answers again" in said[1]
    assert _stored_step(s3, writer.journal_id) == 50


def test_finish__store_refuses__false_in_bounded_time_and_the_process_goes_on(tmp_path: Path, monkeypatch) -> None:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    _writer(tmp_path / "root").close()
    mirror = _mirror(tmp_path / "root", "s3://bucket/x", said)
    assert not mirror.finish(4)
    (agent,) = _agents(tmp_path / "root")
    agent.terminate()
    wait_until(lambda: not _agents(tmp_path / "root"), 60)
    assert "not mirrored" in _log(tmp_path / "root")
    assert "--once" in _log(tmp_path / "root")


def test_mirror__folder_that_cannot_be_written__is_said_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("journal.mirror.node.CHECK_S", 0.1)
    (tmp_path / "file").write_text("no folder")
    said: list[str] = []
    mirror = _mirror(tmp_path / "root", str(tmp_path / "file" / "store"), said)
    wait_until(lambda: said)
    assert not mirror.finish(20)
    assert len([line for line in said if "is not mirrored" in line]) == 1


def test_finish__a_child_forked_later__closes_no_file_of_others(tmp_path: Path, store: str) -> None:
    mirror = _mirror(tmp_path / "root", store, [])
    wait_until(lambda: _agents(tmp_path / "root"))
    assert mirror.finish(20)
    opened = [os.open(tmp_path, os.O_RDONLY) for _ in range(8)]  # they take the numbers that are free now
    child = os.fork()
    if child == 0:
        try:
            for fd in opened:
                os.fstat(fd)
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for fd in opened:
        os.close(fd)
