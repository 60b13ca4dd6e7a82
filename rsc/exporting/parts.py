"""Divide a run into the parts that are exported: the run, or each trial of a sweep, with a file of its episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rsc.loading.runs import LoadedRun

METRICS = (
    "total_return",
    "excess_return",
    "sharpe_ratio",
    "max_drawdown",
    "win_rate",
    "pnl",
    "total_reward",
    "trades",
    "start_env_steps",
    "steps",
)
"""The metrics that become curves. `steps` is written last: if a tool has it, it has the others."""
TABLE_ROWS = 10_000
"""The number of last episodes in tables for people. The file has all episodes."""
_FACTS = ("algorithm", "seed", "package_version", "git_commit", "driver_host", "notes")
_BATCH = 4096


class ExportError(Exception):
    """A run cannot be exported. The message is one line: the cause, and what to do."""


@dataclass
class Exported:
    """The result of `export_run`.

    Attributes:
        place: Where the tool stores the run: a path or URL, with the project.
        parts: Names of the external runs: the run, or its trials.
        episodes: The number of episodes in their tables.
        points: The number of episodes that this call added to the curves.
        status: The run's current status.
    """

    place: str
    status: str
    parts: list[str] = field(default_factory=list)
    episodes: int = 0
    points: int = 0


@dataclass
class Part:
    """One external run: all of a run, or one trial of it. ``file`` holds its episodes as Parquet."""

    run_id: str
    trial_id: str | None
    row: Mapping[str, Any]
    file: Path
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run_id if self.trial_id is None else f"{self.run_id}/{self.trial_id}"

    @property
    def status(self) -> str:
        return str(self.row["status"])

    @property
    def start_time(self) -> datetime:
        start: datetime = self.row["start_time"]
        return start

    @property
    def episodes(self) -> int:
        return sum(self.counts.values())

    def parameters(self) -> dict[str, Any]:
        """Return settings and provenance by name, flattened. For a trial, the settings that it changed."""
        own = dict(self.row["parameters"] or {})
        starts = (own.pop("trials", None) or {}).get(self.trial_id) or [{}]
        nested = {**own, **(self.row["config"] or {}), **(starts[-1].get("parameters") or {})}
        facts = {name: self.row[name] for name in _FACTS}
        return {name: value for name, value in {**facts, **_flat(nested)}.items() if value is not None}

    def table(self) -> pa.Table:
        """Return the last `TABLE_ROWS` episodes."""
        kept: list[pa.RecordBatch] = []
        for batch in self.batches():
            kept.append(batch)
            while sum(len(one) for one in kept[1:]) >= TABLE_ROWS:
                kept.pop(0)
        table = pa.Table.from_batches(kept, pq.read_schema(self.file))
        return table.slice(max(len(table) - TABLE_ROWS, 0))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all episodes."""
        with pq.ParquetFile(self.file) as opened:
            yield from opened.iter_batches(_BATCH)

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield the points of the curves: episodes that have ended and have a number, which never changes."""
        wanted = ["episode_id", "last_step_time", "in_evaluation", "status", *METRICS]
        for batch in self.batches():
            for row in batch.select(wanted).to_pylist():
                if row["episode_id"] is not None and row["status"] not in (None, "started"):
                    yield row


def values_of(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the known metrics of an episode, as `training/pnl` or `evaluation/pnl`."""
    kind = "evaluation" if point["in_evaluation"] else "training"
    return {
        f"{kind}/{name}": float(point[name])
        for name in METRICS
        if point[name] is not None and math.isfinite(point[name])
    }


def parts_of(run: LoadedRun, folder: Path) -> list[Part]:
    """Write the episodes of a run, or of each of its trials, into files of this folder. Memory stays bounded.

    Returns:
        The run first, then its trials by id. Episodes without a trial belong to the run.

    Raises:
        ExportError: The database does not know the run.
    """
    row = run.row
    if row is None:
        raise ExportError(
            f"run {run.run_id} is not in the database, but an export needs its status and numbers; run `reconcile` first"
        )
    trials = (row["parameters"] or {}).get("trials") or {}
    parts = {one: Part(run.run_id, one, row, folder / f"{place}.parquet") for place, one in enumerate([None, *trials])}
    writers: dict[str | None, pq.ParquetWriter] = {}
    reader = run.reader("episodes")
    try:
        for batch in reader:
            for trial_id in pc.unique(batch["trial_id"]).to_pylist():
                part = parts.setdefault(trial_id, Part(run.run_id, trial_id, row, folder / f"{len(parts)}.parquet"))
                chosen = pc.is_null(batch["trial_id"]) if trial_id is None else pc.equal(batch["trial_id"], trial_id)
                rows = batch.filter(chosen)
                _writer(writers, part, reader.schema).write_batch(rows)
                for status in rows["status"].to_pylist():
                    part.counts[status or "without row"] = part.counts.get(status or "without row", 0) + 1
        for part in parts.values():
            _writer(writers, part, reader.schema)
    finally:
        for writer in writers.values():
            writer.close()
    return [parts[None], *(parts[one] for one in sorted(name for name in parts if name is not None))]


def _writer(writers: dict[str | None, pq.ParquetWriter], part: Part, schema: pa.Schema) -> pq.ParquetWriter:
    if part.trial_id not in writers:
        writers[part.trial_id] = pq.ParquetWriter(part.file, schema, compression="zstd")
    return writers[part.trial_id]


def _flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{start}{name}."))
        else:
            found[f"{start}{name}"] = value
    return found
