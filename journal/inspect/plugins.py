"""Load what other packages add to `journal` by entry points: figures, metric kernels, database look-ups."""

from __future__ import annotations

from typing import Any

# Imports inside functions load modules that are slow to import and not always needed.

FIGURES = "journal.figures"  # journal -> {figure: number or None}
KERNELS = "journal.kernels"  # see figures.Kernel
EPISODES = "journal.episodes"  # by name: see find.py, prune.py and export.py


def load(group: str) -> dict[str, Any]:
    """Return the objects that installed packages offer for a group, by name."""
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=group)}
