"""Transitions: who wins, what they leave, and that writers do not fail each other."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from rsc.db import episodes, runs
from rsc.db.episodes import CALLBACK, RECONCILER, Ended
from rsc.db.models import completed_trades
from rsc.db.models import episodes as table
from rsc.db.session import first_line, open_engine, reading, to_json
from rsc.db.trades import driver_times, trades_from

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
TRADE = (1, 1, 10.0, 3, 1_000_000, 100.0, 5, 2_500_001, 101.0, 9.0, 1.0)


def started(journal_id: str, **more: Any) -> dict[str, Any]:
    return {"run_id": "run", "journal_id": journal_id, "rllib_episode_id": f"r-{journal_id}", "start_time": NOW, **more}


def ended(journal_id: str, who: str = CALLBACK, status: str = "completed", trades=(TRADE,), **more: Any) -> Ended:
    row = {
        "status": status, "finalized_by": who, "finalized_pass": "pass-1" if who == RECONCILER else None,
        "end_time": NOW, "evidence_steps": 10, "evidence_closed": False, "evidence_final": False, "pnl": 9.0,
        "steps_lost": 2, "trades_lost": 0,
    }  # fmt: skip
    return Ended(journal_id, {**row, **more}, trades_from(trades))


@pytest.fixture
def database(engine):
    with engine.begin() as connection:
        runs.start_run(connection, "run", {"nan": float("nan")}, "/root", NOW)
    return engine


def row_of(engine, journal_id: str) -> Any:
    with reading(engine) as connection:
        return connection.execute(select(table).where(table.c.journal_id == journal_id)).one_or_none()


def trades_in(engine) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(completed_trades).order_by(completed_trades.c.trade_number)))


def end(engine, one: Ended) -> bool:
    with engine.begin() as connection:
        if one.row["finalized_by"] == CALLBACK:
            return episodes.end_episode_by_callback(connection, one, started(one.journal_id))
        return bool(end_by_reconciler(connection, [one]))


def end_by_reconciler(connection, batch: list[Ended]) -> set[str]:
    verdicts = episodes.verdicts_of(connection, batch)
    assert verdicts is not None
    return episodes.end_episodes_by_reconciler(connection, verdicts, "pass-1")


def start(engine, journal_id: str, **more: Any) -> bool:
    with engine.begin() as connection:
        return episodes.start_episode(connection, started(journal_id, **more))


def test_start_episode__new__is_started(database):
    assert start(database, "a")
    assert (row_of(database, "a").status, row_of(database, "a").start_time) == ("started", NOW)


def test_start_episode__row_made_from_its_journal__learns_its_rllib_id(database):
    assert start(database, "a", rllib_episode_id=None)
    assert start(database, "a", worker_index=3)
    assert (row_of(database, "a").rllib_episode_id, row_of(database, "a").worker_index) == ("r-a", 3)


def test_start_episode__ended_meanwhile__does_not_start_again(database):
    start(database, "a", rllib_episode_id=None)
    end(database, ended("a", RECONCILER))
    assert not start(database, "a")
    assert (row_of(database, "a").status, row_of(database, "a").rllib_episode_id) == ("completed", "r-a")


def test_start_episode__unknown_run_or_taken_id__raises(database):
    start(database, "a")
    for more in ({"run_id": "nobody"}, {"rllib_episode_id": "r-a"}):
        with pytest.raises(IntegrityError):
            start(database, "b", **more)


def test_callback__started_row__ends_it_with_its_trades(database):
    start(database, "a")
    assert end(database, ended("a"))
    (trade,) = trades_in(database)
    assert trade.entry_time == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert trade.exit_time == datetime(1970, 1, 1, 0, 0, 2, 500_001, tzinfo=UTC)
    assert tuple(trade)[1:5] == (1, 1, 10.0, 3)


def test_callback__insert_had_failed__makes_the_row(database):
    assert end(database, ended("a"))
    assert (row_of(database, "a").status, row_of(database, "a").rllib_episode_id) == ("completed", "r-a")


def test_callback__after_the_reconciler__wins_replaces_trades_and_is_remembered(database):
    start(database, "a")
    assert end(database, ended("a", RECONCILER, "truncated", trades=(TRADE, (2, *TRADE[1:]), (3, *TRADE[1:]))))
    assert end(database, ended("a"))
    row = row_of(database, "a")
    assert (row.status, row.finalized_by, row.overruled_status) == ("completed", CALLBACK, "truncated")
    assert len(trades_in(database)) == 1
    with reading(database) as connection:
        assert episodes.overruled_counts(connection) == (1, 1)


def test_callback__after_the_reconciler_on_equal_closed_evidence__fills_in_ids_alone(database):
    start(database, "a", rllib_episode_id=None)
    end(database, ended("a", RECONCILER, evidence_closed=True))
    before = row_of(database, "a")
    assert not end(database, ended("a", evidence_closed=True))
    after = row_of(database, "a")
    assert after.rllib_episode_id == "r-a"
    assert after._mapping == {**before._mapping, "rllib_episode_id": "r-a"}
    assert end(database, ended("a", evidence_closed=True, evidence_steps=11))
    assert row_of(database, "a").finalized_by == CALLBACK


def test_callback__twice__the_first_stays(database):
    start(database, "a")
    assert end(database, ended("a"))
    assert not end(database, ended("a", pnl=1.0))
    assert row_of(database, "a").pnl == 9.0


def test_reconciler__after_the_callback__does_nothing(database):
    start(database, "a")
    end(database, ended("a"))
    assert not end(database, ended("a", RECONCILER, "truncated", trades=()))
    assert (row_of(database, "a").status, len(trades_in(database))) == ("completed", 1)


def test_reconciler__batch_of_won_and_lost__stores_the_trades_of_the_won_alone(database):
    for name in "abc":
        start(database, name)
    end(database, ended("b"))
    with database.begin() as connection:
        batch = [ended(name, RECONCILER, "truncated") for name in "abc"]
        assert end_by_reconciler(connection, batch) == {"a", "c"}
    assert len(trades_in(database)) == 3


def test_reconciler__batch_repeated_after_a_lost_answer__changes_nothing(database):
    """The commit arrived, its acknowledgement did not: the same pass writes the same batch again."""
    start(database, "a")
    assert end(database, ended("a", RECONCILER))
    assert end(database, ended("a", RECONCILER))
    assert len(trades_in(database)) == 1


@pytest.mark.parametrize(
    ("more", "wins"),
    [
        ({"evidence_steps": 11}, True),
        ({"evidence_closed": True}, True),
        ({"evidence_closed": True, "evidence_steps": 9}, True),
        ({"evidence_final": True, "evidence_steps": 9}, True),
        ({"steps_lost": 1}, True),
        ({"steps_lost": 2}, False),
        ({"steps_lost": 3}, False),
        ({"steps_lost": 3, "evidence_steps": 11}, True),
        ({"steps_lost": 0, "evidence_steps": 9}, False),
        ({"evidence_steps": 10}, False),
        ({"evidence_steps": 9}, False),
    ],
)
def test_replace__only_on_strictly_more_evidence(database, more, wins):
    start(database, "a")
    end(database, ended("a", RECONCILER, "truncated"))
    with database.begin() as connection:
        assert episodes.replace_on_more_evidence(connection, ended("a", RECONCILER, **more)) is wins
    assert row_of(database, "a").overruled_status == ("truncated" if wins else None)


def test_replace__over_a_callbacks_word__never(database):
    end(database, ended("a"))
    with database.begin() as connection:
        assert not episodes.replace_on_more_evidence(connection, ended("a", RECONCILER, evidence_steps=99))


def test_started_episodes__more_than_a_page__come_once_each_in_order(database, monkeypatch):
    monkeypatch.setattr(episodes, "_PAGE", 3)
    for number in range(10):
        start(database, f"{number}")
    streamed = episodes.started_episodes(database, "run")
    seen = [next(streamed).journal_id]
    start(database, "late")
    end(database, ended("7"))
    seen += [row.journal_id for row in streamed]
    assert seen == [*"012345689"]


def test_runs__drivers_word_beats_the_reconcilers(database):
    with database.begin() as connection:
        assert runs.interrupt_run(connection, "run")
        assert not runs.interrupt_run(connection, "run")
        assert runs.end_run(connection, "run", "completed", NOW + timedelta(1))
        assert not runs.end_run(connection, "run", "error", NOW)
        row = runs.find_run(connection, "run")
    assert (row.status, row.end_time, row.parameters) == ("completed", NOW + timedelta(1), {"nan": None})


def test_interrupt_run__an_episode_is_started__does_nothing(database):
    start(database, "a")
    with database.begin() as connection:
        assert not runs.interrupt_run(connection, "run")


def test_unsettled_runs__cost__does_not_grow_with_ended_episodes(database):
    """A daemon asks this on each pass, over all that ever ended."""
    if database.dialect.name != "sqlite":
        return  # its planner goes by statistics, which a small table has none of

    def work() -> int:
        ticks: list[int] = []
        with reading(database) as connection:
            driver = connection.connection.dbapi_connection
            driver.set_progress_handler(lambda: ticks.append(1), 10)
            runs.unsettled_runs(connection, NOW)
            driver.set_progress_handler(None, 0)
        return len(ticks)

    with database.begin() as connection:
        runs.end_run(connection, "run", "completed", NOW)
    before = work()
    for number in range(300):
        end(database, ended(str(number), trades=(), evidence_final=True))
    assert work() <= before + 5


def test_text_from_outside__is_made_fit(database):
    start(database, "a", env_class="e\0\udc80" * 100)
    assert len(row_of(database, "a").env_class) == 128


def test_json__anything__is_valid_everywhere():
    assert to_json({"a": [float("inf"), {"b": float("nan")}], "c": object}).startswith('{"a": [null, {"b": null}]')


@pytest.mark.parametrize("time_us", [-(2**63), 2**63 - 1])
def test_driver_times__beyond_any_calendar__are_none(database, time_us):
    with reading(database) as connection:
        assert driver_times(connection, [time_us, 0])[0] is None
        assert driver_times(connection, [time_us, 0])[1] is not None


WRITER = """
import sys
from datetime import UTC, datetime
from rsc.db import episodes
from rsc.db.trades import trades_from
from rsc.db.session import open_engine
engine = open_engine(sys.argv[1], 30.0)
for number in range(100):
    name = f"{sys.argv[2]}-{number}"
    with engine.begin() as connection:
        row = {"run_id": "run", "journal_id": name, "rllib_episode_id": name, "start_time": datetime.now(UTC)}
        episodes.start_episode(connection, row)
    with engine.begin() as connection:
        row = {"status": "completed", "finalized_by": "callback", "evidence_closed": True, "evidence_steps": 1}
        assert episodes.end_episode_by_callback(connection, episodes.Ended(name, row, trades_from(())), {})
"""


def test_writers__four_processes_at_once__none_fails(database):
    url = database.url.render_as_string(hide_password=False)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, str(number)]) for number in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0, 0]
    with reading(database) as connection:
        assert episodes.status_counts(connection, "run") == {"completed": 400}


def test_sqlite__locked_for_longer_than_the_timeout__fails_in_time(sqlite_url, made_sqlite):
    engine = open_engine(f"sqlite:///{made_sqlite}", 0.2)
    with engine.begin(), pytest.raises(OperationalError, match="locked"), engine.begin():
        pass
    engine.dispose()


@pytest.mark.parametrize("error", [MemoryError(), TimeoutError(" \n"), None])
def test_first_line__of_an_error_that_says_nothing__is_its_name(error: BaseException | None) -> None:
    """The line is for reports: making it must never fail."""
    assert first_line(error) == ("None" if error is None else type(error).__name__)
