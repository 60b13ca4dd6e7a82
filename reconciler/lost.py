"""Decide which nodes of a cluster are lost. The mirror's copies of their journals may then end episodes.

Ray lists a node as dead if only its link is cut, and the node may still write. While it works, its mirror process writes
to the store. So a node is presumed lost only if Ray lists it as dead and its mirror stands still, by the store's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.mirror import MirroredRun

STANDS_STILL_S = 150.0
"""A mirror stands still if it was not written for this long.

A mirror process writes at least every 30 s while journals change or are open. After five times that it is not running.
"""
ALIVE, DEAD, UNLISTED, SILENT = "alive", "dead", "unlisted", "silent"


@dataclass(frozen=True)
class Loss:
    """Whether a node is presumed lost.

    Attributes:
        lost: True if the node is presumed lost.
        why: The reason, for people. If the node is not lost, also what to do.
    """

    lost: bool
    why: str


def judge_loss(listed: str, still_s: float | None, presume_lost_s: float | None) -> Loss:
    """Judge a node whose journals are in a mirror. The first rule that applies decides.

    Args:
        listed: The node's state in Ray's table: ``ALIVE``, ``DEAD`` or ``UNLISTED``. ``SILENT`` if a node on its host is
            alive and did not answer.
        still_s: Seconds since the last write to the node's mirror, by the store's clock; None if unknown.
        presume_lost_s: The value of `--presume-lost`. Nodes that Ray does not list also count as lost if their mirror
            stands still for this long. None if the option is not given.
    """
    limit = STANDS_STILL_S if presume_lost_s is None else presume_lost_s
    if listed == ALIVE:
        return Loss(False, "the node is alive, but has not its journal; is the journal root right?")
    if listed == SILENT:
        return Loss(False, "a node on the same host is alive, but did not answer; try again when it does")
    if listed == UNLISTED and presume_lost_s is None:
        return Loss(
            False,
            "Ray does not list the node, which may still write; if you know that it is lost: --presume-lost AGE",
        )
    if still_s is None and limit > 0:
        return Loss(
            False,
            "the clock of the mirror is unknown, because it lets nothing be written; if you know that the node is lost:"
            " --presume-lost 0s",
        )
    if still_s is not None and still_s < limit:
        return Loss(
            False,
            f"its mirror was written in the last {limit:g} s, so the node may still write; wait until the mirror stands"
            " still",
        )
    by = "Ray lists it as dead" if listed == DEAD else "the user presumed it"
    age = "" if still_s is None else f", and its mirror stands still since {still_s:.0f} s"
    return Loss(True, f"its node was lost: {by}{age}")


class Losses:
    """Judges the nodes of one run's episodes.

    Args:
        live: The ids of nodes that Ray lists as alive.
        dead: The ids of nodes that Ray lists as dead.
        live_roots: The ids of the run's folders on live nodes.
        silent_hosts: The hosts of live nodes that did not answer.
        run: The run in the mirror.
        now: The time by the store's clock; None if unknown.
        presume_lost_s: See `judge_loss`.
    """

    def __init__(
        self,
        live: Iterable[str],
        dead: Iterable[str],
        live_roots: Iterable[str],
        silent_hosts: Iterable[str],
        run: MirroredRun,
        now: datetime | None,
        presume_lost_s: float | None,
    ) -> None:
        self._live, self._dead = set(live), set(dead)
        self._live_roots, self._silent_hosts = set(live_roots), set(silent_hosts)
        self._run, self._now, self._presume_lost_s = run, now, presume_lost_s

    def of_journal(self, journal_id: str, row: Any) -> Loss:
        """Judge the node of a mirrored journal. ``row`` is None if the episode has no row."""
        mirrored = self._run.journals[journal_id]
        nodes = {str(getattr(row, "node_id", None) or ""), mirrored.node_id} - {""}
        listed = self._listed(nodes)
        if mirrored.root_id and mirrored.root_id in self._live_roots:
            listed = ALIVE
        if {mirrored.host, str(getattr(row, "writer_host", None) or "")} & self._silent_hosts:
            listed = SILENT
        return judge_loss(listed, self._still_s(nodes, mirrored.root_id, mirrored.moved), self._presume_lost_s)

    def of_row(self, row: Any) -> Loss:
        """Judge the node of an episode whose journal is not in the mirror. ``row`` is None if the episode has no row."""
        nodes = {str(getattr(row, "node_id", None) or "")} - {""}
        root_id = str(getattr(row, "root_id", None) or "")
        listed = SILENT if str(getattr(row, "writer_host", None) or "") in self._silent_hosts else self._listed(nodes)
        still_s = self._still_s(nodes, root_id, None)
        if listed == DEAD and still_s is None and self._now is not None:
            return Loss(
                False,
                "the mirror has nothing of the node; start the node again, or copy its disk here: --journal-root DIR",
            )
        return judge_loss(listed, still_s, self._presume_lost_s)

    def of_driver(self, node_id: str) -> Loss:
        """Judge the node of the run's driver, whose marker is only in the mirror."""
        nodes = {node_id} - {""}
        known = any(chain.node_id in nodes for chain in self._run.chains)
        return judge_loss(
            self._listed(nodes), self._still_s(nodes, "", None if known else self._run.moved), self._presume_lost_s
        )

    def listed(self, node_id: str) -> str:
        """Return a node's state in Ray's table."""
        return self._listed({node_id} - {""})

    def _listed(self, nodes: set[str]) -> str:
        if nodes & self._live:
            return ALIVE
        return DEAD if nodes & self._dead else UNLISTED

    def _still_s(self, nodes: set[str], root_id: str, moved: datetime | None) -> float | None:
        """Return the seconds since any mirror process of the node last wrote to the store; None if unknown."""
        times = [
            chain.moved
            for chain in self._run.chains
            if chain.node_id in nodes or (root_id and chain.root_id == root_id)
        ]
        last = max([*times, *([moved] if moved else [])], default=None)
        return None if last is None or self._now is None else (self._now - last).total_seconds()
