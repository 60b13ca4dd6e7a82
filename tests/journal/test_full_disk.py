"""A file system that is really full: a small tmpfs in a mount namespace of its own. Nothing dies, nothing is silent."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import model_trades

# In the child: a store into a page that the file system has no room for would be a SIGBUS, which no test survives.
PREAMBLE = """
import json, logging, os, sys
from pathlib import Path
from journal import About, EndReason, JournalWriter, read_journal
from journal.inspect.audit import audit
from journals import append_step, model_columns
from rsc.metrics import RunningMetrics

class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []
    def emit(self, record):
        self.lines.append(record.getMessage())

heard = Warnings()
logging.getLogger("journal").addHandler(heard)
root = Path(sys.argv[1])
about = About("Model", 10_000.0, 252.0)

def writer(journal_id, **settings):
    settings = {"checkpoint_every_steps": 64, "fold": RunningMetrics(10_000.0, 252.0), **settings}
    return JournalWriter(root, "run", journal_id, about=about, **settings)

def steps(episode, count):
    for step in range(episode.steps + 1, count + 1):
        append_step(episode, step)

def fill():
    "Every byte that is free, and every page."
    with open(root / "filler", "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass

def told(episode):
    journal = read_journal(episode.path)
    values = journal.steps()["portfolio_value"].to_pylist()
    return {
        "state": str(journal.state), "steps": journal.step_count, "lost": journal.steps_lost, "torn": journal.torn,
        "findings": [finding.message for finding in journal.findings],
        "right": values == model_columns(len(values))["portfolio_value"].tolist(),
        "folded": episode.fold.result().total_steps, "kept": len(episode.kept_trades()),
        "warnings": heard.lines,
    }
"""


@functools.cache
def why_not() -> str:
    """Why no file system can be mounted here; empty if one can."""
    try:
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or "unshare failed"


def on_tmpfs(folder: Path, size_kib: int, mapped: str, script: str) -> dict[str, Any]:
    """What the script prints, run in a process that sees a tmpfs of this size."""
    if why_not():
        pytest.skip(f"a tmpfs cannot be mounted here ({why_not()}); RLIMIT_FSIZE is tested in any case")
    command = 'mount -t tmpfs -o size="$1"k tmpfs "$2" && exec "$3" -c "$4" "$2"'
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", command, "sh", str(size_kib), str(folder)]
    done = subprocess.run(
        [*shell, sys.executable, PREAMBLE + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "RSC_MAPPED_TAIL": mapped},
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


MAPPED = pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped tail", "written tail"])


@MAPPED
@pytest.mark.parametrize("at", [1, 65, 600])
def test_disk__fills_up_in_mid_episode__training_goes_on(tmp_path: Path, mapped: str, at: int) -> None:
    """Whoever filled it: one warning, no step before the failure lost or changed, the figures of all 2 000 in memory."""
    script = f"""
episode = writer("j")
steps(episode, {at})
fill()
steps(episode, 2000)
episode.close(EndReason.TERMINATED)
print(json.dumps({{**told(episode), "failed_at": str(episode.failure), "beside": sorted(os.listdir(root / "run"))}}))
"""
    found = on_tmpfs(tmp_path, 4096, mapped, script)
    assert len(found["warnings"]) == 1
    assert "incomplete from step" in found["warnings"][0]
    assert (found["state"], found["right"], found["findings"], found["lost"]) == ("failed", True, [], 0)
    assert at <= found["steps"] < 2000
    assert (found["folded"], found["kept"]) == (2000, len(model_trades(2000)))
    assert "j.failed" in found["beside"]
    assert "j.tail" not in found["beside"]


@MAPPED
@pytest.mark.parametrize("size_kib", [4, 16, 120])
def test_disk__too_small_to_begin_with__training_goes_on(tmp_path: Path, mapped: str, size_kib: int) -> None:
    """Too small for the folder, for the header, or for the tail's reserve: what there is of a journal can be read."""
    script = """
episode = writer("j", checkpoint_every_steps=1024)
steps(episode, 3000)
episode.close(EndReason.TERMINATED)
found = told(episode) if episode.path.exists() else {"warnings": heard.lines, "folded": episode.fold.result().total_steps}
left = os.listdir(root / "run") if (root / "run").exists() else []
print(json.dumps({**found, "hidden": [name for name in left if name.endswith(".new")]}))
"""
    found = on_tmpfs(tmp_path, size_kib, mapped, script)
    assert len(found["warnings"]) == 1
    assert (found["folded"], found["hidden"]) == (3000, [])
    assert found.get("state", "failed") == "failed"
    assert found.get("right", True)


@MAPPED
def test_disk__has_room_again__next_episode_is_journaled(tmp_path: Path, mapped: str) -> None:
    """The failed one stays as it is; nothing is written behind its hole."""
    script = """
first = writer("first")
steps(first, 100)
fill()
steps(first, 200)
second = writer("second")  # while there is no room
steps(second, 200)
size = first.path.stat().st_size
(root / "filler").unlink()
steps(first, 400)
first.close(EndReason.CLOSED)
second.close(EndReason.CLOSED)
third = writer("third")
steps(third, 400)
third.close(EndReason.TERMINATED)
unchanged = first.path.stat().st_size == size
print(json.dumps({"unchanged": unchanged, "first": told(first), "second": second.fold.result().total_steps,
                  "third": told(third)}))
"""
    found = on_tmpfs(tmp_path, 2048, mapped, script)
    assert found["unchanged"]
    assert (found["first"]["state"], found["first"]["folded"], found["first"]["right"]) == ("failed", 400, True)
    assert found["second"] == 200
    assert (found["third"]["state"], found["third"]["steps"]) == ("closed", 400)
    assert len(found["third"]["warnings"]) == 2


@MAPPED
def test_disk__full__many_episodes_side_by_side_and_one_after_another(tmp_path: Path, mapped: str) -> None:
    """Vector envs: a warning each, and tails that wait for reuse neither die nor are given out half blank."""
    script = """
before = [writer(f"a{number}") for number in range(8)]
for episode in before:
    steps(episode, 130)
    episode.close(EndReason.CLOSED)
heard.lines.clear()
during = [writer(f"b{number}") for number in range(8)]
fill()
for episode in during:
    steps(episode, 300)
    episode.close(EndReason.CLOSED)
print(json.dumps({"warnings": heard.lines, "journals": [told(episode) for episode in before + during]}))
"""
    found = on_tmpfs(tmp_path, 8192, mapped, script)
    assert len(found["warnings"]) == 8
    journals = found["journals"]
    assert [journal["state"] for journal in journals] == ["closed"] * 8 + ["failed"] * 8
    assert all(journal["right"] and journal["findings"] == [] for journal in journals)
    assert [journal["steps"] for journal in journals[:8]] == [130] * 8
    assert [journal["folded"] for journal in journals[8:]] == [300] * 8
