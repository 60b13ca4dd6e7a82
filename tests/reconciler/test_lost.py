"""Which node of a cluster counts as lost: each rule, and where its limits are."""

from __future__ import annotations

import pytest

from reconciler.lost import ALIVE, DEAD, SILENT, STANDS_STILL_S, UNLISTED, judge_loss

LONG = STANDS_STILL_S


@pytest.mark.parametrize(
    ("listed", "still_s", "presume_lost_s", "lost", "why"),
    [
        (ALIVE, LONG, None, False, "the node is alive"),
        (ALIVE, LONG, 0.0, False, "the node is alive"),
        (SILENT, LONG, 0.0, False, "did not answer"),
        (UNLISTED, LONG, None, False, "--presume-lost AGE"),
        (UNLISTED, LONG, LONG, True, "the user presumed it"),
        (UNLISTED, 59.0, 60.0, False, "was written in the last 60 s"),
        (UNLISTED, None, 0.0, True, "the user presumed it"),
        (DEAD, None, None, False, "clock of the mirror is unknown"),
        (DEAD, LONG - 0.1, None, False, "was written in the last 150 s"),
        (DEAD, LONG, None, True, "Ray lists it as dead, and its mirror stands still since 150 s"),
        (DEAD, 10.0, 10.0, True, "Ray lists it as dead"),
    ],
)
def test_judge_loss__each_rule(
    listed: str, still_s: float | None, presume_lost_s: float | None, lost: bool, why: str
) -> None:
    found = judge_loss(listed, still_s, presume_lost_s)
    assert found.lost is lost
    assert why in found.why
