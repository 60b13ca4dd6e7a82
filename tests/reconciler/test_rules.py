"""The lettered table: each row, and that no situation falls between two rows or into none."""

from __future__ import annotations

import itertools

import pytest

from journal import Liveness
from reconciler.rules import CASES, Action, Facts, Row, Sight, decide
from rsc.closing import KILLED

ALIVE, DEAD, UNSURE = Liveness.ALIVE, Liveness.DEAD, Liveness.UNSURE
KILLED_ENDING = ("truncated", KILLED, "its writer died")
TERMINAL = ("completed", "terminated", "ended by its env")
SUPERSEDED = ("truncated", "superseded", "the env was reset before the episode finished")
RAISED = ("error", "error", "ZeroDivisionError")


def situation(sight, writer=DEAD, row=Row.STARTED, ending=KILLED_ENDING, **more):
    return Facts(row, sight, writer, ending=ending, **{"steps": 7, "settled": True, **more})


TABLE = [
    ("A", situation(Sight.CLOSED, ending=TERMINAL), Action.END, "completed"),
    ("A", situation(Sight.OPEN, ending=TERMINAL), Action.END, "completed"),
    ("A", situation(Sight.CLOSED, ALIVE, ending=TERMINAL), Action.END, "completed"),
    ("B", situation(Sight.CLOSED, ending=SUPERSEDED), Action.END, "truncated"),
    ("C", situation(Sight.CLOSED, ending=RAISED), Action.END, "error"),
    ("D", situation(Sight.OPEN, ALIVE), Action.WAIT, None),
    ("D", situation(Sight.OPEN, UNSURE), Action.WAIT, None),
    ("D", situation(Sight.FAILED, ALIVE), Action.WAIT, None),
    ("D", situation(Sight.OPEN, ALIVE, ending=TERMINAL), Action.WAIT, None),
    ("D", situation(Sight.CLOSED, ending=TERMINAL, settled=False), Action.WAIT, None),
    ("D", situation(Sight.OPEN, ALIVE, ending=None, damaged=True), Action.WAIT, None),
    ("E", situation(Sight.OPEN), Action.END, "truncated"),
    ("F", situation(Sight.OPEN, steps=0), Action.END, "truncated"),
    ("G", situation(Sight.MISSING, young=True), Action.WAIT, None),
    ("G", situation(Sight.MISSING, here=False), Action.WAIT, None),
    ("G", situation(Sight.MISSING, ALIVE), Action.WAIT, None),
    ("G", situation(Sight.MISSING, UNSURE), Action.WAIT, None),
    ("H", situation(Sight.MISSING, ending=None), Action.END, "error"),
    ("I", situation(Sight.CLOSED, ending=TERMINAL, damaged=True), Action.END, "completed"),
    ("I", situation(Sight.OPEN, damaged=True), Action.END, "truncated"),
    ("K", situation(Sight.CLOSED, row=Row.OURS, ending=TERMINAL, more=True), Action.REPLACE, "completed"),
    (
        "K",
        situation(Sight.CLOSED, row=Row.OURS, ending=TERMINAL, more=True, settled=False),
        Action.REPLACE,
        "completed",
    ),
    ("K", situation(Sight.OPEN, row=Row.OURS, more=True), Action.REPLACE, "truncated"),
    ("K", situation(Sight.OPEN, ALIVE, row=Row.OURS), Action.WAIT, None),
    ("K", situation(Sight.OPEN, UNSURE, row=Row.OURS, more=True), Action.WAIT, None),
    ("K", situation(Sight.OPEN, row=Row.OURS), Action.LEAVE, None),
    ("K", situation(Sight.MISSING, row=Row.OURS, ending=None), Action.LEAVE, None),
    ("K", situation(Sight.BLOCKED, row=Row.OURS, ending=None), Action.LEAVE, None),
    ("L", situation(Sight.OPEN, row=Row.ENDED), Action.LEAVE, None),
    ("M", situation(Sight.FAILED), Action.END, "truncated"),
    ("M", situation(Sight.FAILED, damaged=True), Action.END, "truncated"),
    ("N", situation(Sight.UNREADABLE, ending=None), Action.END, "error"),
    ("O", situation(Sight.UNREADABLE, ending=None, young=True), Action.WAIT, None),
    ("O", situation(Sight.UNREADABLE, ALIVE, ending=None), Action.WAIT, None),
    ("O", situation(Sight.UNREADABLE, row=Row.NONE, ending=None), Action.WAIT, None),
    ("O", situation(Sight.BLOCKED, ending=None), Action.WAIT, None),
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
    for row, sight, writer, ending, steps in itertools.product(Row, Sight, Liveness, endings, (0, 7)):
        if row is Row.NONE and sight is Sight.MISSING:
            continue
        for damaged, settled, young, here, more in flags:
            yield Facts(row, sight, writer, "", ending, steps, damaged, settled, young, here, more)


def test_decide__every_situation__fits_exactly_one_row():
    seen = {decide(facts).case for facts in every_situation()}
    assert seen == {case.letter for case in CASES}


def test_decide__writer_not_known_to_be_dead__never_ends_an_open_episode():
    """Invariant V2: a live episode is never ended, and unsure means wait."""
    for facts in every_situation():
        if facts.writer is not DEAD and facts.sight is not Sight.CLOSED:
            assert decide(facts).action in (Action.WAIT, Action.LEAVE)


def test_decide__ended_by_its_callback__is_never_touched():
    assert {decide(f).action for f in every_situation() if f.row is Row.ENDED} == {Action.LEAVE}


def test_decide__no_row__is_never_without_a_journal():
    with pytest.raises(AssertionError, match="Invariant"):
        decide(Facts(Row.NONE, Sight.MISSING, DEAD))
