"""`rsc check`: check that the record of a run is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.console import DATA_LOST, DONE, FAILED, print_json, remark, status_text, work_without_output
from journal.inspect.figures import few_steps_mark
from rsc import defaults
from rsc.cli import options

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.

KEY_METRICS = (
    "end_time",
    "initial_portfolio_value",
    "final_portfolio_value",
    "pnl",
    "sharpe_ratio",
    "max_drawdown",
    "win_rate",
    "total_reward",
    "total_steps",
    "total_trades",
)


_UNKNOWN_LOSS = "lost, number unknown"  # the end of a reason if a write failed or a tail is missing
_NAMED = 20  # this many journals without a row are named, the others are counted
_LISTING = 500


@dataclass
class _Findings:
    """Problems of a run's record.

    Attributes:
        lines: Incomplete parts, one line for each episode, then for the run.
        total: The number of episodes.
        incomplete: The number of incomplete episodes.
        lost: Lost steps and trades, one line for each episode.
        without_row: Journals that have no row.
        not_seen: The reason why the journals cannot be listed; empty if they were listed.
        unfinished: Whether a pass of the reconciler can help: an episode has not ended, or the run's driver has exited.
    """

    lines: list[str] = field(default_factory=list)
    total: int = 0
    incomplete: int = 0
    lost: list[str] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)
    not_seen: str = ""
    unfinished: bool = False

    @property
    def exit_code(self) -> int:
        if self.lines or self.without_row:
            return FAILED
        return DATA_LOST if self.not_seen or self.lost else DONE


@click.command("check")
@options.run_id
@options.database_url
@click.option(
    "--journal-root", metavar="DIR", type=click.Path(path_type=Path), help="Default: the root that the run recorded."
)
@options.as_json
def command(run_id: str, database_url: str | None, journal_root: Path | None, as_json: bool) -> int:
    """Check that a run's record is complete, and show its episodes.

    RUN_ID is a run's id, the unique beginning of one, or `latest`.

    A record is complete if the run has ended and has episodes, each episode has ended with every key metric and all
    its trades, and each journal has a row. Key metrics are values, pnl, Sharpe ratio, drawdown, win rate, reward, and
    the numbers of steps and trades.

    Rows are not compared with journals: `reconcile --audit` does that.

    Exit: 0 complete, 1 incomplete (the reasons are on stderr), 3 the rows are complete, but steps or trades are lost,
    or the run's journals cannot be listed.

    \b
    Examples:
      rsc check 20261122-120000-1a2b3c
      rsc check latest
    """
    from rsc.db import episodes, runs, trades
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    work_without_output()  # the exit code is the answer
    engine = open_existing(defaults.database_url(database_url))
    with reading(engine) as connection:
        run = runs.run_named(connection, run_id)
        run_id = run.run_id
        stored = trades.trade_counts(connection, run_id)
    findings = _Findings()
    listed = _check_episodes(episodes.episodes_of(engine, run_id), stored, findings, as_json)
    recorded = Path(run.journal_root) if isinstance(run.journal_root, str) and run.journal_root else None
    root = journal_root or recorded
    _check_run(run, root, findings)
    if root is not None:
        _check_journals(engine, root.absolute(), run_id, findings)
    _report(run_id, run.status, findings, listed if as_json else None)
    return findings.exit_code


def _check_episodes(
    rows: Iterable[Any], stored: dict[int, int], findings: _Findings, as_json: bool
) -> list[dict[str, Any]]:
    """Check each row and print it; return all rows for JSON."""
    from rsc.db.tolerant import UnreadableRow

    listed = []
    for found in rows:
        findings.total += 1
        if isinstance(found, UnreadableRow):
            findings.incomplete += 1
            findings.lines.append(f"episode {found.key}: its row cannot be read: {found.reason}")
            continue
        row = dict(found._mapping)
        row["missing"] = missing_of(row, stored.get(row["episode_id"], 0))
        if row["missing"]:
            findings.incomplete += 1
            findings.lines.append(f"episode {row['episode_id']}: {', '.join(row['missing'])}")
        if lost := lost_of(row):
            findings.lost.append(f"episode {row['episode_id']}: {lost}")
        findings.unfinished |= row["status"] == "started"
        if as_json:
            listed.append(row)
        else:
            click.echo(_block(row))
    return listed


def _check_run(run: Any, root: Path | None, findings: _Findings) -> None:
    from journal import JournalError, Liveness, Observer, marker_liveness

    if not findings.total:
        findings.lines.append("the run has no episodes")
    if run.status != "running":
        return
    try:
        driver = None if root is None else marker_liveness(root, run.run_id, Observer())
    except (JournalError, ValueError):
        driver = None
    if driver is not None and driver.liveness is Liveness.DEAD:
        findings.unfinished = True
        findings.lines.append("the run is still marked running, but its driver has exited")
    else:
        findings.lines.append("the run is still running")


def _check_journals(engine: Engine, root: Path, run_id: str, findings: _Findings) -> None:
    """Find journals without a row."""
    from journal.errors import JournalError
    from journal.host.paths import run_dir

    try:
        folder = run_dir(root, run_id)
        if folder.is_dir():
            findings.without_row = sorted(_without_row(engine, root, run_id))
        else:
            findings.not_seen = f"there is no folder {folder}"
    except OSError as error:
        findings.not_seen = f"{root}: {error.strerror}"
    except (JournalError, ValueError) as error:  # the run id or the root is not a valid folder name
        findings.not_seen = str(error)


def _without_row(engine: Engine, root: Path, run_id: str) -> Iterator[str]:
    from itertools import islice

    from journal import list_journals
    from rsc.db.episodes import known_journals
    from rsc.db.session import reading

    journals = list_journals(root, run_id)
    while ids := list(islice(journals, _LISTING)):
        with reading(engine) as connection:
            known = known_journals(connection, ids)
        yield from (journal_id for journal_id in ids if journal_id not in known)


def _report(run_id: str, status: str, findings: _Findings, listed: list[dict[str, Any]] | None) -> None:
    complete = findings.exit_code == DONE
    lines = [*findings.lines, *findings.lost, *(f"journal {one} has no row" for one in findings.without_row[:_NAMED])]
    if len(findings.without_row) > _NAMED:
        lines.append(f"and {len(findings.without_row) - _NAMED:,} more journals have no row")
    if findings.not_seen:
        lines.append(f"journals without a row cannot be ruled out: {findings.not_seen}; give --journal-root")
    if listed is None:
        click.echo(
            f"{findings.total - findings.incomplete} of {findings.total} episodes complete, run {status_text(status)}"
        )
    else:
        problems = {"problems": lines, "journals_without_row": len(findings.without_row)}
        print_json({"run_id": run_id, "status": status, "complete": complete, **problems, "episodes": listed})
    for line in lines:
        remark(line)
    if findings.unfinished or findings.without_row:
        remark(f"try: reconcile --run-id {run_id}")


def missing_of(row: dict[str, Any], stored_trades: int) -> list[str]:
    """Return the missing parts of an episode's row as text; an empty list if it is complete."""
    if row["status"] == "started":
        return ["still started" + (f", {row['status_reason']}" if row["status_reason"] else "")]
    lacks = [f"no {name}" for name in KEY_METRICS if row[name] is None and name not in not_told(row)]
    if row["total_trades"] is not None and stored_trades + (row["trades_lost"] or 0) < row["total_trades"]:
        lacks.append(f"{stored_trades} of {row['total_trades']} trades stored")
    return lacks


def lost_of(row: dict[str, Any]) -> str:
    """Return the known losses of an ended episode, from its row; empty if there are none."""
    steps, trades = row["steps_lost"] or 0, row["trades_lost"] or 0
    counted = f"{steps:,} steps and {trades:,} trades are lost" if steps or trades else ""
    later = "later steps are lost, number unknown" if _UNKNOWN_LOSS in (row["status_reason"] or "") else ""
    return "; ".join(filter(None, (counted, later)))


def not_told(row: dict[str, Any]) -> list[str]:
    """Return the metrics that are NULL because the env does not expose their inputs."""
    return (row["not_told"] or "").split()


def _block(row: dict[str, Any]) -> str:
    """Return an episode as four lines of 80 columns, and a line with the metrics that are not told, if there are any.

    A long reason makes the first line longer.
    """
    why = f" ({row['end_reason']}: {row['status_reason']})" if row["end_reason"] else ""
    untold = not_told(row)
    trades = f"{row['total_trades']} trades" if row["total_trades"] else "no closed trades"
    if "total_trades" in untold:
        trades = "trades unknown"
    text = (
        f"episode {row['episode_id']}  {status_text(row['status'])}{why}\n"
        f"  {_name(row)}  {_text(row['total_steps'], '{} steps')}  {trades}\n"
        f"  {_when(row['start_time'])} to {_when(row['end_time'])} UTC"
        f"  value {_text(row['initial_portfolio_value'], '{:.2f}')} to {_text(row['final_portfolio_value'], '{:.2f}')}\n"
        f"  pnl {_text(row['pnl'], '{:+.2f}')}  reward {_text(row['total_reward'], '{:+.4f}')}"
        f"  Sharpe {_text(row['sharpe_ratio'], '{:+.3f}')}{few_steps_mark(row, 'sharpe_ratio')}"
        f"  drawdown {_text(row['max_drawdown'], '{:.1%}')}"
        f"  win rate {_text(row['win_rate'], '{:.1%}')}"
    )
    return f"{text}\n  not told by this env: {', '.join(untold)}" if untold else text


def _name(row: dict[str, Any]) -> str:
    """Return RLlib's id of the episode, or without RLlib the id of its journal."""
    return f"rllib {row['rllib_episode_id']}" if row["rllib_episode_id"] else f"journal {row['journal_id'] or '-'}"


def _when(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "NULL"


def _text(value: Any, form: str) -> str:
    return "NULL" if value is None else form.format(value)
