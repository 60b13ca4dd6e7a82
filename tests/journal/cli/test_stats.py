"""`journal stats`: the spread of figures over a run, by group, with what was left out."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal import EndReason
from journal.host.paths import failed_path, tail_path
from journal.inspect.distributions import distribution_of
from tests.journal.cli.world import RUN, World, play, run, writer
from tests.support.journals import abandon


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stats")
    for number in range(9):
        about = {"worker_index": number % 3}
        play(writer(made, f"ep{number}", about=about), 30 + number, number, end=EndReason.TERMINATED)
    return made


def test_stats__run__has_the_distribution_of_each_figure(root: Path):
    rows = run("ls", RUN, "--figure", "pnl", "--json", "--journal-root", root).ndjson()
    pnls = [row["pnl"] for row in rows]
    spread = run("stats", RUN, "--json", "--journal-root", root).json()["groups"]["all"]["figures"]["pnl"]
    assert spread["count"] == 9
    assert spread["mean"] == pytest.approx(mean(pnls))
    assert spread["std"] == pytest.approx(stdev(pnls))
    assert spread["median"] == pytest.approx(median(pnls))
    assert (spread["minimum"], spread["maximum"]) == (min(pnls), max(pnls))
    assert sum(spread["histogram"]) == 9


def test_stats__text__fits_80_columns(root: Path, world: World):
    for result in (
        run("stats", RUN, "--journal-root", root),
        world.run("stats", RUN),
        world.run("stats", RUN, "--by", "end"),
    ):
        assert max(len(line) for line in result.lines) <= 80


@pytest.mark.parametrize("verb", ["stats", "export"])
@pytest.mark.parametrize("gone", ["tail", "write"])
def test_cut_short__journal_that_lost_nobody_knows_what__is_told(tmp_path: Path, verb: str, gone: str):
    """Its tail is gone, or a write of it failed."""
    root = tmp_path / "root"
    journal = play(writer(root, "short"), 30)
    abandon(journal)
    tail = tail_path(journal.path)
    tail.unlink() if gone == "tail" else tail.rename(failed_path(journal.path))
    output = ("-o", tmp_path / "out") if verb == "export" else ()
    result = run(verb, RUN, *output, "--json", "--journal-root", root)
    assert (result.code, result.json()["cut_short"]) == (3, 1)


def test_stats__by_worker__groups_in_their_natural_order(root: Path):
    result = run("stats", RUN, "--by", "worker", "--journal-root", root)
    assert [line.split()[:3] for line in result.lines[1:]] == [["0", "3", "33"], ["1", "3", "34"], ["2", "3", "35"]]


def test_stats__killed_and_live__the_one_counts_and_the_other_only_if_asked(world: World):
    result = world.run("stats", RUN, "--json")
    facts = result.json()
    assert (facts["episodes"], facts["running"], facts["unreadable"]) == (11, 1, 3)
    assert facts["groups"]["all"]["ends"]["killed"] == 3
    assert result.code == 3
    assert "1 episodes are still running" in result.err
    assert world.run("stats", RUN, "--live", "--json").json()["groups"]["all"]["ends"]["running"] == 1


def test_stats__by_end__names_them(world: World):
    groups = world.run("stats", RUN, "--by", "end", "--json").json()["groups"]
    assert groups["time_limit"]["episodes"] == 1
    assert groups["superseded"]["figures"]["steps"]["median"] == 40


def test_stats__unknown_figure__is_wrong_usage(root: Path):
    result = run("stats", RUN, "--figure", "nix", "--journal-root", root)
    assert result.code == 2
    assert "there are: steps, trades" in result.err


def test_stats__nothing_readable__says_so(world: World):
    result = world.run("stats", "empty")
    assert result.code == 3
    assert result.lines[0] == "0 episodes"


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=True, allow_nan=True), st.integers(-(10**9), 10**9))))
def test_distribution__any_values__counts_the_defined_ones(values: list[float | int | None]):
    found = distribution_of(values)
    finite = [value for value in values if value is not None and abs(value) < float("inf")]
    assert found.count == len(finite)
    assert sum(found.histogram) == len(finite)
    if finite:
        assert found.minimum <= found.p25 <= found.median <= found.p75 <= found.maximum
