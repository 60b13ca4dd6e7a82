"""What a pass did, in numbers, and for each episode that it judged, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from journal.console import DATA_LOST, DONE, FAILED


@dataclass(frozen=True)
class Item:
    """One episode's verdict with its evidence; the JSON contract of docs/json.md."""

    run_id: str
    journal_id: str
    episode_id: int | None
    case: str
    action: str
    why: str
    status: str | None = None
    end_reason: str | None = None
    steps: int | None = None
    trades: int | None = None
    last_step_time: str | None = None
    writer: str = ""
    lease_age_s: float | None = None
    findings: tuple[str, ...] = ()
    steps_lost: int = 0
    trades_lost: int = 0


@dataclass
class PassReport:
    """Sums over a pass; several passes of one command add up, except for what waits."""

    ended: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    false_truncations: int = 0
    waiting: int = 0
    waiting_on_the_dead: int = 0
    steps_lost: int = 0
    trades_lost: int = 0
    unlookable: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    runs_interrupted: list[str] = field(default_factory=list)
    differences: int = 0
    stopped: bool = False
    seconds: float = 0.0

    def add(self, other: PassReport) -> None:
        """Take a later pass of the same command into account."""
        self.ended += other.ended
        self.cases += other.cases
        for name in ("replaced", "false_truncations", "steps_lost", "trades_lost", "differences", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.waiting, self.waiting_on_the_dead = other.waiting, other.waiting_on_the_dead
        self.unlookable, self.failures = other.unlookable, self.failures + other.failures
        self.runs_interrupted += other.runs_interrupted
        self.stopped = other.stopped

    @property
    def exit_code(self) -> int:
        """1: something failed; 3: data was lost or could not be looked at; 0: done."""
        if self.failures:
            return FAILED
        return DATA_LOST if self.unlookable or self.steps_lost or self.trades_lost else DONE

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "ended": dict(self.ended), "cases": dict(self.cases)}

    def sentence(self) -> str:
        """One line for a human."""
        total = sum(self.ended.values())
        parts = [f"{count} {status}" for status, count in sorted(self.ended.items())]
        text = f"{total} episode{'s' * (total != 1)} ended" + (f" ({', '.join(parts)})" if parts else "")
        text += f", {self.waiting} still waiting" if self.waiting else ""
        text += f", {self.replaced} repaired by better evidence" if self.replaced else ""
        text += (
            f", {self.steps_lost} steps and {self.trades_lost} trades lost"
            if self.steps_lost + self.trades_lost
            else ""
        )
        return text + f" in {self.seconds:.1f} s"
