"""Bytes that change behind the writer's back are damage, are counted, and are never called a torn end."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c

from tests.attacks.needs import need_loop_devices, need_program
from tests.attacks.places import Place
from tests.attacks.processes import run, said
from tests.attacks.scene import Scene

SLOT = 96
"""Bytes of a slot without extra columns; docs/journal-format.md."""


def kept_steps(path: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and words of `journal verify` on one journal."""
    done = run("journal", "verify", "--json", path)
    assert "Traceback" not in said(done), said(done)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def dead(shared_scene: Scene, request: pytest.FixtureRequest) -> Path:
    """The journal of a dead writer: 200 steps in its tail, none sealed; copied, so that each test damages its own."""
    if not hasattr(shared_scene, "specimen"):
        writer = shared_scene.writer()
        writer.do(f"w = begin({str(shared_scene.root)!r}, 'r1', 'dead'); steps(w, 200)")
        writer.kill()
        shared_scene.specimen = shared_scene.root / "r1" / "dead.arrows"
    mine = shared_scene.folder / f"case-{abs(hash(request.node.name))}" / "r1"
    mine.mkdir(parents=True)
    for suffix in (".arrows", ".tail"):
        shutil.copy(shared_scene.specimen.with_suffix(suffix), mine / f"dead{suffix}")
    return mine / "dead.arrows"


def overwrite(path: Path, first_slot: int, count: int, byte: bytes | None) -> None:
    data = bytearray(path.read_bytes())
    rng = random.Random(1)
    for slot in range(first_slot, first_slot + count):
        data[slot * SLOT : (slot + 1) * SLOT] = rng.randbytes(SLOT) if byte is None else byte * SLOT
    path.write_bytes(data)


def zero_part(path: Path, first_slot: int, count: int, start: int, end: int) -> None:
    data = bytearray(path.read_bytes())
    for slot in range(first_slot, first_slot + count):
        data[slot * SLOT + start : slot * SLOT + end] = bytes(end - start)
    path.write_bytes(data)


DAMAGE = {
    "noise": lambda tail: overwrite(tail, 100, 100, None),
    "ones": lambda tail: overwrite(tail, 100, 100, b"\xff"),
    "spaces": lambda tail: overwrite(tail, 100, 100, b" "),
    "heads zeroed": lambda tail: zero_part(tail, 100, 100, 0, 8),
    "crcs zeroed": lambda tail: zero_part(tail, 100, 100, 92, 96),
    "second halves zeroed": lambda tail: zero_part(tail, 100, 100, 48, 96),
    "two heads zeroed": lambda tail: zero_part(tail, 198, 2, 0, 8),
    "last 100 of 200 but one slot zeroed": lambda tail: zero_part(tail, 100, 99, 0, 96),
    "7 bytes inserted in the middle": lambda tail: insert(tail, 100 * SLOT, b"INSERTS"),
    "7 bytes inserted at the start": lambda tail: insert(tail, 0, b"INSERTS"),
    "a slot inserted": lambda tail: insert(tail, 100 * SLOT, b"\x55" * SLOT),
    "4096 bytes inserted": lambda tail: insert(tail, 100 * SLOT, b"\x55" * 4096),
    "7 zero bytes inserted": lambda tail: insert(tail, 100 * SLOT, bytes(7)),
    "7 bytes removed": lambda tail: remove(tail, 100 * SLOT, 7),
    "carriage returns": lambda tail: tail.write_bytes(tail.read_bytes().replace(b"\n", b"\r\n")),
}


def insert(path: Path, at: int, data: bytes) -> None:
    before = path.read_bytes()
    path.write_bytes(before[:at] + data + before[at:])


def remove(path: Path, at: int, count: int) -> None:
    before = path.read_bytes()
    path.write_bytes(before[:at] + before[at + count :])


@pytest.mark.parametrize("deed", DAMAGE)
def test_tail__many_slots_changed__is_damage_and_exit_3(dead: Path, deed: str) -> None:
    """At a death one write can be unfinished, and no more than that."""
    DAMAGE[deed](dead.with_suffix(".tail"))
    code, told = kept_steps(dead)
    assert told["verdict"] == "damaged", told
    assert code == 3
    assert told["steps"] + told["steps_lost"] >= 200 or told["steps_lost"] > 0, told


def test_tail__one_write_unfinished__is_torn_and_exit_0(dead: Path) -> None:
    """The other side of the rule."""
    zero_part(dead.with_suffix(".tail"), 199, 1, 48, 96)
    code, told = kept_steps(dead)
    assert (code, told["verdict"], told["steps"], told["steps_lost"]) == (0, "torn", 199, 0)


@pytest.mark.parametrize("junk", [b"\x55" * 5000, b"\xff" * 5000, b"{}" * 2500, b"\xff\xff\xff\xff" * 1250], ids=repr)
def test_stream__junk_behind_its_end__is_damage_and_exit_3(dead: Path, junk: bytes) -> None:
    with dead.open("ab") as file:
        file.write(junk)
    code, told = kept_steps(dead)
    assert (code, told["verdict"], told["steps"]) == (3, "damaged", 200), told


def closed_journal(scene: Scene, name: str, **settings: Any) -> Path:
    """A closed journal of three batches whose seals hold a checkpoint of 400 bytes."""
    writer = scene.shared
    writer.do(
        f"""
class Fold:
    def fold(self, steps, trades):
        pass
    def to_bytes(self):
        return bytes(300)
w = begin({str(scene.root)!r}, "r1", {name!r}, fold=Fold(), checkpoint_every_steps=10,
          about=about(notes={{"padding": "x" * 200}}))
steps(w, 25)
w.close(EndReason.CLOSED)
"""
    )
    return scene.root / "r1" / f"{name}.arrows"


def with_new_key(data: bytes, old: bytes, new_start: bytes) -> bytes:
    """Shorten a value and fill the room with a key that nobody knows: the length stays, and so does all around it."""
    room = len(old) - len(new_start) - len(b',"key_of_tomorrow":""')
    assert room >= 0
    return data.replace(old, new_start + b',"key_of_tomorrow":"' + b"y" * room + b'"')


def frame(data: bytearray, start: int, end: int, seed: int) -> None:
    """Give a message its CRC again: it stands in 8 digits behind its length, computed with all 16 digits zero."""
    at = data.index(b"\x01frame=", start) + len(b"\x01frame=")
    assert at < end
    length = data[at : at + 8]
    data[at : at + 16] = b"0" * 16
    data[at : at + 16] = length + b"%08x" % crc32c(bytes(data[start:end]), seed)


def messages_of(data: bytes) -> list[tuple[int, int]]:
    """Where the messages of a stream stand, by the lengths that their frames state."""
    found, at = [], 0
    while data[at : at + 4] == b"\xff\xff\xff\xff" and data[at + 4 : at + 8] != bytes(4):
        digits = data.index(b"\x01frame=", at) + len(b"\x01frame=")
        length = int(data[digits : digits + 8], 16)
        found.append((at, at + length))
        at += length
    return found


def test_newer_writer__adds_a_key_to_a_seal__nothing_is_lost(shared_scene: Scene) -> None:
    path = closed_journal(shared_scene, "seal")
    old = b'"checkpoint":"' + base64.b64encode(bytes(300)) + b'"'
    data = bytearray(with_new_key(path.read_bytes(), old, b'"checkpoint":null'))
    for start, end in messages_of(bytes(data))[1:]:
        frame(data, start, end, crc32c(b"seal"))
    changed = shared_scene.folder / "changed" / "r1" / "seal.arrows"
    changed.parent.mkdir(parents=True)
    changed.write_bytes(data)
    code, told = kept_steps(changed)
    assert (code, told["steps"], told["steps_lost"]) == (0, 25, 0), told


def test_newer_writer__adds_a_key_to_the_header__nothing_is_lost(shared_scene: Scene) -> None:
    path = closed_journal(shared_scene, "header")
    data = bytearray(with_new_key(path.read_bytes(), b'{"padding":"' + b"x" * 200 + b'"}', b'{"padding":"x"}'))
    frame(data, *messages_of(bytes(data))[0], 0)
    path.write_bytes(data)
    code, told = kept_steps(path)
    assert (code, told["steps"], told["steps_lost"]) == (0, 25, 0), told
    assert run("journal", "info", path).returncode == 0


FAULT = """
import errno, fcntl, os
from journal import JournalError, Observer, peek, read_header, read_journal

def whole(path):
    look = read_journal(path)
    return look.steps().num_rows, look.trades().num_rows, look.state

READERS = {
    "read_journal": whole,
    "read_header": read_header,
    "peek": peek,
    "look": lambda path: Observer().look(path, read_header(path).origin),
}
CALLS = [(os, "fstat"), (os, "pread"), (os, "read"), (os, "open"), (os, "stat"), (os, "lseek"), (fcntl, "flock")]

def faulty(reader, path, module, name, at, number):
    real, count = getattr(module, name), 0
    def failing(*args, **kwargs):
        nonlocal count
        count += 1
        if count >= at:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)
    setattr(module, name, failing)
    try:
        reader(path)
    except JournalError:
        pass
    except Exception as error:
        return count, repr(error)
    finally:
        setattr(module, name, real)
    return count, ""

escaped = set()
for path in PATHS:
    for reader in READERS:
        for module, name in CALLS:
            for number in (errno.ESTALE, errno.EIO, errno.EACCES):
                for at in range(1, 30):
                    count, error = faulty(READERS[reader], Path(path), module, name, at, number)
                    if error:
                        escaped.add(f"{reader}: {name} {error}")
                    if count < at:
                        break
sorted(escaped)
"""


def test_reader__any_call_to_the_file_system_fails__raises_journal_errors_alone(
    shared_scene: Scene, dead: Path
) -> None:
    """A handle that went stale, an I/O error, a right that was taken away: at each call that a reader makes."""
    closed = closed_journal(shared_scene, "faults")
    code = f"from pathlib import Path\nPATHS = [{str(dead)!r}, {str(closed)!r}]\n{FAULT}"
    escaped = shared_scene.shared.do(code)
    assert not escaped, "\n".join(escaped)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_journal_verify__stale_handle_in_a_run__is_named_and_the_others_are_verified(
    shared_scene: Scene, dead: Path, at: int
) -> None:
    """Real faults of the kernel, injected by strace into the calls on one file."""
    strace = need_program("strace")
    shutil.copy(closed_journal(shared_scene, f"whole{at}"), dead.parent)
    calls = "newfstatat,fstat"
    inject = ("-P", str(dead), "-e", f"trace={calls}", "-e", f"inject={calls}:error=ESTALE:when={at}+")
    root = dead.parent.parent
    done = run(
        "journal", "verify", "r1", "--journal-root", root, prefix=(strace, "-f", "-qq", "-o", "/dev/null", *inject)
    )
    assert "Traceback" not in said(done), said(done)
    assert f"whole{at}: 25 steps" in said(done), said(done)
    assert "dead" in said(done), said(done)
    assert done.returncode == 3, said(done)


@pytest.mark.parametrize("left", [0, 96, 960, 6629, 50_000])
def test_mapped_tail__cut_to_fewer_bytes_than_were_reserved__later_steps_are_lost(
    scene: Scene, make_place: Callable[..., Place], left: int
) -> None:
    """After a power cut, or in a copy that stopped half-way. A tail that is not mapped grows, and shows no cut."""
    need_loop_devices()
    here, disk = make_place(), scene.folder / "disk"
    here.image("ext4", scene.folder / "disk.img", disk, size_kib=16_384)
    writer = scene.live(here, root=disk / "journal", steps=70)
    writer.kill()
    tail = disk / "journal" / "r1" / "j1.tail"
    whole = scene.folder / "whole"
    here.run("cp", tail, whole)
    here.run("truncate", "-s", str(left), tail)
    done = scene.reconcile(place=here)
    row = scene.records.episode("j1")
    assert (done.returncode, row["status"], bool(row["evidence_final"])) == (3, "truncated", False), said(done)
    assert "later steps are lost" in row["status_reason"]
    here.run("cp", whole, tail)  # from a backup
    scene.reconcile(place=here)
    assert scene.records.episode("j1")["evidence_steps"] == 70


def test_tail_of_noise__30_megabytes__a_pass_stays_short(scene: Scene) -> None:
    writer = scene.live()
    writer.kill()
    (scene.root / "r1" / "j1.tail").write_bytes(b"x" * 30_000_000)
    done = scene.reconcile(timeout=45)
    assert done.returncode == 3, said(done)
    assert scene.records.episode("j1")["status"] == "truncated"
