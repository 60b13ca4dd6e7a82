"""Mirror the runs under a root, one tick at a time. The caller decides when to tick and when to stop."""

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
        store: The mirror's store.
        root: The journal root.
        runs: The runs to mirror; all if empty.
        node_id: The node of the cluster; empty if unknown.
        say: Called with each line for the user.
    """

    store: Store
    root: Path
    runs: tuple[str, ...] = ()
    node_id: str = ""
    say: Callable[[str], None] = lambda line: None
    _mirrors: dict[str, RunMirror] = field(default_factory=dict)
    _down: bool = False

    def tick(self) -> bool:
        """Store the new parts of each run.

        If the store does not answer, warn once and do not raise. A later tick stores everything.

        Returns:
            True if the next tick can store parts that this one left out.
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
        """Read every journal again until nothing is left out. Some bytes are stored only if two looks find the same."""
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
        """True if the store answered in the last tick."""
        return not self._down

    def totals(self) -> dict[str, Any]:
        """Return the counts of what was stored since the start, by name."""
        totals: dict[str, Any] = {"runs": len(self._mirrors)}
        for mirror in self._mirrors.values():
            for name, count in asdict(mirror.sent).items():
                totals[name] = totals.get(name, 0) + count
        return totals
