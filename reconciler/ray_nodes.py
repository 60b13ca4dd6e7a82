"""The nodes of a Ray cluster, and calls of a function on some of them. Each wait is bounded."""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from journal.console import fail

_CONNECT_S = 5.0
_ANSWER_S = 120.0
_LOOK_S = 0.25  # between two looks at the tasks, and at whether the pass was told to stop
_HINT = "is it running? if it is gone for good: --journal-root MIRROR-URL --presume-lost AGE"


@dataclass(frozen=True)
class Failed:
    """A node did not answer a call. ``why`` is one line."""

    why: str


@dataclass(frozen=True)
class NodeTable:
    """Ray's table of nodes. A node that it does not list may be alive: a head that restarted has an empty table.

    Attributes:
        live: Host names of the nodes that Ray lists as alive, by node id.
        dead: Ids of the nodes that Ray lists as dead.
    """

    live: Mapping[str, str]
    dead: frozenset[str]


class RayNodes:
    """A connection to a Ray cluster as its driver.

    Args:
        address: The cluster's address, or ``auto``: the cluster of this machine.
        should_stop: Is asked while nodes work; True gives up waiting for them.
    """

    def __init__(self, address: str, should_stop: Callable[[], bool] = lambda: False) -> None:
        if importlib.util.find_spec("ray") is None:
            fail("--ray needs Ray, which is not installed", 'pip install "reinforce-strategy-creator[train]"')
        self.should_stop = should_stop
        address = _address_of(address)
        _require_listener(address)
        import ray

        try:
            if not ray.is_initialized():
                ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError, and classes of its own
            fail(
                f"the Ray cluster at {address} cannot be joined: {_first_line(error)}",
                "is this machine one of its nodes? if the cluster checks tokens, set RAY_AUTH_MODE here as on its nodes",
            )
        self._ray = ray

    def table(self) -> NodeTable:
        """Return Ray's table of nodes as it is now."""
        nodes = self._ray.nodes()
        live = {node["NodeID"]: str(node["NodeManagerHostname"]) for node in nodes if node["Alive"]}
        return NodeTable(live, frozenset(node["NodeID"] for node in nodes if not node["Alive"]))

    def call(self, function: Callable[..., Any], arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Call a function on some nodes at once; return its results, or `Failed`, by node id."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = self._ray.remote(function)
        asked = {
            node_id: task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False), num_cpus=0, max_retries=0
            ).remote(*given)
            for node_id, given in arguments.items()
        }
        until, open_calls = time.monotonic() + _ANSWER_S, list(asked.values())
        while open_calls and time.monotonic() < until and not self.should_stop():
            _, open_calls = self._ray.wait(open_calls, num_returns=len(open_calls), timeout=_LOOK_S)
        for one in open_calls:
            self._ray.cancel(one, force=True)
        return {node_id: self._result(one, one not in open_calls) for node_id, one in asked.items()}

    def _result(self, answer: Any, is_ready: bool) -> Any:
        if not is_ready:
            return Failed("it was not asked to the end" if self.should_stop() else f"no answer within {_ANSWER_S:g} s")
        try:
            return self._ray.get(answer)
        except Exception as error:  # whatever the node raised: it costs no other node
            if "No module named" in str(error):
                return Failed("this package is not installed there, or not in the same version")
            return Failed(_last_line(error))


def _address_of(given: str) -> str:
    """Return host and port of the cluster; ``auto`` is looked up as Ray does it."""
    if given != "auto":
        return given
    from ray._private.services import canonicalize_bootstrap_address  # no public function says it without connecting

    try:
        found = canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError, OSError):
        found = None
    if found is None:
        fail("no Ray cluster runs on this machine", f"give its address: --ray HOST:PORT; {_HINT}")
    return str(found)


def _require_listener(address: str) -> None:
    """Fail soon if nothing listens at the address: Ray itself tries for a minute and a half."""
    try:
        parts = urlsplit(address if "://" in address else f"gcs://{address}")
        place = parts.hostname, parts.port
    except ValueError:
        place = None, None
    if None in place:
        fail(f"{address!r} is no address of a Ray cluster", "expected HOST:PORT, or auto")
    try:
        socket.create_connection(place, timeout=_CONNECT_S).close()
    except OSError as error:
        fail(f"the Ray cluster at {address} cannot be reached: {error.strerror or error}", _HINT)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _last_line(error: Exception) -> str:
    """Return the last line of a task's traceback: the exception."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)[:300]
