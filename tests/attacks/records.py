"""The database of an attack: made by `rsc db upgrade`, read and changed by SQL alone."""

from __future__ import annotations

import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.attacks.places import boot_id

_UTF8 = {"client_encoding": "utf8"}  # a SQL_ASCII server would send bytes


def time_text(age_s: float = 0.0) -> str:
    """A time that both databases take, this many seconds ago."""
    return (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%d %H:%M:%S.%f")


class Records:
    """Rows of a database that has the project's tables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = create_engine(url, poolclass=NullPool, connect_args=_UTF8 if url.startswith("postgres") else {})

    @classmethod
    def copy_of(cls, template: Path, file: Path) -> Records:
        """A SQLite database like this one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(template, file)
        return cls(f"sqlite:///{file}")

    def sql(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Run one statement; return its rows."""
        with self._engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return [dict(row._mapping) for row in done] if done.returns_rows else []

    def add_run(self, run_id: str, root: Path | str | None, **more: Any) -> None:
        row = {"run_id": run_id, "start_time": time_text(3600), "status": "running", **more}
        row["journal_root"] = None if root is None else str(root)
        self._insert("training_runs", row)

    def add_episode(self, run_id: str, journal_id: str | None, *, age_s: float = 3600, **more: Any) -> None:
        """The row that a callback of this host inserts when an episode starts."""
        row = {
            "run_id": run_id,
            "journal_id": journal_id,
            "rllib_episode_id": f"rllib-{journal_id}",
            "start_time": time_text(age_s),
            "status": "started",
            "writer_host": socket.gethostname(),
            "writer_boot_id": boot_id(),
            "initial_portfolio_value": 10_000.0,
            **more,
        }
        self._insert("episodes", row)

    def episode(self, journal_id: str) -> dict[str, Any]:
        return self.sql("SELECT * FROM episodes WHERE journal_id = :id", id=journal_id)[0]

    def episodes(self, run_id: str = "r1") -> list[dict[str, Any]]:
        return self.sql("SELECT * FROM episodes WHERE run_id = :id ORDER BY episode_id", id=run_id)

    def run(self, run_id: str = "r1") -> dict[str, Any]:
        return self.sql("SELECT * FROM training_runs WHERE run_id = :id", id=run_id)[0]

    def passes(self) -> list[dict[str, Any]]:
        return self.sql("SELECT * FROM reconciler_passes ORDER BY start_time")

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        names = ", ".join(row)
        self.sql(f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + name for name in row)})", **row)
