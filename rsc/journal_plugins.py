"""Functions that `journal` calls through entry points. `journal` itself imports no `rsc` code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsc.metrics import RunningMetrics, metrics_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from journal import About

# Imports inside functions load modules that are slow to import and not always needed.


class TradingKernel:
    """The running metrics that this project's recorder stores as checkpoints."""

    @staticmethod
    def make(about: About) -> RunningMetrics:
        """Return running metrics without any step."""
        return metrics_from(about)

    restore = staticmethod(RunningMetrics.from_bytes)


def journal_of(episode_id: int) -> tuple[Path, str, str] | None:
    """Return journal root, run id and journal id of an episode number; None if it is unknown. Raises DatabaseError."""
    from rsc import defaults
    from rsc.db.episodes import journal_place
    from rsc.db.session import reading

    with reading(_engine()) as connection:
        place = journal_place(connection, episode_id)
    if place is None or place.journal_id is None:
        return None
    return defaults.journal_root(place.journal_root), place.run_id, place.journal_id


def rows_of(run_id: str, journal_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the rows of some journals of a run, by journal id; undefined metrics are None. Raises DatabaseError."""
    from rsc.db.episodes import rows_of_journals
    from rsc.db.session import reading

    with reading(_engine()) as connection:
        return rows_of_journals(connection, run_id, journal_ids)


def settled_journals(run_id: str) -> set[str] | None:
    """Return the journals whose row is final: ended by the callback, or by the reconciler on final evidence.

    Return None if the run is not in the database. Raises DatabaseError.
    """
    from rsc.db import episodes, runs
    from rsc.db.session import reading

    with reading(_engine()) as connection:
        if runs.run_place(connection, run_id) is None:
            return None
        return episodes.settled_journals(connection, run_id)


def _engine() -> Engine:
    """Return an engine on the database that the environment names. Its tables are not upgraded."""
    from rsc import defaults
    from rsc.db.upgrade import open_existing

    url = defaults.database_url()
    return open_existing(url, may_upgrade=False, hint=f"set ${defaults.DATABASE_VARIABLE}")
