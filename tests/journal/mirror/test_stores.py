"""Stores that refuse for a while, or corrupt uploads; and how many requests it takes to read one journal of a long run."""

from __future__ import annotations

import contextlib
import email.utils
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from journal.mirror import open_mirror
from tests.journal.mirror import test_mirror as mirrors
from tests.support.s3 import CREDENTIALS, free_port


class Gate:
    """Forwards connections to a server, until it is shut: then they are refused.

    Attributes:
        port: The port on which it listens.
        requests: The number of HTTP requests that it forwarded.
    """

    def __init__(self, to: int) -> None:
        self.port, self.requests = free_port(), 0
        self._to, self._sockets = to, list[socket.socket]()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):  # its peer has closed it
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one of them is closed
            while data := source.recv(1 << 16):
                if target.getpeername()[1] == self._to:
                    self.requests += data.count(b" HTTP/1.1\r\n")
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def gate(s3: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate before the S3 server. The environment has its address."""
    made = Gate(port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
    return made


def test_mirror__store_refuses_and_comes_back__one_warning_then_all_caught_up(
    s3: str, gate: Gate, tmp_path: Path
) -> None:
    root, said = tmp_path / "root", list[str]()
    writer = mirrors._writer(root, 30)
    service = mirrors._service(s3, root)
    service.say = said.append
    service.tick()
    gate.shut()
    for _ in range(3):
        mirrors._append(writer, 70)
        began = time.monotonic()
        service.tick()
        assert time.monotonic() - began < 12
        assert not service.reachable
    assert len(said) == 1
    assert "cannot be reached; training is not affected" in said[0]
    gate.open()
    mirrors._append(writer, 70)
    service.tick()
    assert service.reachable
    assert said[1:] == [f"{s3} answers again, and the mirror has caught up"]
    service.settle()
    mirrors._assert_prefixes(s3, root, tmp_path / "copy", complete=True)
    writer.close()


class Corrupting(BaseHTTPRequestHandler):
    """An S3 server that stores the checksum of an upload as a part of the object, as some clones do."""

    stored = b""

    def do_PUT(self) -> None:
        type(self).stored = b"64\r\n" + self.rfile.read(int(self.headers["Content-Length"])) + b"\r\n0\r\n"
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.stored)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        facts = {"ETag": '"1"', "Last-Modified": email.utils.formatdate(usegmt=True), "Content-Length": len(body)}
        for name, value in facts.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def test_mirror__store_corrupts_uploads__one_line_and_nothing_is_mirrored(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Corrupting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}
    done = mirrors._main(str(tmp_path), "s3://bucket/x", "--once", **environment)
    server.shutdown()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "s3://bucket/x returns other bytes than were written, so it cannot hold a mirror" in done.stderr


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("count", [10_000])
def test_read__one_journal_of_many_bundles_in_s3__at_most_100_requests_and_2_s(
    s3: str, gate: Gate, tmp_path: Path, count: int
) -> None:
    root, ids = tmp_path / "root", []
    service = mirrors._service(s3, root)
    while service.totals().get("bundles", 0) < count:  # a busy server may answer too late, which costs a tick
        with mirrors._writer(root, 1) as writer:
            ids.append(writer.journal_id)
        service.tick()
    seconds, requests = [], []
    for journal_id in (ids[0], ids[count // 2], ids[-1]):
        before, began = gate.requests, time.monotonic()
        with open_mirror(s3).run("run1").read(journal_id) as journal:
            assert journal.step_count == 1
        seconds.append(time.monotonic() - began)
        requests.append(gate.requests - before)
    assert max(requests) <= 100, (requests, seconds)
    assert min(seconds) < 2, (requests, seconds)
    assert len(open_mirror(s3).run("run1").journals) == len(ids)
