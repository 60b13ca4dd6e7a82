"""Measure the cost of a pass as a ratio to a floor: read and CRC the same bytes, executemany the same rows and trades.

    python benchmarks/reconcile.py                       10,000 stale episodes of 250 steps and 25 trades
    python benchmarks/reconcile.py --flat 100,1000,10000,100000
    python benchmarks/reconcile.py --long                an open journal of a million steps
    python benchmarks/reconcile.py --no-postgres         do not start a PostgreSQL server, even if it is installed

Floor and pass alternate in one run, each on a fresh copy of the same stale database. A ratio compares two times of one
round. A pass runs in one process, or in as many as there are cores, up to four. On PostgreSQL the floor is psycopg's
executemany of the same rows and trades, over a loopback socket, on a server that does not wait for its disk.
Needs 150 KB of disk for each episode, because a killed writer leaves its reserved tail.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crc32c import crc32c
from harness import Table, between, in_turns, parser_of, ratios, report

from journal import About, JournalWriter, Observer, RunMarker, Trade, journal_path, new_journal_id, read_header
from reconciler.evidence import gather_evidence, run_state
from reconciler.executors import relax_garbage_collection
from reconciler.passes import Pass
from reconciler.settings import Settings
from rsc.db import episodes, runs
from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
from rsc.metrics import RunningMetrics, metrics_of
from tests.postgres import PostgresServer, find_programs
from tests.support.journals import abandon

PROCESSES = min(os.cpu_count() or 1, 4)
RUN, STEPS, TRADE_EVERY, BATCH = "bench", 250, 10, 500
DAY_US = 86_400_000_000


def write_episode(root: Path, steps: int, rng: random.Random, trade_every: int = TRADE_EVERY) -> JournalWriter:
    """Write an episode whose writer was killed."""
    about = About("TradingEnv", 10_000.0, 252.0, {"ticker": "MSFT", "fee": 0.001}, start_market_time_us=DAY_US)
    writer = JournalWriter(root, RUN, new_journal_id(), about=about, fold=RunningMetrics(10_000.0, 252.0))
    value, append, gauss = 10_000.0, writer.append, rng.gauss
    for step in range(1, steps + 1):
        value *= 1 + gauss(0.0003, 0.01)
        now = step * DAY_US
        trades = ()
        if step % trade_every == 0:
            trades = (Trade(1, 10.0, max(1, step - 5), now - 5 * DAY_US, 100.0, 101.5, 14.6, 0.4),)
        append(1.0, value * 1e-4, value, 100.0 + step, value / 2, 10.0, 0.4, 1.0, now, False, False, trades)
    abandon(writer)
    return writer


@dataclass(frozen=True)
class Stale:
    """A run of stale episodes: its journals, and the database with rows that are still started."""

    home: Path
    ids: tuple[str, ...]

    @property
    def root(self) -> Path:
        return self.home / "journal"

    def database(self, name: str) -> Path:
        """Return a fresh copy of the stale database."""
        file = self.home / f"{name}.db"
        file.unlink(missing_ok=True)
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
        shutil.copy(self.home / "stale.db", file)
        return file


def make_stale(home: Path, count: int) -> Stale:
    """Write the journals in a separate process, so that its memory is not measured."""
    context = multiprocessing.get_context("fork")
    maker = context.Process(target=_make_stale, args=(home, count))
    maker.start()
    maker.join()
    assert maker.exitcode == 0, "the journals could not be written"
    return Stale(home, tuple(json.loads((home / "ids.json").read_text())))


def _make_stale(home: Path, count: int) -> None:
    root, rng = home / "journal", random.Random(7)
    engine = open_engine(f"sqlite:///{home / 'stale.db'}")
    upgrade(engine)
    marker = RunMarker(root, RUN, {})
    with engine.begin() as connection:
        runs.start_run(connection, RUN, {}, str(root), datetime.now(UTC))
    ids = []
    for start in range(0, count, BATCH):
        written = [write_episode(root, STEPS, rng).header for _ in range(min(BATCH, count - start))]
        with engine.begin() as connection:
            for header in written:
                episodes.start_episode(connection, _row_of(header))
        ids += [header.journal_id for header in written]
    marker.close()
    engine.dispose()
    with sqlite3.connect(home / "stale.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (home / "ids.json").write_text(json.dumps(ids))


def _row_of(header: Any) -> dict[str, Any]:
    return {
        "run_id": RUN, "rllib_episode_id": f"rllib-{header.journal_id}", "journal_id": header.journal_id,
        "env_class": "TradingEnv", "in_evaluation": False, "worker_index": 1, "writer_host": header.writer.host,
        "writer_boot_id": header.writer.boot_id, "root_id": header.root_id,
        "start_time": header.start_time, "initial_portfolio_value": 10_000.0,
    }  # fmt: skip


def timed_pass(stale: Stale, name: str, processes: int = PROCESSES) -> float:
    """Return the seconds of one pass over all episodes."""
    return pass_on(f"sqlite:///{stale.database(name)}", len(stale.ids), processes)


def pass_on(url: str, count: int, processes: int) -> float:
    """Return the seconds of one pass over ``count`` stale episodes of a database."""
    engine = open_engine(url)
    started = time.perf_counter()
    report = Pass(engine, Observer(), Settings(processes=processes)).run()
    seconds = time.perf_counter() - started
    assert sum(report.ended.values()) == count, report
    engine.dispose()
    return seconds


Batches = Callable[[], Iterator[tuple[list[Any], list[Any]]]]
"""The rows of each batch of episodes, and their trades."""
_ROWS, _TRADES = (
    "SELECT * FROM episodes ORDER BY episode_id",
    "SELECT * FROM completed_trades ORDER BY episode_id, trade_number",
)


def answers(connection: Any) -> Batches:
    """Return the rows and trades that a pass wrote, as the database driver returns them."""
    return batches_of(connection.execute(_ROWS).fetchall(), connection.execute(_TRADES).fetchall())


def batches_of(rows: list[Any], trades: list[Any]) -> Batches:
    of: dict[int, list[Any]] = {row[0]: [] for row in rows}
    for trade in trades:
        of[trade[0]].append(trade)

    def batches() -> Iterator[tuple[list[Any], list[Any]]]:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            yield batch, [trade for row in batch for trade in of[row[0]]]

    return batches


def read_all(stale: Stale) -> None:
    """Read and check the bytes of all journals."""
    folder = stale.root / RUN
    for journal_id in stale.ids:
        for suffix in (".arrows", ".tail"):
            with open(f"{folder}/{journal_id}{suffix}", "rb", buffering=0) as file:
                crc32c(file.read())


def prepared_for(names: list[str], batches: Batches, mark: str) -> tuple[str, str, list[tuple[list[Any], list[Any]]]]:
    """Return statements for rows and trades, and their parameters by batch."""
    update = f"UPDATE episodes SET {', '.join(f'{name} = {mark}' for name in names[1:])} WHERE journal_id = {mark}"
    insert = f"INSERT INTO completed_trades VALUES ({', '.join([mark] * 12)})"
    at = names.index("journal_id")
    return update, insert, [([(*row[1:], row[at]) for row in rows], trades) for rows, trades in batches()]


def timed_floor(stale: Stale, batches: Batches) -> float:
    """Return the seconds of the minimum: read the same bytes, and write the same values."""
    connection = sqlite3.connect(stale.database("floor"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    names = [column[1] for column in connection.execute("PRAGMA table_info(episodes)")]
    update, insert, prepared = prepared_for(names, batches, "?")
    started = time.perf_counter()
    read_all(stale)
    for rows, trades in prepared:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(update, rows)
        connection.executemany(insert, trades)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - started
    connection.close()
    return seconds


def compare(stale: Stale, rounds: int) -> Table:
    """Return the ratios on SQLite, in paired rounds."""
    timed_pass(stale, "pass")  # brings the files into the page cache
    with sqlite3.connect(stale.home / "pass.db") as connection:
        batches = answers(connection)
    ways = {"floor": lambda: timed_floor(stale, batches)}
    for processes in sorted({1, PROCESSES}):
        ways[f"SQLite, by {processes}"] = functools.partial(timed_pass, stale, "pass", processes)
    return table_of(in_turns(ways, rounds), len(stale.ids))


def table_of(measured: dict[str, list[float]], count: int) -> Table:
    table = Table((f"{count:,} stale episodes, processes", "us each", "us of the floor", "x floor", "quartiles"))
    floor = statistics.median(measured["floor"]) / count * 1e6
    for name, (lower, middle, upper) in ratios(measured, "floor").items():
        if name != "floor":
            each = statistics.median(measured[name]) / count * 1e6
            table.rows.append((name, each, floor, middle, between(lower, upper)))
    return table


def compare_on_postgres(stale: Stale, rounds: int) -> Table | None:
    """Return the ratios on PostgreSQL; None if no server is installed."""
    programs = find_programs()
    if programs is None:
        return None
    server = PostgresServer(programs)
    try:
        server.start()
        return _compare_on(server, stale, rounds)
    finally:
        server.remove()


def databases_of(server: PostgresServer, stale: Stale) -> Callable[[str], str]:
    """Create the database of a stale run on the server. Return a function that copies it and returns the copy's URL."""
    import psycopg

    def fresh(name: str) -> str:
        with psycopg.connect(_address(server, "postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"CREATE DATABASE {name}" + ("" if name == "stale" else " TEMPLATE stale"))
        return server.url(name)

    engine = open_engine(fresh("stale"))
    upgrade(engine)
    with engine.begin() as connection:
        runs.start_run(connection, RUN, {}, str(stale.root), datetime.now(UTC))
        for journal_id in stale.ids:
            episodes.start_episode(connection, _row_of(read_header(journal_path(stale.root, RUN, journal_id))))
    engine.dispose()
    return fresh


def _address(server: PostgresServer, name: str) -> str:
    return server.url(name).replace("+psycopg", "")


def _compare_on(server: PostgresServer, stale: Stale, rounds: int) -> Table:
    import psycopg

    fresh = databases_of(server, stale)
    pass_on(fresh("pass"), len(stale.ids), PROCESSES)
    with psycopg.connect(_address(server, "pass")) as connection:
        batches = answers(connection)
        names = [column.name for column in connection.execute("SELECT * FROM episodes LIMIT 0").description or ()]

    def floor() -> float:
        fresh("floor")
        update, insert, prepared = prepared_for(names, batches, "%s")
        with psycopg.connect(_address(server, "floor")) as connection, connection.cursor() as cursor:
            started = time.perf_counter()
            read_all(stale)
            for rows, trades in prepared:
                cursor.executemany(update, rows)
                cursor.executemany(insert, trades)
                connection.commit()
            return time.perf_counter() - started

    ways: dict[str, Callable[[], float]] = {"floor": floor}
    for processes in sorted({1, PROCESSES}):
        ways[f"PostgreSQL, by {processes}"] = lambda processes=processes: pass_on(
            fresh("pass"), len(stale.ids), processes
        )
    return table_of(in_turns(ways, rounds), len(stale.ids))


def flat(home: Path, counts: list[int]) -> Table:
    """Return cost and peak memory of one process by the number of episodes. Each number has a new process."""
    table = Table(("episodes, one process", "us each", "peak MiB"))
    for count in counts:
        stale = make_stale(home / str(count), count)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            seconds, peak = pool.apply(_measured, (stale,))
        table.rows.append((f"{count:,}", seconds / count * 1e6, peak / 1024))
        shutil.rmtree(home / str(count))
    return table


def _measured(stale: Stale) -> tuple[float, int]:
    relax_garbage_collection()  # as the program does
    timed_pass(stale, "pass", 1)  # warms imports, statements and page cache
    seconds = timed_pass(stale, "pass", 1)
    return seconds, _peak_kib()


def _peak_kib() -> int:
    """Return the peak memory of this process. `ru_maxrss` is not used: it begins at the value of the parent process."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def long(home: Path, steps: int = 1_000_000) -> Table:
    """Measure one open journal of a million steps: find, verify and compute metrics. Inserting trades is not included."""
    root = home / "journal"
    RunMarker(root, RUN, {}).close()
    table = Table(("steps of an open journal", "trades", "MB", "ms to verify and answer"))
    for trade_every in (steps + 1, TRADE_EVERY):
        writer = write_episode(root, steps, random.Random(7), trade_every)
        size = sum(file.stat().st_size for file in writer.path.parent.glob(f"{writer.journal_id}.*"))
        times = [_timed_answer(root, writer.journal_id) for _ in range(9)]
        table.rows.append((f"{steps:,}", f"{writer.trades:,}", size / 1e6, statistics.median(times) * 1e3))
    return table


def _timed_answer(root: Path, journal_id: str) -> float:
    started = time.perf_counter()
    run = run_state(RUN, root, Observer())
    evidence = gather_evidence(run, journal_id, None, Settings(), datetime.now(UTC))
    assert evidence.journal is not None
    assert metrics_of(evidence.journal).total_steps == evidence.journal.last_step
    return time.perf_counter() - started


def main() -> None:
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--flat", metavar="COUNTS", help="comma-separated numbers of episodes; only these are measured")
    parser.add_argument("--long", action="store_true", help="only the open journal of a million steps")
    parser.add_argument("--no-postgres", action="store_true", help="do not measure PostgreSQL")
    parser.add_argument("--home", type=Path, help="where to put the journals, by default a temporary folder")
    given = parser.parse_args()
    episodes, rounds, steps = (200, 1, 20_000) if given.quick else (given.episodes, given.rounds, 1_000_000)
    with tempfile.TemporaryDirectory(dir=given.home, prefix="rsc-bench-") as home:
        tables = []
        if given.flat:
            tables.append(flat(Path(home), [int(count) for count in given.flat.split(",")]))
        else:
            if not given.long:
                stale = make_stale(Path(home), episodes)
                relax_garbage_collection()  # as the program does
                tables.append(compare(stale, rounds))
                if not given.no_postgres and (found := compare_on_postgres(stale, min(rounds, 3))):
                    tables.append(found)
            tables.append(long(Path(home) / "long", steps))
    report("reconcile", tables, given)


if __name__ == "__main__":
    main()
