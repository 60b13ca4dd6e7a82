"""`rsc compare` on evaluations that are played here without a training: groups, periods, trials, messages."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import rsc
from journal import list_journals
from rsc.db.errors import UnknownRunError
from rsc.db.session import reading
from rsc.db.upgrade import open_existing
from rsc.policies.comparing import compare as in_process
from rsc.policies.errors import PolicyError
from rsc.policies.playing import at_random, play_once
from rsc.trading.env import TradingEnv

GAME = {"ticker": "MSFT", "random_start": False, "episode_length": 60}
PERIODS = ("2005-01-03", "2006-01-03")


def evaluate(folder: Path, training: str, seed: int, periods: tuple[str, ...] = PERIODS, **facts: Any) -> str:
    """A run that stands for a training, and its evaluation by an account that acts at random."""
    places = {"journal_root": folder / "rsc-data" / "journal", "database_url": f"sqlite:///{folder}/rsc-data/rsc.db"}
    if not (places["journal_root"] / training).exists():
        with rsc.start_run(training, parameters={"seed": seed}, **places) as run:
            play_once(run.record(TradingEnv(GAME)), at_random(True, 0))
    told = {
        "market": "MSFT",
        "first": periods[0],
        "last": periods[-1],
        "episodes": len(periods),
        "iteration": 1,
        **facts,
    }
    parameters = {"evaluation": {"in_sample": False, "deterministic": True, **told}, "policy": {"seed": seed}}
    with rsc.start_run(None, parameters=parameters, parent_run_id=training, **places) as run:
        for start in periods[: facts.get("played")]:
            env = run.record(TradingEnv({**GAME, "start_date": start}), in_evaluation=True)
            play_once(env, at_random(True, seed))
            env.close()
    return run.run_id


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compared")
    for seed in range(1, 6):
        evaluate(made, f"a-{seed}", seed)
        evaluate(made, f"b-{seed}", 10 * seed)
    evaluate(made, "other", 1, ("2007-01-03",))
    evaluate(made, "a-1", 99, in_sample=True)
    evaluate(made, "a-2", 98, deterministic=False)
    evaluate(made, "killed", 1, played=1)
    evaluate(made, "killed-2", 1, played=1)
    return made


def compare(folder: Path, *words: str, expect: int = 0) -> str:
    command = [sys.executable, "-m", "rsc", "compare", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def test_compare__two_groups__scores_are_those_of_the_rows(folder: Path) -> None:
    found = json.loads(compare(folder, "x=a-*", "b-*", "--json"))
    x, b = (np.array([run["scores"] for run in group["runs"]]) for group in found["groups"])
    assert [group["name"] for group in found["groups"]] == ["x", "b-*"]
    assert [run["seed"] for run in found["groups"][0]["runs"]] == [1, 2, 3, 4, 5]
    for group in found["groups"]:
        for run in group["runs"]:
            loaded = rsc.load_run(run["evaluation"], database_url=f"sqlite:///{folder}/rsc-data/rsc.db")
            assert loaded.episodes()["total_return"].to_pylist() == pytest.approx(run["scores"])
    assert found["groups"][0]["interquartile_mean"] == pytest.approx(stats.trim_mean(x, 0.25, axis=None))
    each = [stats.mannwhitneyu(x[:, i], b[:, i]).statistic / 25 for i in range(2)]
    (pair,) = found["pairs"]
    assert pair["probability"] == pytest.approx(np.mean(each))
    assert pair["interval"][0] <= pair["probability"] <= pair["interval"][1]


def test_compare__many_trials__best_sharpe_is_deflated_by_all_on_the_same_bars(folder: Path) -> None:
    """Computed here from the steps, by scipy; the database has ten trials, of which two are compared."""
    everything = json.loads(compare(folder, "a-*", "b-*", "--json"))
    earned = {}
    for group in everything["groups"]:
        for run in group["runs"]:
            loaded = rsc.load_run(run["evaluation"], database_url=f"sqlite:///{folder}/rsc-data/rsc.db")
            values = loaded.steps()["portfolio_value"].to_numpy().reshape(2, -1)
            before = np.concatenate((np.full((2, 1), 10_000.0), values[:, :-1]), axis=1)
            earned[run["run_id"]] = (values / before - 1.0).ravel()
    sharpes = {name: r.mean() / r.std(ddof=1) for name, r in earned.items()}
    found = json.loads(compare(folder, "a-1", "b-1", "--json"))["deflated_sharpe"]
    assert found["trials"] == len(sharpes) == 10
    best = max("a-1", "b-1", key=lambda name: sharpes[name])
    assert found["run_id"] == best
    n, e, g = 10, math.e, 0.5772156649
    z = stats.norm.ppf
    threshold = np.std(list(sharpes.values()), ddof=1) * ((1 - g) * z(1 - 1 / n) + g * z(1 - 1 / (n * e)))
    r, s = earned[best], sharpes[best]
    spread = 1 - stats.skew(r) * s + (stats.kurtosis(r, fisher=False) - 1) / 4 * s * s
    assert found["probability"] == pytest.approx(
        stats.norm.cdf((s - threshold) * math.sqrt(len(r) - 1) / math.sqrt(spread))
    )
    assert found["expected"] == pytest.approx(threshold * math.sqrt(252))


def test_compare__one_seed__says_that_there_is_no_interval(folder: Path) -> None:
    said = compare(folder, "a-1", "b-*", "--metric", "sharpe_ratio")
    assert "a group with one seed has no interval" in said
    assert "trials on these bars: 10" in said
    assert max(map(len, said.splitlines())) <= 80


def test_compare__metric__is_printed_in_its_unit(folder: Path) -> None:
    document = json.loads(compare(folder, "a-*", "b-*", "--json"))
    group = document["groups"][0]
    line = next(line for line in compare(folder, "a-*", "b-*").splitlines() if line.startswith("a-* "))
    low, high = group["interval"]
    assert line.split() == [
        *("a-*", "5", f"{group['interquartile_mean']:+.2%}"),
        *(f"{low:+.2%}", "to", f"{high:+.2%}", f"{group['median']:+.2%}"),
    ]
    assert "%" not in compare(folder, "a-*", "b-*", "--metric", "sharpe_ratio").replace("95 %", "")


def test_compare__csv__has_each_score(folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compare(folder, "a-*", "b-*", "--csv"))))
    assert len(rows) == 2 * 5 * 2
    assert {row["group"] for row in rows} == {"a-*", "b-*"}
    float(rows[0]["total_return"])


def test_compare__what_cannot_be_compared__is_one_line(folder: Path) -> None:
    for words, said in (
        (("a-1", "other"), "the runs were not evaluated on the same bars"),
        (("killed", "a-1"), "run killed has no evaluation"),
        (
            ("killed", "a-1", "killed-2"),
            "2 runs have no evaluation; to make them: for run in killed killed-2; do",
        ),
        (("nothing-*",), "no run matches 'nothing-*'"),
        (("a-9",), "run a-9 is not in the database"),
        (("a-1", "a-1"), "have the same name"),
        (("x=",), "does not name a run"),
    ):
        with reading(open_existing(f"sqlite:///{folder}/rsc-data/rsc.db")) as connection:
            with pytest.raises((PolicyError, UnknownRunError), match=said.replace("*", ".*")) as caught:
                in_process(connection, words, "total_return")
        assert "\n" not in str(caught.value)
    assert len(compare(folder, "a-9", expect=1).splitlines()) == 1
    assert "did you mean sharpe_ratio" in compare(folder, "a-1", "--metric", "sharpe_rato", expect=2)


def test_compare__journals_are_gone__trials_are_counted_as_unknown(folder: Path, tmp_path: Path) -> None:
    """Unknown is never 0.0: the other trials give the variance."""
    import shutil

    root = folder / "rsc-data" / "journal"
    found = json.loads(compare(folder, "a-3", "--json"))
    (run,) = found["groups"][0]["runs"]
    assert list(list_journals(root, run["evaluation"]))
    moved = tmp_path / "moved"
    shutil.move(root / run["evaluation"], moved)
    try:
        deflated = json.loads(compare(folder, "a-3", "a-4", "--json"))["deflated_sharpe"]
    finally:
        shutil.move(moved, root / run["evaluation"])
    assert (deflated["trials"], deflated["unread"], deflated["run_id"]) == (10, 1, "a-4")
