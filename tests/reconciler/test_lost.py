"""Which node of a cluster counts as lost: each rule, and where its limits are. What a node needs of the driver's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal import Liveness, LivenessReport, RunMarker, journal_path
from journal.host.roots import read_root_id
from journal.mirror import open_mirror
from journal.mirror.service import MirrorService
from journal.mirror.store import Store
from reconciler.cluster import driver_is_lost
from reconciler.lost import ALIVE, DEAD, SILENT, STANDS_STILL_S, UNLISTED, Losses, judge_loss
from reconciler.on_node import judge_here
from reconciler.settings import Settings
from tests.reconciler.world import World, open_journal

LONG = STANDS_STILL_S


@pytest.mark.parametrize(
    ("listed", "still_s", "presume_lost_s", "lost", "why"),
    [
        (ALIVE, LONG, None, False, "the node is alive"),
        (ALIVE, LONG, 0.0, False, "the node is alive"),
        (SILENT, LONG, 0.0, False, "did not answer"),
        (UNLISTED, LONG, None, False, "--presume-lost AGE"),
        (UNLISTED, LONG, LONG, True, "the user presumed it"),
        (UNLISTED, 59.0, 60.0, False, "was written in the last 60 s"),
        (UNLISTED, None, 0.0, True, "the user presumed it"),
        (DEAD, None, None, False, "clock of the mirror is unknown"),
        (DEAD, LONG - 0.1, None, False, "was written in the last 150 s"),
        (DEAD, LONG, None, True, "Ray lists it as dead, and its mirror stands still since 150 s"),
        (DEAD, 10.0, 10.0, True, "Ray lists it as dead"),
    ],
)
def test_judge_loss__each_rule(
    listed: str, still_s: float | None, presume_lost_s: float | None, lost: bool, why: str
) -> None:
    found = judge_loss(listed, still_s, presume_lost_s)
    assert found.lost is lost
    assert why in found.why


def test_driver_is_lost__its_marker_names_no_node__the_node_that_mirrored_it_counts(tmp_path: Path) -> None:
    node = "a" * 56
    RunMarker(tmp_path / "root", "r1", {}).close()
    store = Store(str(tmp_path / "mirror"), make=True)
    store.test()
    MirrorService(store, tmp_path / "root", node_id=node).settle()
    run = open_mirror(tmp_path / "mirror").run("r1")
    assert run.moved is not None
    later = run.moved + timedelta(seconds=STANDS_STILL_S + 1)
    for dead, lost in (([node], True), ([], False)):
        losses = Losses([], dead, [], [], run, later, None)
        assert driver_is_lost(run, losses, tmp_path / "copy") is lost


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_judge_here__journal_deleted_on_a_node_without_the_marker__ends_when_the_driver_is_dead(
    world: World, tmp_path: Path
) -> None:
    root = tmp_path / "other"
    writer = open_journal(root, world.run_id)
    world.insert(writer.journal_id, root_id=read_root_id(root / world.run_id))
    writer.close("closed")
    journal_path(root, world.run_id, writer.journal_id).unlink()
    given = (world.run_id, root, [(writer.journal_id, world.row(writer.journal_id))], Settings(grace_period_s=0.0))
    later = datetime.now(UTC) + timedelta(hours=1)
    assert judge_here(*given, later, "pass", False).report.cases == {"G": 1}
    dead = LivenessReport(Liveness.DEAD, "its lock is free", original=True)
    judged = judge_here(*given, later, "pass", False, dead)
    assert judged.report.cases == {"H": 1}
    assert [work.verdict.ending and work.verdict.ending[0] for work in judged.works] == ["error"]
