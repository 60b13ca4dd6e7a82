"""Decide whether a writer is alive. The first of seven rules that applies decides.

A free lock proves death only on the same file that the writer locked. So a journal's header and a run's marker record the
process that created them, and their own device and inode; a lease records its inode. If nothing proves that the writer is
alive or dead, the answer is UNSURE. `reconciler.rules` decides what happens to the writer's episode.
"""

from __future__ import annotations

import enum
import fcntl
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from journal.errors import JournalAccessError
from journal.format.header import Origin, WriterIdentity
from journal.format.values import text
from journal.host.filesystems import LOCAL, SHARED, file_system_of
from journal.host.identity import HOST_VARIABLE, Process, look_at_process, same_boot, same_host, this_writer
from journal.host.leases import LeaseSight, LeaseWatch

_FRESH_S = 1.0  # after this long, a folder's kind of file system is looked up again


class Liveness(enum.StrEnum):
    """What is known about a writer.

    Attributes:
        ALIVE: The writer may append to the journal.
        DEAD: No process will ever append to the journal again.
        UNSURE: Nothing proves either.
    """

    ALIVE = "alive"
    DEAD = "dead"
    UNSURE = "unsure"


@dataclass(frozen=True)
class LivenessReport:
    """Whether a writer is alive, and the reason in words.

    Attributes:
        liveness: The judgement.
        reason: Why, for people.
        lease_age_s: Seconds for which the lease has been watched without a change; None if no lease decides.
        rule: The number of the rule that decided, 1 to 7; 7 if no other rule applies.
        original: True if the file is the one that its writer created, not a copy.
        certain: True if no later evidence can change the judgement: rule 2 or 3, on the original file.
    """

    liveness: Liveness
    reason: str
    lease_age_s: float | None = None
    rule: int = 7
    original: bool = False
    certain: bool = False


class Probe(NamedTuple):
    """What opening a file shows: whether a process holds its lock, and its identity."""

    locked: bool
    device: int
    inode: int


def probe(path: Path | str) -> Probe:
    """Return a file's lock state and identity, without holding the lock. Raises JournalAccessError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise JournalAccessError(path, error) from error
    locked = False
    try:
        state = os.fstat(fd)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        locked = True
    except OSError as error:
        raise JournalAccessError(path, error) from error
    finally:
        os.close(fd)
    return Probe(locked, state.st_dev, state.st_ino)


def is_locked(path: Path | str) -> bool:
    """Return True if a process holds the writer's lock. Raises JournalAccessError."""
    return probe(path).locked


class Facts(NamedTuple):
    """What the rules know about a file and its writer."""

    locked: bool
    process: Process
    same_boot: bool
    other_boot: bool
    same_host: bool
    local: bool
    shared: bool
    same_device: bool
    same_inode: bool
    same_path: bool

    @property
    def same_file(self) -> bool:
        """Return True if device and inode are those that the writer recorded. Comparable within one boot only."""
        return self.same_boot and self.same_device and self.same_inode

    @property
    def original(self) -> bool:
        """Return True if the file is known to be no copy."""
        return self.same_file or (self.same_inode and (self.shared or (self.other_boot and self.same_host)))


@dataclass(frozen=True)
class Rule:
    """A rule about a writer. If ``says`` is None, the writer's lease decides, if there is a usable one."""

    number: int
    reason: str
    applies: Callable[[Facts], bool]
    says: Liveness | None = None


RULES = (
    Rule(1, "its lock is held", lambda f: f.locked, Liveness.ALIVE),
    Rule(2, "its process is gone", lambda f: f.process is Process.GONE, Liveness.DEAD),
    Rule(
        3,
        "its lock is free, on this host and boot",
        lambda f: f.same_boot and f.local and f.same_device and f.same_inode,
        Liveness.DEAD,
    ),
    Rule(4, "it lies where it was written", lambda f: f.same_boot and f.same_inode and f.same_path),
    Rule(
        5,
        "it was written before this host's last boot",
        lambda f: f.other_boot and f.same_host and f.same_inode,
        Liveness.DEAD,
    ),
    Rule(6, "hosts share its file system", lambda f: f.shared and f.same_inode),
)
"""The rules 1 to 6 in order. Rule 7 is `Observer._otherwise`: alive if a lease renews, else unsure."""

_HELD = LivenessReport(Liveness.ALIVE, RULES[0].reason, rule=1, original=True)


@dataclass
class Observer:
    """Decides whether writers are alive.

    Keep one observer for repeated looks: an unchanged lease proves death only after the same observer has watched it for
    some time.

    Args:
        this: The identity of the process that observes.
        clock: Returns monotonic seconds. Leases are timed by it.
        file_system: Returns the kind of file system of a folder, such as "ext4"; empty if unknown.
        process: Returns the state of the process that an identity names.
    """

    this: WriterIdentity = field(default_factory=this_writer)
    clock: Callable[[], float] = time.monotonic
    file_system: Callable[[Path], str] = file_system_of
    process: Callable[[WriterIdentity], Process] = look_at_process

    def __post_init__(self) -> None:
        self._leases = LeaseWatch(self.clock)
        self._kinds: dict[Path, tuple[float, str]] = {}

    def look(self, path: Path, origin: Origin | None) -> LivenessReport:
        """Judge the writer of a journal, or the driver that made a run's marker.

        Args:
            path: The journal's stream, or the marker.
            origin: The process and the place that the file recorded at its creation; None if they are unreadable.

        Returns:
            The judgement, with its reason.

        Raises:
            JournalAccessError: The file cannot be opened.
        """
        found = probe(path)
        if found.locked or origin is None:
            return self.judge(path, found, "", origin, Process.UNSEEN)
        return self.judge(path, found, self._kind(path.parent), origin, self.process(origin.writer))

    def judge(
        self, path: Path | str, found: Probe, kind: str, origin: Origin | None, process: Process
    ) -> LivenessReport:
        """Judge the writer by facts that were read before.

        Args:
            path: The file.
            found: Its probe.
            kind: The kind of its file system.
            origin: The process and the place that it recorded at its creation; None if they are unreadable.
            process: The state of the process that created it.

        Returns:
            The judgement, with its reason.
        """
        if found.locked:
            return _HELD
        if origin is None:
            return LivenessReport(Liveness.UNSURE, "its lock is free, but it does not say which process wrote it")
        facts = self._facts(path, found, kind, origin, process)
        for rule in RULES:
            if not rule.applies(facts):
                continue
            if rule.says is not None:
                return _by_rule(rule, facts.original, facts.same_file)
            folder, name = os.path.split(path)
            sight = self._leases.look(Path(folder), origin.writer.token)
            if sight.lease is not None and sight.lease.genuine:
                return _by_lease(rule, sight, name, facts)
        return self._otherwise(Path(path).parent, kind, origin, facts)

    def _facts(self, path: Path | str, found: Probe, kind: str, origin: Origin, process: Process) -> Facts:
        writer, made = origin.writer, origin.file
        boot = same_boot(writer, self.this)
        device = made is not None and made.device == found.device
        inode = made is not None and made.inode == found.inode
        return Facts(
            locked=found.locked,
            process=process,
            same_boot=boot,
            other_boot=not boot and "" not in (writer.boot_id, self.this.boot_id),
            same_host=boot or same_host(writer, self.this),
            local=kind in LOCAL,
            shared=kind in SHARED,
            same_device=device,
            same_inode=inode,
            same_path=inode and not device and text(os.path.realpath(os.path.dirname(path))) == origin.folder,
        )

    def _otherwise(self, folder: Path, kind: str, origin: Origin, facts: Facts) -> LivenessReport:
        """Rule 7: alive if the writer renews its lease here or where the journal was created, else unsure."""
        recorded = Path(origin.folder)
        places = [folder, recorded] if recorded.is_absolute() and recorded != folder else [folder]
        for place in places:
            if self._leases.look(place, origin.writer.token).renews:
                return LivenessReport(
                    Liveness.ALIVE, f"its writer renews its lease in {place}", original=facts.original
                )
        return LivenessReport(Liveness.UNSURE, self._doubt(kind, origin, facts), original=facts.original)

    def _doubt(self, kind: str, origin: Origin, facts: Facts) -> str:
        """Return the reason why nothing proves that the writer is dead."""
        writer, home = origin.writer, origin.folder or "an unknown folder"
        if not facts.same_inode:
            where = home if facts.same_host else f"{home} on host {writer.host}"
            return f"it may be a copy of a run that lives at {where}"
        if facts.other_boot:
            return (
                f"it was written on host {writer.host} and this is {self.this.host}; "
                f"if both are one, set {HOST_VARIABLE} to one name for them"
            )
        if not facts.same_boot:
            return f"it was written on host {writer.host}, and the kernel's boot id cannot be read there or here"
        if facts.local:
            return f"it may be another view of {home}, whose locks are not seen here"
        if facts.shared:
            return f"locks prove nothing on {kind}, and its writer's lease is missing"
        return f"neither locks nor leases prove anything on {kind or 'an unknown kind of file system'}"

    def _kind(self, folder: Path) -> str:
        known, now = self._kinds.get(folder), time.monotonic()
        if known is None or now - known[0] >= _FRESH_S:
            known = self._kinds[folder] = now, self.file_system(folder)
        return known[1]


@functools.cache
def _by_rule(rule: Rule, original: bool, same_file: bool) -> LivenessReport:
    """Return the report of a rule that needs no lease. Cached, because many journals get the same few reports."""
    assert rule.says is not None, "Invariant: a rule without a judgement of its own is decided by the lease"
    certain = rule.says is Liveness.DEAD and rule.number in (2, 3) and same_file
    return LivenessReport(rule.says, rule.reason, rule=rule.number, original=original, certain=certain)


def _by_lease(rule: Rule, sight: LeaseSight, name: str, facts: Facts) -> LivenessReport:
    """Rules 4 and 6: the lease decides. A process that is seen to run is never judged dead."""
    age, number = sight.unchanged_s, rule.number
    if sight.dropped(name):
        return LivenessReport(
            Liveness.DEAD,
            "its process runs, but its lease no longer lists the journal",
            age,
            number,
            original=facts.original,
        )
    if sight.renews:
        return LivenessReport(Liveness.ALIVE, "its lease renews", None, number, original=facts.original)
    if not sight.still:
        words = f"its lease is being observed, unchanged for {age:.0f} s"
        return LivenessReport(Liveness.UNSURE, words, age, number, original=facts.original)
    if facts.process is Process.RUNS:
        words = "its lease does not change any more, but its process runs"  # no age: a daemon logs each text once
        return LivenessReport(Liveness.UNSURE, words, None, number, original=facts.original)
    words = f"its lease has not changed for {age:.0f} s"
    return LivenessReport(Liveness.DEAD, words, age, number, original=facts.original)
