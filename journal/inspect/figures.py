"""The figures of an episode, as installed packages compute them: `journal` itself knows no metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from journal.inspect import plugins

if TYPE_CHECKING:
    from journal.format.header import About
    from journal.format.schema import Fold
    from journal.read.peek import Peek
    from journal.read.reader import Journal

Figures = dict[str, float | int | None]


class Kernel(Protocol):
    """How a package's running metrics begin, and how they are restored from what `Fold.to_bytes` gave."""

    def make(self, about: About) -> Fold: ...

    def restore(self, state: bytes) -> Fold: ...


@functools.cache
def _sources() -> tuple[Callable[[Any], Figures], ...]:
    return tuple(plugins.load(plugins.FIGURES).values())


@functools.cache
def kernel() -> Kernel | None:
    """The installed kernel, None if there is none: then checkpoints cannot be recomputed."""
    return next(iter(plugins.load(plugins.KERNELS).values()), None)


def figures_of(journal: Journal | Peek) -> Figures:
    """All figures of an episode; undefined ones are None, and those of a fold that nobody here knows are absent."""
    found: Figures = {}
    for source in _sources():
        try:
            found.update(source(journal))
        except ValueError:  # a checkpoint that another program's fold wrote
            continue
    return found


def number_text(value: float | int | None) -> str:
    """A figure; `-` where it is undefined."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
