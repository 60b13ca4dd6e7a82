"""Compute the figures of many journals at once. Only the reconciler imports this module."""

from __future__ import annotations

from collections.abc import Iterable

from journal import Journal
from rsc.metrics.episode import metrics_from, start_position
from rsc.metrics.many import Episode, Figures, figures_of_many


def figures_at_once(journals: Iterable[Journal]) -> dict[str, Figures]:
    """Return the figures of each journal that has all its steps in its tail, by journal id.

    Journals with sealed or lost steps, with unknown trades, or with a position at the reset are left out. The figures have
    the same bits as those of `RunningMetrics` and `EveryStep`.
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
