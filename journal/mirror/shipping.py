"""Mirror one run: read its journals, and store their new parts as one bundle."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from journal.errors import JournalError
from journal.format.schema import MAX_SIDE_FILE
from journal.host.files import open_regular
from journal.host.liveness import is_locked
from journal.host.paths import list_journals, marker_path, run_dir
from journal.host.roots import read_root_id
from journal.mirror.bundle import MAX_BUNDLE, Draft, Kind, Piece
from journal.mirror.chain import Chain, ChainWriter, read_chains
from journal.mirror.collecting import Progress, collect
from journal.mirror.store import ExistsError, MirrorError, Store

HEARTBEAT_S = 30.0
_QUIET_S = 600.0  # a run without open journals that is unchanged for so long needs no heartbeat
_LEAST_BUNDLE = 1 << 20
_REST_LOOKS = 12  # a dead writer's journal is read once in so many ticks


@dataclass
class Sent:
    """Counts of what a mirror process has stored since its start."""

    bundles: int = 0
    bytes: int = 0
    pieces: int = 0
    piece_bytes: int = 0
    heartbeats: int = 0


class RunMirror:
    """Mirror one run's folder.

    Args:
        store: The mirror's store.
        root: The journal root.
        run_id: The run.
        host: The name of this host in the mirror.
        node_id: The node of the cluster; empty if unknown.
    """

    def __init__(self, store: Store, root: Path, run_id: str, host: str, node_id: str = "") -> None:
        self.sent = Sent()
        self._store, self._root, self._run_id, self._host, self._node_id = store, root, run_id, host, node_id
        self._folder = run_dir(root, run_id)
        self._open: OrderedDict[str, Progress] = OrderedDict()
        self._done: set[str] = set()
        self._resting: dict[str, int] = {}
        self._marker = 0
        self._writer: ChainWriter | None = None
        self._most = MAX_BUNDLE
        self._last_put = self._last_change = time.monotonic()

    def tick(self) -> bool:
        """Store the new parts. Return True if the next tick can store more.

        Raises:
            MirrorError: The store does not answer. Nothing is lost, and the next tick tries again.
        """
        if self._writer is None:
            self._resume()
        assert self._writer is not None
        while True:
            drafts, progress, more, marker = self._collect()
            if not drafts:
                self._commit(progress)
                self._beat_if_due()
                return any(state.stuck for state in self._open.values())
            try:
                size = self._writer.append(drafts)
            except ExistsError:  # a second mirror process of this folder runs, so this one begins its own chain
                self._writer.start_anew()
                self._open = OrderedDict((name, _tail_anew(state)) for name, state in self._open.items())
                continue
            except MirrorError:
                self._most = max(self._most // 2, _LEAST_BUNDLE)
                raise
            self._commit(progress)
            self._marker = marker
            self._count(drafts, size)
            self._most = min(self._most * 2, MAX_BUNDLE)
            if not more:
                return any(state.stuck for state in self._open.values())

    def _count(self, drafts: list[Draft], size: int) -> None:
        self._last_put = self._last_change = time.monotonic()
        self.sent.bundles += 1
        self.sent.bytes += size
        self.sent.pieces += len(drafts)
        self.sent.piece_bytes += sum(len(one.data) for one in drafts)

    def _resume(self) -> None:
        """Continue after the parts that earlier mirror processes of this folder have stored."""
        root_id = read_root_id(self._folder)
        self._writer = ChainWriter(self._store, self._run_id, self._host, root_id, self._node_id)
        chains = [one for one in read_chains(self._store, self._run_id, self._host) if one.root_id == root_id]
        intact = [one for one in chains if not one.problems and one.sizes and one.node_id == self._node_id]
        if intact:
            self._writer.go_on(max(intact, key=lambda one: one.moved))
        for journal_id, (sent, step, closed) in sent_before(chains).items():
            if closed:
                self._done.add(journal_id)
            else:
                self._open[journal_id] = Progress(journal_id, sent, step)

    def _collect(self) -> tuple[list[Draft], list[Progress], bool, int]:
        for journal_id in list_journals(self._root, self._run_id, self._done):
            if journal_id not in self._open:
                self._open[journal_id] = Progress(journal_id)
        drafts, marker = self._new_marker()
        progress: list[Progress] = []
        room = self._most
        for journal_id in list(self._open):
            if room <= 0:
                return drafts, progress, True, marker
            if self._resting.get(journal_id, 0) > 0:
                self._resting[journal_id] -= 1
                continue
            try:
                found, state = collect(self._folder, self._open[journal_id], room)
            except JournalError:  # it was removed, or is not a regular file
                continue
            room -= sum(len(one.data) for one in found)
            drafts += found
            progress.append(state)
            if not found and not state.stuck and not self._is_held(journal_id):
                self._resting[journal_id] = _REST_LOOKS
        return drafts, progress, room <= 0, marker

    def _is_held(self, journal_id: str) -> bool:
        try:
            return is_locked(self._folder / f"{journal_id}.arrows")
        except JournalError:
            return False

    def _commit(self, progress: list[Progress]) -> None:
        for state in progress:
            self._open[state.journal_id] = state
            self._open.move_to_end(state.journal_id)
            if state.closed:
                del self._open[state.journal_id]
                self._resting.pop(state.journal_id, None)
                self._done.add(state.journal_id)

    def _new_marker(self) -> tuple[list[Draft], int]:
        try:
            with os.fdopen(open_regular(marker_path(self._root, self._run_id)), "rb") as file:
                data = file.read(MAX_SIDE_FILE)
        except (JournalError, OSError):
            return [], self._marker
        crc = hash(data)
        return ([Draft("", Kind.MARKER, data)] if crc != self._marker else []), crc

    def _beat_if_due(self) -> None:
        now = time.monotonic()
        quiet = not self._open and now - self._last_change > _QUIET_S
        if now - self._last_put >= HEARTBEAT_S and not quiet and self._writer is not None:
            self._writer.beat()
            self._last_put = now
            self.sent.heartbeats += 1

    def wake(self) -> None:
        """Read every journal in the next tick, even those of dead writers."""
        self._resting.clear()


def sent_before(chains: list[Chain]) -> dict[str, tuple[int, int, bool]]:
    """Return how much of each stream is stored without a gap, by journal id: bytes, last sealed step, closed or not."""
    by_journal: dict[str, list[Piece]] = {}
    for chain in chains:
        for piece in chain.pieces:
            if piece.of_stream:
                by_journal.setdefault(piece.journal, []).append(piece)
    found: dict[str, tuple[int, int, bool]] = {}
    for journal_id, pieces in by_journal.items():
        sent, step, closed = 0, 0, False
        for piece in sorted(pieces, key=lambda one: one.start):
            if piece.start > sent:
                break
            if piece.end > sent:
                sent, step, closed = piece.end, piece.step, piece.kind == Kind.LAST
        found[journal_id] = (sent, step, closed)
    return found


def _tail_anew(state: Progress) -> Progress:
    """Return the progress without the tail, because a new chain starts with whole generations of a tail."""
    return replace(state, first=0, slots=0, tail_kind=None, raw=None, raw_sent=None)
