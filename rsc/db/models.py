"""The tables of the database. Migrations create them; `rsc.db.episodes` and `rsc.db.runs` query them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RUN_STATUSES = ("running", "completed", "interrupted", "error")
EPISODE_STATUSES = ("started", "completed", "truncated", "error")


class UtcDateTime(TypeDecorator[datetime]):
    """Column type for aware times, always UTC. SQLite has no time zones and stores them naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "Invariant D3: times have a time zone"
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Column type for text that every database accepts: cut to the column's length, without NUL characters.

    Characters that the database's encoding does not have become question marks. `rsc.db.postgres` stores the encoding on
    the dialect.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        length: int | None = self.impl_instance.length  # type: ignore[attr-defined]  # a String
        if value is None or (value.isascii() and "\0" not in value and not length):
            return value
        encoding = getattr(dialect, "rsc_encoding", "utf-8")
        text = value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(encoding, "replace").decode(encoding)
        return text[:length]


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


training_runs = Table(
    "training_runs",
    metadata,
    Column("run_id", Words(128), primary_key=True),
    Column("start_time", UtcDateTime, nullable=False),
    Column("end_time", UtcDateTime),
    Column("parameters", JSON),
    Column("status", String(16), nullable=False),
    Column("notes", Words),
    Column("journal_root", Text),
    Column("algorithm", Words(64)),  # this and the following columns: origin of the run's figures
    Column("config", JSON),
    Column("seed", BigInteger),
    Column("package_version", Words(64)),
    Column("git_commit", Words(64)),  # of the driver's current folder; with "-dirty" if tracked files had changes
    Column("driver_host", Words(255)),
    Column("parent_run_id", Words(128)),  # the run whose checkpoint this run continues from
    Column("trial_id", Words(128)),
    Column("mirror", Text),  # its URL, without secrets
    _one_of("status", RUN_STATUSES),
)

METRICS = (
    "initial_portfolio_value",
    "final_portfolio_value",
    "pnl",
    "unrealized_pnl",
    "total_return",
    "annual_return",
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "volatility",
    "max_drawdown",
    "win_rate",
    "profit_factor",
    "time_in_market",
    "total_reward",
    "total_fees",
)
LATER_METRICS = (
    "sharpe_standard_error",
    "skew",
    "kurtosis",
    "beta",
    "alpha",
    "information_ratio",
    "value_at_risk",
    "expected_shortfall",
    "liquidation_value",
    "average_trade",
    "best_trade",
    "worst_trade",
    "average_holding_steps",
    "win_rate_marked",
)
"""Columns that migration 0002 adds, with `longest_drawdown_steps`."""
FRACTIONS = frozenset(
    (
        *("total_return", "annual_return", "volatility", "max_drawdown", "win_rate", "time_in_market"),
        *("buy_and_hold_return", "excess_return", "alpha", "value_at_risk", "expected_shortfall", "win_rate_marked"),
    )
)
"""Metrics that people read in percent. Rows and JSON hold fractions: 0.05 is 5 %."""


def _metric_columns() -> list[Column[Any]]:
    return [Column(name, Float) for name in METRICS] + [
        Column(name, Integer) for name in ("total_steps", "total_trades")
    ]


def _later_metric_columns() -> list[Column[Any]]:
    return [*(Column(name, Float) for name in LATER_METRICS), Column("longest_drawdown_steps", Integer)]


episodes = Table(
    "episodes",
    metadata,
    Column("episode_id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Words(128), ForeignKey("training_runs.run_id"), nullable=False),
    Column("rllib_episode_id", Words(128), unique=True),
    Column("journal_id", Words(128), unique=True),
    Column("env_class", Words(128)),
    Column("in_evaluation", Boolean),
    Column("worker_index", Integer),
    Column("writer_host", Words(255)),
    Column("writer_boot_id", Words(64)),
    Column("root_id", Words(64)),  # the random id of the folder in which its journal was written
    Column("start_time", UtcDateTime, nullable=False),
    Column("end_time", UtcDateTime),
    Column("status", String(16), nullable=False),
    Column("end_reason", String(16)),
    Column("status_reason", Words),
    Column("finalized_by", String(16)),
    Column("finalized_at", UtcDateTime),
    Column("finalized_pass", String(64)),
    Column("evidence_steps", Integer),
    Column("evidence_closed", Boolean),
    Column("evidence_final", Boolean),  # no evidence can follow: the journal is closed, or its writer is certainly dead
    Column("overruled_status", String(16)),  # an earlier verdict of the reconciler that better evidence replaced
    Column("steps_lost", Integer),
    Column("trades_lost", Integer),
    Column("not_told", Words),  # names of metrics that are NULL because the env does not tell their inputs
    *_metric_columns(),
    Column("env_index", Integer),
    Column("seed", BigInteger),
    Column("trial_id", Words(128)),
    Column("start_iteration", Integer),  # training iterations before the episode started
    Column("start_env_steps", BigInteger),  # env steps that the training had sampled before the episode
    Column("market", Words(128)),
    Column("market_start", UtcDateTime),  # market time of the bar of the reset; start_time and end_time are wall time
    Column("market_end", UtcDateTime),  # market time of the last step
    Column("first_price", Float),  # at the bar of the reset
    Column("last_price", Float),  # at the last step
    Column("buy_and_hold_return", Float),
    Column("excess_return", Float),
    Column("total_costs", Float),
    Column("turnover", Float),
    *_later_metric_columns(),
    Column("node_id", Words(64)),  # the Ray node of its env runner; NULL without Ray
    _one_of("status", EPISODE_STATUSES),
    Index(None, "run_id", "status", "episode_id"),
    Index(None, "run_id", "start_time"),
    Index(None, "status", "episode_id"),
)
IMPROVABLE = episodes.c.evidence_final.is_(False)
IMPROVABLE_INDEX = Index("ix_episodes_improvable", episodes.c.run_id, episodes.c.finalized_at, sqlite_where=IMPROVABLE)
"""Index of rows whose verdict may still change. `rsc.db.postgres` adds ``postgresql_where``, which loads its dialect."""

completed_trades = Table(
    "completed_trades",
    metadata,
    Column("episode_id", Integer, ForeignKey("episodes.episode_id"), primary_key=True),
    Column("trade_number", Integer, primary_key=True),
    Column("direction", SmallInteger, nullable=False),
    Column("quantity", Float),
    Column("entry_step", Integer),
    Column("entry_time", UtcDateTime),  # market time, like exit_time; join trades with steps by step numbers
    Column("entry_price", Float),
    Column("exit_step", Integer, nullable=False),
    Column("exit_time", UtcDateTime),
    Column("exit_price", Float),
    Column("pnl", Float),
    Column("costs", Float),
)

reconciler_passes = Table(
    "reconciler_passes",
    metadata,
    Column("pass_id", String(64), primary_key=True),
    Column("host", Words(255), nullable=False),
    Column("start_time", UtcDateTime, nullable=False),
    Column("end_time", UtcDateTime),
    Column("outcome", String(16)),
    Column("report", JSON),
    Index(None, "start_time"),
)

EPISODE_METRICS = "episode_metrics"
_NOISE = 1e-9  # a smaller volatility is rounding noise, for up to one period a second
_UNDEFINED = {
    "sharpe_ratio": f"CASE WHEN sharpe_ratio = 0 AND coalesce(volatility, 0) < {_NOISE} THEN NULL ELSE sharpe_ratio END",
    "win_rate": "CASE WHEN total_trades = 0 THEN NULL ELSE win_rate END",
}


episode_metrics = Table(EPISODE_METRICS, MetaData(), *(Column(one.name, one.type) for one in episodes.columns))
"""The view, for queries. It has its own metadata, so that `create_all` does not create a table for it."""


def create_view() -> str:
    """Return the statement that creates `episode_metrics`: `episodes` with NULL where a stored 0.0 means undefined.

    Migrations create it again when `episodes` gains columns.
    """
    columns = (
        f"{_UNDEFINED[column.name]} AS {column.name}" if column.name in _UNDEFINED else column.name
        for column in episodes.columns
    )
    return f"CREATE VIEW {EPISODE_METRICS} AS SELECT {', '.join(columns)} FROM episodes"
