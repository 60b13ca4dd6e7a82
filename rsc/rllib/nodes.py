"""Find the Ray node on which this process runs."""

from __future__ import annotations

import ray


def this_node() -> str:
    """Return the id of this process's Ray node; empty if Ray is not running. Does not start Ray."""
    if not ray.is_initialized():
        return ""
    return str(ray.get_runtime_context().get_node_id())


def this_node_or_none() -> str | None:
    """Return the id of this process's Ray node; None while Ray is not running."""
    return this_node() or None
