"""Mirror all runs under a root, tick by tick, until a signal, the end of a pipe, or the first pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from journal.host.identity import this_writer
from journal.host.paths import list_runs
from journal.mirror.shipping import RunMirror
from journal.mirror.store import MirrorError, Store, host_in_mirror

_STUCK_S = 0.2
_SETTLE_TRIES = 3


@dataclass
class MirrorService:
    """Mirror the runs under a root.

    Args:
        store: Where to.
        root: The journal root.
        runs: Only these runs; all if empty.
        node_id: The node of the cluster; empty if unknown.
        say: Gets one line for a human.
    """

    store: Store
    root: Path
    runs: tuple[str, ...] = ()
    node_id: str = ""
    say: Callable[[str], None] = lambda line: None
    _mirrors: dict[str, RunMirror] = field(default_factory=dict)
    _down: bool = False

    def tick(self) -> bool:
        """Mirror what is new of each run; return True if a part was left out that a further tick can store.

        While the store does not answer, one warning is said, and nothing is raised.
        """
        more = False
        try:
            for run_id in self.runs or sorted(list_runs(self.root)):
                more |= self._mirror_of(run_id).tick()
        except MirrorError as error:
            if not self._down:
                self.say(
                    f"warning: {error}; training is not affected, and the mirror catches up when the store answers"
                )
            self._down = True
            return False
        if self._down:
            self.say(f"{self.store.url} answers again, and the mirror has caught up")
        self._down = False
        return more

    def settle(self) -> None:
        """Flush: look at every journal once more, and store what only a second look can judge."""
        for mirror in self._mirrors.values():
            mirror.wake()
        for _ in range(_SETTLE_TRIES):
            if not self.tick():
                return
            time.sleep(_STUCK_S)

    def _mirror_of(self, run_id: str) -> RunMirror:
        if run_id not in self._mirrors:
            host = host_in_mirror(this_writer().host)
            self._mirrors[run_id] = RunMirror(self.store, self.root, run_id, host, self.node_id)
        return self._mirrors[run_id]

    @property
    def reachable(self) -> bool:
        """Whether the store answered in the last tick."""
        return not self._down

    def totals(self) -> dict[str, Any]:
        """Return what was stored since the start, by kind."""
        totals: dict[str, Any] = {"runs": len(self._mirrors)}
        for mirror in self._mirrors.values():
            for name, count in asdict(mirror.sent).items():
                totals[name] = totals.get(name, 0) + count
        return totals
