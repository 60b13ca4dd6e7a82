"""`journal ls`: every kind of journal by its word, filters, sorting, JSON, and speed that streams."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from journal import EndReason
from journal.cli.runs import summary_of
from journal.host.liveness import Observer
from tests.journal.cli.world import RUN, World, play, run, writer

STATES = {
    "cut": "damaged",
    "empty": "unreadable",
    "extra": "closed",
    "finished": "closed",
    "foreign": "unreadable",
    "headerless": "unreadable",
    "killed": "open",
    "limit": "closed",
    "live": "open",
    "nosteps": "closed",
    "superseded": "closed",
    "torn": "torn",
}


def test_ls__no_target__lists_runs_and_their_driver(world: World):
    result = world.run("ls")
    assert result.code == 0
    assert result.lines[0].split() == ["RUN", "EPISODES", "UNFINISHED", "SIZE", "AGE", "DRIVER"]
    assert result.lines[1].split()[:2] == [RUN, "15"]
    assert result.lines[1].endswith("alive")


def test_ls__run__names_each_state_within_80_columns(world: World):
    result = world.run("ls", RUN)
    found = {line.split()[0]: line.split()[1] for line in result.lines[1:]}
    assert {name: found[name] for name in STATES} == STATES
    assert max(len(line) for line in result.lines) <= 80
    assert result.code == 3, "three files could not be looked at"
    assert "empty: it is empty" in result.err
    assert "foreign: it is another program's Arrow stream" in result.err
    assert "headerless: its header is damaged" in result.err


def test_ls__writer__is_said_of_open_journals_alone(world: World):
    rows = {row["id"]: row for row in world.run("ls", RUN, "--json").ndjson()}
    assert rows["live"]["writer"] == "alive"
    assert rows["killed"]["writer"] == "dead"
    assert rows["finished"]["writer"] is None
    assert rows["finished"]["end"] == "terminated"
    assert rows["limit"]["end"] == "time_limit"
    assert rows["finished"]["verified"] is False, "of closed journals only the footer is read"
    assert rows["empty"]["problem"] == "it is empty"


def test_ls__damaged_journal_looked_at_whole__says_what_was_lost(world: World, tmp_path: Path):
    open_ended = tmp_path / RUN / "flipped.arrows"
    open_ended.parent.mkdir()
    data = world.path("flipped").read_bytes()
    open_ended.write_bytes(data[: len(data) - 20])  # no footer: nothing to peek at
    row = run("ls", open_ended, "--json").ndjson()[0]
    assert (row["state"], row["steps_lost"], row["verified"]) == ("damaged", 59, True)


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("state = torn and steps = 209", ["torn"]),
        ("steps = 210", ["killed"]),
        ("writer = alive", ["live"]),
        ("end=superseded and steps<50", ["superseded"]),
        ("total_fees > 0 and trades < 5", ["superseded"]),
    ],
)
def test_ls__where__chooses(world: World, condition: str, ids: list[str]):
    result = world.run("ls", RUN, "--where", condition, "--ids")
    assert (result.code, result.lines) == (0, ids)


def test_ls__tail_is_gone__is_told_as_a_loss(world: World):
    result = world.run("ls", RUN, "--where", "state = damaged", "--ids")
    assert (result.code, result.lines[0]) == (3, "cut")
    assert "cut: its tail is missing" in result.err


def test_ls__sort__by_figure_with_unreadable_ones_last(world: World):
    rows = world.run("ls", RUN, "--sort", "pnl", "--figure", "pnl", "--json").ndjson()
    values = [row["pnl"] for row in rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known)
    assert values[len(known) :] == [None] * 3


def test_ls__reverse_and_limit__take_the_newest(world: World):
    everyone = world.run("ls", RUN, "-q").lines
    assert world.run("ls", RUN, "-q", "--reverse", "--limit", 3).lines == everyone[::-1][:3]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--where", "nix"),
        ("--where", "nix > 1"),
        ("--where", "steps > a"),
        ("--sort", "nix"),
        ("--figure", "nix"),
    ],
)
def test_ls__nonsense__is_wrong_usage_in_one_line(world: World, arguments: tuple[str, str]):
    result = world.run("ls", RUN, *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Error: Invalid value" in result.err


@pytest.mark.parametrize("name", ["finished", "run-1/finished", "finish", "run-1/superseded"])
def test_names__id_prefix_and_run__find_the_journal(world: World, name: str):
    assert world.run("ls", name, "-q").lines in (["finished"], ["superseded"])


def test_names__path_or_tail__find_the_journal(world: World):
    assert run("ls", world.path("killed"), "-q").lines == ["killed"]
    assert run("ls", world.path("killed").with_suffix(".tail"), "-q").lines == ["killed"]
    assert len(run("ls", world.root / RUN, "-q").lines) == 15


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f", "f is the beginning of finished, flipped, flipped_end and 2 more"),
        ("nix", "no run or journal 'nix'"),
        ("7", "there is no database"),
        ("nix.arrows", "cannot read"),
        ("", "the name is empty"),
    ],
)
def test_names__unknown_or_ambiguous__one_clear_line(
    world: World, name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("RSC_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    result = world.run("ls", name)
    assert (result.code, result.out) == (1, "")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_names__run_where_one_journal_is_wanted__says_what_to_do(world: World):
    result = world.run("cat", RUN)
    assert (result.code, result.err) == (
        1,
        f"error: {RUN} is a run, but this command takes one journal; try: journal ls {RUN}\n",
    )


def test_names__one_id_in_two_runs__are_told_apart(tmp_path: Path):
    for run_id in ("a", "b"):
        play(writer(tmp_path, "same", run_id), 5, end=EndReason.CLOSED)
    assert "sam is the beginning of a/same, b/same" in run("info", "sam", "--journal-root", tmp_path).err


def test_ls__something_that_is_no_journal__is_a_line(tmp_path: Path):
    result = run("ls", "/dev/null")
    assert (result.code, result.lines[1].split()[1]) == (3, "unreadable")
    assert "it cannot be read: not a regular file" in result.err
    (tmp_path / "link.arrows").symlink_to(tmp_path / "nowhere.arrows")
    assert "it is a symbolic link, which readers do not follow" in run("ls", tmp_path / "link.arrows").err
    assert run("ls", tmp_path, "--json", "--ids").code == 2


def test_ls__tails_that_are_retired_meanwhile__count_as_nothing(tmp_path: Path):
    """A run's folder is read while its episodes end."""
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            play(writer(tmp_path, f"e{time.monotonic_ns()}", "run"), 1, end=EndReason.CLOSED)

    play(writer(tmp_path, "first", "run"), 1, end=EndReason.CLOSED)
    trainer = threading.Thread(target=train)
    trainer.start()
    try:
        for _ in range(60):
            assert summary_of(tmp_path, "run", Observer()).episodes
    finally:
        stop.set()
        trainer.join()


def test_names__latest__is_the_newest_id(tmp_path: Path):
    for run_id, journal_id in (("a", "20260101T000000-aa"), ("b", "20260102T000000-bb"), ("c", "20250101T000000-cc")):
        play(writer(tmp_path, journal_id, run_id), 20, end=EndReason.CLOSED)
    assert run("info", "latest", "--json", "--journal-root", tmp_path).json()["id"] == "20260102T000000-bb"


def test_ls__ten_thousand_journals__first_line_at_once_and_no_traceback_on_a_closed_pipe(tmp_path: Path):
    """Ten thousand names of one file; only the first lines are waited for."""
    folder = tmp_path / "many"
    folder.mkdir()
    source = play(writer(tmp_path, "20260101T000000-00000"), 20, end=EndReason.TERMINATED).path
    for number in range(10_000):
        (folder / f"20260101T000000-{number:05d}.arrows").hardlink_to(source)
    program = [sys.executable, "-c", "from journal.cli import main; main()"]
    started = time.monotonic()
    listing = subprocess.Popen([*program, "ls", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.readline()
    first_row = listing.stdout.readline()
    waited = time.monotonic() - started
    listing.stdout.close()
    assert listing.wait(timeout=60) == 0
    assert listing.stderr.read() == ""
    assert first_row.startswith("20260101T000000-00000 closed")
    assert waited < 5, "0.5 s on a quiet machine; this bound only catches waiting for all of them"


def test_names__something_of_that_name_is_in_the_current_folder__the_root_goes_first(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in (RUN, "finished", "latest"):
        (tmp_path / name).mkdir()
    assert len(world.run("ls", RUN, "-q").lines) == 15
    assert world.run("ls", "finished", "-q").lines == ["finished"]
    assert len(world.run("ls", "latest", "-q").lines) == 1
    monkeypatch.chdir(world.root)
    assert len(run("ls", RUN, "-q").lines) == 15, "a folder here is a run"


@pytest.mark.parametrize(
    ("condition", "said"),
    [("state=runnin", "closed, open, torn"), ("writer != aliv", "alive, dead, unsure"), ("end=done", "time_limit")],
)
def test_ls__word_that_a_field_cannot_have__is_refused(world: World, condition: str, said: str):
    """It would find nothing, and look like an answer."""
    result = world.run("ls", RUN, "--where", condition)
    assert (result.code, result.out) == (2, "")
    assert said in " ".join(result.err.split())
