"""Daemons with `--cron` whose clock starts shortly before the moment in question."""

from __future__ import annotations

import datetime
import functools
import subprocess
import sys
import time
from pathlib import Path

from tests.attacks.needs import need_program
from tests.attacks.processes import environment
from tests.attacks.records import Records
from tests.attacks.scene import until

LEAD_S = 30.0
"""How long before the moment a daemon starts: its first pass comes at once, the next one by the expression."""

MONDAY, TUESDAY, FRIDAY, SUNDAY = (datetime.datetime(2026, 6, day) for day in (1, 2, 5, 7))  # noqa: DTZ001 - UTC by TZ
SATURDAY_13, FRIDAY_12 = datetime.datetime(2026, 6, 13), datetime.datetime(2026, 6, 12)  # noqa: DTZ001
CASES = {
    "1 is Monday": ("0 0 * * 1", MONDAY, True),
    "1 is not Tuesday": ("0 0 * * 1", TUESDAY, False),
    "0 is Sunday": ("0 0 * * 0", SUNDAY, True),
    "7 is Sunday": ("0 0 * * 7", SUNDAY, True),
    "mon is Monday": ("0 0 * * mon", MONDAY, True),
    "1-5 has Friday": ("0 0 * * 1-5", FRIDAY, True),
    "1-5 has no Sunday": ("0 0 * * 1-5", SUNDAY, False),
    "the 13th or a Monday, on the 13th": ("0 0 13 * 1", SATURDAY_13, True),
    "the 13th or a Friday, on a Friday": ("0 0 13 * 5", FRIDAY_12, True),
    "every quarter of an hour": ("*/15 * * * *", TUESDAY, True),
    "in May": ("0 0 * 5 *", TUESDAY, False),
}


@functools.cache
def library_of_faketime() -> str:
    """What the program `faketime` preloads. It fails if a killed process of the same pid left its shared memory."""
    command = [need_program("faketime"), "-f", "+0s", "printenv", "LD_PRELOAD"]
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise AssertionError(f"faketime does not work: {done.stderr}")


class Clocked:
    """A daemon whose clock begins ``LEAD_S`` before a moment, and runs from there."""

    def __init__(self, folder: Path, template: Path, expression: str, moment: datetime.datetime) -> None:
        self.moment, self.started = moment, time.monotonic()
        self.records = Records.copy_of(template, folder / "rsc.db")
        start = moment - datetime.timedelta(seconds=LEAD_S)
        clock = {"TZ": "UTC", "FAKETIME": f"@{start:%Y-%m-%d %H:%M:%S}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--all", "--cron", expression, "--database-url", self.records.url],
            env=environment({**clock, "LD_PRELOAD": library_of_faketime()}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @functools.cached_property
    def first_pass(self) -> str:
        """Wait for the first pass, which comes at once, and return when it began by the daemon's clock.

        Ask early: the daemon forgets a pass that found nothing when the next one ends.
        """
        return str(until(self.records.passes, what="the first pass")[0]["start_time"])

    def wait(self) -> None:
        """Until the moment has passed."""
        time.sleep(max(0.0, self.started + LEAD_S + 8 - time.monotonic()))

    def close(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=15)
        for name in ("faketime_shm_", "sem.faketime_sem_"):
            Path(f"/dev/shm/{name}{self.process.pid}").unlink(missing_ok=True)
