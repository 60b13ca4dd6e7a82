"""Check the address of a running Ray cluster before Ray uses it, since Ray itself would wait for 90 s."""

from __future__ import annotations

import importlib.util
import os
import socket
from urllib.parse import urlsplit

AUTH_HINT = "is this machine one of its nodes? if the cluster checks tokens, set RAY_AUTH_MODE here as on its nodes"
_CONNECT_S = 5.0
_ANSWER_S = 5.0
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # an empty frame of settings
_FRAME_BYTES, _TYPE_AT, _SETTINGS = 9, 3, 4


class ClusterError(Exception):
    """A Ray cluster cannot be used. ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0])


def cluster_address(given: str, hint: str) -> str:
    """Return the address of a cluster that answers.

    Args:
        given: ``HOST:PORT`` of the head, or ``auto``: the cluster of this machine, found as Ray finds it.
        hint: What the user can do about a cluster that does not answer.

    Raises:
        ClusterError: No cluster answers there, or Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("--ray needs Ray, which is not installed", 'pip install "reinforce-strategy-creator[train]"')
    address = _found_here(hint) if given == "auto" else given
    try:
        parts = urlsplit(address if "://" in address else f"gcs://{address}")
        place = parts.hostname, parts.port
    except ValueError:
        place = None, None
    if None in place:
        raise ClusterError(f"{address!r} is not an address of a Ray cluster", "expected HOST:PORT, or auto")
    try:
        with socket.create_connection(place, timeout=_CONNECT_S) as connection:
            why = "" if os.environ.get("RAY_USE_TLS") in ("1", "true") else _what_is_wrong(connection)
    except OSError as error:
        words = f"the Ray cluster at {address} cannot be reached: {error.strerror or error}"
        raise ClusterError(words, hint) from error
    if why:
        raise ClusterError(f"no Ray cluster answers at {address}: {why}", hint)
    return address


def _what_is_wrong(connection: socket.socket) -> str:
    """Say hello as a gRPC client does; return what is wrong with the answer, or an empty text.

    Joining a head that is stopped, or a program that only accepts connections, never ends.
    """
    connection.settimeout(_ANSWER_S)
    try:
        connection.sendall(_HELLO)
        answer = connection.makefile("rb").read(_FRAME_BYTES)
    except TimeoutError:
        return f"it accepts connections, but does not answer within {_ANSWER_S:g} s"
    if not answer:
        return "it closes the connection; is it the port of the head, 6379 by default?"
    is_grpc = len(answer) == _FRAME_BYTES and answer[_TYPE_AT] == _SETTINGS
    return "" if is_grpc else "another program listens there; the head's port is 6379 by default"


def _found_here(hint: str) -> str:
    from ray._private.services import (
        canonicalize_bootstrap_address,
    )  # no public function finds the address without connecting

    try:
        found = canonicalize_bootstrap_address("auto")
    except (ConnectionError, ValueError, OSError):
        found = None
    if found is None:
        raise ClusterError("no Ray cluster runs on this machine", f"give its address: --ray HOST:PORT; {hint}")
    return str(found)
