"""Write a run into MLflow: a run of an experiment, with trials as child runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from journal.console import jsonable
from rsc.exporting.parts import Exported, ExportError, Part, values_of

# Imports inside functions load modules that are slow to import and not always needed.

_STATUS = {"running": "RUNNING", "completed": "FINISHED", "error": "FAILED", "interrupted": "KILLED"}
_BATCH = 1000  # the most metrics that MLflow accepts in one request
_PARAMS = 100
_RUN, _TRIAL, _STARTED = "rsc.run_id", "rsc.trial_id", "rsc.start_time"


def export(parts: list[Part], output: str | None, project: str) -> Exported:
    """Create the run of an experiment, or update the run of an earlier export, which is found by its tags.

    Points that MLflow does not have are added to the curves. Table and status are replaced.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise ExportError("MLflow is not installed: pip install 'reinforce-strategy-creator[mlflow]'") from error
    try:
        client = MlflowClient(tracking_uri=output)
        experiment_id = _experiment(client, project)
        done = Exported(f"{client.tracking_uri}, experiment {project}", parts[0].status)
        parent = ""
        for part in parts:
            external = _run_of(client, experiment_id, part, parent)
            parent = parent or external.info.run_id
            done.points += _update(client, external, part)
            done.parts.append(part.name)
            done.episodes += part.episodes
    except MlflowException as error:
        raise ExportError(f"MLflow refuses the export: {str(error).splitlines()[0]}") from error
    return done


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _run_of(client: Any, experiment_id: str, part: Part, parent: str) -> Any:
    """Return the external run of a part. Create it if there is none."""
    tags = {_RUN: part.run_id, _TRIAL: part.trial_id or "", _STARTED: part.start_time.isoformat()}
    page = None
    while page is None or page.token:
        page = client.search_runs(
            [experiment_id], f"tags.`{_RUN}` = '{part.run_id}'", page_token=None if page is None else page.token
        )
        for one in page:
            if tags.items() <= one.data.tags.items():
                return one
    if part.trial_id is not None:
        tags["mlflow.parentRunId"] = parent
    return client.create_run(experiment_id, _milliseconds(part.start_time), tags, part.trial_id or part.run_id)


def _update(client: Any, external: Any, part: Part) -> int:
    """Update an external run. Return the number of added points."""
    import mlflow.entities as entities

    run_id = external.info.run_id
    known = external.data.params  # MLflow refuses to change a parameter
    params = [entities.Param(name, value) for name, value in _params(part).items() if name not in known]
    for first in range(0, len(params), _PARAMS):
        client.log_batch(run_id, params=params[first : first + _PARAMS])
    there = {kind: _steps(client, run_id, f"{kind}/steps") for kind in ("training", "evaluation")}
    points = 0
    for count, metrics in _batches(part, there, entities.Metric):
        client.log_batch(run_id, metrics=metrics)
        points += count
    _add_table(client, run_id, part)
    _set_status(client, run_id, part)
    return points


def _params(part: Part) -> dict[str, str]:
    """Return the parameters with names and lengths that MLflow accepts."""
    return {re.sub(r"[^\w.\- :/]", "_", name)[:250]: str(value)[:6000] for name, value in part.parameters().items()}


def _steps(client: Any, run_id: str, key: str) -> set[int]:
    return {metric.step for metric in client.get_metric_history(run_id, key)}


def _batches(part: Part, there: dict[str, set[int]], metric: Callable[..., Any]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the missing points in batches for one request each, without splitting episodes."""
    waiting: list[Any] = []
    count = 0
    for point in part.points():
        number, time = point["episode_id"], _milliseconds(point["last_step_time"] or part.start_time)
        if number in there["evaluation" if point["in_evaluation"] else "training"]:
            continue
        metrics = [metric(name, value, time, number) for name, value in values_of(point).items()]
        if waiting and len(waiting) + len(metrics) > _BATCH:
            yield count, waiting
            waiting, count = [], 0
        waiting += metrics
        count += bool(metrics)
    if waiting:
        yield count, waiting


def _add_table(client: Any, run_id: str, part: Part) -> None:
    """Replace the file with all episodes, and the table that MLflow shows under "Evaluation"."""
    import json

    table = part.table()
    rows = [list(row.values()) for row in jsonable(table.to_pylist())]
    client.log_artifact(run_id, _named(part))
    client.log_dict(run_id, {"columns": table.column_names, "data": rows}, "episodes.json")
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": "episodes.json", "type": "table"}]))
    for status, count in part.counts.items():
        client.set_tag(run_id, f"rsc.episodes.{status}", str(count))


def _named(part: Part) -> str:
    """Return the path of the part's file, renamed to its name in MLflow."""
    target = part.file.with_suffix("") / "episodes.parquet"
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        target.hardlink_to(part.file)
    return str(target)


def _set_status(client: Any, run_id: str, part: Part) -> None:
    status, end = _STATUS.get(part.status, "FAILED"), part.row["end_time"]
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status, None if end is None else _milliseconds(end))
    client.set_tag(run_id, "rsc.status", part.status)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
