"""`journal export`: write journals as a dataset for DuckDB, pandas, polars and others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from journal.cli import options
from journal.cli.lines import count_text, cut_short_text
from journal.cli.lookup import database_rows
from journal.cli.opening import paths_of
from journal.console import DATA_LOST, DONE, USAGE, fail, print_json, remark, work_without_output
from journal.inspect.find import journal_root as root_of

if TYPE_CHECKING:
    from journal.ops.export import Exported

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("export", short_help="Write a run's steps and trades as Parquet, CSV or Arrow.")
@options.targets
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A new folder.")
@click.option("--format", "form", type=click.Choice(["parquet", "csv", "arrow"]), default="parquet", show_default=True)
@click.option(
    "--table",
    "tables",
    type=click.Choice(["steps", "trades", "episodes"]),
    multiple=True,
    help="Only this table. Repeatable. Default: all three.",
)
@options.as_json
@options.root
def command(
    targets: tuple[str, ...], output: Path, form: str, tables: tuple[str, ...], as_json: bool, journal_root: Path | None
) -> int:
    """Write steps, closed trades and one row per episode, partitioned by run.

    The folders are DIR/steps/run_id=RUN/, DIR/trades/run_id=RUN/ and DIR/episodes/run_id=RUN/; `journal_id` joins
    them. Live episodes are exported as they are now. DIR gets its name when the export is complete. If the database
    ($RSC_DATABASE_URL) has an episode's row, its number and status are exported. If the row says that the episode has
    ended, its metrics come from the row, otherwise from the journal.

    \b
    Examples:
      journal export 20261122-120000 -o dataset
      duckdb -c "select sum(pnl) from 'dataset/trades/*/*.parquet'"
      python -c "import pandas; print(pandas.read_parquet('dataset/episodes'))"
    """
    from journal.ops.dataset import TABLES
    from journal.ops.export import export

    work_without_output()
    root = root_of(journal_root)
    if output.absolute().is_relative_to(root):
        fail(f"{output} lies in the folder of all runs, {root}", "choose another place", USAGE)
    done = export(
        paths_of(targets, journal_root),
        output,
        form,
        tables or TABLES,
        database_rows("numbers and statuses of episodes"),
    )
    if as_json:
        print_json(_facts(done, form))
    else:
        _tell(done, form)
    lost = done.unreadable or done.steps_lost or done.trades_lost or done.cut_short
    return DATA_LOST if lost else DONE


def _facts(done: Exported, form: str) -> dict[str, object]:
    return {
        "output": str(done.folder),
        "format": form,
        "runs": sorted(done.runs),
        "episodes": done.episodes,
        "rows": done.rows,
        "steps_lost": done.steps_lost,
        "trades_lost": done.trades_lost,
        "cut_short": done.cut_short,
        "unreadable": [{"path": path, "problem": problem} for path, problem in done.unreadable],
    }


def _tell(done: Exported, form: str) -> None:

    for table, rows in done.rows.items():
        click.echo(f"{done.folder / table}: {count_text(rows, 'row')}")
    for path, problem in done.unreadable:
        remark(f"{Path(path).stem} is not a readable journal: {problem}")
    if done.steps_lost or done.trades_lost:
        remark(f"damage cost {count_text(done.steps_lost, 'step')} and {count_text(done.trades_lost, 'trade')}")
    if done.cut_short:
        remark(cut_short_text(done.cut_short))
    if form == "parquet" and done.rows.get("trades"):
        remark(f"""try: duckdb -c "select * from '{done.folder}/trades/*/*.parquet' limit 5\"""")
