"""Rows tell where in the training their episode began, and never guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rsc.rllib.progress import Progress
from tests.rsc.rllib.world import World, config_of, sample


def noted(*states: tuple[int, bool], countable: bool = True) -> tuple[int | None, int | None]:
    progress = Progress(countable=countable)
    for env_steps, sampled in states:
        progress.sampled = sampled
        progress.note(env_steps)
    return progress.iterations, progress.env_steps


CASES: dict[str, tuple[Any, Any]] = {
    "no state yet": (noted(), (None, None)),
    "setup": (noted((0, False)), (0, 0)),
    "two iterations": (noted((0, False), (100, True), (220, True)), (2, 220)),
    "the same state twice": (noted((0, False), (100, True), (100, False)), (1, 100)),
    "restarted": (noted((300, False), (400, True)), (None, 400)),
    "restored from a checkpoint": (noted((0, False), (300, False), (400, True)), (None, 400)),
    "a runner that sampled nothing": (noted((0, False), (100, True), (200, False)), (None, 200)),
    "evaluation": (noted((0, False), (100, True), countable=False), (None, 100)),
}


@pytest.mark.parametrize("case", CASES)
def test_progress__states__are_counted_or_unknown(case: str) -> None:
    found, expected = CASES[case]
    assert found == expected


def test_rows__episodes_of_two_iterations__tell_iteration_and_env_steps(tmp_path: Path) -> None:
    """An episode that goes on over the end of an iteration began in the earlier one."""
    world = World(tmp_path)
    with world.runner(config_of()) as runner:
        runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 0})
        sample(runner, 25)
        runner.set_state({NUM_ENV_STEPS_SAMPLED_LIFETIME: 25})
        sample(runner, 25)
    found = [(row.start_iteration, row.start_env_steps) for row in world.rows()]
    assert [iteration for iteration, _ in found] == [0, 0, 1]
    assert found[0][1] == 0
    assert found[2][1] == 25


def test_run__config_of_another_process__names_its_run_as_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a config from a checkpoint; attaching once more in one process is a new run of its own."""
    from rsc.rllib import attach

    world, config = World(tmp_path), config_of()
    world.attach(config, "first").end()
    world.attach(config, "second").end()
    monkeypatch.setattr(attach, "_begun", set())
    world.attach(config, "third").end()
    assert [world.run_row(run).parent_run_id for run in ("first", "second", "third")] == [None, None, "second"]
