"""Dates that divide the bars of a market into training, validation and unseen bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """The dates that divide the bars. None means that there is no such part.

    Attributes:
        train_until: The last day of training, ISO. None: all bars train.
        validate_until: The last day of validation.
    """

    train_until: str | None = None
    validate_until: str | None = None

    def problem(self) -> str | None:
        """Return the error in the dates in one line; None if they are right."""
        for name, text in (("--train-until", self.train_until), ("--validate-until", self.validate_until)):
            try:
                date.fromisoformat(text or "2000-01-01")
            except ValueError:
                return f"{name} must be a date like 2010-01-31, got {text!r}"
        if self.validate_until and not self.train_until:
            return "--validate-until needs --train-until: validation begins on the day after it"
        if self.train_until and self.validate_until and _day(self.validate_until) <= _day(self.train_until):
            return f"--validate-until {self.validate_until} must be later than --train-until {self.train_until}"
        return None

    def training(self, settings: Settings) -> dict[str, Any]:
        """Return the env's settings for training."""
        return {**settings, "end_date": self.train_until} if self.train_until else dict(settings)

    def validation(self, settings: Settings) -> dict[str, Any] | None:
        """Return the env's settings for validation; None without one."""
        if not (self.train_until and self.validate_until):
            return None
        return {**settings, "start_date": day_after(self.train_until), "end_date": self.validate_until}


def one_pass(settings: Settings) -> dict[str, Any]:
    """Return settings under which one episode plays all bars, in order."""
    return {**settings, "random_start": False, "episode_length": None}


def day_after(text: str) -> str:
    """Return the day after the day of an ISO date or time."""
    return (_day(text) + timedelta(days=1)).isoformat()


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])
