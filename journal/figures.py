"""The figures of an episode, as installed packages compute them: `journal` itself knows no metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from journal import plugins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journal.glances import Glance
    from journal.header import About
    from journal.reader import Journal

Figures = dict[str, float | int | None]


class Fold(Protocol):
    """Running metrics. The journal stores their state with each seal and knows nothing else of them."""

    def fold(self, steps: Mapping[str, NDArray[Any]], trades: Mapping[str, NDArray[Any]]) -> None:
        """Take the next block: contiguous arrays named by schema.STEP_COLUMNS, extra columns, and TRADE_COLUMNS."""

    def to_bytes(self) -> bytes:
        """The whole state, so small that each batch can carry it."""
        ...


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


def figures_of(journal: Journal | Glance) -> Figures:
    """All figures of an episode; undefined ones are None, and those of a fold that nobody here knows are absent."""
    found: Figures = {}
    for source in _sources():
        try:
            found.update(source(journal))
        except ValueError:  # a checkpoint that another program's fold wrote
            continue
    return found
