"""Find which Tune trial this process runs, and its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Imports inside functions load modules that are slow to import and not always needed.

_NO_TRIAL = "default"  # RLlib's trial id of an algorithm without a trial
_IN_FOLDER = re.compile(r"_([0-9a-f]{5}_[0-9]{5})(?:_|$)")
_NOT_CHOSEN = ("rsc_recording", "env_runner_cls", "simple_optimizer", "tf_session_args", "local_tf_session_args")
"""Values that `attach` sets, or that RLlib sets when it builds an algorithm."""
_PLAIN = (bool, int, float, str)


def of_algorithm(trial_id: str | None, log_folder: str | None) -> str | None:
    """Return the trial of an algorithm that Tune built; None for any other.

    RLlib 2.60 drops the id on its new API stack, but the name of the trial's folder contains it.
    """
    if trial_id not in (None, _NO_TRIAL):
        return trial_id
    found = _IN_FOLDER.search(Path(log_folder or "").name)
    return found.group(1) if found else None


def current() -> str | None:
    """Return the trial whose function this process runs; None outside of a trial."""
    from ray import tune
    from ray.tune.trainable.trainable_fn_utils import _in_tune_session

    return tune.get_context().get_trial_id() if _in_tune_session() else None


def plain_values(config: Any) -> dict[str, Any]:
    """Return all numbers, flags and texts of a config, by their path, such as "env_config/fee"."""
    return dict(_leaves(config.to_dict()))


def changed(before: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Return the values of a trial's config that differ from those at the time of `attach`."""
    return {path: value for path, value in plain_values(config).items() if before.get(path) != value}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in _NOT_CHOSEN:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        elif isinstance(value, _PLAIN):
            yield f"{prefix}{key}", value
        elif isinstance(value, list | tuple) and all(isinstance(item, _PLAIN) for item in value):
            yield f"{prefix}{key}", list(value)
