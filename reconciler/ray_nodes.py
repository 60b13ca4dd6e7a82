"""List the nodes of a Ray cluster, and call a function on some of them. Each wait is bounded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rsc.ray_address import AUTH_HINT, ClusterError, cluster_address

_ANSWER_S = 120.0
_LOOK_S = 0.25  # pause between two checks whether tasks are done and whether the pass must stop
_HINT = "is it running? if it is gone for good: --journal-root MIRROR-URL --presume-lost AGE"


@dataclass(frozen=True)
class Failed:
    """A node did not answer a call. ``why`` is the reason in one line."""

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
        address: The cluster's address, or ``auto`` for the cluster of this machine.
        should_stop: Called while nodes work. If it returns True, do not wait for them any longer. It must go on to return
            True.

    Attributes:
        address: The address that was passed to Ray.
        should_stop: The function that was given.
        deadline: The end of the pass by `time.monotonic`. A node that has not answered by then has failed.

    Raises:
        ClusterError: No cluster answers at this address, or it cannot be joined.
    """

    def __init__(self, address: str, should_stop: Callable[[], bool] = lambda: False) -> None:
        self.should_stop = should_stop
        self.deadline = math.inf
        self.address = address = cluster_address(address, _HINT)
        import ray  # an extra, and slow to import; `cluster_address` refuses a wrong address first

        try:
            if not ray.is_initialized():
                ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
        except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and its own classes
            words = f"the Ray cluster at {address} cannot be joined: {_first_line(error)}"
            raise ClusterError(words, AUTH_HINT) from error
        self._ray = ray

    def table(self) -> NodeTable:
        """Return Ray's current table of nodes.

        Raises:
            ClusterError: The cluster does not answer any more.
        """
        try:
            nodes = self._ray.nodes()
        except Exception as error:  # Ray has no base class for a lost connection
            raise ClusterError(f"the Ray cluster does not answer any more: {_first_line(error)}", _HINT) from error
        live = {node["NodeID"]: str(node["NodeManagerHostname"]) for node in nodes if node["Alive"]}
        return NodeTable(live, frozenset(node["NodeID"] for node in nodes if not node["Alive"]))

    def call(self, function: Callable[..., Any], arguments: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Call a function on several nodes at the same time.

        Args:
            function: The function. Ray sends it to the nodes.
            arguments: The arguments of each call, by node id.

        Returns:
            The result of each call, or `Failed`, by node id. If `should_stop` returns True afterwards, a node that is
            `Failed` may only have been interrupted.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # Ray is an extra

        task = self._ray.remote(function)
        asked = {
            node_id: task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False), num_cpus=0, max_retries=0
            ).remote(*given)
            for node_id, given in arguments.items()
        }
        until, open_calls = min(time.monotonic() + _ANSWER_S, self.deadline), list(asked.values())
        while open_calls and time.monotonic() < until and not self.should_stop():
            _, open_calls = self._ray.wait(open_calls, num_returns=len(open_calls), timeout=_LOOK_S)
        for one in open_calls:
            self._ray.cancel(one, force=True)
        return {node_id: self._result(one, one not in open_calls) for node_id, one in asked.items()}

    def _result(self, answer: Any, is_ready: bool) -> Any:
        if not is_ready:
            is_late = time.monotonic() >= self.deadline
            return Failed("no answer before the pass's deadline" if is_late else f"no answer within {_ANSWER_S:g} s")
        try:
            return self._ray.get(answer)
        except Exception as error:  # one node's error must not affect the others
            if "No module named" in str(error):
                return Failed("this package is not installed there, or not in the same version")
            return Failed(_last_line(error))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _last_line(error: Exception) -> str:
    """Return the last line of a task's traceback, which names the exception."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)[:300]
