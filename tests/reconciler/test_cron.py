"""Cron expressions against croniter, a second implementation, and against what crontab(5) says."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter

from reconciler.daemon.cron import CronTrigger, parse_cron
from reconciler.daemon.service import Schedule

START = datetime(2026, 11, 25, 12, 0, 30, tzinfo=UTC)  # a Wednesday


def times(expression: str, count: int = 5, start: datetime = START) -> list[datetime]:
    """The next times of our trigger, each asked for as APScheduler does."""
    trigger, previous, found = CronTrigger(expression), None, []
    for _ in range(count):
        previous = trigger.get_next_fire_time(previous, start)
        assert previous is not None
        found.append(previous)
    return found


def field(rng: random.Random, low: int, high: int) -> str:
    """A random field of the kinds that cron knows."""

    def span() -> str:
        first = rng.randint(low, high - 1)
        return f"{first}-{rng.randint(first + 1, high)}"  # croniter takes 5-5 for a range that goes round

    kinds = ["*", f"*/{rng.randint(1, high)}", str(rng.randint(low, high)), span(), f"{span()}/{rng.randint(1, 9)}"]
    parts = [rng.choice(kinds) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    return "*" if "*" in parts else ",".join(parts)


@pytest.mark.parametrize("seed", range(300))
def test_cron__random_expression__has_the_times_that_croniter_has(seed: int) -> None:
    rng = random.Random(seed)
    ranges = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))
    expression = " ".join(field(rng, *one) for one in ranges)
    start = START + timedelta(minutes=rng.randint(0, 3_000_000), seconds=rng.randint(0, 59))
    other = croniter(expression, start, implement_cron_bug=True)
    assert times(expression, 10, start) == [other.get_next(datetime) for _ in range(10)]


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 * * 1", ["Mon 30"]),
        ("0 0 * * 0", ["Sun 29"]),
        ("0 0 * * 7", ["Sun 29"]),
        ("0 0 * * mon-wed", ["Mon 30", "Tue 01", "Wed 02"]),
        ("0 0 * * 5-7", ["Fri 27", "Sat 28", "Sun 29", "Fri 04"]),
        ("0 0 1 * 5", ["Fri 27", "Tue 01", "Fri 04"]),
        ("0 0 */2 * 5", ["Fri 27", "Fri 11"]),  # a star at its beginning: both days must match
        ("0 0 29 feb *", ["Tue 29"]),
        ("@weekly", ["Sun 29"]),
    ],
)
def test_cron__days__are_those_of_crontab(expression: str, days: list[str]) -> None:
    assert [f"{time:%a %d}" for time in times(expression, len(days))] == days


@pytest.mark.parametrize("expression", ["@hourly", "@daily", "@monthly", "@yearly"])
def test_cron__nickname__is_its_expression(expression: str) -> None:
    other = croniter(expression, START)
    assert times(expression) == [other.get_next(datetime) for _ in range(5)]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("nonsense", "expected 5 fields"),
        ("* * * * * *", "got 6"),
        ("60 * * * *", "minute '60': expected values from 0 to 59"),
        ("* * * * 8", "weekday '8': expected values from 0 to 7"),
        ("* * 0 * *", "day of month '0'"),
        ("5-1 * * * *", "minute '5-1'"),
        ("5/15 * * * *", "for example 5-59/15"),
        ("*/0 * * * *", "a step of at least 1"),
        ("* * * janu *", "expected a number or one of jan,"),
        ("-1 * * * *", "expected a number"),
        ("\u0661 * * * *", "expected a number"),
        ("* * 31 2 *", "there is no such day"),
        ("@reboot", "expected 5 fields"),
    ],
)
def test_cron__wrong_expression__is_refused_with_the_reason(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"expected|such day|for example") as refused:
        parse_cron(expression)
    assert said in str(refused.value)


def test_trigger__minute_that_begins_now__is_the_next_time() -> None:
    now = START.replace(second=0)
    trigger = CronTrigger("* * * * *")
    assert trigger.get_next_fire_time(None, now) == now
    assert trigger.get_next_fire_time(now, now + timedelta(seconds=1)) == now + timedelta(minutes=1)


def test_schedule__cron__allows_two_of_its_gaps() -> None:
    assert Schedule(None, "*/5 * * * *", 60.0).longest_silence_s() == 660.0
