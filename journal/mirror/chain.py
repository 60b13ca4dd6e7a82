"""Read and append to chains. A chain is the numbered bundles that one mirror process writes for one run on one host."""

from __future__ import annotations

import secrets
import time
from bisect import bisect_right
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import msgspec

from journal.format.header import is_name
from journal.mirror.bundle import (
    BASE,
    HEAD_BYTES,
    LEVELS,
    BundleError,
    Draft,
    Index,
    Piece,
    covered_by,
    current,
    decode,
    encode,
    index_length,
    number_of,
    object_name,
    pieces_of,
)
from journal.mirror.store import ExistsError, Store

BEAT = "beat"  # the heartbeat: an object that is replaced while nothing changes
_FIRST_READ = 1 << 16
_FEW = 256
_MOST_NAMED = 1000
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_MOST_PIECES = 1 << 20  # an index that would describe more pieces describes only its own bundle


@dataclass
class Chain:
    """One chain in the store.

    Attributes:
        prefix: The chain's folder below the mirror's root.
        host: The host of the mirror process.
        mirror_id: The random id of the mirror process.
        root_id: The id of the run's folder on that host; empty if unknown.
        node_id: The node of the cluster; empty if unknown.
        moved: When the last bundle or heartbeat was written, by the store's clock.
        pieces: The pieces that the indexes describe, in the order of the bundles.
        base: Bundles up to this number were not listed, so it is unknown whether they exist, and how large they are.
        sizes: The size of each listed bundle, by number.
        problems: Problems with the chain's objects, for people.
    """

    prefix: str
    host: str
    mirror_id: str
    moved: datetime
    root_id: str = ""
    node_id: str = ""
    pieces: list[Piece] = field(default_factory=list)
    base: int = 0
    sizes: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def name_of(self, number: int) -> str:
        """Return the name of a bundle below the mirror's root."""
        return f"{self.prefix}/{object_name(number)}"


def read_chains(store: Store, run_id: str, host: str, skip_roots: Collection[str] = ()) -> list[Chain]:
    """Read the indexes of all chains of one run and host.

    Args:
        store: The mirror's store.
        run_id: The run.
        host: The host, as the mirror names it.
        skip_roots: Ids of folders. For their chains only the last index is read, and `Chain.pieces` is empty.

    Raises:
        MirrorError: The store does not answer.
    """
    prefix = f"{run_id}/{host}"
    chains = [_found(store, prefix, host, name) for name in store.children(f"{prefix}/") if is_name(name)]
    for chain in chains:
        if chain is not None:
            _read_indexes(store, run_id, chain, skip_roots)
    return [chain for chain in chains if chain is not None]


def _found(store: Store, prefix: str, host: str, mirror_id: str) -> Chain | None:
    """Return a chain with its last bundles; None if it has no objects.

    It lists only the last bundles, because listing all of a long run would take seconds.
    """
    chain = Chain(f"{prefix}/{mirror_id}", host, mirror_id, _NEVER)
    chain.base = _base(lambda number: store.modified(chain.name_of(number)) is not None)
    _note_entries(store, chain)
    return None if chain.moved == _NEVER else chain


def _base(exists: Callable[[int], bool]) -> int:
    """Return the number of an existing bundle, divisible by 256, that few bundles follow; 0 if there is none.

    If numbers are missing, more bundles may follow.
    """
    most: int = BASE**LEVELS
    high = 1
    while exists(high * most):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if exists(middle * most) else (low, middle)
    base = low * most
    while base < high * most - _FEW and exists(base + _FEW):
        base += _FEW
    return base


def _note_entries(store: Store, chain: Chain) -> None:
    """Note the size and the time of the base, which exists, and of the bundles after it."""
    after = chain.name_of(chain.base - 1) if chain.base else ""
    for entry in store.entries(f"{chain.prefix}/", after):
        name = entry.name.rpartition("/")[2]
        number = number_of(name)
        if entry.name != f"{chain.prefix}/{name}" or (number is None and name != BEAT):
            continue
        chain.moved = max(chain.moved, entry.modified)
        if number is not None:
            chain.sizes[number] = entry.size


def _read_indexes(store: Store, run_id: str, chain: Chain, skip_roots: Collection[str]) -> None:
    """Read indexes from the last bundle backwards. Skip the bundles that an index covers."""
    parts: list[list[Piece]] = []
    known = sorted(chain.sizes)
    number = known[-1] if known else 0
    while number > 0:
        index = _index_of(store, run_id, chain, number)
        if index is None:
            if number <= chain.base:
                chain.base = 0
                _note_entries(store, chain)
                known = sorted(chain.sizes)
            number -= 1
        else:
            if not parts:
                chain.root_id, chain.node_id = index.root_id, index.node_id
                if chain.root_id in skip_roots:
                    return
            parts.append(index.pieces)
            number -= index.covers
        if number > chain.base:  # all bundles after the base are listed, so a missing one needs no request
            at = bisect_right(known, number)
            number = known[at - 1] if at else 0
    missing = (number for number in range(chain.base + 1, known[-1] if known else 0) if number not in chain.sizes)
    chain.problems += [f"{chain.name_of(number)} is missing" for number in islice(missing, _MOST_NAMED)]
    chain.pieces = current(piece for part in reversed(parts) for piece in part)


def _index_of(store: Store, run_id: str, chain: Chain, number: int) -> Index | None:
    name = chain.name_of(number)
    try:
        read = store.get_start(name, _FIRST_READ)
        if read is None:
            raise BundleError("it is missing")
        start, size = read
        length = HEAD_BYTES + index_length(start)
        if length > len(start):
            start += store.get_range(name, len(start), length - len(start)) or b""
        index = decode(start, size)
        if (index.run_id, index.host, index.mirror_id, index.number) != (run_id, chain.host, chain.mirror_id, number):
            raise BundleError(f"it is bundle {index.number} of {index.run_id}/{index.host}/{index.mirror_id}"[:400])
        if not 1 <= index.covers <= number:
            raise BundleError(f"it says that it covers {index.covers} bundles")
    except BundleError as error:
        chain.problems.append(f"{name}: {error}")
        return None
    return index


class ChainWriter:
    """Append bundles to a chain, each with an object of its own."""

    def __init__(self, store: Store, run_id: str, host: str, root_id: str, node_id: str) -> None:
        """Start a new chain."""
        self._store, self._run_id, self._host = store, run_id, host
        self._root_id, self._node_id = root_id, node_id
        self.start_anew()

    def start_anew(self) -> None:
        """Start a chain under a new id, because another mirror writes to this one."""
        self.mirror_id = secrets.token_hex(8)
        self._number = 0
        self._parts: list[tuple[int, list[Piece]]] = []

    def go_on(self, chain: Chain) -> None:
        """Continue after the last bundle of a chain that an earlier mirror process of the same folder wrote."""
        self.mirror_id = chain.mirror_id
        self._number = max(chain.sizes, default=0)
        by_number: dict[int, list[Piece]] = {}
        for piece in chain.pieces:
            by_number.setdefault(piece.number, []).append(piece)
        self._parts = sorted(by_number.items())

    @property
    def prefix(self) -> str:
        """The chain's folder below the mirror's root."""
        return f"{self._run_id}/{self._host}/{self.mirror_id}"

    def append(self, drafts: list[Draft]) -> int:
        """Store the pieces as the next bundle, and return its size.

        Raises:
            ExistsError: Another mirror has written a bundle of this number.
            MirrorError: The store does not answer. Calling again with the same pieces is safe.
        """
        number = self._number + 1
        own = pieces_of(drafts, number)
        covers = covered_by(number)
        earlier = [piece for top, part in self._parts if top > number - covers for piece in part]
        earlier = [piece for piece in earlier if piece.number > number - covers]
        pieces = current([*earlier, *own])
        if len(pieces) > _MOST_PIECES:
            covers, pieces = 1, own
        body = sum(len(one.data) for one in drafts)
        index = Index(
            1, self._run_id, self._host, self.mirror_id, number, covers, body, pieces, self._root_id, self._node_id,
            time.time_ns() // 1000,
        )  # fmt: skip
        data = encode(index, drafts)
        start = len(data) - body
        name = f"{self.prefix}/{object_name(number)}"
        try:
            self._store.create(name, data)
        except ExistsError:
            # The store may have accepted an earlier attempt whose answer was lost.
            found = self._start_of_own(name, own, body)
            if found is None:
                raise
            start = found
        self._number = number
        placed = [msgspec.structs.replace(piece, place=piece.place + start) for piece in own]
        if covers > 1:
            placed = [*(piece for piece in pieces if piece.number != number), *placed]
        self._parts = [(top, part) for top, part in self._parts if top <= number - covers or covers == 1]
        self._parts.append((number, placed))
        return len(data)

    def beat(self) -> None:
        """Replace the heartbeat object.

        Raises:
            MirrorError: The store does not answer.
        """
        self._store.put(f"{self.prefix}/{BEAT}", str(time.time_ns() // 1000).encode())

    def _start_of_own(self, name: str, own: list[Piece], body: int) -> int | None:
        """Return the offset of the pieces in the stored bundle if it holds the same pieces, else None."""
        stored = self._store.get(name)
        try:
            found = None if stored is None else decode(stored, len(stored))
        except BundleError:
            return None
        if stored is None or found is None or found.mirror_id != self.mirror_id:
            return None
        start = len(stored) - body
        same = [msgspec.structs.replace(piece, place=piece.place + start) for piece in own]
        return start if [piece for piece in found.pieces if piece.number == found.number] == same else None
