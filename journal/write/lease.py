"""The lease of a writer process: for observers that cannot see its locks. Stated by the writer, judged in `lock`."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from journal.format.header import WriterIdentity
from journal.format.schema import LEASE_INTERVAL_S
from journal.host.liveness import lease_path

log = logging.getLogger("journal")


class _Keeper(threading.Thread):
    """Renews the leases of this process, one thread for all its runs. A failed renewal is tried again next time."""

    def __init__(self, interval_s: float) -> None:
        super().__init__(name="journal-lease", daemon=True)
        self.pid = os.getpid()
        self._interval_s = interval_s
        self._paths: dict[str, Path] = {}  # by the run's folder
        self._beat = 0

    def keep(self, run_folder: Path, writer: WriterIdentity) -> None:
        if str(run_folder) not in self._paths:
            path = lease_path(run_folder, writer)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._renew(path)
            self._paths[str(run_folder)] = path

    def run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._interval_s):
            self._beat += 1
            for path in list(self._paths.values()):
                try:
                    self._renew(path)
                except OSError as error:
                    log.debug("lease %s not renewed: %s", path, error)

    def _renew(self, path: Path) -> None:
        """Replaced whole: an observer never sees half a lease."""
        hidden = path.with_suffix(".new")
        hidden.write_text(json.dumps({"beat": self._beat, "interval_s": self._interval_s}), encoding="ascii")
        os.replace(hidden, path)


_keeper: _Keeper | None = None


def keep(run_folder: Path, writer: WriterIdentity) -> None:
    """Have the lease of this process in this run renewed until the process ends. Where it cannot be made, observers
    that depend on it are unsure, and wait."""
    global _keeper  # noqa: PLW0603 - one thread a process, made when the first journal is
    if _keeper is None or _keeper.pid != writer.pid:
        _keeper = _Keeper(LEASE_INTERVAL_S)
        _keeper.start()
    try:
        _keeper.keep(run_folder, writer)
    except OSError as error:
        log.debug("no lease in %s: %s", run_folder, error)
