"""Real SIGKILLs: no step that `append` returned from is missing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from journal import Liveness, Observer, journal_path, read_journal
from tests.support.journals import model_columns, told_steps


def assert_nothing_told_is_missing(root: Path, told: list[int]) -> None:
    for number, last_told in enumerate(told):
        path = journal_path(root, "run", f"j{number}")
        if not path.exists():
            assert last_told == 0
            continue
        journal = read_journal(path)
        assert journal.findings == ()
        assert last_told <= journal.last_step <= last_told + 1
        values = journal.steps()["portfolio_value"].to_pylist()
        assert values == model_columns(journal.last_step)["portfolio_value"].tolist()[: len(values)]
        assert len(values) == journal.last_step
        look = Observer().look(path, journal.header.origin)
        assert look.liveness is Liveness.DEAD, look.reason


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [13, pytest.param(250, marks=pytest.mark.torture)])
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped tail", "written tail"])
@pytest.mark.parametrize("journals", [1, 8])
def test_sigkill__at_any_time__no_told_step_is_missing(tmp_path: Path, mapped: bool, journals: int, kills: int) -> None:
    """Kills at random times of a process that appends as fast as it can: within steps, within seals."""
    rng = random.Random(journals)
    for kill in range(kills):
        root = tmp_path / str(kill)
        told = told_steps(root, kill_after=rng.randrange(1, 2000), journals=journals, seal_every=16, mapped=mapped)
        assert_nothing_told_is_missing(root, told)


def test_reader__that_looks_all_the_while__never_sees_a_hole(tmp_path: Path) -> None:
    """Tail before stream: rows move from the one to the other, never back."""
    command = [sys.executable, "-m", "journals", str(tmp_path), "1", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            path, last, looks = journal_path(tmp_path, "run", "j0"), 0, 0
            while looks < 100:
                told = int.from_bytes(writer.stdout.read(8)[1:], "little")
                for _ in range(100):
                    told = int.from_bytes(writer.stdout.read(8)[1:], "little")
                journal = read_journal(path)
                assert journal.findings == (), journal.findings
                assert journal.steps_lost == 0
                assert journal.last_step == journal.step_count >= max(told, last)
                last = journal.last_step
                looks += 1
        finally:
            writer.kill()


KILLER = """
import json, os, signal, sys
from pathlib import Path
import journal.host.files, journal.write.tail, journal.write.sealing
from journals import append_step
from journal import About, EndReason, JournalWriter

class Os:
    "os, with a SIGKILL before or after its n-th call."
    def __init__(self, fatal, before):
        self.calls, self.fatal, self.before = 0, fatal, before
    def __getattr__(self, name):
        real = getattr(os, name)
        if name in ("getpid", "strerror", "fspath") or not callable(real):
            return real
        def call(*arguments, **options):
            self.calls += 1
            if self.calls == self.fatal and self.before:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **options)
            finally:  # the first open raises, since its folder is not there yet
                if self.calls == self.fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
        return call

def episodes(root, tell):
    about = About("Model", 10_000.0, 252.0)
    for number in range(2):  # the second one takes the first one's tail
        writer = JournalWriter(root, "run", f"j{number}", about=about, checkpoint_every_steps=5, durability=sys.argv[2])
        for step in range(1, 13):
            append_step(writer, step)
            os.write(tell, bytes([number, step]))
        writer.close(EndReason.CLOSED)

fatal, survived = 0, False
while not survived:
    fatal += 1
    for when in ("before", "after"):
        root = Path(sys.argv[1]) / f"{fatal}-{when}"
        listen, tell = os.pipe()
        child = os.fork()
        if child == 0:
            journal.write.sealing.os = journal.write.tail.os = journal.host.files.os = Os(fatal, when == "before")
            episodes(root, tell)
            os._exit(0)
        os.close(tell)
        with os.fdopen(listen, "rb") as heard:
            data = heard.read()
        survived = os.waitpid(child, 0)[1] == 0
        told = [max([0, *data[1::2][: data[::2].count(0)]]) if number == 0 else data[::2].count(1) for number in (0, 1)]
        print(json.dumps([str(root), told]), flush=True)
"""


@pytest.mark.parametrize(("mapped", "durability"), [("1", "checkpoint"), ("0", "process")])
def test_sigkill__at_each_system_call__no_told_step_is_missing(tmp_path: Path, mapped: str, durability: str) -> None:
    """Before and after each call of open, seal and close; the journal is there whole, or not at all."""
    killer = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path), durability],
        capture_output=True,
        text=True,
        env={**os.environ, "RSC_MAPPED_TAIL": mapped},
        timeout=240,
        check=False,
    )
    assert killer.returncode == 0, killer.stderr
    deaths = [json.loads(line) for line in killer.stdout.splitlines()]
    for root, told in deaths:
        assert_nothing_told_is_missing(Path(root), told)
    assert len(deaths) > 60
    assert deaths[-1][1] == [12, 12], "the last one lives through all of it"
