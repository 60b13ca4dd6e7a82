"""What a pass did, in numbers, and for each episode that it judged, in words."""

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

_NAMED = 1000  # complaints kept in words; the rest is counted


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
        """For JSON."""
        return asdict(self)


def item_of(run: RunState, journal_id: str, row: Any, sighting: Evidence, verdict: Verdict) -> Item:
    """A verdict and what it rests on."""
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
        evidence=_evidence(sighting),
    )


def _evidence(sighting: Evidence) -> dict[str, Any]:
    journal, look = sighting.journal, sighting.look
    evidence: dict[str, Any] = {
        "journal": str(sighting.facts.sight),
        "writer": str(look.liveness),
        "lease_age_s": look.lease_age_s,
    }
    if journal is None:
        return evidence
    last = journal.last_step_time
    return {
        **evidence,
        "writer_host": journal.header.writer.host,
        "writer_pid": journal.header.writer.pid,
        "steps": journal.step_count,
        "trades": journal.trade_count,
        "last_step": journal.last_step,
        "last_step_time": last.isoformat() if last else None,
        "torn": journal.torn,
        "tail_lost": journal.tail_lost,
        "steps_lost": journal.steps_lost,
        "trades_lost": journal.trades_lost,
        "findings": [finding.message for finding in journal.findings],
    }


_SUMS = (
    "ended", "cases", "judged", "adopted", "replaced", "false_truncations", "overtaken", "waiting",
    "waiting_on_the_dead", "steps_lost", "trades_lost", "journals_lost", "tails_lost", "runs", "unlookable_count",
    "failure_count", "stranded",
)  # fmt: skip


@dataclass
class PassReport:
    """Sums over a pass. ``unlookable`` and ``failures`` are lines for a human; they decide the exit code."""

    ended: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    adopted: int = 0
    replaced: int = 0
    false_truncations: int = 0
    overtaken: int = 0  # somebody else ended them between the look and the write
    waiting: int = 0
    waiting_on_the_dead: int = 0  # their run's driver is gone, so waiting will end soon
    steps_lost: int = 0
    trades_lost: int = 0
    journals_lost: int = 0
    tails_lost: int = 0  # of episodes that ended by a journal without its tail: later steps lost, number unknown
    runs: int = 0
    runs_interrupted: list[str] = field(default_factory=list)
    unlookable: list[str] = field(default_factory=list)
    unlookable_count: int = 0
    failures: list[str] = field(default_factory=list)
    failure_count: int = 0
    stranded: Counter[str] = field(default_factory=Counter)  # by reason: time alone will not end their waiting
    oldest_stale: datetime | None = None  # start of the oldest one that waits without a sign of life
    stopped: bool = False
    seconds: float = 0.0

    def look_again(self) -> None:
        """Another look of the same command: what waited or could not be looked at is counted anew."""
        self.waiting = self.waiting_on_the_dead = self.unlookable_count = self.runs = 0
        self.unlookable.clear()
        self.oldest_stale = None
        for letter in ("D", "G", "O"):
            self.cases.pop(letter, None)

    def merge(self, other: PassReport) -> None:
        """Add what another slice found."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for line in other.unlookable:
            self._keep(self.unlookable, line)
        for line in other.failures:
            self._keep(self.failures, line)
        starts = [start for start in (self.oldest_stale, other.oldest_stale) if start]
        self.oldest_stale = min(starts, default=None)
        self.stopped = self.stopped or other.stopped

    def count(self, verdict: Verdict, sighting: Evidence, run: RunState, journal_id: str, row: Any) -> None:
        """Take a verdict into account, before it is written."""
        self.cases[verdict.case] += 1
        if verdict.action is not Action.WAIT:
            self.tails_lost += sighting.journal is not None and sighting.journal.tail_lost
            return
        look, facts = sighting.look, sighting.facts
        if row is not None and look.liveness is not Liveness.ALIVE:
            self.oldest_stale = min(self.oldest_stale or row.start_time, row.start_time)
        if verdict.case == "O":
            self.complain(f"{run.run_id}/{journal_id}: {look.reason}")
            return
        self.waiting += 1
        if verdict.case == "G" and not facts.here:
            self.stranded[facts.why] += 1
        elif verdict.case == "D" and facts.writer is Liveness.UNSURE and look.lease_age_s is None:
            self.stranded[look.reason] += 1
        else:
            self.waiting_on_the_dead += not run.driver_may_live or look.lease_age_s is not None

    def complain(self, line: str) -> None:
        """An episode could not be looked at."""
        self.unlookable_count += 1
        self._keep(self.unlookable, line)

    def fail(self, line: str) -> None:
        """Something that should have been done was not."""
        self.failure_count += 1
        self._keep(self.failures, line)

    @staticmethod
    def _keep(lines: list[str], line: str) -> None:
        if len(lines) < _NAMED:
            lines.append(line)

    @property
    def exit_code(self) -> int:
        """1: something failed; 3: data was lost or could not be looked at; 0: done."""
        if self.failure_count:
            return FAILED
        lost = self.steps_lost or self.trades_lost or self.journals_lost or self.tails_lost or self.cases["M"]
        return DATA_LOST if self.unlookable_count or lost else DONE

    @property
    def wrote(self) -> bool:
        """Did the pass change anything?"""
        return bool(self.ended or self.replaced or self.runs_interrupted)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        oldest = self.oldest_stale.isoformat() if self.oldest_stale else None
        told = {name: value for name, value in vars(self).items() if name not in ("stranded",)}
        sums = {"ended": dict(self.ended), "cases": dict(self.cases), "oldest_stale": oldest}
        return {**told, **sums, "exit_code": self.exit_code}

    def sentence(self) -> str:
        """One line for a human."""
        total = sum(self.ended.values())
        detail = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        parts = [f"{total:,} episode{'s' * (total != 1)} ended" + (f" ({detail})" if detail else "")]
        for count, text in (
            (self.waiting, "still waiting"),
            (self.adopted, "of them had no row"),
            (self.replaced, "repaired by better evidence"),
            (self.overtaken, "ended by somebody else meanwhile"),
            (self.tails_lost, "without their tail, later steps lost"),
        ):
            parts += [f"{count:,} {text}"] if count else []
        if self.steps_lost or self.trades_lost:
            parts.append(f"{self.steps_lost:,} steps and {self.trades_lost:,} trades lost")
        return ", ".join(parts) + f" in {self.seconds:.1f} s"


def _ignore_item(item: Item) -> None:
    pass


def _ignore_count(judged: int) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """Who listens to a pass, and who may end it early: ``should_stop`` is asked between episodes,
    ``pause`` waits between looks."""

    on_item: Callable[[Item], None] = _ignore_item
    on_progress: Callable[[int], None] = _ignore_count
    should_stop: Callable[[], bool] = _never
    pause: Callable[[float], object] = time.sleep
    listening: bool = False  # items are made only for somebody
