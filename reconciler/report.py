"""The report of a pass: sums, complaints, and for each judged episode its verdict with the evidence."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from journal import Liveness
from journal.console import DATA_LOST, DONE, FAILED
from reconciler.evidence import Evidence, RunState
from reconciler.rules import Action, Verdict
from rsc.db.episodes import Ended

_NAMED = 1000  # this many complaints are kept as text, the others are counted


@dataclass(frozen=True)
class Item:
    """One episode's verdict with its evidence: the JSON contract of docs/operations.md."""

    run_id: str
    journal_id: str
    episode_id: int | None
    rllib_episode_id: str | None
    case: str
    adopted: bool
    action: str
    status: str | None
    end_reason: str | None
    why: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def item_of(run: RunState, journal_id: str, row: Any, evidence: Evidence, verdict: Verdict) -> Item:
    """Return a verdict with its evidence as one item of the JSON contract."""
    status, end_reason = verdict.ending[:2] if verdict.ending else (None, None)
    return Item(
        run_id=run.run_id,
        journal_id=journal_id,
        episode_id=None if row is None else row.episode_id,
        rllib_episode_id=None if row is None else row.rllib_episode_id,
        case=verdict.case,
        adopted=verdict.adopted,
        action=str(verdict.action),
        status=status,
        end_reason=end_reason,
        why=verdict.why,
        evidence=_evidence(run, evidence),
    )


def _evidence(run: RunState, evidence: Evidence) -> dict[str, Any]:
    journal, writer = evidence.journal, evidence.writer
    known: dict[str, Any] = {
        "source": "mirror" if run.mirror else "local",
        "journal": str(evidence.facts.journal),
        "writer": str(writer.liveness),
        "lease_age_s": writer.lease_age_s,
    }
    if journal is None:
        return known
    last = journal.last_step_time
    return {
        **known,
        "writer_host": journal.header.writer.host,
        "writer_pid": journal.header.writer.pid,
        "steps": journal.step_count,
        "trades": journal.trade_count,
        "last_step": journal.last_step,
        "last_step_time": last.isoformat() if last else None,
        "may_lack": (run.mirror and evidence.may_lack) or None,
        "torn": journal.torn,
        "tail_lost": journal.tail_lost,
        "steps_lost": journal.steps_lost,
        "trades_lost": journal.trades_lost,
        "findings": [finding.message for finding in journal.findings],
    }


_SUMS = (
    "ended", "cases", "judged", "adopted", "replaced", "false_truncations", "overtaken", "waiting", "alive",
    "waiting_on_the_dead", "steps_lost", "trades_lost", "journals_lost", "tails_lost", "runs", "unlookable_count",
    "failure_count", "stranded",
)  # fmt: skip


@dataclass
class PassReport:
    """Sums over a pass, and complaints as lines of text, which decide the exit code."""

    ended: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    adopted: int = 0
    replaced: int = 0
    false_truncations: int = 0
    overtaken: int = 0  # another writer ended them between reading and writing
    waiting: int = 0
    alive: int = 0  # waiting episodes whose writer is known to be alive
    waiting_on_the_dead: int = 0  # waiting episodes whose driver has exited, so that waiting will end soon
    steps_lost: int = 0
    trades_lost: int = 0
    journals_lost: int = 0
    tails_lost: int = 0  # episodes that ended from a journal without its tail: later steps are lost, number unknown
    runs: int = 0
    runs_interrupted: list[str] = field(default_factory=list)
    unlookable: list[str] = field(default_factory=list)
    unlookable_count: int = 0
    failures: list[str] = field(default_factory=list)
    failure_count: int = 0
    nodes: list[dict[str, Any]] = field(default_factory=list)  # for a pass over a cluster: the journals on each node
    stranded: Counter[str] = field(default_factory=Counter)  # waits that will not end without the user, by reason
    oldest_stale: datetime | None = None  # start of the oldest waiting episode whose writer is not known to be alive
    stopped: bool = False
    seconds: float = 0.0

    def look_again(self) -> None:
        """Reset the counts that the next look of the same pass makes again: waiting and unreadable episodes."""
        self.waiting = self.alive = self.waiting_on_the_dead = self.unlookable_count = self.runs = 0
        self.unlookable.clear()
        self.oldest_stale = None
        for letter in ("D", "G", "O"):
            self.cases.pop(letter, None)

    def merge(self, other: PassReport) -> None:
        """Add the report of a slice."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for line in other.unlookable:
            self._keep(self.unlookable, line)
        for line in other.failures:
            self._keep(self.failures, line)
        starts = [start for start in (self.oldest_stale, other.oldest_stale) if start]
        self.oldest_stale = min(starts, default=None)
        self.stopped = self.stopped or other.stopped

    def note_node(self, line: dict[str, Any]) -> None:
        """Store the findings on a node for a run, in place of those of an earlier look of the pass."""
        for place, earlier in enumerate(self.nodes):
            if all(earlier[name] == line[name] for name in ("run_id", "node_id", "host", "source")):
                self.nodes[place] = {**line, "judged": max(earlier["judged"], line["judged"])}
                return
        self.nodes.append(line)

    def count(self, verdict: Verdict, evidence: Evidence, run: RunState, journal_id: str, row: Any) -> None:
        """Count a verdict before it is written."""
        self.cases[verdict.case] += 1
        if verdict.action is not Action.WAIT:
            self.tails_lost += evidence.journal is not None and evidence.journal.tail_lost
            return
        writer, facts = evidence.writer, evidence.facts
        if row is not None and writer.liveness is not Liveness.ALIVE:
            self.oldest_stale = min(self.oldest_stale or row.start_time, row.start_time)
        if verdict.case == "O":
            self.complain(f"{run.run_id}/{journal_id}: {writer.reason}")
            return
        self.waiting += 1
        self.alive += writer.liveness is Liveness.ALIVE
        if verdict.case == "G" and not facts.here:
            self.stranded[facts.why] += 1
        elif verdict.case == "D" and facts.writer is Liveness.UNSURE and writer.lease_age_s is None:
            self.stranded[writer.reason] += 1
        else:
            self.waiting_on_the_dead += not run.driver_may_live or writer.lease_age_s is not None

    def count_ended(self, verdict: Verdict, ended: Ended, *, adopted: bool) -> None:
        """Count an episode that this pass ended. ``adopted``: the pass also created its row."""
        self.ended[ended.row["status"]] += 1
        self.adopted += adopted
        self.steps_lost += ended.row["steps_lost"] or 0
        self.trades_lost += ended.row["trades_lost"] or 0
        self.journals_lost += verdict.case in ("H", "N")

    def count_replaced(self, ended: Ended, was: str | None) -> None:
        """Count an earlier verdict that this pass replaced. ``was`` is its status."""
        self.replaced += 1
        self.false_truncations += was != ended.row["status"]

    def complain(self, line: str) -> None:
        """Add a complaint: an episode's row or journal could not be read."""
        self.unlookable_count += 1
        self._keep(self.unlookable, line)

    def fail(self, line: str) -> None:
        """Add a failure: a row could not be written, or a run could not be judged."""
        self.failure_count += 1
        self._keep(self.failures, line)

    @staticmethod
    def _keep(lines: list[str], line: str) -> None:
        if len(lines) < _NAMED:
            lines.append(line)

    @property
    def exit_code(self) -> int:
        """1 if something failed, 3 if data was lost or could not be read, else 0."""
        if self.failure_count:
            return FAILED
        lost = self.steps_lost or self.trades_lost or self.journals_lost or self.tails_lost or self.cases["M"]
        return DATA_LOST if self.unlookable_count or lost else DONE

    @property
    def wrote(self) -> bool:
        """Whether the pass changed anything."""
        return bool(self.ended or self.replaced or self.runs_interrupted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        oldest = self.oldest_stale.isoformat() if self.oldest_stale else None
        told = {name: value for name, value in vars(self).items() if name not in ("stranded",)}
        sums = {"ended": dict(self.ended), "cases": dict(self.cases), "oldest_stale": oldest}
        return {**told, **sums, "exit_code": self.exit_code}

    def sums(self) -> dict[str, Any]:
        """Return the result of `to_dict` without the complaints."""
        return {name: value for name, value in self.to_dict().items() if name not in ("unlookable", "failures")}

    def sentence(self) -> str:
        """Return the report as one line of text."""
        total, unsure = sum(self.ended.values()), self.waiting - self.alive
        parts = []
        if total:
            detail = ", ".join(f"{count:,} {status}" for status, count in sorted(self.ended.items()))
            parts.append(f"{_count(total, 'episode')} ended ({detail})")
        for count, text in (
            (self.adopted, "of them had no row"),
            (self.replaced, "corrected by more evidence"),
            (self.overtaken, "ended by another process meanwhile"),
            (self.tails_lost, "without their tail, so later steps are lost"),
            (self.cases["M"], "with a failed write, so later steps are lost"),
        ):
            parts += [f"{count:,} {text}"] if count else []
        if self.steps_lost or self.trades_lost:
            parts.append(f"{_count(self.steps_lost, 'step')} and {_count(self.trades_lost, 'trade')} lost")
        if self.alive:
            parts.append(f"{_count(self.alive, 'episode')} {_are(self.alive)} still running")
        if unsure:
            parts.append(f"{_count(unsure, 'episode')} cannot be judged yet")
        if self.waiting and not (total or self.replaced or self.overtaken):
            parts[-1] += "; nothing to reconcile yet"
        return f"{', '.join(parts) or 'nothing to do: no episode is left to end'} ({self.seconds:.1f} s)"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _ignore_item(item: Item) -> None:
    pass


def _ignore_count(judged: int) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a pass.

    Attributes:
        on_item: Gets each verdict, if ``listening``.
        on_progress: Gets the number of judged episodes after each slice.
        should_stop: Is asked between episodes; True ends the pass early.
        pause: Waits for so many seconds between looks.
        listening: Whether ``on_item`` is wanted; items cost time to make.
    """

    on_item: Callable[[Item], None] = _ignore_item
    on_progress: Callable[[int], None] = _ignore_count
    should_stop: Callable[[], bool] = _never
    pause: Callable[[float], object] = time.sleep
    listening: bool = False
