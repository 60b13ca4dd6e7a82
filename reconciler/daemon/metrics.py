"""Metrics of a daemon for Prometheus, and its health check."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from reconciler.report import PassReport
from reconciler.rules import CASES

_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Gauges:
    """The metrics of a daemon.

    Args:
        longest_silence_s: Seconds after its last good pass during which the daemon counts as healthy.
        clock: Returns seconds.
    """

    def __init__(self, longest_silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._longest_silence_s = longest_silence_s
        self._clock = clock
        self._last_good = clock()
        self._lock = threading.Lock()
        self._make()

    def _make(self) -> None:
        registry = self.registry
        self._passes = Counter("reconciler_passes", "Passes by outcome.", ["outcome"], registry=registry)
        self._duration = Histogram(
            "reconciler_pass_duration_seconds", "Duration of passes.", buckets=_BUCKETS, registry=registry
        )
        self._verdicts = Counter("reconciler_verdicts", "Verdicts by case of the table.", ["case"], registry=registry)
        self._ended = Counter("reconciler_episodes_ended", "Episodes ended, by status.", ["status"], registry=registry)
        self._lost = Counter("reconciler_lost", "Steps and trades lost to damage.", ["what"], registry=registry)
        self._errors = Counter("reconciler_errors", "Rows not written, and runs not judged.", registry=registry)
        self._waiting = Gauge("reconciler_waiting", "Episodes that waited on the last pass.", registry=registry)
        self._unlookable = Gauge(
            "reconciler_unlookable", "Rows and journals that could not be read on the last pass.", registry=registry
        )
        self._overruled = Gauge(
            "reconciler_overruled_verdicts", "Verdicts that were corrected later, in total.", registry=registry
        )
        self._false = Gauge(
            "reconciler_false_truncations", "Corrected verdicts that had a wrong status, in total.", registry=registry
        )
        self._oldest = Gauge(
            "reconciler_oldest_stale_episode_age_seconds",
            "Age of the oldest started episode whose writer is not known to be alive; 0 if there is none.",
            registry=registry,
        )
        self._success = Gauge(
            "reconciler_last_success_timestamp_seconds", "When the last good pass ended.", registry=registry
        )
        for letter in {case.letter for case in CASES}:
            self._verdicts.labels(letter)
        for outcome in ("done", "stopped", "failed"):
            self._passes.labels(outcome)

    def passed(self, report: PassReport, overruled: int, false: int) -> None:
        """Count a pass that reached its end or its deadline."""
        self._passes.labels("stopped" if report.stopped else "done").inc()
        self._duration.observe(report.seconds)
        for letter, count in report.cases.items():
            self._verdicts.labels(letter).inc(count)
        for status, count in report.ended.items():
            self._ended.labels(status).inc(count)
        self._lost.labels("steps").inc(report.steps_lost)
        self._lost.labels("trades").inc(report.trades_lost)
        self._errors.inc(report.failure_count)
        self._waiting.set(report.waiting)
        self._unlookable.set(report.unlookable_count)
        self._overruled.set(overruled)
        self._false.set(false)
        oldest = report.oldest_stale
        self._oldest.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0)
        if not report.stopped:
            self._success.set_to_current_time()
            with self._lock:
                self._last_good = self._clock()

    def failed(self) -> None:
        """Count a pass that ended with an error."""
        self._passes.labels("failed").inc()

    def silence_s(self) -> float:
        """Return the seconds since the last good pass, or since the start."""
        with self._lock:
            return self._clock() - self._last_good

    def is_well(self) -> bool:
        """Return whether passes succeed."""
        return self.silence_s() <= self._longest_silence_s


def serve_gauges(gauges: Gauges, address: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/metrics`` and ``/healthz`` from a thread; port 0 takes a free one. Raises OSError."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(gauges.registry), CONTENT_TYPE_LATEST)
            elif self.path == "/healthz":
                text = f"last good pass {gauges.silence_s():.0f} s ago\n"
                self._answer(200 if gauges.is_well() else 503, text.encode(), "text/plain; charset=utf-8")
            else:
                self._answer(404, b"there are /metrics and /healthz\n", "text/plain; charset=utf-8")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass  # no line for each scrape, since it would fill the log

    server = ThreadingHTTPServer((address, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="gauges", daemon=True).start()
    return server
