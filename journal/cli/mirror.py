"""`journal mirror`: copy journals to an object store while they are written."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import click

from journal.cli.lines import count_text, size_text
from journal.console import DONE, DURATION, FAILED, SignalEvent, fail, print_json, remark, work_without_output
from journal.host.paths import check_name

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

_PROGRESS_S = 60.0


@click.command("mirror", short_help="Copy journals to an object store while they are written.")
@click.argument("root", type=click.Path(path_type=Path), metavar="ROOT")
@click.argument("url", metavar="URL")
@click.option(
    "--every", type=DURATION, default="5s", show_default=True, metavar="DURATION", help="Time between two copies."
)
@click.option("--once", is_flag=True, help="Mirror what is there, and exit.")
@click.option("--run-id", "runs", multiple=True, metavar="RUN", help="Only this run. Repeatable. Default: all runs.")
@click.option("--node-id", default="", metavar="ID", help="The cluster's id of this node, stored with the journals.")
@click.option("--json", "as_json", is_flag=True, help="At the end print a JSON summary; docs/json.md describes it.")
def command(root: Path, url: str, every: float, once: bool, runs: tuple[str, ...], node_id: str, as_json: bool) -> int:
    """Copy the journals under ROOT to URL while they are written.

    At each interval, what is new of a run is stored as one object. Stored objects are never changed.

    URL is s3://BUCKET/PREFIX, gs://, az://, file:// or a folder. Credentials and AWS_ENDPOINT_URL come from the
    environment. The command can be killed and started again at any time, and several may run at once. It never writes
    into ROOT, and training never waits for it. While the store does not answer, it tries again.

    On the first Ctrl-C or SIGTERM it copies what is new, and exits.

    Exit status: 0 everything is stored, 1 something is not stored.

    \b
    Examples:
      journal mirror rsc-data/journal s3://bucket/journals
      journal mirror rsc-data/journal /mnt/backup --once
    """
    from journal.mirror.service import MirrorService
    from journal.mirror.store import Store

    work_without_output()
    if not root.is_dir():
        fail(f"there is no folder {root}", "name the folder of all runs")
    for run_id in runs:
        check_name(run_id, "run id")
    store = Store(url, make=True)
    store.test()
    service = MirrorService(store, root.absolute(), runs, node_id, remark)
    if not once:
        _until_a_signal(service, every)
    service.settle()
    if as_json:
        print_json({"url": store.url, **service.totals(), "complete": service.reachable})
    else:
        remark(_line(service.totals(), store.url))
    return DONE if service.reachable else FAILED


def _until_a_signal(service: Any, every: float) -> None:
    """Mirror at each interval until SIGINT or SIGTERM. A second signal ends the process at once."""
    stop = SignalEvent()

    def on_signal(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    remark(f"mirroring {service.root} to {service.store.url} every {every:g} s; Ctrl-C ends it")
    said, before = time.monotonic(), service.totals()
    while not stop.is_set():
        started = time.monotonic()
        service.tick()
        if started - said >= _PROGRESS_S and service.totals() != before:
            said, before = started, service.totals()
            remark(_line(before, service.store.url))
        stop.wait(max(every - (time.monotonic() - started), 0.1))


def _line(totals: dict[str, Any], url: str) -> str:
    stored = size_text(totals.get("bytes", 0))
    return f"{url}: {count_text(totals.get('bundles', 0), 'bundle')}, {stored}, of {count_text(totals['runs'], 'run')}"
