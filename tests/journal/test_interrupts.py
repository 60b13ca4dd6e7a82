"""Ctrl-C at any instant: wherever Python lets a signal's exception in, steps stay, and figures stay exact."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from journal import About, EndReason, JournalWriter, read_journal
from tests.support.journals import DigestFold, append_step, model_trades, write_journal

ABOUT = About("Model", 10_000.0, 252.0)
STEPS, LIMIT = 6, 4


class Interrupt:
    """KeyboardInterrupt at the n-th place within the journal's code where CPython looks for signals: as a function
    begins, and as a call returns. (`sys.setprofile` hears of just these, and what it raises leaves from there.)"""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "c_return") or not _is_ours(frame):
            return
        self.seen += 1
        if self.seen == self.at:
            sys.setprofile(None)
            raise KeyboardInterrupt


def _is_ours(frame: FrameType) -> bool:
    """Within the writer's code, and not in a finalizer, from which Python lets no exception out."""
    names, module, at = set(), frame.f_globals["__name__"], frame
    while at.f_back is not None:
        names.add(at.f_code.co_name)
        at = at.f_back
    return module.startswith("journal.") and "__del__" not in names


def new_writer(root: Path, journal_id: str = "journal") -> JournalWriter:
    return JournalWriter(root, "run", journal_id, about=ABOUT, fold=DigestFold(), checkpoint_every_steps=LIMIT)


def interrupted(writer: JournalWriter, at: int, *, then_close: bool) -> bool:
    """Append and seal with Ctrl-C at that place; False if the place was never reached."""
    sys.setprofile(Interrupt(at))
    try:
        while writer.steps < STEPS:
            append_step(writer, writer.steps + 1)
        writer.checkpoint()
        if then_close:
            writer.close(EndReason.CLOSED)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """The digest of the model's first steps."""
    root, states = tmp_path_factory.mktemp("exact"), {}
    for steps in range(STEPS + 4):
        path = write_journal(root, steps, journal_id=f"j{steps}", end=None)
        states[steps] = read_journal(path).replayed(DigestFold).to_bytes()
    return states


def assert_whole(path: Path, at_least: int, exact: dict[int, bytes]) -> None:
    journal = read_journal(path)
    assert (journal.findings, journal.steps_lost, journal.trades_lost) == ((), 0, 0)
    assert journal.step_count == journal.last_step >= at_least
    assert journal.trade_rows() == model_trades(journal.last_step)
    assert journal.folded(DigestFold, DigestFold).to_bytes() == exact[journal.last_step]


def assert_successor_whole(root: Path, exact: dict[int, bytes]) -> None:
    """The next episode, which may take the tail over."""
    successor = new_writer(root, "successor")
    append_step(successor, 1)
    assert_whole(successor.path, 1, exact)
    successor.close(EndReason.CLOSED)


@pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped", "written"])
@pytest.mark.parametrize("more", [0, 3], ids=["then closed", "then played on"])
def test_ctrl_c__at_each_place__no_step_is_lost_or_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: dict[int, bytes], mapped: str, more: int
) -> None:
    """In `append`, in a seal and in `close`, whether the episode is then closed or goes on."""
    monkeypatch.setenv("RSC_MAPPED_TAIL", mapped)
    at, reached = 0, True
    while reached:
        at += 1
        writer = new_writer(tmp_path / str(at))
        reached = interrupted(writer, at, then_close=not more)
        told = writer.steps
        for _ in range(more):
            append_step(writer, writer.steps + 1)
        writer.close(EndReason.CLOSED)
        assert_whole(writer.path, told + more, exact)
        assert_successor_whole(tmp_path / str(at), exact)
    assert at > 200, "the interrupts did not reach far"
