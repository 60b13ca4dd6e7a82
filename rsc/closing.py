"""Turn a journal into its episode's final row and trades. Used by the callback, by `Run.end` and by the reconciler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from journal import About, EndReason, Journal, State
from journal.format.header import Header
from journal.format.schema import TAIL_LOST
from journal.format.slots import Columns, no_trades
from journal.format.values import from_microseconds
from rsc.db.episodes import CALLBACK, KNOWN_AT_START, RECONCILER, Ended
from rsc.db.trades import TRADE_COLUMNS, Trades, trades_from
from rsc.defaults import NODE_NOTE
from rsc.metrics import METRIC_NAMES, EpisodeMetrics, metrics_of, stored
from rsc.metrics.episode import every_step_of
from rsc.metrics.whole import WHOLE_NAMES, not_told_of, whole_columns

if TYPE_CHECKING:
    from rsc.metrics.many import Figures

COMPLETED, TRUNCATED, ERROR = "completed", "truncated", "error"
KILLED = "killed"
Ending = tuple[str, str, str]
"""Status, end reason, and the words of `status_reason`."""
_INTEGER, _BIG_INTEGER = 2**31, 2**63
_QUANTITY = TRADE_COLUMNS.index("quantity")

STATUS_OF = {
    EndReason.TERMINATED: COMPLETED,
    EndReason.TIME_LIMIT: COMPLETED,
    EndReason.SUPERSEDED: TRUNCATED,
    EndReason.RESET: TRUNCATED,
    EndReason.CLOSED: TRUNCATED,
    EndReason.ERROR: ERROR,
}


def ending_of(journal: Journal, failure: str | None = None) -> Ending:
    """Return status, end reason and their description from the journal. Without an end, its writer was killed.

    If damage leaves no metrics of the episode's end, the episode is truncated, however it ended.

    Args:
        journal: The episode's journal.
        failure: What the episode's row says of a failed write, which the journal itself may not show.
    """
    reason = journal.end_reason or journal.terminal
    words = (journal.end_message or _WORDS[reason]) if reason else "its writer died"
    status = STATUS_OF[reason] if reason else TRUNCATED
    if journal.state is State.FAILED or (failure and not reason):
        words += "; later steps lost, number unknown" + (f"; {failure}" if failure else "")
    if journal.tail_lost:
        words += f"; {TAIL_LOST}"
    if journal.steps_lost or journal.trades_lost:
        words += f"; {journal.steps_lost} steps and {journal.trades_lost} trades lost to damage"
    if journal.metrics_step < _known_steps(journal):
        words += f", metrics and trades up to step {journal.metrics_step}"
        status = TRUNCATED
    return status, str(reason or KILLED), words


_WORDS = {
    EndReason.TERMINATED: "ended by its env",
    EndReason.TIME_LIMIT: "ended by its env's time limit",
    EndReason.SUPERSEDED: "the env was reset before the episode finished",
    EndReason.RESET: "its env was reset before it ended; a time limit outside of the recorder looks the same",
    EndReason.CLOSED: "the env was closed before the episode finished",
    EndReason.ERROR: "the env raised an exception",
}

JOURNAL_MISSING: Ending = (ERROR, KILLED, "journal missing")


def journal_unreadable(why: str) -> Ending:
    """Return the ending of an episode whose journal has no readable header."""
    return ERROR, KILLED, f"journal unreadable: {why}"


def with_evidence(ending: Ending, why: str) -> Ending:
    """Return the ending with the reason why the writer counts as dead."""
    status, reason, words = ending
    return status, reason, f"{words} ({why})"


def _known_steps(journal: Journal) -> int:
    """Return the last step that was certainly written, readable or not."""
    checkpointed = journal.checkpoint.step if journal.checkpoint else 0
    return max(journal.last_step, checkpointed, journal.step_count + journal.steps_lost)


def ended_from(
    journal: Journal,
    *,
    finalized_by: str,
    now: datetime,
    pass_id: str | None = None,
    ending: Ending | None = None,
    final: bool = True,
    episode_id: int | None = None,
    figures: Figures | None = None,
) -> Ended:
    """Return the final row and trades of an episode, from its journal alone.

    Args:
        journal: The episode's journal.
        finalized_by: Who ends it: the callback or the reconciler.
        now: When it is ended.
        pass_id: The reconciler's pass.
        ending: How it ended; what the journal says by default.
        final: No more evidence can ever come.
        episode_id: The row's key, if it is known.
        figures: Its figures, if `rsc.metrics.at_once.figures_at_once` has computed them.
    """
    if figures is None:
        metrics = metrics_of(journal)
        trades, of_every_step = _of_every_step(journal, metrics)
    else:
        metrics, whole = figures
        trades, of_every_step = journal.tail_trades, _of_tail(journal, whole)
    row = {
        **_ending_row(*(ending or ending_of(journal)), finalized_by, now, pass_id),
        "end_time": journal.last_step_time or journal.closed_at or journal.header.start_time,
        **evidence_of(journal, final=final),
        "not_told": _words_of(metrics, of_every_step),
        **_about_row(journal.header.about),
        **of_every_step,
        **stored(metrics),
    }
    return Ended(journal.header.journal_id, row, trades, episode_id)


def evidence_of(journal: Journal, *, final: bool) -> dict[str, Any]:
    """Return the columns that rank the evidence of a journal. ``final``: no later evidence can change it."""
    return {
        "evidence_steps": journal.step_count,
        "evidence_closed": journal.state is State.CLOSED,
        "evidence_final": final,
        "steps_lost": journal.steps_lost,
        "trades_lost": journal.trades_lost,
    }


def _about_row(about: About | None) -> dict[str, Any]:
    """Return the columns from a journal's header that fit. None changes nothing in a row (`episodes.KNOWN_AT_START`)."""
    if about is None:
        return dict.fromkeys(KNOWN_AT_START)
    start_us = about.start_market_time_us
    return {
        "env_index": _integer(about.env_index),
        "seed": about.seed if about.seed is not None and abs(about.seed) < _BIG_INTEGER else None,
        "trial_id": about.trial_id,
        "market": about.market,
        "market_start": None if start_us is None else _time(int(start_us)),
        "first_price": about.start_price,
    }


_MARKET_COLUMNS = ("market_end", "last_price")


def _of_every_step(journal: Journal, metrics: EpisodeMetrics) -> tuple[Trades, dict[str, Any]]:
    """Return the trades that the metrics know, and the columns that need all steps, in one pass over the rows.

    Also what the market was at the last step that the metrics cover. Where a step is missing, the figures of `WHOLE_NAMES`
    are None. Behind a hole that no checkpoint bridges, neither steps nor trades count. A trade without a quantity stands
    for trades that could not be told, and is none.
    """
    last, about = journal.metrics_step, journal.header.about
    row: dict[str, Any] = dict.fromkeys((*_MARKET_COLUMNS, *WHOLE_NAMES))
    every, closed = every_step_of(about), list[Columns]()
    for steps, of_steps in journal.blocks(lenient=True, columns=whole_columns(about.extra_columns)):
        if len(of_steps["quantity"]):
            closed.append(of_steps)
        numbers = steps["step"]
        if numbers[-1] > last:
            known = int(np.searchsorted(numbers, last, side="right"))
            steps = {name: values[:known] for name, values in steps.items()}  # noqa: PLW2901
            of_steps = _up_to(of_steps, last)  # noqa: PLW2901
            if not known:
                continue
        every.take(steps, of_steps)
        if steps["step"][-1] == last:
            row["market_end"] = _time(int(steps["market_time"][-1]))
            row["last_price"] = _finite(float(steps["price"][-1]))
    trades = _trades_of(journal, closed)
    if every.steps == metrics.total_steps:
        figures = every.figures(about.initial_portfolio_value, metrics, trades)
        row |= {name: _finite(value) for name, value in figures.items()}
    return trades, row


def _of_tail(journal: Journal, figures: Mapping[str, float]) -> dict[str, Any]:
    """Return what `_of_every_step` returns, of a journal with all steps in its tail, whose figures are known."""
    return {
        "market_end": journal.last_market_time,
        "last_price": _finite(float(journal.tail_steps["price"][-1])),
        **{name: _finite(value) for name, value in figures.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _up_to(trades: Columns, step: int) -> Columns:
    """Return the trades that steps up to this one closed."""
    known = np.less_equal(trades["exit_step"], step)
    return {name: values[known] for name, values in trades.items()}


def _time(time_us: int) -> datetime | None:
    """Return a market time; None if it is unknown or outside of datetime's range."""
    try:
        return from_microseconds(time_us)
    except ValueError:
        return None


def _trades_of(journal: Journal, blocks: Sequence[Columns]) -> Trades:
    """Join the trades of all blocks, up to the last step that the metrics cover."""
    if sum(len(block["quantity"]) for block in blocks) != journal.trade_count:
        trades = journal.trade_columns()  # a batch could not be decoded; this raises its error
    elif len(blocks) == 1:
        trades = blocks[0]
    else:
        trades = {name: np.concatenate([no_trades()[name], *(block[name] for block in blocks)]) for name in no_trades()}
    told = trades["quantity"] == trades["quantity"]
    if journal.metrics_step < journal.last_step or not np.logical_and.reduce(told):
        return _up_to({name: values[told] for name, values in trades.items()}, journal.metrics_step)
    return trades


def ended_without_evidence(
    journal_id: str,
    ending: Ending,
    *,
    now: datetime,
    pass_id: str | None,
    end_time: datetime,
    episode_id: int | None = None,
) -> Ended:
    """Return the final row of an episode whose journal is missing or unreadable, with NULL for each metric."""
    row = {
        **_ending_row(*ending, RECONCILER, now, pass_id),
        "end_time": end_time,
        "evidence_steps": 0,
        "evidence_closed": False,
        "evidence_final": False,
        "steps_lost": None,
        "trades_lost": None,
        "not_told": None,
        **_about_row(None),
        **dict.fromkeys(_MARKET_COLUMNS),
        **dict.fromkeys((*METRIC_NAMES, *WHOLE_NAMES)),
    }
    return Ended(journal_id, row, trades_from(()), episode_id)


def ended_from_memory(
    journal_id: str, metrics: EpisodeMetrics, trades: Sequence[Sequence[Any]], reason: EndReason, *, now: datetime
) -> Ended:
    """Return the final row of an ended episode whose journal failed, from the recorder's own figures."""
    words = f"{_WORDS[reason]}; its journal is incomplete, metrics are the recorder's own"
    trades = [trade for trade in trades if trade[_QUANTITY] == trade[_QUANTITY]]
    row = {
        **_ending_row(STATUS_OF[reason], str(reason), words, CALLBACK, now, None),
        "end_time": now,
        "evidence_steps": metrics.total_steps,
        "evidence_closed": True,
        "evidence_final": True,
        "steps_lost": 0,
        "trades_lost": None if metrics.total_trades is None else metrics.total_trades - len(trades),
        "not_told": _words_of(metrics, {}),
        **dict.fromkeys(WHOLE_NAMES),
        **stored(metrics),
    }
    return Ended(journal_id, row, trades_from(trades))


def _words_of(metrics: EpisodeMetrics, of_every_step: Mapping[str, Any]) -> str | None:
    """Return the names of the figures that the env does not tell, for the column `not_told`."""
    more = (name for name in not_told_of(metrics) if of_every_step.get(name) is None)
    return " ".join((*metrics.not_told, *more)) or None


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


def start_row(header: Header) -> dict[str, Any]:
    """Return the row of a started episode from its journal, for rows whose insert failed and for rebuilding."""
    about = header.about
    return {
        "run_id": header.run_id,
        "journal_id": header.journal_id,
        "env_class": about.env,
        "in_evaluation": about.in_evaluation,
        "worker_index": _integer(about.worker_index),
        "writer_host": header.writer.host,
        "writer_boot_id": header.writer.boot_id,
        "root_id": header.root_id or None,
        "node_id": _node_of(about),
        "start_time": header.start_time,
        "initial_portfolio_value": about.initial_portfolio_value,
        **_about_row(about),
    }


def _node_of(about: About) -> str | None:
    """Return the Ray node that the env runner noted in the header, None without one."""
    node_id = about.notes.get(NODE_NOTE)
    return node_id if isinstance(node_id, str) and node_id else None


def _integer(value: int | None) -> int | None:
    """Return the value, or None if it does not fit its column: a header comes from a file."""
    return value if value is not None and -_INTEGER <= value < _INTEGER else None
