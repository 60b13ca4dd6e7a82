"""`--cron` means what cron means. Real daemons, whose clock starts shortly before the moment in question."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.attacks.clocked import CASES
from tests.attacks.needs import give_up
from tests.attacks.processes import run, said
from tests.attacks.records import Records
from tests.attacks.scene import until
from tests.attacks.watch import Watch


@pytest.mark.parametrize("case", list(CASES))
def test_cron__at_midnight__passes_when_cron_would(watch: Watch, case: str) -> None:
    daemon = watch.clocked[case]
    begin = f"{daemon.moment:%Y-%m-%d %H:%M:%S}"
    if daemon.first_pass >= begin:
        daemon = watch.start_clock(case)  # many start at once, and this machine is busy: try again alone
    if daemon.first_pass >= begin:
        give_up("this machine is so slow that the first pass came after the moment")
    daemon.wait()
    assert daemon.process.poll() is None, "it exited"
    passes = [str(row["start_time"]) for row in daemon.records.passes()]
    if CASES[case][2]:
        until(lambda: str(daemon.records.passes()[-1]["start_time"]) >= begin, what="the pass at midnight")
    else:
        assert max(passes) < begin, passes


@pytest.mark.parametrize(
    "expression", ["60 * * * *", "* * *", "", "* * * * 8", "a b c d e", "* * * * * *", "0 0 31 2 *"]
)
def test_cron__expression_that_is_none__is_refused(template: Path, folder: Path, expression: str) -> None:
    """The last of them is an expression whose moment never comes."""
    records = Records.copy_of(template, folder / "rsc.db")
    try:
        done = run("reconciler", "--all", "--cron", expression, "--database-url", records.url, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"it runs: {error.stderr}") from error
    assert done.returncode == 2, said(done)
    assert "Traceback" not in said(done)
