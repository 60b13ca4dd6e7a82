"""An APScheduler trigger that follows the semantics of cron.

APScheduler's own `CronTrigger.from_crontab` counts weekdays from Monday, and requires both day fields to match.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import product

from apscheduler.triggers.base import BaseTrigger

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
_LONGEST_GAP_DAYS = 8 * 366  # from one 29 February to the next, across a year such as 2100


@dataclass(frozen=True)
class CronExpression:
    """A parsed expression: the allowed values of each field. Weekdays count from Sunday, which is 0.

    Attributes:
        either_day: Whether a day matches if its day of month or its weekday does; else both must. Cron wants either
            if neither of the two fields begins with a star.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def includes(self, day: date) -> bool:
        """Return whether the expression has times on this day."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        matches = (of_month or of_week) if self.either_day else (of_month and of_week)
        return matches and day.month in self.months

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first time later than ``moment``, which is in UTC; None if there is none."""
        first = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for offset in range(_LONGEST_GAP_DAYS + 1):
            day = first.date() + timedelta(days=offset)
            if not self.includes(day):
                continue
            for hour, minute in product(self.hours, self.minutes):
                found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                if found >= first:
                    return found
        return None


def parse_cron(text: str) -> CronExpression:
    """Parse five fields, or a nickname such as ``@hourly``; raise ValueError with the reason."""
    fields = _NICKNAMES.get(text.strip().lower(), text).split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"expected 5 fields (minute, hour, day of month, month, weekday), got {len(fields)}")
    minutes, hours, days, months, weekdays = (_field(part, *kind) for part, kind in zip(fields, _FIELDS, strict=True))
    expression = CronExpression(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(weekday % 7 for weekday in weekdays),
        either_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
    )
    if expression.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ValueError("there is no such day")
    return expression


def _field(text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, has_step, step = part.partition("/")
        first, has_end, last = span.partition("-")
        if span == "*":
            values = range(lowest, highest + 1)
        elif has_step and not has_end:
            raise ValueError(f"{name} {part!r}: a step needs a range or *, for example {first}-{highest}/{step}")
        else:
            start = _number(first, name, names)
            values = range(start, (_number(last, name, names) if has_end else start) + 1)
        if not values or values[0] < lowest or values[-1] > highest:
            raise ValueError(f"{name} {part!r}: expected values from {lowest} to {highest}")
        width = _number(step, name, {}) if has_step else 1
        if width < 1:
            raise ValueError(f"{name} {part!r}: expected a step of at least 1")
        found.update(values[::width])
    return found


def _number(text: str, name: str, names: dict[str, int]) -> int:
    known = names.get(text.lower())
    if known is not None:
        return known
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} {text!r}: expected a number" + (f" or one of {', '.join(names)}" if names else ""))
    return int(text)


class CronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires at the times of a cron expression, in UTC."""

    def __init__(self, expression: str) -> None:
        self._expression = parse_cron(expression)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Return the next time after the previous one and not before now."""
        latest = now.astimezone(UTC) - timedelta(microseconds=1)  # a minute that begins now counts
        if previous_fire_time is not None:
            latest = max(latest, previous_fire_time.astimezone(UTC))
        return self._expression.next_after(latest)
