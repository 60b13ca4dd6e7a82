"""Settings of a pass; units are in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rsc import defaults


@dataclass(frozen=True)
class Settings:
    """What a pass may do.

    ``journal_root`` overrides the runs' own; ``assume_dead`` ends what is unsure, never what is locked.
    """

    journal_root: Path | None = None
    grace_period_s: float = defaults.GRACE_PERIOD_S
    batch_episodes: int = defaults.BATCH_EPISODES
    deadline_s: float | None = None
    dry_run: bool = False
    rebuild: bool = False
    assume_dead: bool = False
