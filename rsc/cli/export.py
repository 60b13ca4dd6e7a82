"""`rsc export`: copy a run into TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from journal.console import print_json, work_without_output
from rsc.cli import options

# Imports inside functions load SQLAlchemy or pyarrow, which `--help` does not need.


@click.command("export", short_help="Copy a run into TensorBoard, MLflow or W&B.")
@options.run_id
@click.option("--to", type=click.Choice(["tensorboard", "mlflow", "wandb"]), required=True, help="Each is an extra.")
@click.option(
    "-o",
    "--output",
    metavar="PLACE",
    help="Folder for TensorBoard (default: rsc-data/tensorboard) or W&B (default: here); tracking URI for MLflow"
    " (default: $MLFLOW_TRACKING_URI).",
)
@click.option("--project", metavar="NAME", default="rsc", show_default=True, help="W&B project, or MLflow experiment.")
@options.database_url
@click.option(
    "--journal-root", metavar="DIR", type=click.Path(path_type=Path), help="Default: the root that the run recorded."
)
@options.as_json
def command(
    run_id: str,
    to: Literal["tensorboard", "mlflow", "wandb"],
    output: str | None,
    project: str,
    database_url: str | None,
    journal_root: Path | None,
    as_json: bool,
) -> None:
    """Copy a run's curves, episodes and status into another tool.

    RUN_ID is a run's id, the unique beginning of one, or `latest`. Repeat the command at any time: new episodes are added,
    table and status are replaced. After a kill, `reconcile` and this command set the final status there.

    \b
    Examples:
      rsc export latest --to tensorboard
      reconcile latest && rsc export latest --to mlflow
      WANDB_MODE=offline rsc export latest --to wandb --project trading
    """
    from rsc.exporting.runs import export_run

    work_without_output()
    done = export_run(
        run_id,
        to,
        output=output,
        project=project,
        database_url=database_url,
        journal_root=journal_root,
    )
    if as_json:
        print_json(vars(done))
        return
    click.echo(f"{done.place}: {', '.join(done.parts)}")
    click.echo(f"{done.episodes:,} episodes, {done.points:,} of them new in the curves; run {done.status}")
