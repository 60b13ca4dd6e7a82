"""An episode's journal as both recorders begin it, and what they tell the callback of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from journal import About, Durability, EndReason, JournalWriter, new_journal_id
from journal.format.header import microseconds
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc.metrics import RunningMetrics

INFO_KEY = "journal"
FAILED_KEY = "journal_failed"


@dataclass(frozen=True)
class JournalSettings:
    """Where and how episodes are journaled; picklable, so that it travels to env runners."""

    root: str
    run_id: str
    durability: Durability = "process"
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS
    on_error: Literal["warn", "raise"] = "warn"


def begin_journal(settings: JournalSettings, about: About, notes: dict[str, Any]) -> JournalWriter:
    """The open journal of a new episode; ``notes`` join those of its header."""
    if notes:
        about = About(**{**vars(about), "notes": {**about.notes, **notes}})
    return JournalWriter(
        settings.root,
        settings.run_id,
        new_journal_id(),
        about=about,
        fold=RunningMetrics(about.initial_portfolio_value, about.periods_per_year),
        durability=settings.durability,
        checkpoint_every_steps=settings.checkpoint_every_steps,
        on_error=settings.on_error,
    )


def told_at_start(writer: JournalWriter, previous: str) -> dict[str, Any]:
    """For the info of a reset: which journal this is, and which the env began before it."""
    header = writer.header
    facts = {
        "id": writer.journal_id,
        "env": writer.about.env,
        "start_time_us": str(microseconds(header.start_time)),  # text: numpy scalars of mixed width lose precision
        "capital": str(float(writer.about.initial_portfolio_value)),
        "host": header.writer.host,
        "boot_id": header.writer.boot_id,
        "previous": previous,
    }
    return {INFO_KEY: facts}


def told_by_failed(writer: JournalWriter, reason: EndReason) -> dict[str, Any]:
    """For the last info of an episode whose journal failed: what the journal would have said, as JSON."""
    assert isinstance(writer.fold, RunningMetrics)
    kept = {
        "reason": str(reason),
        "why": str(writer.failure),
        "metrics": writer.fold.to_bytes().hex(),
        "trades": writer.kept_trades(),
    }
    return {FAILED_KEY: json.dumps(kept)}
