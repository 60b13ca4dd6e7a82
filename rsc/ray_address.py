"""The address of a running Ray cluster, checked before Ray uses it: Ray itself tries for a minute and a half."""

from __future__ import annotations

import importlib.util
import socket
from urllib.parse import urlsplit

from journal.console import fail

AUTH_HINT = "is this machine one of its nodes? if the cluster checks tokens, set RAY_AUTH_MODE here as on its nodes"
_CONNECT_S = 5.0


def cluster_address(given: str, hint: str) -> str:
    """Return the address of a cluster that answers; end the program with one line where none does.

    Args:
        given: ``HOST:PORT`` of the head, or ``auto``: the cluster of this machine, found as Ray finds it.
        hint: What the user can do about a cluster that does not answer.
    """
    if importlib.util.find_spec("ray") is None:
        fail("--ray needs Ray, which is not installed", 'pip install "reinforce-strategy-creator[train]"')
    address = _found_here(hint) if given == "auto" else given
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
        fail(f"the Ray cluster at {address} cannot be reached: {error.strerror or error}", hint)
    return address


def _found_here(hint: str) -> str:
    from ray._private.services import canonicalize_bootstrap_address  # no public function says it without connecting

    try:
        found = canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError, OSError):
        found = None
    if found is None:
        fail("no Ray cluster runs on this machine", f"give its address: --ray HOST:PORT; {hint}")
    return str(found)
