"""The public API: a stranger writes and reads a journal with keywords, and errors say what was wrong."""

from __future__ import annotations

import errno
import math
import os
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import journal
import journal.write.sealing as sealing
from journal import About, EndReason, JournalWriter, State, Trade, read_journal
from journal.errors import JournalValueError
from journal.format.schema import UNKNOWN_TIME
from tests.support.journals import DigestFold, append_step, trades_of_step

ABOUT = About(env="MyEnv", initial_portfolio_value=10_000, periods_per_year=252)
TIME = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def column(writer: JournalWriter, name: str) -> list[Any]:
    return read_journal(writer.path).steps().column(name).to_pylist()


def test_with_block__keywords_only__is_written_and_read(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "my-run", about=ABOUT) as writer:
        writer.append(action=1, reward=0.01, portfolio_value=10_100)
        writer.append(reward=0.02, portfolio_value=10_200, market_time=TIME, terminated=True)
    read = read_journal(writer.path)
    assert read.end_reason is EndReason.TERMINATED
    assert read.steps().column("portfolio_value").to_pylist() == [10_100.0, 10_200.0]
    assert read.steps().column("market_time").to_pylist() == [None, TIME]
    assert all(math.isnan(value) for value in column(writer, "price"))
    assert math.isnan(column(writer, "action")[1])


def test_journal_ids__when_none_is_given__are_made(tmp_path: Path) -> None:
    ids = {JournalWriter(tmp_path, "my-run", about=ABOUT).journal_id for _ in range(3)}
    assert set(journal.list_journals(tmp_path, "my-run")) == ids
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("flags", "reason"),
    [({}, "closed"), ({"terminated": True}, "terminated"), ({"truncated": True}, "time_limit")],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_close__without_a_reason__goes_by_the_last_step(
    tmp_path: Path, flags: dict[str, bool], reason: str, sealed: bool
) -> None:
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT)
    writer.append(portfolio_value=1.0, **flags)
    if sealed:
        writer.checkpoint()
    writer.close()
    assert read_journal(writer.path).end_reason == reason


def test_with_block__that_raises__says_so_and_lets_the_error_through(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT)

    def play() -> None:
        with writer:
            writer.append(portfolio_value=1.0)
            raise RuntimeError("broken env")

    with pytest.raises(RuntimeError, match="broken env"):
        play()
    read = read_journal(writer.path)
    assert (read.end_reason, read.end_message) == (EndReason.ERROR, "RuntimeError: broken env")


def test_close__reason_as_text__or_refused(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT)
    with pytest.raises(JournalValueError, match=r"reason must be one of terminated, .*, got 'finished'"):
        writer.close("finished")
    writer.close("superseded", "reset by hand")
    assert read_journal(writer.path).end_reason is EndReason.SUPERSEDED


@pytest.mark.parametrize("extra", [[1, 2], (1, 2), np.array([1.0, 2.0]), [Decimal(1), Fraction(2)], range(1, 3)])
def test_extra__any_sequence__is_stored(tmp_path: Path, extra: Any) -> None:
    about = About(env="E", initial_portfolio_value=1, periods_per_year=1, extra_columns=["a", "b"])  # type: ignore[arg-type]
    with JournalWriter(tmp_path, "my-run", about=about) as writer:
        writer.append(portfolio_value=1.0, extra=extra)
        writer.append(portfolio_value=1.0)
    assert column(writer, "a")[0] == 1.0
    assert column(writer, "b")[0] == 2.0
    assert math.isnan(column(writer, "b")[1])


VALUES = [1, True, np.float32(1), np.int64(1), Decimal(1), Fraction(1), np.array(1.0)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_append__numbers_of_any_class__are_stored(tmp_path: Path, value: Any) -> None:
    with JournalWriter(tmp_path, "my-run", about=ABOUT) as writer:
        writer.append(action=value, reward=value, portfolio_value=value)
    assert column(writer, "reward") == [1.0]


def test_append__none_anywhere__is_unknown(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "my-run", about=ABOUT) as writer:
        writer.append(None, None, 1.0, None, None, None, None, None, None, trades=[Trade(1, 2.0, exit_price=3.0)])
    (steps, trades) = next(read_journal(writer.path).blocks())
    assert np.isnan([steps[name][0] for name in ("action", "reward", "price", "cash", "position", "fees")]).all()
    assert steps["market_time"][0] == trades["entry_time"][0] == trades["exit_time"][0] == UNKNOWN_TIME
    assert np.isnan(trades["pnl"][0])


@pytest.mark.parametrize("time", [TIME, np.datetime64("2024-01-02T03:04:05.000006"), 1_704_164_645_000_006, 1.7e15])
def test_append__times_of_any_class__are_stored(tmp_path: Path, time: Any) -> None:
    with JournalWriter(tmp_path, "my-run", about=ABOUT) as writer:
        writer.append(portfolio_value=1.0, market_time=time, trades=[Trade(1, 1.0, 1, time, 1.0, 1.0, 0.0, 0.0)])
    expected = datetime.fromtimestamp(1.7e9, UTC) if time == 1.7e15 else TIME
    assert column(writer, "market_time") == [expected]
    assert read_journal(writer.path).trades().column("entry_time").to_pylist() == [expected]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reward": "0.5"}, "reward must be a number, got '0.5'"),
        ({"cash": [1, 2]}, r"cash must be a number, got \[1, 2\]"),
        ({"price": 10**400}, "price must be a number, got 1000"),
        ({"market_time": "2020-01-01"}, "market_time must be a datetime .*, got '2020-01-01'"),
        ({"market_time": datetime(2020, 1, 1)}, "market_time must be a datetime with a time zone"),  # noqa: DTZ001
        ({"market_time": math.nan}, "market_time must be .*, got nan"),
        ({"market_time": 2**63}, "market_time must be"),
        ({"terminated": "yes"}, "terminated must be True or False, got 'yes'"),
        ({"extra": [1.0]}, r"extra must be 0 numbers, one for each extra column, got \[1.0\]"),
        ({"trades": [(1, 2.0, 1, 0, "x", 1.0, 1.0, 1.0)]}, r"trades\[0\].entry_price must be a number, got 'x'"),
        ({"trades": [Trade(1, 2.0, 2**70)]}, r"trades\[0\].entry_step must be a whole number"),
    ],
)
def test_append__value_that_no_journal_holds__is_named_and_costs_no_step(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with JournalWriter(tmp_path, "my-run", about=ABOUT) as writer:
        writer.append(portfolio_value=1.0)
        with pytest.raises(JournalValueError, match=message):
            writer.append(**{"portfolio_value": 2.0, **values})
        writer.append(portfolio_value=3.0)
    assert column(writer, "portfolio_value") == [1.0, 3.0]


def test_dir__names_all_that_is_public() -> None:
    assert set(journal.__all__) <= set(dir(journal))
    assert {"Follower", "recover", "audit", "Source", "Kernel", "JournalValueError"} <= set(journal.__all__)
    for name in journal.__all__:
        assert getattr(journal, name) is not None


def test_follower__reads_what_was_appended(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT)
    writer.append(portfolio_value=1.0)
    follower = journal.Follower(read_journal(writer.path))
    writer.append(portfolio_value=2.0)
    assert [batch.num_rows for batch in follower.look().batches] == [1]
    writer.close()
    assert follower.look().end is not None


def test_relative_root__is_absolute_from_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = JournalWriter("journals", "my-run", about=ABOUT)
    assert writer.path.is_absolute()
    (tmp_path / "other").mkdir()
    os.chdir("other")
    writer.close()
    assert read_journal(tmp_path / "journals" / "my-run" / writer.path.name).end_reason is EndReason.CLOSED


@pytest.mark.parametrize("mapped", ["1", "0"])
def test_removed_run_folder__ends_journaling_audibly_and_keeps_the_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mapped: str
) -> None:
    """Writes to a file without a name succeed, so the writer looks for the name at each seal."""
    monkeypatch.setenv("RSC_MAPPED_TAIL", mapped)
    fold = DigestFold()
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT, fold=fold, checkpoint_every_steps=10)
    for step in range(1, 16):
        append_step(writer, step)
    shutil.rmtree(tmp_path / "my-run")
    for step in range(16, 41):
        append_step(writer, step)
    writer.close("terminated")
    assert writer.failure is not None
    assert "is incomplete from step" in caplog.text
    assert (fold.steps, fold.trades) == (40, writer.trades)
    assert len(writer.kept_trades()) == writer.trades == sum(len(trades_of_step(step)) for step in range(1, 41))


def test_read_only_file_system__a_mapped_tail_says_that_the_write_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a batch nor a name can be written; a store into the tail's pages can, and readers see it."""
    monkeypatch.setenv("RSC_MAPPED_TAIL", "1")
    writer = JournalWriter(tmp_path, "my-run", about=ABOUT, checkpoint_every_steps=10)
    if not writer.header.tail_mapped:
        pytest.skip("this file system has no mapped tails")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for step in range(1, 14):
        append_step(writer, step)
    monkeypatch.setattr(sealing, "write_all", refuse)
    monkeypatch.setattr(sealing.os, "rename", refuse)
    for step in range(14, 40):
        append_step(writer, step)
    monkeypatch.undo()
    read = read_journal(writer.path)
    assert (read.state, read.steps_lost, read.torn, read.findings) == (State.FAILED, 0, False, ())
    assert 13 <= read.last_step == read.step_count < 39
    writer.close()
    assert read_journal(writer.path).state is State.FAILED
