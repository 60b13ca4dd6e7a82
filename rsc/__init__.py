"""The trading side: an env, its metrics, and what puts the recorder on an RLlib config. Importing it does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsc.training import attach

__all__ = ["attach"]


def __getattr__(name: str) -> Any:
    if name == "attach":  # pulls in Ray, so only for those who train
        from rsc.training import attach

        return attach
    raise AttributeError(f"module 'rsc' has no attribute {name!r}")
