"""Read runs and write their page: `write_report`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from journal.plot.packing import Curves, Limits
from journal.plot.page import render
from rsc.records.names import Place, find_run
from rsc.report import summary
from rsc.report.reading import ReportedRun, RunReader

_GENERATOR = "rsc report"
_MARK = f'<meta name="generator" content="{_GENERATOR}">'.encode()
_MARK_WITHIN = 1000  # bytes


class ReportError(ValueError):
    """The page cannot be written. The message says why and what to do."""


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes:
        path: The file.
        size_bytes: The size of the file.
        runs: The runs that the page shows.
        charts: The number of episodes that have charts.
    """

    path: Path
    size_bytes: int
    runs: Sequence[ReportedRun]
    charts: int


def write_report(
    path: Path | str | None,
    *names: str,
    database_url: str | None = None,
    journal_root: Path | str | None = None,
    begin: Callable[[int], Callable[[], object]] | None = None,
) -> Report:
    """Write one HTML page about one or several runs. It needs no other file and no network.

    Args:
        path: The file to write. An older report is replaced, another file is not. If None, the file is named after the
            first run's id, with the suffix `.html`.
        names: Names of runs: ids, unique beginnings of ids, or `latest`.
        database_url: The database. If None, $RSC_DATABASE_URL, else the file rsc-data/rsc.db. If that file does not
            exist, only journals are read.
        journal_root: The journal root. If None, the roots that the runs recorded, else $RSC_JOURNAL_ROOT, else
            rsc-data/journal.
        begin: Called with the number of episodes. It returns a function, which is called after each episode.

    Returns:
        The file, and the runs that it shows.

    Raises:
        rsc.db.errors.UnknownRunError: No run has this name, or several do.
        rsc.db.session.DatabaseError: The given database cannot be used.
        ReportError: No run was named, no run has an episode, or the file exists and is not a report.
    """
    if not names:
        raise ReportError("name at least one run; `rsc runs` lists the runs")
    return report_of(path, [find_run(name, database_url, journal_root) for name in names], begin)


def report_of(
    path: Path | str | None, places: Iterable[Place], begin: Callable[[int], Callable[[], object]] | None = None
) -> Report:
    """Write the page about runs whose places are known. The other arguments are those of `write_report`."""
    each = {place.run_id: place for place in places}
    target = Path(f"{next(iter(each))}.html" if path is None else path)
    _require_replaceable(target)
    readers = [RunReader(place) for place in each.values()]
    total = sum(map(len, readers))
    if not total:
        raise ReportError(f"{', '.join(each)}: no episodes yet, neither rows nor journals, so there is nothing to show")
    step = begin(total) if begin is not None else lambda: None
    curves = Curves(Limits.of_count(total))
    runs = [reader.read(curves, step) for reader in readers]
    page = _page(runs, curves).encode()
    _replace(target, page)
    return Report(target, len(page), runs, sum(one["curve"] is not None for run in runs for one in run.episodes))


def _page(runs: Sequence[ReportedRun], curves: Curves) -> str:
    return render(
        "report.html.j2",
        [one for run in runs for one in run.episodes],
        curves,
        packages=["rsc.report"],
        data={"runs": named_groups(runs)},
        title=title_of([run.run_id for run in runs]),
        generator=_GENERATOR,
        **summary_values(runs),
    )


def named_groups(runs: Sequence[ReportedRun]) -> list[dict[str, str]]:
    """Return the id and the group of each run, for the scripts of a page. Runs of a group differ only in their seed."""
    return [{"id": run.run_id, "group": summary.group_of(run)} for run in runs]


def title_of(run_ids: Sequence[str]) -> str:
    """Return the title of a page about these runs."""
    return f"Run {run_ids[0]}" if len(run_ids) == 1 else f"{len(run_ids)} runs"


def summary_values(runs: Sequence[ReportedRun]) -> dict[str, Any]:
    """Return the values of the templates for everything above the table of episodes."""
    columns = summary.columns_of(runs)
    others = [name for name in summary.COMPARED if name not in summary.COSTS]
    return {
        "cards": [_card(run) for run in runs],
        "columns": columns,
        "counts": [f"{len(column.episodes):,}" for column in columns],
        "figures": summary.figure_rows(columns, others),
        "costs": summary.figure_rows(columns, summary.COSTS),
        "settings": summary.settings_rows(runs),
        "run_ids": [run.run_id for run in runs],
    }


def _card(run: ReportedRun) -> dict[str, Any]:
    row = run.row or {}
    times = [f"{row[name]:%Y-%m-%d %H:%M}" for name in ("start_time", "end_time") if row.get(name)]
    facts = {
        "algorithm": row.get("algorithm"),
        "time": " to ".join(times) + " UTC" if times else None,
        "host": row.get("driver_host"),
        "notes": row.get("notes"),
    }
    return {
        "id": run.run_id,
        "status": row.get("status") or "not in the database",
        "facts": {name: value for name, value in facts.items() if value},
        "counts": summary.status_counts(run),
        "total": len(run.episodes),
        "rescued": summary.rescued_words(run),
        "lost": summary.lost_words(run),
    }


def _require_replaceable(path: Path) -> None:
    """Raise ReportError if the file exists and is not a report."""
    if not path.parent.is_dir():
        raise ReportError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ReportError(f"{path} is a folder; name a file")
    if path.exists():
        with path.open("rb") as file:
            if _MARK not in file.read(_MARK_WITHIN):
                raise ReportError(f"{path} exists and is not a report, so it is not replaced; choose another name")


def _replace(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, and rename it when it is complete."""
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        hidden.write_bytes(data)
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
