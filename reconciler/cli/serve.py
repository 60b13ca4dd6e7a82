"""Run the daemon: `reconcile --every` and `--cron`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from journal.console import DONE, fail, remark
from journal.events import time_lines
from reconciler.settings import Settings
from reconciler.signals import stop_on_signals


def serve(
    url: str,
    run_ids: Sequence[str] | None,
    settings: Settings,
    every_s: float | None,
    cron: str | None,
    deadline_s: float,
    metrics_port: int | None,
    metrics_address: str,
    ray: str | None,
) -> int:
    """Make passes until SIGINT or SIGTERM.

    Args:
        url: The database.
        run_ids: Names of runs; all runs if None.
        settings: The settings of each pass.
        every_s: Seconds between the starts of two passes; None with ``cron``.
        cron: A cron expression; None with ``every_s``.
        deadline_s: Stop a pass after this many seconds.
        metrics_port: The port of the metrics; None to serve none.
        metrics_address: The address of the metrics.
        ray: The address of the cluster whose nodes have the journals; None to read this machine's disk.

    Returns:
        The exit code 0: a signal is the normal end of a daemon.
    """
    # SQLAlchemy and Arrow are slow to import, and `--help` needs neither.
    from reconciler.daemon.metrics import Gauges, serve_gauges
    from reconciler.daemon.service import Daemon, Schedule
    from reconciler.executors import relax_garbage_collection
    from rsc.db.session import open_engine
    from rsc.db.urls import shown

    schedule = Schedule(every_s, cron, deadline_s)
    try:
        schedule.trigger()
    except ValueError as error:
        raise click.UsageError(f"--cron {cron!r}: {error}") from error
    relax_garbage_collection()
    time_lines()
    gauges = Gauges(schedule.longest_silence_s())
    engine = open_engine(url)
    if metrics_port is not None:
        try:
            server = serve_gauges(gauges, metrics_address, metrics_port)
        except OSError as error:
            fail(f"cannot serve metrics on {metrics_address}:{metrics_port}: {error.strerror}", "choose another port")
        port = server.server_address[1]
        words = f"metrics on http://{metrics_address}:{port}/metrics, health on /healthz"
        remark(words, "metrics", address=metrics_address, port=port)
    rhythm = f"every {every_s:g} s" if cron is None else f"at {cron} (UTC)"
    with stop_on_signals("stopping after this batch") as stop:
        place = f" on the Ray cluster {ray}" if ray else ""
        words = f"reconciling {', '.join(run_ids) if run_ids else 'all runs'} of {shown(engine.url)}{place} {rhythm}"
        remark(words, "start", database=shown(engine.url), run_ids=run_ids, every_s=every_s, cron=cron, ray=ray)
        cluster = None
        if ray is not None:
            from reconciler.daemon.apart import ClusterPasses  # only with --ray

            cluster = ClusterPasses(url, settings, ray, stop)
        Daemon(engine, run_ids, settings, schedule, stop, gauges, remark, cluster).run()
    remark("stopped", "stop")
    return DONE
