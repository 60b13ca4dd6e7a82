"""Continue the training of an earlier run: its plan, and the state of its algorithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rsc import defaults
from rsc.policies.errors import PolicyError
from rsc.policies.store import PolicyFacts, read_policy, run_with_policy
from rsc.rllib.configs import TrainingPlan

# Imports inside functions load modules that are slow to import and not always needed.


@dataclass(frozen=True)
class Parent:
    """The checkpoint from which a training continues."""

    path: Path
    facts: PolicyFacts


def resumed(given: TrainingPlan, root: Path) -> tuple[TrainingPlan, Parent]:
    """Return the plan of the resumed run, with the user's changes, and its last checkpoint.

    Args:
        given: The user's plan. ``resume`` names the run. ``iterations`` 0 means all iterations that the run has not done.
            ``changes`` are options that replace the run's own.
        root: Folder of all policies.

    Raises:
        PolicyError: The run has no policy, or has done all its iterations.
    """
    path, facts = read_policy(root, run_with_policy(root, str(given.resume)), "last")
    left = given.iterations or facts.target - facts.iteration
    if left <= 0:
        raise PolicyError(
            f"run {facts.run_id} has done all its {facts.target} iterations; give --iterations N for N more"
        )
    known = {name: value for name, value in facts.plan.items() if name in vars(given)}
    places = {name: getattr(given, name) for name in defaults.OF_EACH_TRAINING}
    own = TrainingPlan(**{**known, **given.changes, **places, "env_config": facts.env_config, "iterations": left})
    return replace(own, resume=facts.run_id), Parent(path, facts)


def restore(algorithm: Any, parent: Parent) -> None:
    """Load the state of a checkpoint: weights, optimizers, counters.

    Raises:
        PolicyError: The checkpoint cannot be loaded.
    """
    from rsc.policies.module import versions
    from rsc.policies.split import differing

    try:
        algorithm.restore_from_path(str(parent.path))
    except Exception as error:
        others = differing(parent.facts.versions, versions())
        why = f"it was saved with other versions: {others}" if others else f"{type(error).__name__}: {error}"
        raise PolicyError(f"the checkpoint {parent.path} cannot be restored ({why})") from error
