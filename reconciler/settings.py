"""Settings of a pass; units are in the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rsc import defaults


@dataclass(frozen=True)
class Settings:
    """What a pass may do. ``journal_root`` overrides the runs' own; ``assume_dead`` ends what is unsure, not what is
    locked; ``dry_run`` writes nothing, and reads the journals of live episodes too, to show their evidence;
    ``processes`` share a large run, and more than one is for programs without other threads."""

    journal_root: Path | None = None
    grace_period_s: float = defaults.GRACE_PERIOD_S
    batch_episodes: int = defaults.BATCH_EPISODES
    dry_run: bool = False
    assume_dead: bool = False
    processes: int = 1
