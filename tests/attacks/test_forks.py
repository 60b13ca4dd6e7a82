"""What a forked child does to writers that it inherited never reaches the parent's files."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.attacks.processes import run, said
from tests.attacks.scene import Scene

IN_CHILD = """
import os
child = os.fork()
if child == 0:
    try:
        {deed}
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        os._exit(0)
os.waitpid(child, 0)[1]
"""
DEEDS = {
    "appends": "append(w)",
    "appends a thousand": "steps(w, 1000)",
    "checkpoints": "w.checkpoint()",
    "closes": "w.close(EndReason.CLOSED)",
    "appends and closes": "append(w); finish(w)",
    "drops it": "w = None; import gc; gc.collect()",
    "drops it and begins another": "w = None; v = begin(ROOT, 'r1', 'theirs'); steps(v, 5); finish(v)",
    "execs": "os.execv('/bin/true', ['true'])",
}


def told_of_all(scene: Scene) -> dict[str, dict[str, Any]]:
    """What `journal ls` says of each journal."""
    done = run("journal", "ls", "r1", "--json", "--journal-root", scene.root)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["id"]: line for line in lines}


def told_of(scene: Scene) -> dict[str, Any]:
    return told_of_all(scene)["j1"]


@pytest.mark.parametrize(
    ("mapped", "durability"),
    [
        pytest.param("1", "process", id="mapped"),
        pytest.param("0", "process", id="written"),
        pytest.param("1", "step", id="synced each step"),
    ],
)
def test_forked_child__uses_the_parents_writer__the_parents_journal_is_whole(
    scene: Scene, mapped: str, durability: str
) -> None:
    """Each deed in a child of its own; afterwards the parent goes on as if there had been none."""
    writer = scene.writer(env={"RSC_MAPPED_TAIL": mapped})
    for number, deed in enumerate(DEEDS.values()):
        writer.do(f"ROOT = {str(scene.root)!r}; w = begin(ROOT, 'r1', 'j{number}', durability={durability!r})")
        writer.do(f"steps(w, 20)\n{IN_CHILD.format(deed=deed)}")
        writer.do(f"steps(w, 30); w{number} = w")
    told = told_of_all(scene)
    by_deed = {deed: told[f"j{number}"] for number, deed in enumerate(DEEDS)}
    assert not {deed: line for deed, line in by_deed.items() if (line["state"], line["steps"]) != ("open", 50)}
    for number in range(len(DEEDS)):
        writer.do(f"steps(w{number}, 2000); finish(w{number})")
    told = told_of_all(scene)
    told.pop("theirs")
    ended = {(line["state"], line["steps"], line["steps_lost"]) for line in told.values()}
    assert ended == {("closed", 2051, 0)}
    assert run("journal", "verify", "-q", "r1", "--journal-root", scene.root).returncode == 0


@pytest.mark.parametrize("mapped", [pytest.param("1", id="mapped"), pytest.param("0", id="written")])
def test_forked_child__leaves_by_the_interpreters_exit__the_parents_journal_is_whole(scene: Scene, mapped: str) -> None:
    """Its exit runs finalizers and exit handlers that it inherited."""
    writer = scene.writer(env={"RSC_MAPPED_TAIL": mapped})
    writer.do(f"w = begin({str(scene.root)!r}, 'r1', 'j1'); steps(w, 20)")
    writer.do(
        """
import multiprocessing
child = multiprocessing.get_context("fork").Process(target=append, args=(w,))
child.start()
child.join()
"""
    )
    writer.do("steps(w, 30)")
    writer.kill()
    told = told_of(scene)
    assert (told["state"], told["steps"]) == ("open", 50), told


@pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped", "written"])
def test_fold__raises_while_the_journal_closes__no_step_is_lost(scene: Scene, mapped: str) -> None:
    """Metrics that cannot be folded are the reader's to compute; the steps stand."""
    writer = scene.writer(env={"RSC_MAPPED_TAIL": mapped})
    writer.do(
        f"""
class Fold:
    def fold(self, steps, trades):
        raise ArithmeticError("a fold that fails")
    def to_bytes(self):
        return b"state"
w = begin({str(scene.root)!r}, "r1", "j1", fold=Fold())
steps(w, 20)
try:
    finish(w)
except ArithmeticError:
    pass
"""
    )
    told = told_of(scene)
    assert told["steps"] == 21, told
    assert told["state"] in ("closed", "open"), "the write did not fail: no step is lost"
    assert not list((scene.root / "r1").glob("*.failed"))
    done = run("journal", "verify", "r1", "--journal-root", scene.root)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("mapped", ["1", "0"], ids=["mapped", "written"])
def test_forked_child__closes_with_a_fold_that_raises__the_parents_tail_stands(scene: Scene, mapped: str) -> None:
    writer = scene.writer(env={"RSC_MAPPED_TAIL": mapped})
    writer.do(
        f"""
class Fold:
    def fold(self, steps, trades):
        if os.getpid() != parent:
            raise ArithmeticError("a fold that fails in the child")
    def to_bytes(self):
        return b"state"
parent = os.getpid()
w = begin({str(scene.root)!r}, "r1", "j1", fold=Fold())
steps(w, 20)
"""
    )
    writer.do(IN_CHILD.format(deed="w.close(EndReason.CLOSED)"))
    writer.do("steps(w, 30)")
    told = told_of(scene)
    assert (told["state"], told["steps"]) == ("open", 50), told


def test_forked_child__begins_its_own_episodes__both_are_whole_and_both_lives_are_told(scene: Scene) -> None:
    """The child's journal is its own: its death ends its episode, and not the parent's."""
    writer = scene.live()
    writer.do(
        f"""
child = os.fork()
if child == 0:
    steps(begin({str(scene.root)!r}, "r1", "theirs"), 7)
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)[1]
"""
    )
    scene.records.add_episode("r1", "theirs")
    scene.reconcile()
    theirs = scene.records.episode("theirs")
    assert (theirs["status"], theirs["total_steps"]) == ("truncated", 7)
    scene.assert_lives()


def test_forked_child__outlives_its_parent__the_dead_parents_episode_ends(scene: Scene) -> None:
    """An inherited descriptor would hold the parent's lock for as long as the child lives."""
    writer = scene.live()
    child = writer.do(
        """
child = os.fork()
if child == 0:
    import time
    time.sleep(30)
    os._exit(0)
child
"""
    )
    try:
        writer.kill()
        scene.reconcile()
        assert scene.records.episode("j1")["status"] == "truncated"
    finally:
        os.kill(child, signal.SIGKILL)
