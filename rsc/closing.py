"""The one road home: how an episode's journal becomes its final row and trades. Callback and reconciler both come here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from journal import EndReason, Journal, State
from rsc.db.episodes import CALLBACK, Ended, end_episode_by_callback
from rsc.metrics import EpisodeMetrics, metrics_of, stored

COMPLETED, TRUNCATED, ERROR = "completed", "truncated", "error"
KILLED = "killed"

STATUS_OF = {
    EndReason.TERMINATED: COMPLETED,
    EndReason.TIME_LIMIT: COMPLETED,
    EndReason.SUPERSEDED: TRUNCATED,
    EndReason.CLOSED: TRUNCATED,
    EndReason.ERROR: ERROR,
}


def ending_of(journal: Journal) -> tuple[str, str, str]:
    """Status, end reason and its words, by what the journal says; one that does not say how it ended was killed."""
    reason = journal.end_reason or journal.terminal
    if reason is None:
        return (
            TRUNCATED,
            KILLED,
            "its writer died" + ("; later steps lost, number unknown" * (journal.state is State.FAILED)),
        )
    words = journal.end_message or _WORDS[reason]
    return STATUS_OF[reason], str(reason), words


_WORDS = {
    EndReason.TERMINATED: "ended by its env",
    EndReason.TIME_LIMIT: "ended by its env's time limit",
    EndReason.SUPERSEDED: "its env was reset over it",
    EndReason.CLOSED: "its env was closed",
    EndReason.ERROR: "its env raised",
}


def ended_from(
    journal: Journal,
    *,
    finalized_by: str,
    now: datetime,
    pass_id: str | None = None,
    ending: tuple[str, str, str] | None = None,
) -> Ended:
    """The final row and trades of an episode, from its journal alone."""
    status, end_reason, words = ending or ending_of(journal)
    if journal.steps_lost or journal.trades_lost:
        words += f"; {journal.steps_lost} steps and {journal.trades_lost} trades lost to damage"
        if journal.metrics_step < journal.last_step:
            words += f", metrics up to step {journal.metrics_step}"
    row = {
        **_ending_row(status, end_reason, words, finalized_by, now, pass_id),
        "end_time": journal.last_step_time or journal.closed_at or journal.header.start_time,
        "evidence_steps": journal.last_step,
        "evidence_closed": journal.state is State.CLOSED,
        "steps_lost": journal.steps_lost,
        "trades_lost": journal.trades_lost,
        **stored(metrics_of(journal)),
    }
    return Ended(journal.header.journal_id, row, journal.trade_rows())


def ended_without_evidence(
    journal_id: str, words: str, *, now: datetime, pass_id: str | None, end_time: datetime
) -> Ended:
    """The final row of an episode whose journal is missing or unreadable: an error, metrics NULL."""
    row = {
        **_ending_row(ERROR, KILLED, words, "reconciler", now, pass_id),
        "end_time": end_time,
        "evidence_steps": 0,
        "evidence_closed": False,
        "steps_lost": None,
        "trades_lost": None,
        **dict.fromkeys(METRIC_COLUMNS),
    }
    return Ended(journal_id, row, ())


def ended_from_memory(
    journal_id: str, metrics: EpisodeMetrics, trades: Sequence[tuple[Any, ...]], reason: EndReason, *, now: datetime
) -> Ended:
    """The final row of an episode whose journal failed and that ended by itself: its recorder kept the figures."""
    words = f"{_WORDS[reason]}; its journal is incomplete, metrics are the recorder's own"
    row = {
        **_ending_row(STATUS_OF[reason], str(reason), words, CALLBACK, now, None),
        "end_time": now,
        "evidence_steps": metrics.total_steps,
        "evidence_closed": True,
        "steps_lost": 0,
        "trades_lost": metrics.total_trades - len(trades),
        **stored(metrics),
    }
    return Ended(journal_id, row, trades)


METRIC_COLUMNS = tuple(EpisodeMetrics.__dataclass_fields__)


def _ending_row(
    status: str, end_reason: str, words: str, finalized_by: str, now: datetime, pass_id: str | None
) -> dict[str, Any]:
    return {
        "status": status,
        "end_reason": end_reason,
        "status_reason": words,
        "finalized_by": finalized_by,
        "finalized_at": now,
        "finalized_pass": pass_id,
    }


def start_row(journal: Journal) -> dict[str, Any]:
    """What a started episode's row holds, as far as its journal knows it: for rows whose insert failed, and rebuilding."""
    header, notes = journal.header, journal.header.about.notes
    return {
        "run_id": header.run_id,
        "journal_id": header.journal_id,
        "env_id": header.about.env,
        "in_evaluation": notes.get("in_evaluation"),
        "worker_index": notes.get("worker_index"),
        "writer_host": header.writer.host,
        "writer_boot_id": header.writer.boot_id,
        "start_time": header.start_time,
        "initial_portfolio_value": header.about.initial_portfolio_value,
    }


def close_episode(
    connection: Connection, journal: Journal, *, now: datetime, start: Mapping[str, Any] | None = None
) -> bool:
    """End an episode by its journal, as its callback; False if its callback ended it before."""
    ended = ended_from(journal, finalized_by=CALLBACK, now=now)
    return end_episode_by_callback(connection, ended, {**start_row(journal), **(start or {})})
