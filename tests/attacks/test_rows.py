"""Rows that people, other programs or old versions left in the database: one bad row stops nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.processes import no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene

EPISODE = "UPDATE episodes SET {} WHERE run_id = :run AND journal_id LIKE 'bad%'"
RUN = "UPDATE training_runs SET {} WHERE run_id = :run"
SPOIL = {
    "start-time": EPISODE.format("start_time = 'yesterday'"),
    "start-time-number": EPISODE.format("start_time = 1767225600"),
    "start-time-iso": EPISODE.format("start_time = '2026-01-01T00:00:00+00:00'"),
    "start-time-empty": EPISODE.format("start_time = ''"),
    "start-time-future": EPISODE.format("start_time = '9999-12-31 23:59:59'"),
    "end-time": EPISODE.format("end_time = 'soon'"),
    "journal-id-null": EPISODE.format("journal_id = NULL"),
    "journal-id-path": EPISODE.format("journal_id = '../../etc/passwd'"),
    "journal-id-empty": EPISODE.format("journal_id = ''"),
    "journal-id-blob": EPISODE.format("journal_id = x'ff00fe'"),
    "journal-id-controls": EPISODE.format("journal_id = 'bad' || char(10) || char(27) || '[31m'"),
    "journal-id-number": EPISODE.format("journal_id = 17"),
    "writer-host-blob": EPISODE.format("writer_host = x'ff'"),
    "capital-text": EPISODE.format("initial_portfolio_value = 'ten thousand'"),
    "steps-text": EPISODE.format("total_steps = 'many', evidence_steps = 'many'"),
    "run-start-time": RUN.format("start_time = 'yesterday'"),
    "run-parameters": RUN.format("parameters = '{not json'"),
    "run-root-relative": RUN.format("journal_root = '../..'"),
    "run-root-missing": RUN.format("journal_root = '/does/not/exist'"),
    "run-root-file": RUN.format("journal_root = '/etc/passwd'"),
    "run-root-nul": RUN.format("journal_root = 'a' || char(0) || 'b'"),
    "run-root-empty": RUN.format("journal_root = ''"),
    "run-root-blob": RUN.format("journal_root = x'ff'"),
}


@pytest.fixture(scope="module")
def spoiled(template: Path) -> Iterator[Scene]:
    """A run for each kind of bad row: one episode with it, one without, both dead."""
    path = Path(tempfile.mkdtemp(prefix="rsc-attack-"))
    scene = Scene(path, Records.copy_of(template, path / "rsc.db"))
    writer = scene.writer()
    for kind in SPOIL:
        writer.do(f"m = marker({str(scene.root)!r}, {kind!r})")
        scene.records.add_run(kind, scene.root)
        for name in ("good", "bad"):
            scene.episode(writer, run_id=kind, journal_id=f"{name}-{kind}", name=f"w_{name}_{kind.replace('-', '_')}")
    writer.kill()
    yield scene
    scene.close()
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("kind", SPOIL)
def test_bad_row__stops_neither_the_pass_over_its_run_nor_a_look_at_it(spoiled: Scene, kind: str) -> None:
    """The other episode is ended, if its root is right; the bad row is a line or two; `rsc check` still works."""
    spoiled.records.sql(SPOIL[kind], run=kind)
    try:
        judge_one(spoiled, kind)
    finally:
        mend(spoiled, kind)


def judge_one(spoiled: Scene, kind: str) -> None:
    done = spoiled.reconcile("--run-id", kind)
    if not kind.startswith("run-root"):
        assert spoiled.records.episode(f"good-{kind}")["status"] == "truncated", said(done)
    assert done.returncode in (0, 1, 3), said(done)
    assert len(done.stderr.splitlines()) <= 4, done.stderr
    checked = run("rsc", "check", kind, "--database-url", spoiled.records.url)
    no_traceback(checked)
    assert checked.returncode in (0, 1), said(checked)


def mend(spoiled: Scene, kind: str) -> None:
    """Undo what was spoiled, so that each kind is tried alone."""
    bad = "(journal_id IS NULL OR journal_id NOT LIKE 'good-%')"
    spoiled.records.sql(f"DELETE FROM episodes WHERE run_id = :run AND {bad}", run=kind)
    right = "start_time = '2026-01-01 00:00:00.000000', parameters = NULL, journal_root = :root"
    spoiled.records.sql(f"UPDATE training_runs SET {right} WHERE run_id = :run", run=kind, root=str(spoiled.root))


def test_bad_rows__of_every_kind__stop_neither_a_pass_over_all_nor_any_look(scene: Scene, spoiled: Scene) -> None:
    """With runs whose ids no folder can have, too; and a whole run is ended as if it were alone."""
    records = spoiled.records
    for kind, deed in SPOIL.items():
        mend(spoiled, kind)
        records.add_episode(kind, f"bad-{kind}")
        records.sql(deed, run=kind)
    writer = scene.live(run_id="whole", journal_id="whole")
    records.add_run("whole", scene.root)
    records.add_episode("whole", "whole")
    writer.kill()
    for name in ("../r", "", "a" * 200, "line\nend"):
        records.add_run(name, spoiled.root)
    done = spoiled.reconcile()
    assert records.episode("whole")["status"] == "truncated", said(done)
    assert done.returncode in (1, 3), said(done)
    for words in (["runs"], ["runs", "--json"]):
        listed = run("rsc", *words, "--database-url", records.url)
        no_traceback(listed)
        assert (listed.returncode, "whole" in listed.stdout) == (0, True), said(listed)
    no_traceback(run("reconciler", "status", "--database-url", records.url))
    audited = run("reconciler", "--all", "--audit", "--database-url", records.url)
    no_traceback(audited)
    assert audited.returncode in (0, 1, 3), said(audited)


def two_dead(scene: Scene) -> None:
    """A run with two dead episodes, ``good`` and ``bad``."""
    writer = scene.live(journal_id="good")
    scene.episode(writer, journal_id="bad", name="b")
    writer.kill()


def items_of(scene: Scene) -> tuple[list[dict[str, object]], dict[str, object], str]:
    done = scene.reconcile("--json")
    document = json.loads(done.stdout)
    return document["episodes"], document["report"], done.stderr


def test_row_ended_by_the_reconciler__evidence_steps_null__is_settled_by_the_next_pass(scene: Scene) -> None:
    two_dead(scene)
    scene.reconcile()
    scene.records.sql("UPDATE episodes SET evidence_steps = NULL, evidence_final = 0 WHERE journal_id = 'bad'")
    first = scene.reconcile()
    assert first.returncode == 0, said(first)
    second = scene.reconcile()
    assert (second.returncode, second.stderr) == (0, ""), said(second)
    assert items_of(scene)[0] == []


@pytest.mark.parametrize("case", ["H", "N"])
def test_episode_without_evidence__ended_once__is_not_judged_on_each_pass(scene: Scene, case: str) -> None:
    """Its journal is lost, or unreadable: nothing changes, so nothing is judged again."""
    two_dead(scene)
    journal = scene.root / "r1" / "bad.arrows"
    if case == "H":
        journal.unlink()
        journal.with_suffix(".tail").unlink()
    else:
        journal.write_bytes(b"no journal at all" * 20)
    items, _, _ = items_of(scene)
    assert case in {item["case"] for item in items}
    assert scene.records.episode("bad")["status"] == "error"
    items, report, complaints = items_of(scene)
    assert items == []
    assert report["judged"] == 0, report
    assert complaints == ""


def test_episode_without_evidence__its_journal_comes_back__is_replaced(scene: Scene) -> None:
    """The other side of the rule: a volume that is mounted again."""
    two_dead(scene)
    files = {path: path.read_bytes() for path in (scene.root / "r1").glob("bad.*")}
    for path in files:
        path.unlink()
    scene.reconcile()
    assert scene.records.episode("bad")["status"] == "error"
    for path, data in files.items():
        path.write_bytes(data)
    scene.reconcile()
    row = scene.records.episode("bad")
    assert (row["status"], row["total_steps"]) == ("truncated", 20)


def test_mistyped_run_id__is_refused_and_no_pass_is_stored(scene: Scene) -> None:
    scene.live().kill()
    done = run("reconciler", "--run-id", "r2", "--database-url", scene.records.url)
    assert done.returncode in (1, 2), said(done)
    assert "r2" in done.stderr
    assert scene.records.passes() == []
