"""Count lost steps and trades from gaps in their numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from journal.format.slots import Columns
from journal.read.findings import Damage, Finding
from journal.read.snapshot import Snapshot

Extent = tuple[int, int, int]
"""First and last step of a run of steps without a gap, and its offset in the stream."""


class Losses(NamedTuple):
    """What is present and what is lost: ranges of steps without a gap, all damage, the counts of lost steps and trades."""

    extents: list[Extent]
    findings: tuple[Finding, ...]
    steps: int
    trades: int


def losses(seen: Snapshot, tail_steps: Columns, tail_trades: Columns) -> Losses:
    """Count the steps and trades that were certainly written and cannot be read.

    Rows that were lost at the end leave no gap. Their number comes from the footer, or from the seal of the damaged
    batch. A damaged slot counts as one step.
    """
    extents = list(_extents(seen, tail_steps))
    findings = [*seen.walk.findings, *_slot_findings(seen.scan.damaged)]
    lost, expected = 0, 1
    for first, last, offset in extents:
        if first > expected:
            lost += first - expected
            text = f"steps {expected} to {first - 1} are missing"
            findings.append(Finding(Damage.HOLE, text, offset, expected, first - 1))
        expected = max(expected, last + 1)
    known_steps, known_trades = _known(seen, expected - 1, tail_trades)
    there = sum(frame.seal.trades for frame in seen.frames) + len(tail_trades["pnl"])
    steps = lost + known_steps - (expected - 1) + seen.scan.lost_end
    return Losses(extents, tuple(findings), steps, max(known_trades - there, 0))


def _known(seen: Snapshot, reached: int, tail_trades: Columns) -> tuple[int, int]:
    """Return the numbers of the last step and trade that are known to have been written, readable or not."""
    seals = [frame.seal for frame in seen.frames]
    sealed_trades = max([0, *(seal.last_trade for seal in seals)])
    last_trade = max([sealed_trades + seen.scan.stated_trades, *tail_trades["trade_number"].tolist()[-1:]])
    steps = [reached, *(seal.first_step - 1 for seal in seals)]
    trades = [last_trade]
    if (footer := seen.walk.footer) is not None:
        steps.append(footer.steps)
        trades.append(footer.trades)
    elif (claim := seen.walk.claim) is not None and (claim.first_step, claim.first_trade) == (
        seen.sealed_step + 1,
        sealed_trades + 1,
    ):
        steps.append(claim.last_step)
        trades.append(claim.last_trade)
    return max(steps), max(trades)


def _slot_findings(damaged: tuple[int, ...]) -> Iterator[Finding]:
    """Yield one finding for each run of damaged slots."""
    runs = np.split(np.array(damaged, np.int64), np.flatnonzero(np.diff(damaged) != 1) + 1) if damaged else []
    for run in runs:
        first, last = int(run[0]), int(run[-1])
        text = (
            f"slot {first} of the tail does not verify"
            if first == last
            else f"slots {first} to {last} of the tail do not verify"
        )
        yield Finding(Damage.SLOT, text, first)


def _extents(seen: Snapshot, tail_steps: Columns) -> Iterator[Extent]:
    for frame in seen.frames:
        yield frame.seal.first_step, frame.seal.last_step, frame.offset
    steps = tail_steps["step"]
    if not len(steps):
        return
    if int(steps[-1]) - int(steps[0]) + 1 == len(steps):  # no gap
        yield int(steps[0]), int(steps[-1]), seen.walk.stream_end
        return
    for piece in np.split(steps, np.flatnonzero(np.diff(steps) != 1) + 1):
        yield int(piece[0]), int(piece[-1]), seen.walk.stream_end
