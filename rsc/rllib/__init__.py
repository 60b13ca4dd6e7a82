"""Connect recording to RLlib: attach, env runners, callbacks, seeds, and the training of `rsc train`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsc.rllib.runner import RecordedEnvRunner, Recording

__all__ = ["RecordedEnvRunner", "Recording"]


def __getattr__(name: str) -> Any:
    """Import the env runners on first use, because they import Ray."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("rsc.rllib.runner"), name)
