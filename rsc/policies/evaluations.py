"""Find the evaluations of runs in the database, with their result in each period."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row

from journal import JournalError, journal_path, read_journal
from rsc.db import episodes, runs
from rsc.metrics import returns
from rsc.policies.errors import NoEvaluationError, PolicyError

Floats = NDArray[np.float64]
Period = tuple[Any, ...]
_WILD = "*?["


@dataclass(frozen=True)
class Evaluated:
    """The evaluation of one run.

    Attributes:
        run_id: The run that was named: a training, or an evaluation.
        evaluation_id: The run whose episodes count.
        facts: The facts that the evaluation stored in its row; empty for a run of another trainer.
        seed: Seed of the training, None if it has none.
        trial: Identifies the checkpoint: equal for evaluations of the same checkpoint.
        rows: Rows of its episodes by period, in the order of market time.
        journal_root: Folder of the journals, None if it is not known.
    """

    run_id: str
    evaluation_id: str
    facts: Mapping[str, Any]
    seed: int | None
    trial: tuple[Any, ...]
    rows: Mapping[Period, Mapping[str, Any]]
    journal_root: str | None

    @property
    def is_whole(self) -> bool:
        """Whether all its episodes ended normally. A killed evaluation does not count."""
        return bool(self.rows) and len(self.rows) == self.facts.get("episodes", len(self.rows))


def run_ids(connection: Connection, name: str) -> list[str]:
    """Return the runs that a word names: an id, a unique beginning, `latest`, or a pattern such as 'ppo-*'.

    An evaluation that matches a pattern is left out if its training matches too.

    Raises:
        UnknownRunError: No run has this name.
        PolicyError: No run matches the pattern.
    """
    if not any(sign in name for sign in _WILD):
        return [str(runs.run_named(connection, name).run_id)]
    rows = [row for row in runs.all_runs(connection) if isinstance(row, Row) and fnmatch.fnmatchcase(row.run_id, name)]
    found = {row.run_id for row in rows}
    if not found:
        raise PolicyError(f"no run matches {name!r}; `rsc runs` lists the runs")
    return sorted(row.run_id for row in rows if not (_facts_of(row) and row.parent_run_id in found))


def evaluations_of(connection: Connection, run_id: str) -> list[Evaluated]:
    """Return the evaluations of a run, or the run's own episodes.

    Evaluations out of sample come first, then those with likeliest actions, then the newest.

    Raises:
        NoEvaluationError: The run has no evaluation.
        PolicyError: The run is an evaluation that did not end.
    """
    own = _of_run(connection, run_id, run_id)
    if own.facts and not own.is_whole:
        raise PolicyError(
            f"the evaluation {run_id} did not end: it has {len(own.rows)} of {own.facts['episodes']} episodes"
        )
    if own.facts:
        return [own]
    children = [_of_run(connection, run_id, child) for child in runs.children(connection, run_id)]
    found = [child for child in children if child.facts and child.is_whole]
    if found:
        return sorted(found, key=_preference)
    if own.rows:
        return [own]
    raise NoEvaluationError(f"run {run_id} has no evaluation; `rsc evaluate {run_id}` makes one")


def same_bars(connection: Connection, one: Evaluated) -> list[Evaluated]:
    """Return the trials: all evaluations in the database that played the same bars, one for each checkpoint."""
    found: dict[tuple[Any, ...], Evaluated] = {}
    rows = runs.all_runs(connection) if one.facts else []
    alike = [row.run_id for row in rows if isinstance(row, Row) and _bars(_facts_of(row)) == _bars(one.facts)]
    for other in sorted((_of_run(connection, run_id, run_id) for run_id in alike), key=_preference):
        if other.is_whole:
            found.setdefault(other.trial, other)
    return list(found.values())


def _preference(one: Evaluated) -> tuple[bool, bool]:
    return bool(one.facts.get("in_sample")), not one.facts.get("deterministic", True)


def _bars(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(facts.get(name) for name in ("market", "first", "last"))


def _facts_of(row: Any) -> Mapping[str, Any]:
    """Return the facts that an evaluation stored in its row; empty for other runs and unreadable rows."""
    parameters = getattr(row, "parameters", None)
    facts = parameters.get("evaluation") if isinstance(parameters, dict) else None
    return facts if isinstance(facts, dict) else {}


def _of_run(connection: Connection, name: str, run_id: str) -> Evaluated:
    row = runs.find_run(connection, run_id)
    assert row is not None, "Invariant: the caller found the run in this database"
    parameters = row.parameters if isinstance(row.parameters, dict) else {}
    facts = _facts_of(row)
    plan = parameters.get("policy") or parameters
    trial = (row.parent_run_id, facts.get("iteration")) if facts else (run_id,)
    rows = episodes.evaluation_rows(connection, run_id)
    seed = plan.get("seed", row.seed)
    return Evaluated(name, run_id, facts, seed, trial, _by_period(rows, facts), row.journal_root)


def _by_period(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[Period, Mapping[str, Any]]:
    """Return rows by their planned bars, because a bankrupt account does not reach the last one."""
    if not facts:
        return {(row["market"], str(row["market_start"]), str(row["market_end"])): row for row in rows}
    whole = (facts["market"], facts["first"], facts["last"])
    return {(*whole, f"{number} of {facts['episodes']}"): row for number, row in enumerate(rows, 1)}


def returns_of(one: Evaluated) -> tuple[Floats, float] | None:
    """Return the returns of all periods in order, and the periods per year; None if a journal cannot be read."""
    if one.journal_root is None:
        return None
    found, periods_per_year = [], 0.0
    for row in one.rows.values():
        try:
            journal = read_journal(journal_path(Path(one.journal_root), one.evaluation_id, row["journal_id"]))
        except (JournalError, OSError, ValueError):
            return None
        about = journal.header.about
        periods_per_year = about.periods_per_year or math.nan
        found.append(returns(journal.steps()["portfolio_value"].to_numpy(), about.initial_portfolio_value))
    return (np.concatenate(found), periods_per_year) if found else None
