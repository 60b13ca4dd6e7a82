"""Real SIGKILLs: no step that `append` returned from is missing."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from journal import Liveness, Observer, journal_path, read_journal
from journal.testing import model_columns, told_steps

KILLS = 1000 if os.environ.get("RSC_TORTURE") else 50


def assert_nothing_told_is_missing(root: Path, told: list[int]) -> None:
    for number, last_told in enumerate(told):
        path = journal_path(root, "run", f"j{number}")
        if not path.exists():
            assert last_told == 0
            continue
        journal = read_journal(path)
        assert journal.findings == ()
        assert last_told <= journal.last_step <= last_told + 1
        values = journal.steps()["portfolio_value"].to_pylist()
        assert values == model_columns(journal.last_step)["portfolio_value"].tolist()[: len(values)]
        assert len(values) == journal.last_step
        look = Observer().look(path, journal.header.writer)
        assert look.liveness is Liveness.DEAD, look.reason


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped tail", "written tail"])
@pytest.mark.parametrize("journals", [1, 8])
def test_sigkill__at_any_time__no_told_step_is_missing(tmp_path: Path, mapped: bool, journals: int) -> None:
    """Kills at random times of a process that appends as fast as it can: within steps, within seals."""
    rng = random.Random(journals)
    for kill in range(max(1, KILLS // 4)):
        root = tmp_path / str(kill)
        told = told_steps(root, kill_after=rng.randrange(1, 2000), journals=journals, seal_every=16, mapped=mapped)
        assert_nothing_told_is_missing(root, told)
