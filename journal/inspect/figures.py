"""Compute an episode's metrics with functions that other packages register by entry points."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from journal.inspect import plugins

if TYPE_CHECKING:
    from journal.format.header import About
    from journal.format.schema import Fold
    from journal.read.peek import Peek
    from journal.read.reader import Journal

# Imports inside functions load modules that are slow to import and not always needed.

Figures = dict[str, float | int | None]
FEW_STEPS = 20
"""A ratio of fewer steps than this is not meaningful."""
FEW_STEPS_MARK = "(few steps)"


class Kernel(Protocol):
    """Factory of a package's running metrics: make new ones, or restore them from `Fold.to_bytes`."""

    def make(self, about: About) -> Fold:
        """Return running metrics without any step."""
        ...

    def restore(self, state: bytes) -> Fold:
        """Restore running metrics from a checkpoint.

        Raises:
            ValueError: Another program or version wrote the checkpoint.
        """
        ...


@functools.cache
def _sources() -> tuple[Callable[[Any], Figures], ...]:
    return tuple(plugins.load(plugins.FIGURES).values())


@functools.cache
def kernel() -> Kernel | None:
    """Return the installed kernel, or None. Without one, checkpoints cannot be recomputed."""
    return next(iter(plugins.load(plugins.KERNELS).values()), None)


def figures_of(journal: Journal | Peek) -> Figures:
    """Return all figures of an episode by name. Undefined ones are None. Those of an unknown kernel are absent."""
    found: Figures = {}
    for source in _sources():
        try:
            found.update(source(journal))
        except ValueError:  # another program wrote the checkpoint
            continue
    return found


@functools.cache
def figure_columns() -> dict[str, type]:
    """Return the type of each figure by name: int for counts, else float. They are taken from an episode without steps."""
    from journal.format.header import About

    empty: Any = SimpleNamespace(
        header=SimpleNamespace(about=About("", 1.0, None)), folded=lambda make, restore: make(), steps_lost=0
    )
    return {name: int if isinstance(value, int) else float for name, value in figures_of(empty).items()}


def few_steps_mark(figures: Figures, name: str) -> str:
    """Return the mark for a ratio of few steps, with a leading blank; empty for other and undefined figures."""
    steps = figures.get("total_steps")
    few = steps is not None and steps < FEW_STEPS and figures.get(name) is not None
    return f" {FEW_STEPS_MARK}" if few else ""


def number_text(value: float | int | None) -> str:
    """Format a figure; an undefined one is `-`."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
