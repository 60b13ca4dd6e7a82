"""Settings of a pass; units are in the names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsc import defaults

if TYPE_CHECKING:
    from reconciler.report import Item


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


def _ignore_item(item: Item) -> None:
    pass


def _ignore_count(judged: int) -> None:
    pass


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Hooks:
    """Who listens to a pass, and who may end it early: ``should_stop`` is asked between episodes,
    ``pause`` waits between looks."""

    on_item: Callable[[Item], None] = _ignore_item
    on_progress: Callable[[int], None] = _ignore_count
    should_stop: Callable[[], bool] = _never
    pause: Callable[[float], object] = time.sleep
    listening: bool = False  # items are made only for somebody
