"""A folder full of poison: every healthy episode is reconciled, and each bad file is named with its reason."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pyarrow as pa
import pytest
from sqlalchemy import text

from journal import EndReason, read_header
from journal.format.encoding import encode_header
from journal.host.paths import tail_path
from tests.reconciler.world import LATER, World


def a_foreign_arrow_stream(path):
    batch = pa.record_batch({"x": [1, 2, 3]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)


def a_newer_format(world: World, journal_id: str) -> None:
    header = json.loads(read_header(world.path(journal_id)).to_json())
    header["format_version"] = 99
    world.path(journal_id).write_bytes(encode_header(json.dumps(header).encode(), ()))


def lay_poison(world: World) -> dict[str, str]:
    """Lay files that no writer would; what is said of each."""
    folder = world.root / world.run_id
    other = World(world.engine, world.root, "run-2")
    foreign = other.dead(row=False)
    other.driver_dies()
    (folder / "empty.arrows").touch()
    (folder / "text.arrows").write_text("hello")
    (folder / "zeros.arrows").write_bytes(bytes(100_000))
    (folder / "parquet.arrows").write_bytes(b"PAR1" + os.urandom(1000) + b"PAR1")
    (folder / "noise.arrows").write_bytes(os.urandom(100_000))
    (folder / "huge-claim.arrows").write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100))
    a_foreign_arrow_stream(folder / "arrow.arrows")
    shutil.copy(other.path(foreign), folder / "foreign.arrows")
    os.symlink("loop.arrows", folder / "loop.arrows")
    os.symlink("/etc/passwd", folder / "outside.arrows")
    os.mkfifo(folder / "fifo.arrows")
    (folder / "folder.arrows").mkdir()
    newer = world.dead(row=False)
    a_newer_format(world, newer)
    return {
        "empty": "the file is empty",
        "text": "does not start as an Arrow stream",
        "zeros": "does not start as an Arrow stream",
        "parquet": "does not start as an Arrow stream",
        "noise": "",
        "huge-claim": "",
        "arrow": "another program wrote it",
        "foreign": f"it holds journal {foreign} of run run-2",
        "loop": "symbolic link",
        "outside": "symbolic link",
        "fifo": "not a regular file",
        "folder": "not a regular file",
        newer: "format version 99",
    }


def test_poison__every_healthy_episode_is_ended_and_each_bad_file_named(world):
    healthy = [world.dead(seed=number) for number in range(20)] + [world.ended(EndReason.TERMINATED)]
    poison = lay_poison(world)
    world.insert("../../etc/passwd")
    world.insert("poisoned\0name".replace("\0", "."), env_class="x\0y" * 100)
    world.driver_dies()
    report = world.reconcile(run_ids=["run-1"])
    assert (sum(report.ended.values()), report.exit_code) == (len(healthy) + 1, 3)
    assert {world.row(journal_id).status for journal_id in healthy} == {"truncated", "completed"}
    named = {line.split(": ", 1)[0].removeprefix("run-1/"): line for line in report.unlookable}
    assert set(named) == {*poison, "../../etc/passwd"}
    for journal_id, reason in poison.items():
        assert reason in named[journal_id]
    assert world.row("../../etc/passwd").status == "started"


def refuse(engine, condition: str) -> None:
    """The database refuses rows of which this is true."""
    if engine.dialect.name == "sqlite":
        statement = (
            f"CREATE TRIGGER refusal BEFORE UPDATE ON episodes WHEN NEW.{condition} "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        statement = f"ALTER TABLE episodes ADD CONSTRAINT refusal CHECK (NOT {condition} OR status = 'started')"
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_poison__a_row_that_cannot_be_written__costs_itself_alone(world):
    """Invariant V3: a batch that fails is written one by one."""
    journal_ids = [world.dead(steps) for steps in (5, 6, 13, 8)]
    refuse(world.engine, "total_steps = 13")
    world.driver_dies()
    report = world.reconcile()
    assert (report.ended, report.failure_count, report.exit_code) == ({"truncated": 3}, 1, 1)
    assert journal_ids[2] in report.failures[0]
    assert "refus" in report.failures[0]
    assert world.run_row().status == "running"


def test_poison__notes_that_fit_no_column__are_not_known(world):
    bad = world.dead(row=False)
    header = json.loads(read_header(world.path(bad)).to_json())
    header["about"]["notes"] = {"in_evaluation": "perhaps", "worker_index": 1e30}
    tail_path(world.path(bad)).unlink()
    world.path(bad).write_bytes(encode_header(json.dumps(header).encode(), ()))
    assert world.reconcile().ended == {"truncated": 1}
    assert (world.row(bad).in_evaluation, world.row(bad).worker_index) == (None, None)


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_batches__of_any_size__give_the_same_rows(world, batch):
    for number in range(7):
        world.dead(seed=number)
    assert world.reconcile(replace(LATER, batch_episodes=batch)).ended == {"truncated": 7}


@pytest.mark.parametrize("time_us", [2**62, 2**63 - 1])
def test_trade_that_is_not_a_number__is_stored_as_null(world, time_us):
    from journal import Trade

    writer = world.episode(5)
    trade = Trade(-1, 10.0, 1, -time_us, float("inf"), 1.0, float("nan"), 0.0)
    writer.append(1.0, 0.0, float("nan"), 1.0, 1.0, 1.0, 0.0, 0.0, time_us, False, False, [trade])
    writer.close(EndReason.CLOSED)
    assert world.reconcile().ended == {"truncated": 1}
    stored = world.trades(writer.journal_id)[0]
    assert (stored.direction, stored.quantity, stored.entry_time, stored.exit_time, stored.pnl) == (
        -1, 10.0, None, None, None,
    )  # fmt: skip
    assert world.row(writer.journal_id).final_portfolio_value is None
