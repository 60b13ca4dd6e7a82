"""Keep policies: what a killed save leaves is removed by a later one, what is being written is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsc.policies.store import FACTS, LAST, MarketFacts, PolicyFacts, PolicyStore, Span

ROOT = Path(__file__).parents[3]

SAVING = """
import sys, time
from pathlib import Path
from tests.rsc.policies.test_store import facts_of
from rsc.policies.store import PolicyStore
def write(folder):
    (folder / "weights").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(60)
PolicyStore(Path(sys.argv[1]), "other").save(facts_of("other", 1), write)
"""


def facts_of(run_id: str, iteration: int) -> PolicyFacts:
    span = Span("2000-01-01", "2001-01-01", 250)
    return PolicyFacts(
        run_id=run_id, algorithm="ppo", iteration=iteration, env_steps=1, plan={}, env_config={},
        market=MarketFacts("MSFT", 252.0, "digest"), features=[], training=span, validation=None, observation_size=1,
        actions="Discrete(3)", versions={}, saved_at="2026-11-22T12:00:00Z", target=10,
    )  # fmt: skip


def save(root: Path, iteration: int) -> Path:
    return PolicyStore(root, "mine").save(facts_of("mine", iteration), lambda folder: (folder / "weights").touch())


@pytest.fixture
def saving(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of a save, and the folder that it writes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "it saved nothing; its error is above"
    folder = Path(line)
    past = time.time() - 100
    os.utime(folder, (past, past))
    yield process, folder
    process.kill()
    process.wait(30)
    process.stdout.close()


def test_save__what_a_killed_save_left__is_removed(saving: tuple[subprocess.Popen[str], Path], tmp_path: Path) -> None:
    process, folder = saving
    save(tmp_path, 1)
    assert folder.is_dir(), "it is being written"
    process.kill()
    process.wait(30)
    save(tmp_path, 2)
    assert not folder.exists()
    assert [path.name for path in tmp_path.glob("*/.*")] == []


def test_save__again_and_twice_in_one_iteration__keeps_the_last_whole_one(tmp_path: Path) -> None:
    for iteration in (1, 2, 2):
        found = save(tmp_path, iteration)
    assert sorted(path.name for path in found.parent.iterdir()) == ["iteration-000002", LAST]
    assert sorted(path.name for path in found.iterdir()) == [FACTS, "weights"]


def test_save__that_fails__leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError("no room")

    save(tmp_path, 1)
    with pytest.raises(OSError, match="no room"):
        PolicyStore(tmp_path, "mine").save(facts_of("mine", 2), fail)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["iteration-000001", LAST]
