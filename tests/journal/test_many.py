"""Journals that are read at once are what `read_journal` reads, and all others are left to it."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journal import About, EndReason, Journal, JournalWriter, NotAJournalError, read_journal
from journal.host.paths import tail_path
from journal.read.many import read_killed
from tests.support.journals import ABOUT, Fate, abandon, append_step, flip, tear, write_journal, zero

EXTRA = About("Model", 10_000.0, 252.0, extra_columns=("volume", "fill_price"))


def read_at_once(folder: Path) -> dict[str, Journal]:
    ids = [path.stem for path in sorted(folder.glob("*.arrows"))]
    return {name: found.journal for name, found in read_killed(str(folder), ids, lambda header: None).items()}


def facts_of(journal: Journal) -> dict[str, Any]:
    """All that a journal knows, arrays as their bytes, so that each bit counts."""
    facts = {
        name: value
        for name, value in vars(journal).items()
        if name not in ("_batches", "_reopen", "tail_steps", "tail_trades")
    }
    columns = {
        f"{kind} {name}": (values.dtype.str, values.tobytes())
        for kind, block in (("steps", journal.tail_steps), ("trades", journal.tail_trades))
        for name, values in block.items()
    }
    properties = (journal.terminal, journal.tail_lost, journal.end_reason, journal.closed_at, journal.frames)
    return {**facts, **columns, "properties": properties}


def test_read_killed__plain_journals__are_as_read_alone(tmp_path: Path) -> None:
    for steps in (1, 2, 3, 10, 61, 250):
        for about in (ABOUT, EXTRA):
            write_journal(
                tmp_path, steps, journal_id=f"j{steps}-{len(about.extra_columns)}", end=Fate.DEAD, about=about
            )
    found = read_at_once(tmp_path / "run")

    assert len(found) == 12
    for name, journal in found.items():
        assert facts_of(journal) == facts_of(read_journal(tmp_path / "run" / f"{name}.arrows"))


def test_read_killed__journals_that_a_writer_ended__have_their_end(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, "run", "done", about=ABOUT)
    append_step(writer, 1)
    append_step(writer, 2, terminated=True)
    abandon(writer)

    journal = read_at_once(tmp_path / "run")["done"]

    assert journal.terminal is EndReason.TERMINATED
    assert facts_of(journal) == facts_of(read_journal(writer.path))


def _no_tail(path: Path) -> None:
    tail_path(path).unlink()


def _link(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit in a slot": lambda path: flip(tail_path(path), 8 * 700),
    "a slot of zeros": lambda path: zero(tail_path(path), 960, 1056),
    "zeros at its start": lambda path: zero(tail_path(path), 0, 96 * 50),
    "a byte behind the slots": lambda path: flip(tail_path(path), 8 * (tail_path(path).stat().st_size - 3)),
    "a cut tail": lambda path: tear(tail_path(path), 96 * 30),
    "no tail": _no_tail,
    "a pipe as tail": lambda path: (_no_tail(path), os.mkfifo(tail_path(path))),
    "a flipped bit in the header": lambda path: flip(path, 8 * 400),
    "a cut header": lambda path: tear(path, 300),
    "an empty stream": lambda path: tear(path, 0),
    "more in the stream": lambda path: path.open("ab").write(b"\xff" * 9),
    "another name": lambda path: (shutil.copy(path, path.with_name("other.arrows")), path.unlink()),
    "a link": _link,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_read_killed__damaged_journal__is_left_alone_and_harms_no_other(tmp_path: Path, damage: str) -> None:
    for name in ("a", "b", "c"):
        write_journal(tmp_path, 60, journal_id=name, end=Fate.DEAD)
    DAMAGE[damage](tmp_path / "run" / "b.arrows")

    assert set(read_at_once(tmp_path / "run")) == {"a", "c"}


@pytest.mark.parametrize("end", [EndReason.TERMINATED, Fate.TORN, Fate.FAILED, "sealed", "empty"])
def test_read_killed__journal_of_another_state__is_left_alone(tmp_path: Path, end: Any) -> None:
    more = {"seal_every": 20} if end == "sealed" else {}
    fate = end if isinstance(end, EndReason | Fate) else Fate.DEAD
    write_journal(tmp_path, 0 if end == "empty" else 50, journal_id="a", end=fate, **more)

    assert read_at_once(tmp_path / "run") == {}


def test_read_killed__locked_journal__is_left_alone(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 9, journal_id="a", end=Fate.DEAD)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read_at_once(tmp_path / "run") == {}
    assert set(read_at_once(tmp_path / "run")) == {"a"}


def test_read_killed__writer_seals_meanwhile__is_left_alone(tmp_path: Path) -> None:
    path = write_journal(tmp_path, 9, journal_id="a", end=Fate.DEAD)

    assert read_killed(str(tmp_path / "run"), ["a"], lambda header: path.open("ab").write(b"x")) == {}


def test_read_killed__random_bits_flipped__never_another_value(tmp_path: Path) -> None:
    rng = random.Random(3)
    path = write_journal(tmp_path, 12, journal_id="a", end=Fate.DEAD)
    whole, tail = path.read_bytes(), tail_path(path).read_bytes()
    used = len(tail.rstrip(b"\0"))
    expected = facts_of(read_journal(path))
    for _ in range(400):
        bit = rng.randrange(8 * (used + 16))
        flip(tail_path(path), bit)
        found = read_at_once(tmp_path / "run")
        assert not found or facts_of(found["a"]) == expected
        tail_path(path).write_bytes(tail)
        flip(path, rng.randrange(8 * len(whole)))
        found = read_at_once(tmp_path / "run")
        if found:  # no flip of the header passes its CRC
            with pytest.raises(NotAJournalError):
                read_journal(path)
            pytest.fail("a damaged header was read")
        path.write_bytes(whole)


def test_decoded_arrays__of_many__are_contiguous(tmp_path: Path) -> None:
    """numpy sums what is not contiguous in another order."""
    write_journal(tmp_path, 33, journal_id="a", end=Fate.DEAD)
    write_journal(tmp_path, 44, journal_id="b", end=Fate.DEAD)

    for journal in read_at_once(tmp_path / "run").values():
        for values in (*journal.tail_steps.values(), *journal.tail_trades.values()):
            assert np.asarray(values).flags.c_contiguous
            assert np.asarray(values).flags.aligned
