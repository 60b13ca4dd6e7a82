"""Measure a pass whose journals are only in a bucket, beside reading the same objects and beside a local pass.

    python benchmarks/bucket.py                        1,000 and 10,000 stale episodes of 250 steps and 25 trades
    python benchmarks/bucket.py --episodes 300

The benchmark mirrors the journals to a local S3 server (moto), and a local pass ends the episodes in one PostgreSQL
database. Then it removes the journals, and `reconcile --journal-root s3://... --presume-lost 0s` ends the episodes in
another database. Rows and trades of both must be equal, bit for bit. "Reading" lists the objects and reads each of them
completely, with eight threads. Needs PostgreSQL, `moto[server]`, and 150 KB of disk for each episode.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crc32c import crc32c
from harness import Table, parser_of, report
from reconcile import PROCESSES, RUN, databases_of, make_stale, pass_on
from sqlalchemy import create_engine, text

from journal.mirror.store import Store
from tests.postgres import PostgresServer, find_programs
from tests.support.s3 import CREDENTIALS, free_port, start_moto

OF_A_PASS = {"episode_id", "finalized_at", "finalized_pass", "status_reason", "evidence_final"}
_LOOK_S = 0.05
_THREADS = 8


def read_objects(url: str) -> tuple[float, int, int]:
    """Return the seconds to read all objects, the number of objects, and their bytes."""
    started = time.perf_counter()
    store = Store(url)
    names = [entry.name for entry in store.entries("")]

    def read(name: str) -> int:
        data = store.get(name) or b""
        crc32c(data)
        return len(data)

    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(read, names))
    return time.perf_counter() - started, len(names), sum(sizes)


def pass_from_bucket(url: str, database: str) -> tuple[float, float]:
    """Return the seconds and peak MiB of `reconcile` with the mirror as its journal root."""
    words = ("--run-id", RUN, "--journal-root", url, "--presume-lost", "0s", "--wait", "0s", "--database-url", database)
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while process.poll() is None:
        peak = max(peak, _peak_kib(process.pid))
        time.sleep(_LOOK_S)
    seconds = time.perf_counter() - started
    said = process.communicate()[0].decode()
    assert process.returncode == 0, said
    return seconds, peak / 1024


def _peak_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def contents(database: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows and trades, without the columns that differ between passes."""
    engine = create_engine(database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM episodes ORDER BY journal_id")).mappings().all()
        query = "SELECT journal_id, t.* FROM completed_trades t JOIN episodes USING (episode_id)"
        trades = connection.execute(text(f"{query} ORDER BY journal_id, trade_number")).mappings().all()
    engine.dispose()
    return tuple(
        [{name: one[name] for name in one if name not in OF_A_PASS} for one in part] for part in (rows, trades)
    )


def measure(server: PostgresServer, home: Path, count: int, url: str) -> tuple[Any, ...]:
    """Measure one number of episodes, and return its row of the table."""
    stale = make_stale(home, count)
    mirror = [sys.executable, "-m", "journal", "mirror", str(stale.root), url, "--once"]
    subprocess.run(mirror, check=True, stdout=subprocess.DEVNULL)
    fresh = databases_of(server, stale)
    local_s = pass_on(fresh("local"), count, PROCESSES)
    shutil.rmtree(stale.root)
    floor_s, objects, size = read_objects(url)
    seconds, peak = pass_from_bucket(url, fresh("mirrored"))
    local, mirrored = contents(server.url("local")), contents(server.url("mirrored"))
    assert len(mirrored[0]) == count
    assert mirrored[1]
    assert repr(local) == repr(mirrored), "a pass over the bucket wrote other rows or trades than a local pass"
    return f"{count:,}", objects, size / 1e6, floor_s, local_s, seconds, seconds / (floor_s + local_s), peak


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--episodes", default="1000,10000", help="comma-separated numbers of episodes")
    parser.add_argument("--home", type=Path, help="where to put the journals, by default a temporary folder")
    given = parser.parse_args()
    counts = [300] if given.quick else [int(count) for count in given.episodes.split(",")]
    programs = find_programs()
    assert programs is not None, "no PostgreSQL server is installed"
    headings = (
        "episodes",
        "objects",
        "MB",
        "reading, s",
        "local pass, s",
        "pass, s",
        "x (reading + local)",
        "peak MiB",
    )
    table, server, port = Table(headings), PostgresServer(programs), free_port()
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    moto = start_moto(port)
    try:
        server.start()
        import boto3

        boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="bucket")
        for count in counts:
            with tempfile.TemporaryDirectory(dir=given.home, prefix="rsc-bench-") as home:
                table.rows.append(measure(server, Path(home), count, f"s3://bucket/of-{count}"))
    finally:
        moto.kill()
        moto.wait()
        server.remove()
    report("bucket", [table], given)


if __name__ == "__main__":
    main()
