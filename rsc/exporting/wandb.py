"""Write a run into Weights & Biases: one run, or a group with one for each trial. WANDB_MODE=offline needs no account."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from journal.console import jsonable
from rsc.exporting.parts import Exported, ExportError, Part, values_of

# Imports inside functions load modules that are slow to import and not always needed.

_FAILED = 1


def export(parts: list[Part], output: str | None, project: str) -> Exported:
    """Send new points to the W&B run with the run's id. A file in OUTPUT/wandb records the points that were sent.

    W&B cannot be asked for its points offline, so an export into another folder sends all points again.
    """
    try:
        import wandb
    except ImportError as error:
        raise ExportError("wandb is not installed: pip install 'reinforce-strategy-creator[wandb]'") from error
    root = Path(output or ".").absolute()
    (root / "wandb").mkdir(parents=True, exist_ok=True)
    done = Exported(f"{root / 'wandb'}, project {project}", parts[0].status)
    for part in parts:
        if part.trial_id is None and not part.episodes and len(parts) > 1:
            continue
        try:
            done.points += _send(wandb, part, root, project, grouped=len(parts) > 1)
        except wandb.errors.Error as error:
            raise ExportError(f"W&B refuses the export: {str(error).splitlines()[0]}") from error
        done.parts.append(part.name)
        done.episodes += part.episodes
    return done


def _send(wandb: Any, part: Part, root: Path, project: str, *, grouped: bool) -> int:
    """Send the new points of a part. Return their number."""
    external_id = re.sub(r"[^\w.-]", "-", part.name)
    note = root / "wandb" / f"rsc-{external_id}.json"
    sent = _sent(note, part)
    external = wandb.init(
        project=project,
        id=external_id,
        name=part.trial_id or part.run_id,
        group=part.run_id if grouped else None,
        config=jsonable(part.parameters()),
        tags=[part.status],
        dir=str(root),
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True),
    )
    try:
        points = _log_points(external, part, sent)
        table = part.table()
        rows = [list(row.values()) for row in jsonable(table.to_pylist())]
        external.log({"episodes": wandb.Table(columns=table.column_names, data=rows, allow_mixed_types=True)})
        artifact = wandb.Artifact(f"episodes-{external_id}", "episodes")
        artifact.add_file(str(part.file), "episodes.parquet")
        external.log_artifact(artifact)
        external.summary.update({"status": part.status, **{f"episodes/{name}": n for name, n in part.counts.items()}})
    except BaseException:
        external.finish(_FAILED)
        raise
    external.finish(0 if part.status in ("completed", "running") else _FAILED)
    note.write_text(json.dumps({"start_time": part.start_time.isoformat(), "sent": _ranges(sent)}), "utf-8")
    return points


def _log_points(external: Any, part: Part, sent: set[int]) -> int:
    external.define_metric("episode_id", hidden=True)
    for kind in ("training", "evaluation"):
        external.define_metric(f"{kind}/*", step_metric="episode_id")
    points = 0
    for point in part.points():
        if point["episode_id"] not in sent and (values := values_of(point)):
            external.log({"episode_id": point["episode_id"], **values})
            sent.add(point["episode_id"])
            points += 1
    return points


def _sent(note: Path, part: Part) -> set[int]:
    """Return the numbers of the episodes that earlier exports of this run sent, not of another run with its name."""
    try:
        known = json.loads(note.read_text("utf-8"))
    except FileNotFoundError:
        return set()
    except ValueError as error:
        raise ExportError(f"{note} is damaged: remove it to send all episodes again") from error
    if known["start_time"] != part.start_time.isoformat():
        return set()
    return {number for first, last in known["sent"] for number in range(first, last + 1)}


def _ranges(numbers: set[int]) -> list[list[int]]:
    """Return numbers as ranges of first and last."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
