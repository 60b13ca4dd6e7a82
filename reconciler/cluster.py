"""Make a pass over a Ray cluster: each live node judges the journals on its disk, and a mirror has those of lost nodes.

This process writes all verdicts. An episode whose journal neither a live node nor a mirror can show waits, and the report
states the reason.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from journal import JournalError, Liveness, LivenessReport, Observer
from journal.write.marker import node_of_marker
from reconciler.evidence import Evidence, RunState, row_of, run_state
from reconciler.judging import work_of
from reconciler.lost import ALIVE, SILENT, Loss, Losses
from reconciler.memory import Memory
from reconciler.on_node import Judged, Place, judge_here, list_here
from reconciler.passes import Candidate, Pass
from reconciler.ray_nodes import Failed, NodeTable, RayNodes
from reconciler.report import Hooks, PassReport, item_of
from reconciler.rules import Action, Facts, JournalState, decide
from reconciler.settings import Settings
from rsc.db import episodes
from rsc.db.session import reading

if TYPE_CHECKING:
    from journal.mirror import Mirror, MirroredRun

_LISTING = 500
_YOUNG_S = 30.0  # an episode may begin between the listing of the nodes and that of the database or the mirror
_ASSUME = "; if you know that they are dead: --assume-dead"


@dataclass(frozen=True)
class Found:
    """The places of a run's journals on the live nodes.

    Attributes:
        table: Ray's table of nodes.
        places: The run's folder on each live node that answered, by node id.
        silent: The reason why a live node did not answer, by node id.
        holders: The node that has a journal, by the journal's id. If nodes share a folder, the first of them.
        homes: The node that has a folder, by the folder's id.
    """

    table: NodeTable
    places: Mapping[str, Place]
    silent: Mapping[str, str]
    holders: Mapping[str, str]
    homes: Mapping[str, str]

    def node_for(self, journal_id: str, row: Any) -> str | None:
        """Return the id of the node that should judge a journal; None if no live node has it.

        This is the node in whose folder the journal was written, or else a node that has a copy.
        """
        home = self.homes.get(getattr(row, "root_id", None) or "")
        return home or self.holders.get(journal_id)

    def name_of(self, node_id: str) -> str:
        """Return the host name and the short id of a live node, for people."""
        return f"{self.table.live.get(node_id, 'unknown')} ({node_id[:12]})"


class ClusterPass(Pass):
    """A pass that reads the disks of a Ray cluster's nodes instead of this machine's disk."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        hooks: Hooks,
        nodes: RayNodes,
        pass_id: str = "",
        memory: Memory | None = None,
    ) -> None:
        super().__init__(engine, Observer(), settings, hooks, pass_id, memory)
        self._nodes = nodes
        self._driver: LivenessReport | None = None  # the driver of the current run, if it is dead

    def _look_at(self, row: Any, *, unsettled: bool, named: bool) -> None:
        """Reconcile a run: list its journals on each node, let the nodes judge them, and read the run's mirror."""
        table = self._nodes.table()
        live = frozenset(table.live)
        if not unsettled and self._memory.nodes.get(row.run_id) == live:
            return
        root = self.settings.journal_root or Path(row.journal_root)
        run = run_state(row.run_id, root, self._observer)
        found, report = self._find(table, row.run_id, root), PassReport()
        if self._nodes.should_stop() and self._over():  # a node without an answer has not failed
            return
        markers = [place.marker for place in found.places.values() if place.marker is not None]
        is_dead = all(one.liveness is Liveness.DEAD for one in markers)
        self._driver = next((one for one in markers if one.original and is_dead), None)
        unseen, judged = self._on_live_nodes(run, found, report)
        for node in found.table.live:
            self.report.note_node(_line_of(row.run_id, node, found, judged))
        driver_is_gone = self._driver is not None
        driver_is_gone |= self._in_the_mirror(row, run, found, unseen, report, has_marker=bool(markers))
        self.report.merge(report)
        self.report.runs += 1
        self._stranded[row.run_id] = [
            f"node {found.name_of(node)} cannot be looked at: {why}" for node, why in found.silent.items()
        ]
        self._stranded[row.run_id] += [
            f"run {row.run_id}: {count:,} episodes wait: {why}" for why, count in report.stranded.items()
        ]
        if not unsettled and not report.judged and not found.silent and not self._over():
            self._memory.nodes[row.run_id] = live
        if row.status == "running" and driver_is_gone and not self.settings.dry_run and not self._over():
            self._interrupt(row.run_id)

    def _find(self, table: NodeTable, run_id: str, root: Path) -> Found:
        answers = self._nodes.call(list_here, dict.fromkeys(table.live, (run_id, root)))
        places = {node: one for node, one in answers.items() if isinstance(one, Place)}
        silent = {node: one.why for node, one in answers.items() if isinstance(one, Failed)}
        holders, homes = dict[str, str](), dict[str, str]()
        for node, place in places.items():
            if place.root_id:
                homes.setdefault(place.root_id, node)
            for journal_id in place.journals:
                holders.setdefault(journal_id, node)
        return Found(table, places, silent, holders, homes)

    def _on_live_nodes(self, run: RunState, found: Found, report: PassReport) -> tuple[dict[str, Any], Counter[str]]:
        """Judge the journals on live nodes.

        Returns:
            The rows whose journals are on no live node, by journal id, and the number of judged episodes by node.
        """
        unseen: dict[str, Any] = {}
        judged: Counter[str] = Counter()
        candidates = self._all_candidates(run, found.holders)
        while (batch := list(islice(candidates, self.settings.batch_episodes))) and not self._over():
            by_node: dict[str, list[Candidate]] = {}
            for journal_id, row in batch:
                node = found.node_for(journal_id, row)
                if node is None:
                    unseen[journal_id] = row
                else:
                    by_node.setdefault(node, []).append((journal_id, row))
            self._judge_batch(run, found, by_node, report, judged)
        return unseen, judged

    def _all_candidates(self, run: RunState, ids: Mapping[str, Any]) -> Iterator[Candidate]:
        """Yield the started rows, the rows whose verdict may change, and the journals that have no row."""
        for row in self._readable(
            run,
            chain(
                episodes.started_episodes(self.engine, run.run_id),
                episodes.improvable_episodes(self.engine, run.run_id, self._unsettled_since),
            ),
        ):
            yield row.journal_id, row
        yield from self._without_row(ids)

    def _without_row(self, ids: Mapping[str, Any]) -> Iterator[Candidate]:
        names = iter(sorted(ids))
        while part := list(islice(names, _LISTING)):
            with reading(self.engine) as connection:
                known = episodes.known_journals(connection, part)
            yield from ((journal_id, None) for journal_id in part if journal_id not in known)

    def _judge_batch(
        self,
        run: RunState,
        found: Found,
        by_node: Mapping[str, Sequence[Candidate]],
        report: PassReport,
        judged: Counter[str],
    ) -> None:
        """Let all nodes judge their part of a batch at the same time, write their verdicts, and count them by node.

        If the pass is stopped meanwhile, the episodes of nodes without an answer are left to the next pass.
        """
        of_pass = self.settings, self._now, self.pass_id, self._hooks.listening, self._driver
        given = {node: (run.run_id, run.root, candidates, *of_pass) for node, candidates in by_node.items()}
        works = []
        for node, answer in self._nodes.call(judge_here, given).items():
            if not isinstance(answer, Judged):
                if self._nodes.should_stop():
                    self._over()  # the report says so
                    continue
                why = f"the node {found.name_of(node)} did not judge them: {answer.why}"
                report.fail(f"{len(by_node[node]):,} episodes of run {run.run_id} wait: {why}")
                for journal_id, row in by_node[node]:
                    self._let_wait(run, journal_id, row, why, report, JournalState.OPEN)
                continue
            judged[node] += len(by_node[node])
            answer.report.stranded = Counter({f"{why}{_ASSUME}": n for why, n in answer.report.stranded.items()})
            report.merge(answer.report)
            for item in answer.items:
                self._hooks.on_item(item)
            works += answer.works
        self._write(works, report)
        self._hooks.on_progress(self.report.judged + report.judged)

    def _let_wait(
        self, run: RunState, journal_id: str, row: Any, why: str, report: PassReport, state: JournalState
    ) -> None:
        """Count an episode that cannot be judged, unless it has ended. An episode that has just begun is not a problem."""
        young = row is not None and abs((self._now - row.start_time).total_seconds()) < _YOUNG_S
        facts = Facts(row_of(row), state, Liveness.UNSURE, why, young=young, here=young)
        evidence = Evidence(facts, None, LivenessReport(Liveness.UNSURE, why, 0.0 if young else None))
        verdict = decide(facts)
        if verdict.action is Action.LEAVE:
            return
        report.judged += 1
        report.count(verdict, evidence, run, journal_id, row)
        if self._hooks.listening:
            self._hooks.on_item(item_of(run, journal_id, row, evidence, verdict))

    def _in_the_mirror(
        self,
        row: Any,
        run: RunState,
        found: Found,
        unseen: dict[str, Any],
        report: PassReport,
        *,
        has_marker: bool,
    ) -> bool:
        """Judge the episodes whose journals are on no live node, by the mirror.

        Returns:
            True if the node of the run's driver is lost.
        """
        url = self.settings.mirror or getattr(row, "mirror", None) or ""
        try:
            mirror = _opened(url) if url else None
            wanted = {getattr(of_row, "root_id", None) for of_row in unseen.values()}
            on_live_nodes = found.homes.keys() - wanted
            mirrored = None if mirror is None else mirror.run(row.run_id, skip_roots=on_live_nodes)
        except JournalError as error:
            mirror, mirrored = None, None
            url = f"{url}: {error}"
        if mirror is None or mirrored is None:
            for journal_id, of_row in unseen.items():
                why = _why_without_mirror(found, of_row, url)
                self._let_wait(run, journal_id, of_row, why, report, JournalState.MISSING)
            return self.settings.presume_lost_s is not None and not has_marker
        for problem in mirrored.problems:
            report.complain(f"{mirror.url}: {problem}")
        losses = Losses(
            found.table.live, found.table.dead,
            found.homes,
            {found.table.live[node] for node in found.silent},
            mirrored, mirror.now(), self.settings.presume_lost_s,
        )  # fmt: skip
        view = replace(run, mirror=mirror.url)
        by_reason = self._sorted_by_reason(view, found, unseen, mirrored, losses, report)
        with tempfile.TemporaryDirectory(prefix="reconcile-mirror-") as folder:
            for why, candidates in by_reason.items():
                self._judge_copies(mirror, mirrored, Path(folder), why, candidates, report)
            return not has_marker and driver_is_lost(mirrored, losses, Path(folder))

    def _sorted_by_reason(
        self,
        run: RunState,
        found: Found,
        unseen: Mapping[str, Any],
        mirrored: MirroredRun,
        losses: Losses,
        report: PassReport,
    ) -> dict[str, list[Candidate]]:
        """Return the episodes that the mirror can end, by the reason why their node counts as lost.

        The reason is "" if the mirror has the whole closed journal, so that it does not matter whether the node is lost.
        """
        by_reason: dict[str, list[Candidate]] = {}
        others = {
            name: one
            for name, one in mirrored.journals.items()
            if name not in found.holders and (name in unseen or one.root_id not in found.homes)
        }
        groups: dict[tuple[str, str], Counter[str]] = {}
        without_row = self._without_row({name: None for name in others if name not in unseen})
        for journal_id, row in chain(unseen.items(), without_row):
            one = others.get(journal_id)
            if one is None:
                self._end_without_journal(run, journal_id, row, losses.of_row(row), report)
                continue
            if row is not None and row.status != "started" and one.moved and one.moved <= row.finalized_at:
                continue  # the mirror has nothing new since the last verdict
            loss = losses.of_journal(journal_id, row)
            counts = groups.setdefault((one.host, one.node_id), Counter(journals=0, judged=0))
            counts["journals"] += 1
            if loss.lost or one.closed:
                counts["judged"] += 1
                by_reason.setdefault(loss.why if loss.lost and not one.closed else "", []).append((journal_id, row))
            else:
                self._let_wait(run, journal_id, row, loss.why, report, JournalState.OPEN)
        for (host, node), counts in groups.items():
            line = {"run_id": run.run_id, "node_id": node or None, "host": host, "state": losses.listed(node)}
            self.report.note_node({**line, "source": "mirror", "why": None, **counts})
        return by_reason

    def _end_without_journal(self, run: RunState, journal_id: str, row: Any, loss: Loss, report: PassReport) -> None:
        """End an episode of a lost node that is not in the mirror, because it began after the mirror's last write."""
        if not loss.lost or row.status != "started":
            self._let_wait(run, journal_id, row, loss.why, report, JournalState.MISSING)
            return
        facts = Facts(row_of(row), JournalState.MISSING, Liveness.DEAD, loss.why)
        evidence, verdict = Evidence(facts, None, LivenessReport(Liveness.DEAD, loss.why)), decide(facts)
        assert verdict.ending is not None, "Invariant: case H ends the episode"
        words = f"{verdict.ending[2]}: {loss.why}, and the mirror has nothing of the episode"
        verdict = replace(verdict, ending=(*verdict.ending[:2], words))
        report.judged += 1
        report.count(verdict, evidence, run, journal_id, row)
        if self._hooks.listening:
            self._hooks.on_item(item_of(run, journal_id, row, evidence, verdict))
        self._write([work_of(run, journal_id, row, evidence, verdict, self._now, self.pass_id)], report)

    def _judge_copies(
        self,
        mirror: Mirror,
        mirrored: MirroredRun,
        folder: Path,
        why: str,
        candidates: Sequence[Candidate],
        report: PassReport,
    ) -> None:
        """Copy journals from the mirror, one batch at a time, and judge the copies.

        Args:
            mirror: The mirror.
            mirrored: The run in the mirror.
            folder: The journal root of the copies.
            why: The reason why their writers count as dead; empty if they do not.
            candidates: The episodes: the id of each journal, and the row or None.
            report: Collects the counts.
        """
        settings = replace(
            self.settings, assume_dead=bool(why) or self.settings.assume_dead, presumption=why, copied_from=mirror.url
        )
        inner = Pass(self.engine, self._observer, settings, self._hooks, self.pass_id)
        for start in range(0, len(candidates), self.settings.batch_episodes):
            if self._over():
                return
            batch = candidates[start : start + self.settings.batch_episodes]
            for journal_id, problems in mirrored.fetch([name for name, _ in batch], folder).items():
                for problem in problems:
                    report.complain(f"{mirrored.run_id}/{journal_id}: {problem}")
            copies = run_state(mirrored.run_id, folder, self._observer, mirror.url)
            report.merge(inner.reconcile_slice(copies, batch))
            shutil.rmtree(copies.folder, ignore_errors=True)
            self._hooks.on_progress(self.report.judged + report.judged)


def _opened(url: str) -> Mirror:
    from journal.mirror import open_mirror  # loads numpy and Arrow, and few passes need it

    return open_mirror(url)


def driver_is_lost(mirrored: MirroredRun, losses: Losses, folder: Path) -> bool:
    """Return True if the run's marker is in the mirror, and the driver's node is lost."""
    if mirrored.marker is None:
        return False
    mirrored.fetch([], folder)
    return losses.of_driver(node_of_marker(folder, mirrored.run_id) or mirrored.marker_node_id).lost


def _line_of(run_id: str, node: str, found: Found, judged: Counter[str]) -> dict[str, Any]:
    """Return the report's entry for a run on a live node."""
    place = found.places.get(node)
    return {
        "run_id": run_id,
        "node_id": node,
        "host": found.table.live[node],
        "state": SILENT if place is None else ALIVE,
        "source": "local",
        "journals": None if place is None else len(place.journals),
        "judged": judged[node],
        "why": found.silent.get(node),
    }


def _why_without_mirror(found: Found, row: Any, url: str) -> str:
    """Return the reason why an episode that is on no live node waits, and what to do.

    ``url`` is empty if the run has no mirror, else the mirror's URL and the reason why it cannot be read.
    """
    node = row.node_id or ""
    if node in found.silent:
        return "the node did not answer; try again when it does"
    if node in found.table.live:
        return "the node is alive, but has not their journals; is the journal root right?"
    where = "Ray lists the node as dead" if node in found.table.dead else "Ray does not list the node"
    cure = f"the mirror cannot be read ({url})" if url else "the run has no mirror"
    return f"{where}, and {cure}; start the node again, or copy its disk here: --journal-root DIR"
