"""Read a mirror: list its runs, chains and journals, and copy journals to local files."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from journal.errors import UnsafeNameError
from journal.format.header import is_name
from journal.host.paths import check_name, journal_path
from journal.mirror.bundle import MAX_BUNDLE, Kind, Piece
from journal.mirror.chain import Chain, read_chains
from journal.mirror.copying import Part, copy_parts
from journal.mirror.store import MirrorError, Store, without_secrets
from journal.read.reader import Journal, read_journal

__all__ = ["Chain", "Mirror", "MirroredJournal", "MirroredRun", "open_mirror"]

MAX_GAP = 1 << 26  # bytes; a larger gap between two pieces is not filled, and what follows it is left out


@dataclass(slots=True)
class MirroredJournal:
    """One journal in a mirror.

    Attributes:
        journal_id: The journal's id.
        host: The host that mirrored it.
        root_id: The id of the run's folder on that host; empty if unknown.
        node_id: The node that mirrored it; empty if unknown.
        stream_bytes: Number of bytes of the stream.
        tail_room: Size of the tail's file in bytes; None if there is no tail.
        sealed_step: The last step in the stream.
        closed: True if the mirror has the whole stream of a closed journal.
        moved: When one of its chains was last written, by the store's clock.
        problems: Problems with the journal's pieces, for people.
    """

    journal_id: str
    host: str = ""
    root_id: str = ""
    node_id: str = ""
    stream_bytes: int = 0
    tail_room: int | None = None
    tail_failed: bool = False
    sealed_step: int = 0
    closed: bool = False
    moved: datetime | None = None
    problems: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list, repr=False)
    gaps: list[tuple[int, int]] = field(default_factory=list, repr=False)


class Mirror:
    """A mirror in an object store or a folder. Its methods raise MirrorError."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.url = store.url

    def runs(self) -> list[str]:
        """Return the ids of the runs."""
        return [name for name in self.store.children("") if is_name(name)]

    def hosts(self, run_id: str) -> list[str]:
        """Return the hosts that mirrored a run."""
        return [name for name in self.store.children(f"{check_name(run_id, 'run id')}/") if is_name(name)]

    def run(self, run_id: str, hosts: Iterable[str] | None = None, skip_roots: Collection[str] = ()) -> MirroredRun:
        """Read the indexes of a run.

        Args:
            run_id: The run.
            hosts: Read only the chains of these hosts, as `Mirror.hosts` names them. If None, of all hosts.
            skip_roots: Ids of folders whose journals are not wanted. Only the last index of their chains is read.

        Raises:
            MirrorError: The store does not answer.
        """
        wanted = self.hosts(run_id) if hosts is None else list(hosts)
        return MirroredRun(
            self.store, run_id, [one for host in wanted for one in read_chains(self.store, run_id, host, skip_roots)]
        )

    def now(self) -> datetime | None:
        """Return the time by the store's clock; None if the store does not let this process write a probe object."""
        name = f".probe-{secrets.token_hex(8)}"
        try:
            self.store.put(name, b"")
            return self.store.modified(name)
        except MirrorError:
            return None
        finally:
            with suppress(MirrorError):
                self.store.delete(name)


class MirroredRun:
    """One run in a mirror.

    Attributes:
        run_id: The run.
        chains: The run's chains, on all hosts.
        journals: The run's journals, by id.
        marker: The place of the run's marker; None if the mirror does not have it.
        marker_node_id: The node that mirrored the marker; empty if unknown. The marker itself names no node if the
            run's process never joined the cluster.
    """

    def __init__(self, store: Store, run_id: str, chains: list[Chain]) -> None:
        self.run_id, self.chains, self._store = run_id, chains, store
        self.marker: Part | None = None
        self.marker_node_id = ""
        self.total_bytes = sum(sum(chain.sizes.values()) + chain.base * MAX_BUNDLE for chain in chains)
        pieces: dict[str, list[tuple[Chain, Piece]]] = {}
        for chain in chains:
            for piece in _apart(chain):
                pieces.setdefault(piece.journal, []).append((chain, piece))
        for chain, piece in pieces.pop("", []):
            self.marker, self.marker_node_id = _part(chain, piece, Path("run")), chain.node_id
        self.journals = {name: self._journal(name, pieces[name]) for name in sorted(pieces)}

    @property
    def moved(self) -> datetime | None:
        """When the store was last written for this run, by the store's clock."""
        return max((chain.moved for chain in self.chains), default=None)

    @property
    def problems(self) -> list[str]:
        """Problems with the run's bundles, for people."""
        return [problem for chain in self.chains for problem in chain.problems]

    def _journal(self, journal_id: str, pieces: list[tuple[Chain, Piece]]) -> MirroredJournal:
        owner = max((chain for chain, _ in pieces), key=lambda chain: chain.moved)
        one = MirroredJournal(journal_id, owner.host, owner.root_id, owner.node_id, moved=owner.moved)
        if len({chain.root_id for chain, _ in pieces}) > 1:
            one.problems.append("mirrors of different folders have pieces of it")
        self._lay_out_stream(one, [(chain, piece) for chain, piece in pieces if piece.of_stream])
        if not one.closed:
            _lay_out_tail(one, [(chain, piece) for chain, piece in pieces if not piece.of_stream])
        return one

    def _lay_out_stream(self, one: MirroredJournal, pieces: list[tuple[Chain, Piece]]) -> None:
        name = Path(f"{one.journal_id}.arrows")
        seen: dict[tuple[int, int], int] = {}
        taken = 0
        for chain, piece in sorted(pieces, key=lambda both: (both[1].start, -both[1].length)):
            known = seen.setdefault((piece.start, piece.length), piece.crc)
            if known != piece.crc:
                one.problems.append(f"two mirrors disagree about its bytes {piece.start} to {piece.end}")
            part = _part(chain, piece, name)
            if part.problem:
                one.problems.append(part.problem)
            if piece.end <= one.stream_bytes:
                if known == piece.crc and not part.problem:
                    part.is_spare = True
                    one.parts.append(part)
                continue
            taken += piece.length
            if piece.start - one.stream_bytes > MAX_GAP or taken > self.total_bytes:
                one.problems.append(
                    f"its pieces from byte {piece.start} on are left out: they cannot follow what is there"
                )
                break
            if piece.start > one.stream_bytes:
                one.problems.append(f"its bytes {one.stream_bytes} to {piece.start} are missing")
                one.gaps.append((one.stream_bytes, piece.start))
            one.parts.append(part)
            one.stream_bytes, one.sealed_step = piece.end, max(one.sealed_step, piece.step)
            one.closed = piece.kind == Kind.LAST

    def fetch(self, ids: Iterable[str], folder: Path | str) -> dict[str, list[str]]:
        """Copy journals and the run's marker to ``folder/run_id/`` as local files. Replace existing files.

        Args:
            ids: Ids of journals. Those that the mirror does not have are ignored.
            folder: The journal root of the copies.

        Returns:
            The problems of each journal that has some, for people, by journal id.

        Raises:
            MirrorError: The store does not answer.
        """
        target = Path(folder) / check_name(self.run_id, "run id")
        target.mkdir(parents=True, exist_ok=True)
        wanted = [self.journals[name] for name in ids if name in self.journals]
        problems = {one.journal_id: list(one.problems) for one in wanted}
        jobs = [(one.journal_id, part) for one in wanted for part in one.parts]
        if self.marker is not None:
            jobs.append(("", self.marker))
        for one in wanted:
            _make_files(target, one)
        for journal_id, problem in copy_parts(self._store, target, jobs):
            problems.setdefault(journal_id, []).append(problem)
        return {name: found for name, found in problems.items() if found}

    def outline(self, folder: Path | str) -> None:
        """Create blank files of the right sizes and times for all journals, and copy the run's marker.

        Raises:
            MirrorError: The store does not answer.
        """
        target = Path(folder) / check_name(self.run_id, "run id")
        target.mkdir(parents=True, exist_ok=True)
        for one in self.journals.values():
            _make_files(target, one, gaps=False)
            if one.moved is not None:
                os.utime(target / f"{one.journal_id}.arrows", (one.moved.timestamp(), one.moved.timestamp()))
        self.fetch([], folder)

    @contextmanager
    def read(self, journal_id: str) -> Iterator[Journal]:
        """Read one journal from a temporary copy. Its rows can be read only within the `with` block.

        Raises:
            UnsafeNameError: The mirror does not have the journal.
            JournalError: As `read_journal`.
        """
        if journal_id not in self.journals:
            raise UnsafeNameError(f"the mirror has no journal {journal_id!r} of run {self.run_id}")
        with tempfile.TemporaryDirectory(prefix="journal-mirror-") as folder:
            self.fetch([journal_id], folder)
            yield read_journal(journal_path(folder, self.run_id, journal_id))


_HOW = "`journal mirror ROOT URL` makes one"


def open_mirror(url: str | Path) -> Mirror:
    """Open a mirror for reading.

    Raises:
        MirrorError: There is no mirror at this URL, the store does not answer, or the extra `cloud` is not installed.
    """
    store = Store(str(url))
    if not store.is_root():
        raise MirrorError(f"there is no mirror at {store.url}", hint=_HOW)
    return Mirror(store)


def find_mirror(url: str, most: int) -> tuple[Mirror, list[str]]:
    """Open the mirror at a URL or above it.

    Args:
        url: The URL of a mirror, possibly followed by the names of a run and a journal.
        most: The largest number of such names.

    Returns:
        The mirror, and the names that follow its own URL.

    Raises:
        MirrorError: There is no mirror, or the store does not answer.
    """
    place, mark, query = url.partition("?")
    place, names = place.rstrip("/"), list[str]()
    while True:
        is_missing = place.startswith("file://") and not os.path.isdir(place.removeprefix("file://"))
        store = None if is_missing else Store(place + mark + query)
        if store is not None and store.is_root():
            return Mirror(store), names
        above, _, name = place.rpartition("/")
        if len(names) == most or above.endswith("/"):
            raise MirrorError(f"there is no mirror at {without_secrets(url)}", hint=_HOW)
        place, names = above, [name, *names]


def _apart(chain: Chain) -> list[Piece]:
    """Return a chain's pieces, without those that overlap another piece in a bundle of unknown size.

    No mirror writes overlapping pieces. A forged index could use them to fill a disk from a small object.
    """
    ends: dict[int, int] = {}
    kept = []
    for piece in sorted(chain.pieces, key=lambda one: (one.number, one.place)):
        if piece.number <= chain.base and piece.place < ends.get(piece.number, 0):
            chain.problems.append(
                f"{chain.name_of(piece.number)}: pieces of it overlap, that of {piece.journal} is left out"
            )
            continue
        ends[piece.number] = piece.place + piece.length
        kept.append(piece)
    return kept


def _part(chain: Chain, piece: Piece, file: Path) -> Part:
    size = chain.sizes.get(piece.number)
    name = chain.name_of(piece.number)
    problem = ""
    if piece.number <= chain.base:
        pass  # the size is unknown; the bytes are checked when they are read
    elif size is None:
        problem = f"{name} is missing"
    elif piece.place + piece.length > size:
        problem = f"{name} is shorter than its piece of {piece.journal or 'the marker'}"
    return Part(name, piece.place, piece.length, piece.crc, file, piece.start, problem)


def _lay_out_tail(one: MirroredJournal, pieces: list[tuple[Chain, Piece]]) -> None:
    """Take the tail from the chain that has most of the newest generation, unless the stream holds its steps already."""
    by_chain: dict[str, list[tuple[Chain, Piece]]] = {}
    for chain, piece in pieces:
        by_chain.setdefault(chain.prefix, []).append((chain, piece))
    if not by_chain:
        return
    tail = max(by_chain.values(), key=lambda group: (group[-1][1].step, group[-1][1].end, group[-1][0].moved))
    last = tail[-1][1]
    one.tail_failed = last.kind == Kind.FAILED
    one.tail_room = max(last.room, 0)
    if last.step <= one.sealed_step:
        return
    if tail[0][1].start:
        one.problems.append(f"the beginning of its tail, {tail[0][1].start} bytes, is missing")
        one.gaps.append((-1, tail[0][1].start))
    name = Path(f"{one.journal_id}{'.failed' if one.tail_failed else '.tail'}")
    for chain, piece in tail:
        part = _part(chain, piece, name)
        if part.problem:
            one.problems.append(part.problem)
        if piece.length:
            one.parts.append(part)


def _make_files(target: Path, one: MirroredJournal, *, gaps: bool = True) -> None:
    """Create the files of a journal with their final sizes: blank, and with FF in place of missing bytes."""
    from journal.mirror.copying import fill

    stream = target / f"{one.journal_id}.arrows"
    for suffix in (".tail", ".failed"):
        stream.with_suffix(suffix).unlink(missing_ok=True)
    _blank(stream, one.stream_bytes)
    tail = stream.with_suffix(".failed" if one.tail_failed else ".tail")
    if one.tail_room is not None:
        _blank(tail, min(one.tail_room, 1 << 27))
    for start, end in one.gaps if gaps else ():
        if start < 0:
            fill(tail, 0, min(end, 1 << 26))
        else:
            fill(stream, start, end - start)


def _blank(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)  # removes a link instead of writing through it
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
