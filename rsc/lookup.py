"""What `journal` asks of the trading side, through entry points: it imports nothing of ours, and needs no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsc.metrics import RunningMetrics

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from journal import About


class TradingKernel:
    """The running metrics that this project's recorder stores as checkpoints."""

    @staticmethod
    def make(about: About) -> RunningMetrics:
        """Nothing folded yet."""
        return RunningMetrics(about.initial_portfolio_value, about.periods_per_year)

    restore = staticmethod(RunningMetrics.from_bytes)


def journal_of(episode_id: int) -> tuple[Path, str, str] | None:
    """Journal root, run id and journal id of the database's episode; None if it knows none. Raises DatabaseError."""
    from sqlalchemy import select

    from rsc import defaults
    from rsc.db.models import episodes, training_runs
    from rsc.db.session import reading

    query = select(training_runs.c.journal_root, episodes.c.run_id, episodes.c.journal_id)
    query = query.join_from(episodes, training_runs).where(episodes.c.episode_id == episode_id)
    with reading(_engine()) as connection:
        row = connection.execute(query).one_or_none()
    if row is None or row.journal_id is None:
        return None
    return defaults.journal_root(row.journal_root), row.run_id, row.journal_id


def settled_journals(run_id: str) -> set[str] | None:
    """Journals whose row has ended for good: by its callback, or by the reconciler on final evidence.

    None if the database does not know the run. Raises DatabaseError.
    """
    from sqlalchemy import or_, select

    from rsc.db import runs
    from rsc.db.episodes import CALLBACK
    from rsc.db.models import episodes
    from rsc.db.session import reading

    row = episodes.c
    final = or_(row.finalized_by == CALLBACK, row.evidence_final.is_(True), row.evidence_closed.is_(True))
    query = select(row.journal_id).where(row.run_id == run_id, row.status != "started", final)
    with reading(_engine()) as connection:
        if runs.find_run(connection, run_id) is None:
            return None
        return set(connection.execute(query).scalars())


def _engine() -> Engine:
    """An engine on the database of the environment. Looking must not make one: a file that is not there stays so."""
    from rsc import defaults
    from rsc.db.session import DatabaseError, is_missing_file, open_engine

    url = defaults.database_url()
    if is_missing_file(url):
        raise DatabaseError(f"there is no database {url}; set ${defaults.DATABASE_VARIABLE}")
    return open_engine(url)
