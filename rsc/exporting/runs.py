"""`export_run`: copy a run into TensorBoard, MLflow or Weights & Biases. Repeating it adds no duplicates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal

from rsc.exporting.parts import Exported, ExportError, Part, parts_of
from rsc.loading.runs import load_run

Tool = Literal["tensorboard", "mlflow", "wandb"]
TOOLS = ("tensorboard", "mlflow", "wandb")


def export_run(
    run_id: str,
    to: Tool,
    *,
    output: str | Path | None = None,
    project: str = "rsc",
    database_url: str | None = None,
    journal_root: Path | str | None = None,
) -> Exported:
    """Copy a run into another tool: curves of metrics over episode numbers, a table of all episodes, the run's status.

    You may call it again at any time, even during training: new episodes are added, table and status are replaced. After a
    kill, `reconcile` and another export set the final status. Run only one export of a run at a time.

    Args:
        run_id: The run's id, its unique beginning, or `latest`.
        to: "tensorboard", "mlflow" or "wandb". Each is an extra of this package.
        output: The folder for event files of TensorBoard (None: rsc-data/tensorboard) or files of W&B (None: the current
            folder); or the tracking URI of MLflow (None: MLflow's default, for example $MLFLOW_TRACKING_URI).
        project: Name of the W&B project or of the MLflow experiment.
        database_url: As for `load_run`.
        journal_root: As for `load_run`.

    Returns:
        Where the run was written, and how much was added.

    Raises:
        ExportError: The tool is not installed or refuses, or the database does not know the run.
        rsc.db.errors.UnknownRunError: There is no such run, or several.
    """
    if to not in TOOLS:
        raise ValueError(f"expected one of {', '.join(TOOLS)}, got {to!r}")
    run = load_run(run_id, database_url=database_url, journal_root=journal_root)
    export: Callable[[list[Part], str | None, str], Exported] = import_module(f"rsc.exporting.{to}").export
    with tempfile.TemporaryDirectory() as folder:
        parts = parts_of(run, Path(folder))
        return export(parts, None if output is None else str(output), project)


__all__ = ["TOOLS", "ExportError", "Exported", "export_run"]
