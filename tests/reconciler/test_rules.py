"""The lettered table: each row, and that no situation falls between two rows or into none."""

from __future__ import annotations

import itertools

import pytest

from journal import Liveness
from reconciler.rules import CASES, Action, Facts, JournalState, Row, decide
from rsc.closing import KILLED

ALIVE, DEAD, UNSURE = Liveness.ALIVE, Liveness.DEAD, Liveness.UNSURE
KILLED_ENDING = ("truncated", KILLED, "its writer died")
TERMINAL = ("completed", "terminated", "ended by its env")
SUPERSEDED = ("truncated", "superseded", "the env was reset before the episode finished")
RAISED = ("error", "error", "ZeroDivisionError")


def situation(state, writer=DEAD, row=Row.STARTED, ending=KILLED_ENDING, **more):
    return Facts(row, state, writer, ending=ending, **{"steps": 7, "callback_missed": True, **more})


TABLE = [
    ("A", situation(JournalState.CLOSED, ending=TERMINAL), Action.END, "completed"),
    ("A", situation(JournalState.OPEN, ending=TERMINAL), Action.END, "completed"),
    ("A", situation(JournalState.CLOSED, ALIVE, ending=TERMINAL), Action.END, "completed"),
    ("B", situation(JournalState.CLOSED, ending=SUPERSEDED), Action.END, "truncated"),
    ("C", situation(JournalState.CLOSED, ending=RAISED), Action.END, "error"),
    ("D", situation(JournalState.OPEN, ALIVE), Action.WAIT, None),
    ("D", situation(JournalState.OPEN, UNSURE), Action.WAIT, None),
    ("D", situation(JournalState.FAILED, ALIVE), Action.WAIT, None),
    ("D", situation(JournalState.OPEN, ALIVE, ending=TERMINAL), Action.WAIT, None),
    ("D", situation(JournalState.CLOSED, ending=TERMINAL, callback_missed=False), Action.WAIT, None),
    ("D", situation(JournalState.OPEN, ALIVE, ending=None, damaged=True), Action.WAIT, None),
    ("E", situation(JournalState.OPEN), Action.END, "truncated"),
    ("F", situation(JournalState.OPEN, steps=0), Action.END, "truncated"),
    ("G", situation(JournalState.MISSING, young=True), Action.WAIT, None),
    ("G", situation(JournalState.MISSING, here=False), Action.WAIT, None),
    ("G", situation(JournalState.MISSING, ALIVE), Action.WAIT, None),
    ("G", situation(JournalState.MISSING, UNSURE), Action.WAIT, None),
    ("H", situation(JournalState.MISSING, ending=None), Action.END, "error"),
    ("I", situation(JournalState.CLOSED, ending=TERMINAL, damaged=True), Action.END, "completed"),
    ("I", situation(JournalState.OPEN, damaged=True), Action.END, "truncated"),
    ("K", situation(JournalState.CLOSED, row=Row.OURS, ending=TERMINAL, more=True), Action.REPLACE, "completed"),
    (
        "K",
        situation(JournalState.CLOSED, row=Row.OURS, ending=TERMINAL, more=True, callback_missed=False),
        Action.REPLACE,
        "completed",
    ),
    ("K", situation(JournalState.OPEN, row=Row.OURS, more=True), Action.REPLACE, "truncated"),
    ("K", situation(JournalState.OPEN, ALIVE, row=Row.OURS), Action.WAIT, None),
    ("K", situation(JournalState.OPEN, UNSURE, row=Row.OURS, more=True), Action.WAIT, None),
    ("K", situation(JournalState.OPEN, row=Row.OURS), Action.LEAVE, None),
    ("K", situation(JournalState.MISSING, row=Row.OURS, ending=None), Action.LEAVE, None),
    ("K", situation(JournalState.BLOCKED, row=Row.OURS, ending=None), Action.LEAVE, None),
    ("L", situation(JournalState.OPEN, row=Row.ENDED), Action.LEAVE, None),
    ("M", situation(JournalState.FAILED), Action.END, "truncated"),
    ("M", situation(JournalState.FAILED, damaged=True), Action.END, "truncated"),
    ("N", situation(JournalState.UNREADABLE, ending=None), Action.END, "error"),
    ("O", situation(JournalState.UNREADABLE, ending=None, young=True), Action.WAIT, None),
    ("O", situation(JournalState.UNREADABLE, ALIVE, ending=None), Action.WAIT, None),
    ("O", situation(JournalState.UNREADABLE, row=Row.NONE, ending=None), Action.WAIT, None),
    ("O", situation(JournalState.BLOCKED, ending=None), Action.WAIT, None),
]


@pytest.mark.parametrize(("letter", "facts", "action", "status"), TABLE)
def test_decide__each_row_of_the_table__gives_its_verdict(letter, facts, action, status):
    verdict = decide(facts)
    assert (verdict.case, verdict.action) == (letter, action)
    assert (verdict.ending[0] if verdict.ending else None) == status
    assert verdict.why


ADOPTABLE = [(letter, facts) for letter, facts, action, _ in TABLE if action is Action.END and facts.ending]


@pytest.mark.parametrize(("letter", "facts"), ADOPTABLE)
def test_decide__journal_without_a_row__is_adopted_and_judged_alike(letter, facts):
    verdict = decide(Facts(**{**vars(facts), "row": Row.NONE}))
    assert (verdict.case, verdict.adopted, verdict.ending) == (letter, True, facts.ending)


def every_situation():
    flags = list(itertools.product((False, True), repeat=5))
    endings = (KILLED_ENDING, TERMINAL, SUPERSEDED, RAISED)
    for row, state, writer, ending, steps in itertools.product(Row, JournalState, Liveness, endings, (0, 7)):
        if row is Row.NONE and state is JournalState.MISSING:
            continue
        for damaged, missed, young, here, more in flags:
            yield Facts(row, state, writer, "", ending, steps, damaged, missed, young, here, more)


def test_decide__every_situation__fits_exactly_one_row():
    seen = {decide(facts).case for facts in every_situation()}
    assert seen == {case.letter for case in CASES}


def test_decide__writer_not_known_to_be_dead__never_ends_an_open_episode():
    """Invariant V2: a live episode is never ended, and unsure means wait."""
    for facts in every_situation():
        if facts.writer is not DEAD and facts.journal is not JournalState.CLOSED:
            assert decide(facts).action in (Action.WAIT, Action.LEAVE)


def test_decide__ended_by_its_callback__is_never_touched():
    assert {decide(f).action for f in every_situation() if f.row is Row.ENDED} == {Action.LEAVE}


def test_decide__no_row__is_never_without_a_journal():
    with pytest.raises(AssertionError, match="Invariant"):
        decide(Facts(Row.NONE, JournalState.MISSING, DEAD))
