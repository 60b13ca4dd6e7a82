"""Keep the runs that are being recorded now, and the passwords of their databases.

The process that called `attach` keeps both in memory and publishes them in the key-value store of its Ray cluster, where
env runners in other processes look them up. A config that was restored from a checkpoint names a run that is in neither
place, so it trains without a record.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental import internal_kv

log = logging.getLogger("rsc")

_NAMESPACE = "reinforce-strategy-creator"


@dataclass(frozen=True)
class LiveRun:
    """A run that its driver keeps open, with the secret that completes its database's URL."""

    secret: str | None


_here: dict[str, LiveRun] = {}  # by the token of its `attach`


def begin(token: str, secret: str | None) -> None:
    """Let env runners record a run, from now until `end`."""
    _here[token] = LiveRun(secret)
    if _publish not in ray._private.worker._post_init_hooks:
        ray._private.worker._post_init_hooks.append(_publish)
    if ray.is_initialized():
        _publish()


def end(token: str) -> None:
    """Let no further env record the run."""
    _here.pop(token, None)
    try:
        if ray.is_initialized():
            internal_kv._internal_kv_del(token, namespace=_NAMESPACE)
    except Exception as error:  # the cluster may be going down; the job's id ends the entry too
        log.debug("the run's entry stays in Ray's key-value store: %s", error)


def find(token: str) -> LiveRun | None:
    """Return the run that `attach` began under this token; None if its driver ended it, or is another one."""
    if token in _here:
        return _here[token]
    if not ray.is_initialized():
        return None
    found: Any = internal_kv._internal_kv_get(token, namespace=_NAMESPACE)
    if not found:
        return None
    entry = json.loads(found)
    return LiveRun(entry["secret"]) if entry["job"] == _job() else None


def _publish() -> None:
    """Store this process's runs in the cluster. Ray calls it at the end of each `ray.init`."""
    try:
        for token, run in _here.items():
            value = json.dumps({"job": _job(), "secret": run.secret})
            internal_kv._internal_kv_put(token, value.encode(), overwrite=True, namespace=_NAMESPACE)
    except Exception as error:
        log.warning("env runners in other processes will not record: Ray's key-value store failed (%s)", error)


def _job() -> str:
    """The id of this process's Ray job, which ends with its driver."""
    return str(ray.get_runtime_context().get_job_id())
