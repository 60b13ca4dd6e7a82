"""Mirrors with real writers, real kills and a real S3 server: what is read back is what the local files hold."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from journal import About, JournalWriter, read_journal
from journal.mirror import MirrorError, open_mirror
from journal.mirror.bundle import BundleError, decode
from journal.mirror.service import MirrorService
from journal.mirror.store import Store
from tests.support.s3 import CREDENTIALS, free_port, start_moto

pytestmark = pytest.mark.xdist_group("mirror")


def _writer(root: Path, steps: int, every: int = 50) -> JournalWriter:
    writer = JournalWriter(root, "run1", about=About("Env", 10_000.0, 252), checkpoint_every_steps=every)
    _append(writer, steps)
    return writer


def _append(writer: JournalWriter, steps: int) -> None:
    for number in range(steps):
        writer.append(action=1, reward=0.001 * number, portfolio_value=10_000.0 + number, price=25.0)


def _service(url: str, root: Path) -> MirrorService:
    store = Store(url, make=True)
    store.test()
    return MirrorService(store, root)


def _assert_prefixes(url: str, root: Path, folder: Path, *, complete: bool) -> None:
    run = open_mirror(url).run("run1")
    assert run.fetch(run.journals, folder) == {}
    assert not run.problems
    local = sorted((root / "run1").glob("*.arrows"))
    assert {path.stem for path in local} >= set(run.journals)
    for path in local:
        copy = folder / "run1" / path.name
        if not copy.exists():
            assert not complete
            continue
        original, copied = read_journal(path), read_journal(copy)
        assert path.read_bytes().startswith(copy.read_bytes())
        assert not copied.findings
        assert not copied.steps_lost
        assert not copied.torn
        assert not copied.tail_lost
        if complete:
            assert (copied.last_step, copied.state, copied.size_bytes) == (
                original.last_step, original.state, original.size_bytes,
            )  # fmt: skip
            assert copy.read_bytes() == path.read_bytes()
            tail = path.with_suffix(".tail")
            assert tail.exists() == copy.with_suffix(".tail").exists()
            assert not tail.exists() or tail.read_bytes() == copy.with_suffix(".tail").read_bytes()


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_mirror__open_and_closed_journals__copies_equal_the_files(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("s3") if place == "s3" else str(tmp_path / "mirror")
    root = tmp_path / "root"
    writers = [_writer(root, steps) for steps in (0, 1, 49, 50, 51, 177)]
    writers[2].close()
    service = _service(url, root)
    for turn in range(20):
        service.tick()
        for writer in writers:
            if not writer.closed:
                _append(writer, 7)
        if turn == 10:
            service = _service(url, root)
    service.settle()
    _assert_prefixes(url, root, tmp_path / "open", complete=True)
    for writer in writers:
        writer.close()
    service.settle()
    _assert_prefixes(url, root, tmp_path / "closed", complete=True)
    assert len(open_mirror(url).run("run1").chains) == 1
    run = open_mirror(url).run("run1")
    with run.read(writers[5].journal_id) as journal:
        assert journal.steps().num_rows == 177 + 20 * 7
    assert open_mirror(url).now() is not None


def test_mirror__two_at_once__each_writes_its_own_chain_and_nothing_is_damaged(tmp_path: Path) -> None:
    root, url = tmp_path / "root", str(tmp_path / "mirror")
    writer = _writer(root, 10)
    one = _service(url, root)
    one.tick()
    other = _service(url, root)
    for _ in range(30):
        _append(writer, 9)
        other.tick()
        _append(writer, 1)
        one.tick()
    other.settle()
    assert len(open_mirror(url).run("run1").chains) == 2
    _assert_prefixes(url, root, tmp_path / "copy", complete=True)
    writer.close()
    one.settle()
    other.settle()
    _assert_prefixes(url, root, tmp_path / "closed", complete=True)


WRITERS = """
import random, sys, time
from journal import About, JournalWriter
make = lambda: JournalWriter(sys.argv[1], "run1", about=About("Env", 1e4, 252), checkpoint_every_steps=40)
writers = [make() for _ in range(32)]
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    at = random.randrange(32)
    for number in range(random.randrange(30)):
        writers[at].append(action=1, reward=0.01, portfolio_value=1e4 + number, price=2.0)
    if random.random() < 0.05:
        writers[at].close()
        writers[at] = make()
    time.sleep(0.001)
for writer in writers[:16]:
    writer.close()
"""


def test_mirror__killed_at_random_while_writers_write__prefixes_and_no_damage(tmp_path: Path) -> None:
    _kill_mirrors(tmp_path, 6, 10)


@pytest.mark.torture
def test_mirror__killed_100_times_while_writers_write__prefixes_and_no_damage(tmp_path: Path) -> None:
    _kill_mirrors(tmp_path, 100, 180)


def _kill_mirrors(tmp_path: Path, kills: int, seconds: int) -> None:
    root, url = tmp_path / "root", str(tmp_path / "mirror")
    root.mkdir()
    writers = subprocess.Popen([sys.executable, "-c", WRITERS, str(root), str(seconds)])
    command = [sys.executable, "-m", "journal", "mirror", str(root), url, "--every", "0.05"]
    for turn in range(kills):
        mirror = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert b"mirroring" in mirror.stderr.readline()
        time.sleep(random.random() * 0.6)  # the kill comes at any moment
        mirror.send_signal(signal.SIGKILL)
        mirror.wait()
        if turn % 3 == 2:
            _assert_prefixes(url, root, tmp_path / f"copy{turn}", complete=False)
    assert writers.wait(seconds + 30) == 0
    done = subprocess.run([*command, "--once", "--json"], capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["complete"] is True
    _assert_prefixes(url, root, tmp_path / "copy", complete=True)


def test_mirror__store_is_silent_and_comes_back__one_warning_then_all_caught_up(
    s3: str, tmp_path: Path, server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal.mirror.store._TIMEOUT", timedelta(seconds=1))
    root, said = tmp_path / "root", []
    writer = _writer(root, 30)
    service = _service(s3, root)
    service.say = said.append
    service.tick()
    server.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            _append(writer, 70)
            began = time.monotonic()
            service.tick()
            assert time.monotonic() - began < 10
            assert not service.reachable
    finally:
        server.send_signal(signal.SIGCONT)
    assert len(said) == 1
    assert "does not answer" in said[0]
    _append(writer, 70)
    service.tick()
    assert service.reachable
    assert len(said) == 2
    service.settle()
    _assert_prefixes(s3, root, tmp_path / "copy", complete=True)


def _main(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "journal", "mirror", *arguments]
    merged = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=merged, check=False)


def test_mirror__missing_bucket__one_line(s3: str, tmp_path: Path) -> None:
    done = _main(str(tmp_path), "s3://no-such-bucket/prefix", "--once")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "create the bucket" in done.stderr


def test_mirror__wrong_credentials__one_line(tmp_path: Path) -> None:
    port = free_port()
    server = start_moto(port, INITIAL_NO_AUTH_ACTION_COUNT="0")
    try:
        done = _main(
            str(tmp_path), "s3://bucket/x", "--once", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", **CREDENTIALS
        )
    finally:
        server.kill()
        server.wait()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "credentials" in done.stderr


def test_mirror__unreachable_store__one_line_in_bounded_time(tmp_path: Path) -> None:
    began = time.monotonic()
    done = _main(
        str(tmp_path), "s3://bucket/x", "--once", AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port()}", **CREDENTIALS
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be reached" in done.stderr
    assert time.monotonic() - began < 25


def test_read__skipped_roots__chains_are_known_and_their_journals_are_not_read(tmp_path: Path) -> None:
    _, mirror, writer = _mirrored(tmp_path)
    (chain,) = open_mirror(mirror).run("run1").chains
    run = open_mirror(mirror).run("run1", skip_roots={chain.root_id})
    assert [(one.root_id, one.moved) for one in run.chains] == [(chain.root_id, chain.moved)]
    assert (run.journals, run.problems) == ({}, [])
    assert set(open_mirror(mirror).run("run1", skip_roots={"another"}).journals) == {writer.journal_id}


@pytest.mark.parametrize(
    ("status", "says", "hint"),
    [
        (None, "it does not answer in time", "check the endpoint"),
        (401, "it answers 401 Unauthorized", "check the credentials"),
        (403, "it answers 403 Forbidden", "lack the permission"),
        (500, "it answers 500 Internal Server Error", ""),
    ],
)
def test_open__store_that_is_silent_or_refuses__names_the_cause(
    monkeypatch: pytest.MonkeyPatch, status: int | None, says: str, hint: str
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if status is None:
                over.wait(30)
            else:
                self.send_response(status)
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("journal.mirror.store._TIMEOUT", timedelta(seconds=1))
    with pytest.raises(MirrorError) as caught:
        open_mirror("s3://bucket/prefix")
    over.set()
    server.shutdown()
    assert str(caught.value) == f"cannot read s3://bucket/prefix: {says}"
    assert hint in caught.value.hint
    assert bool(caught.value.hint) == bool(hint)


def _bundles(mirror: Path) -> list[Path]:
    return sorted(mirror.glob("run1/*/*/*.bundle"))


def _mirrored(tmp_path: Path, ticks: int = 6) -> tuple[Path, Path, JournalWriter]:
    root, mirror = tmp_path / "root", tmp_path / "mirror"
    writer = _writer(root, 5)
    service = _service(str(mirror), root)
    for _ in range(ticks):
        service.tick()
        _append(writer, 60)
    service.settle()
    return root, mirror, writer


def test_read__missing_bundle__named_and_reported_as_damage(tmp_path: Path) -> None:
    _, mirror, writer = _mirrored(tmp_path)
    lost = _bundles(mirror)[3]
    lost.unlink()
    run = open_mirror(mirror).run("run1")
    problems = run.fetch([writer.journal_id], tmp_path / "copy")
    assert any(lost.name in problem for problem in run.problems)
    assert problems[writer.journal_id]
    copied = read_journal(tmp_path / "copy" / "run1" / f"{writer.journal_id}.arrows")
    assert copied.findings
    assert copied.steps_lost > 0
    assert copied.last_step == writer.steps


def test_read__each_byte_of_a_bundle_flipped__named_or_harmless_never_wrong(tmp_path: Path) -> None:
    _, mirror, writer = _mirrored(tmp_path, 3)
    bundle, flips = _bundles(mirror)[1], 0
    data = bundle.read_bytes()
    for at in range(0, len(data), max(len(data) // 40, 1)):
        bundle.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        run = open_mirror(mirror).run("run1")
        problems = run.fetch([writer.journal_id], tmp_path / "copy")
        copy = tmp_path / "copy" / "run1" / f"{writer.journal_id}.arrows"
        copied = read_journal(copy)
        named = any(bundle.name in one for one in [*run.problems, *problems.get(writer.journal_id, [])])
        flips += named
        # A flip in a generation of the tail that the stream has by now is not read.
        assert named or copy.read_bytes() == writer.path.read_bytes(), at
        assert copied.findings or copied.last_step == writer.steps
    assert flips > 5
    bundle.write_bytes(data)


def test_read__bundle_twice__the_copy_is_named_and_ignored(tmp_path: Path) -> None:
    root, mirror, _ = _mirrored(tmp_path)
    bundles = _bundles(mirror)
    twice = bundles[-1].with_name("0000000099.bundle")
    twice.write_bytes(bundles[2].read_bytes())
    run = open_mirror(mirror).run("run1")
    assert any(twice.name in problem for problem in run.problems)
    assert run.fetch(run.journals, tmp_path / "copy") == {}
    for path in (root / "run1").glob("*.arrows"):
        assert (tmp_path / "copy" / "run1" / path.name).read_bytes() == path.read_bytes()


def test_read__hostile_indexes__refused(tmp_path: Path) -> None:
    import msgspec

    from journal.mirror import bundle as b

    good = b.Index(1, "run1", "h", "m", 1, 1, 4, [b.Piece("ep1", 0, 1, 0, 4, 0)])
    drafts = [b.Draft("ep1", b.Kind.STREAM, b"data")]
    data = b.encode(good, drafts)
    assert decode(data, len(data)).pieces[0].length == 4
    hostile = [
        ("../../etc/passwd", 0, 1, 0, 4), ("ep1", 0, 1, 0, 5), ("ep1", 0, 1, 1 << 61, 4), ("ep1", 0, 1, -1, 4),
        ("ep1", 9, 1, 0, 4), ("ep1", 0, 2, 0, 4), ("", 0, 1, 0, 4), ("ep1", 0, 1, 0, 1 << 40),
    ]  # fmt: skip
    for piece in hostile:
        index = msgspec.structs.replace(good, pieces=[b.Piece(*piece, crc=0)])
        bad = b.encode(index, drafts)
        with pytest.raises(BundleError):
            decode(bad, len(bad))
    with pytest.raises(BundleError):
        decode(data, len(data) + 1)
    bomb = b.encode(msgspec.structs.replace(good, host="h" * (b.MAX_INDEX_TEXT + 1)), drafts)
    with pytest.raises(BundleError):
        decode(bomb, len(bomb))


def _forged(mirror: Path, pieces: list[tuple], data: bytes, number: int = 1, mirror_id: str = "forged") -> Path:
    """Write a well-formed bundle, with a right checksum, that states these pieces."""
    from journal.mirror import bundle as b

    (host,) = (mirror / "run1").iterdir()
    path = host / mirror_id / b.object_name(number)
    path.parent.mkdir(exist_ok=True)
    stated = [b.Piece(*piece) for piece in pieces]
    index = b.Index(1, "run1", host.name, mirror_id, number, 1, len(data), stated)
    path.write_bytes(b.encode(index, [b.Draft("", b.Kind.STREAM, data)]))
    return path


def _crc(data: bytes) -> int:
    from crc32c import crc32c

    return int(crc32c(data))


def test_read__pieces_that_disagree__named_and_the_bytes_of_one_are_taken(tmp_path: Path) -> None:
    _, mirror, writer = _mirrored(tmp_path)
    run = open_mirror(mirror).run("run1")
    part = next(one for one in run.journals[writer.journal_id].parts if one.start == 0 and one.file.suffix == ".arrows")
    other = b"x" * part.length
    _forged(mirror, [(writer.journal_id, 0, 1, 0, part.length, _crc(other), 0, 1, 0)], other)
    problems = open_mirror(mirror).run("run1").fetch([writer.journal_id], tmp_path / "copy")
    assert any("disagree" in problem for problem in problems[writer.journal_id])


def test_read__ids_that_leave_the_root__the_object_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    _, mirror, _ = _mirrored(tmp_path)
    for journal_id in ("../../escaped", "/tmp/escaped", "..", "a/b"):
        path = _forged(mirror, [(journal_id, 0, 1, 0, 4, _crc(b"data"))], b"data")
        run = open_mirror(mirror).run("run1")
        assert any(path.name in problem and "is not a journal id" in problem for problem in run.problems)
        assert journal_id not in run.journals
        run.fetch([*run.journals, journal_id], tmp_path / "copy")
    written = {path.relative_to(tmp_path / "copy").parts[0] for path in (tmp_path / "copy").rglob("*")}
    assert written == {"run1"}


def test_read__pieces_with_sizes_and_places_that_lie__named_in_bounded_time_and_space(tmp_path: Path) -> None:
    _, mirror, writer = _mirrored(tmp_path)
    before = set(open_mirror(mirror).run("run1").journals)
    hostile = [
        ("far", 0, 1, 0, 4, _crc(b"data"), 1 << 50),  # a gap of a petabyte
        ("long", 0, 1, 0, 4, _crc(b"data")), ("long", 0, 1, 0, 1 << 26, 0, 4),  # longer than its bundle
        ("room", 2, 1, 0, 4, _crc(b"data"), 0, 1, 1 << 60),
    ]  # fmt: skip
    block = bytes(1 << 20)
    many = [("many", 0, 1, 0, len(block), _crc(block), len(block) * at) for at in range(200)]
    for at, piece in enumerate(hostile[:3]):
        _forged(mirror, [piece], b"data", mirror_id=f"forged{at}")
    _forged(mirror, hostile[3:], b"data", mirror_id="forged3")
    _forged(mirror, many, block, mirror_id="many")
    _forged(mirror, [], b"", number=9_999_999_999, mirror_id="gaps")
    began = time.monotonic()
    run = open_mirror(mirror).run("run1")
    problems = run.fetch(run.journals, tmp_path / "copy")
    assert time.monotonic() - began < 20
    assert "left out" in problems["far"][0]
    assert any("forged2" in problem and "ends behind its end" in problem for problem in run.problems)
    assert any("left out" in problem for problem in problems["many"])  # together more than its bundles hold
    assert not {name for name in before if name in problems}
    held = sum(path.stat().st_blocks * 512 for path in (tmp_path / "copy").rglob("*"))
    assert held < 8 << 20
    assert len(run.problems) < 3000
    assert read_journal(tmp_path / "copy" / "run1" / f"{writer.journal_id}.arrows").last_step == writer.steps


def test_read__one_journal_of_many_bundles__few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, mirror = tmp_path / "root", tmp_path / "mirror"
    service = _service(str(mirror), root)
    ids = []
    for _ in range(300):
        with _writer(root, 1) as writer:
            ids.append(writer.journal_id)
        service.tick()
    count = [0]
    for name in ("get_range", "get_start", "get", "children", "modified", "entries"):
        original = getattr(Store, name)

        def counted(self, *arguments, _original=original):
            count[0] += 1
            return _original(self, *arguments)

        monkeypatch.setattr(Store, name, counted)
    run = open_mirror(mirror).run("run1")
    assert len(run.journals) == 300
    with run.read(ids[100]) as journal:
        assert journal.step_count == 1
    assert count[0] < 30
    assert max(chain.base for chain in run.chains) == 256
    monkeypatch.undo()

    (bundle,) = mirror.glob("run1/*/*/0000000101.bundle")
    lost = ids[100]
    bundle.rename(tmp_path / "away")
    problems = open_mirror(mirror).run("run1").fetch(ids, tmp_path / "copy")
    assert set(problems) == {lost}
    assert bundle.name in problems[lost][0]
    (tmp_path / "away").rename(bundle)

    (index,) = mirror.glob("run1/*/*/0000000256.bundle")
    data = index.read_bytes()
    index.write_bytes(data[:40] + b"\0" + data[41:])
    run = open_mirror(mirror).run("run1")
    assert [problem for problem in run.problems if index.name in problem]
    assert set(run.journals) >= set(ids) - {ids[255]}  # one bundle before was covered by nothing else
    assert run.fetch(set(ids) - {ids[255]}, tmp_path / "other") == {}


def test_open_mirror__a_folder_that_is_none__one_line(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="there is no mirror"):
        open_mirror(tmp_path)


def test_commands__url_as_root__print_what_they_print_of_the_folder(tmp_path: Path) -> None:
    root, mirror, writer = _mirrored(tmp_path)
    writer.close()
    _service(str(mirror), root).tick()

    def printed(place: str, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "journal", *arguments, "--journal-root", place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    verbs = (
        ["ls", "run1", "--ids"],
        ["cat", "latest"],
        ["stats", "run1"],
        ["verify", "run1", "--deep"],
        ["ls", "--ids"],
    )
    for words in verbs:
        local, remote = printed(str(root), *words), printed(f"file://{mirror}", *words)
        assert local == remote
        assert local[0] == 0
        assert local[1]
    for words in (["du"], ["prune", "run1", "--older-than", "1d"], ["tail", "-f", "latest"]):
        assert printed(f"file://{mirror}", *words)[0] == 1
    assert printed(f"file://{tmp_path}", "ls")[0] == 1


def test_commands__url_as_target__names_the_url_and_never_the_copy(s3: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    with _writer(root, 30) as writer:
        pass
    _service(s3, root).tick()
    episode = writer.journal_id

    def printed(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "journal", *arguments]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        assert "journal-mirror-" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    path = f"{s3}/run1/{episode}.arrows"
    assert printed("ls", s3)[1].count("run1") == 1
    assert json.loads(printed("ls", f"{s3}/run1", "--json")[1])["path"] == path
    for name in (f"run1/{episode}", f"run/{episode[:12]}", "run1/latest", f"run1/{episode}.arrows"):
        assert f"path        {path}" in printed("info", f"{s3}/{name}")[1]
    assert json.loads(printed("info", path, "--json")[1])["path"] == path
    assert printed("cat", path, "--format", "csv")[1].count("\n") == 31
    assert printed("verify", f"{s3}/run1")[0] == 0
    for words, says in (
        (["info", f"{s3}/run1/none"], f"in {s3}"),
        (["ls", f"{s3}/none"], f"in {s3}"),
        (["info", "s3://bucket/elsewhere/run1/none"], "there is no mirror at s3://bucket/elsewhere/run1/none"),
        (["du", f"{s3}/run1"], "du cannot work"),
        (["tail", "-f", f"{s3}/run1/latest"], "tail -f cannot work"),
        (["prune", f"{s3}/run1", "--older-than", "1d"], "prune cannot work"),
    ):
        code, output = printed(*words)
        assert code == 1
        assert says in output
        assert output.count("\n") == 1
