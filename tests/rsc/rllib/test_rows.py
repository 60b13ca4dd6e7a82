"""Rows are written by a thread: training never waits for the database, and what ended is on record after a drain."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from journal import list_journals, read_journal
from rsc.db.session import open_engine
from rsc.rllib import rows
from rsc.rllib.callbacks import EpisodeCallbacks
from rsc.rllib.rows import Entry, RowWriter, State
from tests.rsc.rllib.world import RUN, World, config_of, sample

MOST_S = 1.0
"""Longer than any callback may take, and shorter than any timeout of a database."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A server that takes connections and never answers; its port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield listening.getsockname()[1]


def callback_times(runner: Any) -> list[float]:
    """How long each hand-over of a runner takes from now on, in seconds."""
    ours = runner._callbacks[-1]
    taken: list[float] = []
    for name in ("on_episode_start", "on_episode_end"):
        inner = getattr(ours, name)

        def timed(*args: Any, inner: Any = inner, **kwargs: Any) -> None:
            start = time.perf_counter()
            inner(*args, **kwargs)
            taken.append(time.perf_counter() - start)

        setattr(ours, name, timed)
    return taken


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "rsc"]


def use_database(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let env runners write there, as if the run's database had turned into it."""
    monkeypatch.setattr("rsc.rllib.runner.with_password", lambda *_: url)


def assert_sampling_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Training goes on at full speed, with one warning, and the journals have everything."""
    with world.runner(config_of(envs=2)) as runner, caplog.at_level(logging.WARNING, "rsc"):
        taken = callback_times(runner)
        sample(runner, 90)
        assert len(taken) >= 8
        assert max(taken) < MOST_S
        start = time.monotonic()
    assert time.monotonic() - start < rows.DRAIN_S + 5.0
    assert len([one for one in warnings_of(caplog) if "does not answer" in one]) == 1
    assert sum(journal.end_reason is not None for journal in world.journals().values()) >= 4


def test_rows__server_that_never_answers__sampling_goes_on(
    world: World, silent_server: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg")
    use_database(monkeypatch, f"postgresql://me@127.0.0.1:{silent_server}/db")
    assert_sampling_goes_on(world, caplog)


def test_rows__name_server_that_never_answers__sampling_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg")
    asked, over = threading.Event(), threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        asked.set()
        over.wait(60)
        raise socket.gaierror("no answer")

    use_database(monkeypatch, "postgresql://me@db.invalid/db")
    monkeypatch.setattr(socket, "getaddrinfo", never)
    with world.runner(config_of(envs=2)) as runner:
        taken = callback_times(runner)
        sample(runner, 90)
        assert asked.wait(10)
        assert max(taken) < MOST_S
        monkeypatch.setattr(rows, "DRAIN_S", 0.1)
    over.set()
    assert "are not written; `reconcile` records them" in caplog.text
    assert len(world.journals()) >= 4


def test_rows__another_program_holds_the_file__sampling_goes_on_and_the_rows_come(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "DATABASE_PAUSE_S", 0.0)
    with world.runner(config_of(envs=2)) as runner:
        taken = callback_times(runner)
        holder = sqlite3.connect(tmp_path / "rsc.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        sample(runner, 90)
        holder.close()
        assert max(taken) < MOST_S
    assert sum(row.status == "completed" for row in world.rows()) >= 4


def test_rows__one_is_refused__the_others_are_written(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An RLlib id that another journal has: a conflict that no retry ends."""
    with world.runner(config_of(envs=2)) as runner, caplog.at_level(logging.WARNING, "rsc"):
        sample(runner, 10)
        ours = runner._callbacks[-1]
        taken, other = ours._running.values()
        assert rows.drain(world.url) == 0
        ours._put({**taken, "journal_id": "other"}, State.STARTED)
        sample(runner, 60)
    assert len([one for one in warnings_of(caplog) if "the database refuses the row" in one]) == 1
    found = world.rows()
    assert {row.journal_id for row in found} == set(list_journals(world.root, RUN))
    assert sum(row.status == "completed" for row in found) >= 2
    assert other["journal_id"] in {row.journal_id for row in found}


def test_rows__runner_stops__everything_that_ended_is_on_record(world: World) -> None:
    """Also what RLlib drops when it samples by episodes: no row is `started` whose journal says that it ended."""
    config = config_of(envs=3).env_runners(batch_mode="complete_episodes")
    with world.runner(config) as runner:
        for _ in range(2):
            runner.sample(num_episodes=1, random_actions=True)
    journals = world.journals()
    found = {row.journal_id: row for row in world.rows()}
    assert set(found) == set(journals)
    for journal_id, journal in journals.items():
        assert (found[journal_id].status == "started") == (journal.end_reason == "closed")


def test_rows__forked_child__has_no_queue_and_leaves_the_parents_connection(world: World) -> None:
    with world.runner(config_of()) as runner:
        sample(runner, 10)
        assert rows.drain(world.url) == 0
        child = os.fork()
        if child == 0:
            os._exit(len(rows._writers))
        assert os.waitpid(child, 0)[1] == 0
        sample(runner, 15)
    assert [row.status for row in world.rows()] == ["completed", "started"]


def test_rows__file_was_removed__no_empty_database_is_made(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of()
    with world.attach(config):
        runner = config.env_runner_cls(config=config, worker_index=1)
        for file in tmp_path.glob("rsc.db*"):
            file.unlink()
        with caplog.at_level(logging.WARNING, "rsc"):
            sample(runner, 25)
            runner.stop()
            assert not (tmp_path / "rsc.db").exists()
    assert "does not answer (there is no database" in caplog.text


def test_rows__journal_that_this_process_closed__is_not_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "read_journal", lambda path: pytest.fail(f"{path} was read"))
    with world.runner(config_of(envs=3)) as runner:
        sample(runner, 100)
        assert not runner._callbacks[-1]._closings
    assert sum(row.status == "completed" for row in world.rows()) >= 3


def test_rows__closed_journals__every_64th_is_read_from_its_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(rows, "read_journal", lambda path: read.append(path.stem) or read_journal(path))
    monkeypatch.setattr(rows, "MOST_JOURNALS", rows.MOST_ENTRIES)
    with world.runner(config_of(envs=3)) as runner:
        sample(runner, 64 * 3 * 25)
    completed = [row.journal_id for row in world.rows() if row.status == "completed"]
    assert len(completed) >= 64
    assert 1 <= len(set(read) & set(completed)) <= len(completed) // 64


def test_rows__many_wait__their_journals_are_read_instead_of_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(rows, "read_journal", lambda path: read.append(path) or read_journal(path))
    monkeypatch.setattr(rows, "MOST_JOURNALS", 0)
    with world.runner(config_of(envs=3)) as runner:
        sample(runner, 100)
    completed = [row for row in world.rows() if row.status == "completed"]
    assert len(completed) >= 3
    assert {path.stem for path in read} >= {row.journal_id for row in completed}


def entry(number: int, kept: str | None = None) -> Entry:
    return Entry({"journal_id": f"j{number}", "run_id": RUN}, "/nowhere", State.ENDED, kept)


def test_rows__more_than_memory_may_hold__those_with_the_only_copy_of_figures_stay(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ENTRIES", 10)
    monkeypatch.setattr(rows.RowWriter, "_work", lambda self: None)
    writer = RowWriter(open_engine(sqlite_url))
    writer.put(entry(0, kept="{}"))
    for number in range(1, 30):
        writer.put(entry(number))
    assert list(writer._entries) == ["j0", *(f"j{number}" for number in range(21, 30))]


def test_rows__later_state_first__is_kept(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows.RowWriter, "_work", lambda self: None)
    writer = RowWriter(open_engine(sqlite_url))
    writer.put(entry(1))
    writer.put(Entry(entry(1).row, "/nowhere", State.STARTED))
    assert writer._entries["j1"].state is State.ENDED


def test_callback__that_fails__is_logged_with_its_episode(caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = SimpleNamespace()
    EpisodeCallbacks.on_episode_end(broken, episode=SimpleNamespace(id_="e1"))
    assert "on_episode_end failed for episode e1; training continues" in caplog.text
