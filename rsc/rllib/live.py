"""Keep track of the runs that are being recorded, with the passwords of their databases.

The process that called `attach` keeps both in memory and publishes them in the key-value store of its Ray cluster. Env
runners in other processes read them there. A config from a checkpoint names a run that is in neither place, so it trains
without a record.
"""

from __future__ import annotations

import json
import logging
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


_here: dict[str, LiveRun] = {}  # by the token of its `attach`
_markers: dict[str, RunMarker] = {}  # those of the same runs


def begin(token: str, secret: str | None, marker: RunMarker) -> None:
    """Allow env runners to record a run until `end` is called. If Ray starts later, its node is written into the marker."""
    _here[token], _markers[token] = LiveRun(secret), marker
    if _publish not in ray._private.worker._post_init_hooks:
        ray._private.worker._post_init_hooks.append(_publish)
    if ray.is_initialized():
        _publish()


def end(token: str) -> None:
    """Stop env runners from recording the run in new envs."""
    _here.pop(token, None)
    _markers.pop(token, None)
    try:
        if ray.is_initialized():
            internal_kv._internal_kv_del(token, namespace=_NAMESPACE)
    except Exception as error:  # the cluster may be shutting down; the entry becomes invalid with the job anyway
        log.debug("the run's entry cannot be removed from Ray's key-value store, which is harmless: %s", error)


def find(token: str) -> LiveRun | None:
    """Return the run that `attach` started under this token; None if it has ended, or belongs to another driver."""
    if token in _here:
        return _here[token]
    if not ray.is_initialized():
        return None
    found: Any = internal_kv._internal_kv_get(token, namespace=_NAMESPACE)
    if not found:
        return None
    entry = json.loads(found)
    return LiveRun(entry["secret"], entry["node"]) if entry["job"] == _job() else None


def _publish() -> None:
    """Store this process's runs in the cluster. Ray calls it at the end of each `ray.init`."""
    try:
        for token, run in _here.items():
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
