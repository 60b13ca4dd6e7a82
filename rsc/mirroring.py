"""Mirror a run's journals from each node on which it has processes: settings, checks, and messages."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from journal.mirror.node import NodeMirror

# Imports inside functions load obstore, which most runs do not need.

log = logging.getLogger("rsc")

FINISHING_S = 10.0
"""How long the end of a run waits for its mirror on this node, in seconds."""


LEAST_EVERY_S = 0.1
"""The shortest time between two looks, in seconds. Without a pause the mirror's process would keep a core busy."""


def usable_mirror(url: str, every_s: float) -> str:
    """Check that a mirror can be written from here, and return its URL. A folder becomes an absolute path.

    Raises:
        journal.mirror.MirrorError: The URL holds a user name, a password or a signature; ``every_s`` is below
            `LEAST_EVERY_S`; the store refuses it or does not answer, or obstore is not installed.
    """
    if not url:
        return ""
    from journal.mirror.store import MirrorError, Store, is_url, without_secrets

    if without_secrets(url) != url:
        raise MirrorError(
            "the mirror's URL holds secrets, and the run's row and each node's list of processes would show them;"
            " give credentials by the environment of each node, for example AWS_ACCESS_KEY_ID"
        )
    if not LEAST_EVERY_S <= every_s < math.inf:
        raise MirrorError(
            f"a mirror cannot look every {every_s:g} s; the shortest time between two looks is {LEAST_EVERY_S} s"
        )
    store = Store(url, make=True)
    store.test()
    return url if is_url(url) else str(Path(url).absolute())


def mirror_run(
    root: Path | str, run_id: str, url: str, every_s: float, node_id: Callable[[], str | None] = lambda: ""
) -> NodeMirror | None:
    """Mirror the journals of a run from this node while this process lives. Return None if there is no URL.

    Args:
        root: The journal root.
        run_id: The run.
        url: The mirror, as `usable_mirror` returned it.
        every_s: Seconds between two looks.
        node_id: Returns the id of this node in the cluster, or None while that is not known yet.
    """
    if not url:
        return None
    from journal.mirror.node import Order, mirror_here

    return mirror_here(Order(str(root), run_id, url, every_s), log.warning, node_id)


def finish_mirror(mirror: NodeMirror | None, run_id: str, url: str, root: Path | str) -> None:
    """Wait at the end of a run for the mirror of this node, for a bounded time, and log a warning if it is incomplete."""
    if mirror is not None and not mirror.finish(FINISHING_S):
        log.warning(
            "the mirror of run %s is not known to be complete; a background process continues for some minutes, and"
            " `journal mirror %s %s --run-id %s --once` stores the rest",
            run_id, root, url, run_id,
        )  # fmt: skip
