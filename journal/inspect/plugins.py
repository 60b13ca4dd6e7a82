"""What other packages add to `journal`, by entry points: figures, kernels of running metrics, and the database's word."""

from __future__ import annotations

from typing import Any

FIGURES = "journal.figures"  # journal -> {figure: number or None}
KERNELS = "journal.kernels"  # see figures.Kernel
EPISODES = "journal.episodes"  # by name: see find.episode_of_number and prune


def load(group: str) -> dict[str, Any]:
    """The objects that installed packages offer for a group, by name; an empty dict if there are none."""
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=group)}
