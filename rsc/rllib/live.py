"""Keep track of the runs that are being recorded, with the passwords of their databases.

The process that called `attach` keeps both in memory and publishes them in the key-value store of its Ray cluster. Env
runners in other processes read them there. A config from a checkpoint names a run that is in neither place, so it trains
without a record. An env runner on another node adds a key, which tells the driver that journals may be there.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental import internal_kv

from journal import RunMarker
from rsc.rllib.nodes import this_node

log = logging.getLogger("rsc")

_NAMESPACE = "reinforce-strategy-creator"


@dataclass(frozen=True)
class LiveRun:
    """A run that its driver keeps open.

    Attributes:
        secret: Completes the URL of its database.
        driver_node_id: The driver's Ray node; empty in the driver itself.
    """

    secret: str | None
    driver_node_id: str = ""


_ELSEWHERE = ".elsewhere"
"""Added to a token: the key that exists if an env runner on another node than the driver's has found the run."""

_here: dict[str, LiveRun] = {}  # by the token of its `attach`
_markers: dict[str, RunMarker] = {}  # those of the same runs
_published: Counter[str] = Counter()  # in how many clusters, one after the other, each run was published


def begin(token: str, secret: str | None, marker: RunMarker) -> None:
    """Allow env runners to record a run until `end` is called. If Ray starts later, its node is written into the marker."""
    _here[token], _markers[token] = LiveRun(secret), marker
    if _publish not in ray._private.worker._post_init_hooks:
        ray._private.worker._post_init_hooks.append(_publish)
    if ray.is_initialized():
        _publish([token])


def end(token: str) -> bool:
    """Stop env runners from recording the run in new envs.

    Returns:
        True if it is certain that no env runner on another node has recorded the run.
    """
    _here.pop(token, None)
    _markers.pop(token, None)
    clusters = _published.pop(token, 0)
    try:
        if ray.is_initialized():
            # The entry first: `find` looks for it again after it has set the other key.
            removed = internal_kv._internal_kv_del(token, namespace=_NAMESPACE)
            elsewhere = internal_kv._internal_kv_del(token + _ELSEWHERE, namespace=_NAMESPACE)
            return clusters == removed and not elsewhere
    except Exception as error:  # the cluster may be shutting down; the entry becomes invalid with the job anyway
        log.debug("the run's entry cannot be removed from Ray's key-value store, which is harmless: %s", error)
    return clusters == 0


def find(token: str) -> LiveRun | None:
    """Return the run that `attach` started under this token; None if it has ended, or belongs to another driver."""
    if token in _here:
        return _here[token]
    if not ray.is_initialized():
        return None
    run = _entry(token)
    if run is not None and run.driver_node_id != this_node():
        internal_kv._internal_kv_put(token + _ELSEWHERE, b"1", overwrite=True, namespace=_NAMESPACE)
        run = _entry(token)  # if the driver has ended the run in between, it may not have seen the key
    return run


def _entry(token: str) -> LiveRun | None:
    """Return the run of this Ray job that is published under a token; None if there is none."""
    found: Any = internal_kv._internal_kv_get(token, namespace=_NAMESPACE)
    if not found:
        return None
    entry = json.loads(found)
    return LiveRun(entry["secret"], entry["node"]) if entry["job"] == _job() else None


def _publish(tokens: Iterable[str] | None = None) -> None:
    """Store runs of this process in the cluster. Ray calls it without tokens, for all runs, at the end of `ray.init`."""
    try:
        for token in list(_here) if tokens is None else tokens:
            _published[token] += 1
            run = _here[token]
            value = json.dumps({"job": _job(), "secret": run.secret, "node": this_node()})
            internal_kv._internal_kv_put(token, value.encode(), overwrite=True, namespace=_NAMESPACE)
    except Exception as error:
        log.warning(
            "env runners in other processes will not record their episodes, because Ray's key-value store failed (%s)",
            error,
        )
    for marker in _markers.values():
        try:
            marker.set_node(this_node())
        except OSError as error:
            log.warning("the marker %s does not name this node of the Ray cluster: %s", marker.path, error)


def _job() -> str:
    """Return the id of this process's Ray job, which ends with its driver."""
    return str(ray.get_runtime_context().get_job_id())
