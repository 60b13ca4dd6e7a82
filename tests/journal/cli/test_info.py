"""`journal info`: identity, standing, metrics and findings of any journal."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from journal import EndReason, read_journal
from rsc.metrics import figures
from tests.journal.cli.world import World, play, run, writer


def test_info__finished__has_identity_and_the_metrics_of_the_trading_side(world: World):
    result = world.run("info", "finished", "--json")
    facts = result.json()
    assert result.code == 0
    assert (facts["id"], facts["run"], facts["state"], facts["end"]) == ("finished", "run-1", "closed", "terminated")
    assert facts["metrics"] == figures(read_journal(world.path("finished")))
    assert facts["writer"]["pid"] > 0
    assert facts["steps"] == facts["last_step"] == 300


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        ("finished", 0, "closed, ended as terminated"),
        ("live", 0, "open, its writer is alive (its lock is held)"),
        ("killed", 0, "open, its writer is dead"),
        ("torn", 0, "Torn: the last write was cut"),
        ("cut", 3, "Lost: its tail is missing"),
        ("footer", 0, "damaged (harmless)"),
        ("nosteps", 0, "last step   none"),
        ("flipped", 3, "steps 60 to 118 are missing"),
        ("flipped_end", 3, "lost        6"),
        ("extra", 0, "extra columns: spread, rsi"),
    ],
)
def test_info__any_kind__says_what_it_met_in_80_columns(world: World, kind: str, code: int, says: str):
    result = world.run("info", kind)
    assert result.code == code
    assert says in result.out
    assert max(len(line) for line in result.lines if not line.startswith("  path")) <= 80


@pytest.mark.parametrize(
    ("kind", "says"), [("empty", "it is empty"), ("foreign", "another program's"), ("headerless", "--header-from")]
)
def test_info__unreadable__fails_with_the_reason(world: World, kind: str, says: str):
    result = world.run("info", kind)
    assert (result.code, result.out) == (1, "")
    assert says in result.err


def test_info__damaged__json_names_the_findings(world: World):
    facts = world.run("info", "flipped", "--json").json()
    assert [finding["kind"] for finding in facts["findings"]] == ["batch", "hole"]
    assert (facts["steps_lost"], facts["trades_lost"]) == (59, 5)
    assert facts["metrics_step"] == 300, "a checkpoint behind the damage gives the metrics"


def test_info__batches__lists_each_with_its_steps(world: World):
    batches = world.run("info", "finished", "--batches", "--json").json()["batches"]
    assert batches[0]["first_step"] == 1
    assert batches[-1]["end"] == "terminated"
    assert all(after["first_step"] == before["last_step"] + 1 for before, after in itertools.pairwise(batches))
    assert world.run("info", "finished", "--batches").out.count("yes") == len(batches)


def test_info__words_from_outside__cannot_command_the_terminal(tmp_path: Path):
    journal = writer(tmp_path, "rude", about={"env": "\x1b[2Jenv", "env_config": {"a\nb": "c\x07"}})
    play(journal, 20).close(EndReason.ERROR, "boom\n\x1b[31mred")
    for arguments in (["info"], ["tail", "-f"]):
        result = run(arguments[0], journal.path, *arguments[1:])
        assert "boom\\n\\x1b[31mred" in result.out + result.err
        assert not set(result.out + result.err) & {"\x1b", "\x07"}
