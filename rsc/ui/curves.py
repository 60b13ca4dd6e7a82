"""Read the curves of single episodes, when a page asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from journal.errors import JournalError, NotAJournalError
from journal.host.liveness import Observer
from journal.host.paths import stream_file
from journal.inspect.overview import overview
from journal.plot.packing import Curves, Limits
from journal.plot.series import read_columns, thinned
from journal.read.reader import Journal, read_journal

if TYPE_CHECKING:
    from rsc.records.names import Place

_POINTS = 120  # number of points of a small curve
_MOST_SPARKS = 200


def packed_episode(place: Place, journal_id: str) -> bytes:
    """Return the packed curves and trades of one episode, in full detail.

    Args:
        place: The run's database and folder.
        journal_id: The episode's journal.

    Raises:
        JournalError: The id is not valid, or the journal cannot be read.
    """
    one = overview(stream_file(place.folder.parent, place.run_id, journal_id), Observer(), whole=True)
    if not isinstance(one.source, Journal):
        raise NotAJournalError(one.path, one.problem)
    curves = Curves(Limits.of_count(1))
    curves.add(one, one.source)
    return curves.packed()


def sparks_of(place: Place, journal_ids: Sequence[str]) -> dict[str, list[float | None]]:
    """Return a sample of the account's values over each episode, by journal id; none if the journal is unreadable."""
    found: dict[str, list[float | None]] = {}
    for journal_id in journal_ids[:_MOST_SPARKS]:
        try:
            journal = read_journal(stream_file(place.folder.parent, place.run_id, journal_id))
        except (JournalError, OSError):
            found[journal_id] = []
            continue
        value = read_columns(journal)[0]["portfolio_value"]
        kept = value[thinned([value], _POINTS)] if len(value) else value
        found[journal_id] = [float(one) if np.isfinite(one) else None for one in kept]
    return found
