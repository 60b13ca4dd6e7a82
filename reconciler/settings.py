"""Settings of a pass; units are in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rsc import defaults


@dataclass(frozen=True)
class Settings:
    """The settings of a pass.

    Attributes:
        journal_root: Overrides the root that each run recorded.
        grace_period_s: How long the callback of a closed journal may take, in seconds.
        batch_episodes: The number of episodes that one process judges and writes at once.
        batch_trades: Write earlier if the verdicts so far hold this many trades, so that memory stays bounded.
        dry_run: Write nothing; read the journals of live episodes too, to show their evidence.
        assume_dead: Treat writers that may be alive as dead. A held lock still means alive.
        presumption: With ``assume_dead``: the reason why the writers count as dead, as text for the rows.
        copied_from: The URL of the mirror from which the root was copied; empty if the root is no copy of one.
        mirror: On a cluster: the URL of the mirror that has the journals of lost nodes. Empty: the one that each run
            recorded.
        presume_lost_s: Nodes that Ray does not list count as lost too, and a mirror must stand still for so long. None:
            only nodes that Ray lists as dead, and `reconciler.lost.STANDS_STILL_S`.
        processes: The number of processes that share a large run. Use one in a program that has other threads.
    """

    journal_root: Path | None = None
    grace_period_s: float = defaults.GRACE_PERIOD_S
    batch_episodes: int = defaults.BATCH_EPISODES
    batch_trades: int = defaults.BATCH_TRADES
    dry_run: bool = False
    assume_dead: bool = False
    presumption: str = ""
    copied_from: str = ""
    mirror: str = ""
    presume_lost_s: float | None = None
    processes: int = 1
