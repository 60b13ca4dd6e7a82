"""Compute the figures of many journals at once. Only the reconciler needs it, so no training imports it."""

from __future__ import annotations

from collections.abc import Iterable

from journal import Journal
from rsc.metrics.episode import metrics_from, start_position
from rsc.metrics.many import Episode, Figures, figures_of_many


def figures_at_once(journals: Iterable[Journal]) -> dict[str, Figures]:
    """Return all figures by journal id, of those journals of which they can be computed at once with the same bits.

    These are journals that have all their steps in their tail, where nothing is unknown or lost.
    """
    alike: dict[tuple[str, ...], dict[str, Episode]] = {}
    for journal in journals:
        about = journal.header.about
        if _is_all_in_tail(journal) and about.trades != "unknown" and not start_position(about):
            episode = Episode(metrics_from(about), journal.tail_steps, journal.tail_trades)
            alike.setdefault(about.extra_columns, {})[journal.header.journal_id] = episode
    found: dict[str, Figures] = {}
    for episodes in alike.values():
        many = zip(episodes, figures_of_many([*episodes.values()]), strict=True)
        found.update((journal_id, each) for journal_id, each in many if each is not None)
    return found


def _is_all_in_tail(journal: Journal) -> bool:
    sealed = journal.frames or journal.checkpoint
    return not sealed and 0 < journal.metrics_step == journal.last_step == journal.step_count
