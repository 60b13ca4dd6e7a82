"""Make a single pass, with progress on a terminal and a summary: `reconcile --run-id` and `--all`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from journal.console import DATA_LOST, DONE, fail, folded, remark, status_text
from journal.format.schema import TAIL_LOST
from journal.start import INTERRUPTED
from reconciler.report import Hooks
from reconciler.settings import Settings
from reconciler.signals import stop_on_signals

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

    from reconciler.ray_nodes import RayNodes
    from reconciler.report import Item, PassReport

_LINE = "{:<6}{:>7}  {:<30}{:<10}{:>9}{:>8}"


def reconcile_once(
    url: str,
    run_ids: Sequence[str] | None,
    settings: Settings,
    *,
    wait_s: float,
    rebuild: bool,
    as_json: bool,
    ray: str | None = None,
) -> int:
    """Make one pass and show it.

    Args:
        url: The database.
        run_ids: Names of runs; all runs if None.
        settings: The settings of the pass.
        wait_s: Seconds to watch leases before the verdicts.
        rebuild: Restore rows from the journals first.
        as_json: Print a JSON document.
        ray: The address of the cluster whose nodes have the journals; None to read this machine's disk.

    Returns:
        The exit code.
    """
    # SQLAlchemy and Arrow are slow to import, and `--help` needs neither.
    from sqlalchemy.exc import SQLAlchemyError

    from journal import Observer
    from reconciler.executors import relax_garbage_collection
    from reconciler.passes import Pass, record_pass
    from rsc.db.hints import unusable
    from rsc.db.upgrade import open_existing

    relax_garbage_collection()
    nodes = None if ray is None else _joined(ray)  # first, so that a wrong address creates no database
    runs_to_rebuild = _runs_to_rebuild(run_ids, settings) if rebuild else _runs_here(run_ids, settings)
    engine = open_existing(url, may_create=rebuild, may_upgrade=not settings.dry_run)
    all_rebuilt = _rebuild(engine, runs_to_rebuild, settings)
    view = _JsonView() if as_json else _TextView(settings.dry_run)
    with (
        stop_on_signals("stopping after this batch; press Ctrl-C again to stop at once") as stop,
        view.progress(engine) as moved,
    ):
        hooks = Hooks(view.show, moved, stop.is_set, stop.wait, listening=as_json or settings.dry_run)
        if nodes is None:
            work = Pass(engine, Observer(), settings, hooks)
        else:
            from reconciler.cluster import ClusterPass  # only with --ray

            nodes.should_stop = stop.is_set
            work = ClusterPass(engine, settings, hooks, nodes)
        try:
            report = record_pass(work, run_ids, wait_s=0.0 if settings.dry_run else wait_s)
        except SQLAlchemyError as error:
            raise unusable(engine, error) from error
    view.finish(report)
    if stop.is_set():
        return INTERRUPTED
    return report.exit_code or (DONE if all_rebuilt else DATA_LOST)


def _joined(address: str) -> RayNodes:
    from reconciler.ray_nodes import RayNodes  # only with --ray

    return RayNodes(address)


def _runs_to_rebuild(run_ids: Sequence[str] | None, settings: Settings) -> Sequence[str]:
    """Return the runs to rebuild. Called before the database is opened, so that a wrong root creates no database."""
    from journal import list_runs  # only with --rebuild

    if settings.dry_run:
        fail("--rebuild makes rows of runs, so it has no dry run", "rebuild into a new file instead")
    root = _root_of_runs(settings)
    found = sorted(list_runs(root)) if run_ids is None else run_ids
    if not found:
        fail(f"there are no runs under {root}", "give --journal-root")
    return found


def _runs_here(run_ids: Sequence[str] | None, settings: Settings) -> Sequence[str]:
    """Return the named runs that have a folder under the root. A run without a row then gets one, as with --rebuild."""
    from journal.host.paths import run_dir  # only without --rebuild

    if run_ids is None or settings.dry_run:
        return ()
    return [run_id for run_id in run_ids if run_dir(_root_of_runs(settings), run_id).is_dir()]


def _rebuild(engine: Engine, run_ids: Sequence[str], settings: Settings) -> bool:
    """Restore the runs' rows; return True if each run has a row now."""
    from reconciler.rebuild import adopt_runs  # SQLAlchemy, which `--help` does not need

    could = True
    for done, line in adopt_runs(engine, _root_of_runs(settings), run_ids):
        remark(line)
        could = could and done
    return could


def _root_of_runs(settings: Settings) -> Path:
    from rsc.defaults import journal_root  # only with --rebuild or --run-id

    return settings.journal_root or journal_root()


class _TextView:
    """Shows a pass to people: results on stdout, remarks on stderr."""

    def __init__(self, dry_run: bool) -> None:
        self._dry_run = dry_run
        self._judged = 0

    @contextlib.contextmanager
    def progress(self, engine: Engine) -> Iterator[Callable[[int], None]]:
        if self._dry_run or not sys.stderr.isatty():
            yield lambda judged: None
            return
        # rich is slow to import, and only a terminal shows a progress bar.
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from journal.console import console
        from rsc.db.episodes import count_started
        from rsc.db.session import reading

        with reading(engine) as connection:
            total = count_started(connection)
        columns = TextColumn("reconciling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console(), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda judged: bar.update(task, completed=judged)

    def show(self, item: Item) -> None:
        if not self._judged:
            click.echo(_LINE.format("CASE", "EPISODE", "JOURNAL", "VERDICT", "STEPS", "TRADES"))
        self._judged += 1
        for line in _lines_of(item):
            click.echo(line)

    def finish(self, report: PassReport) -> None:
        for run_id in report.runs_interrupted:
            click.echo(f"run {run_id} is marked interrupted")
        for node in report.nodes:
            click.echo(_line_of_node(node))
        click.echo(f"{self._judged:,} episodes judged, nothing written" if self._dry_run else report.sentence())
        complain(report)


def _line_of_node(node: dict[str, Any]) -> str:
    """Return one line about the journals that a pass over a cluster found on a node, or in a node's mirror."""
    name = f"node {node['host']}" + (f" ({node['node_id'][:12]})" if node["node_id"] else "")
    if node["journals"] is None:
        return f"{name} did not answer: {node['why']}"
    state = "" if node["state"] == "alive" else f", {node['state']}"
    where = " in the mirror" if node["source"] == "mirror" else ""
    return f"{name}{state}: {node['journals']:,} journals of run {node['run_id']}{where}, {node['judged']:,} judged"


class _JsonView:
    """Shows a pass as one JSON document."""

    def __init__(self) -> None:
        self._document = JsonDocument("episodes")

    @contextlib.contextmanager
    def progress(self, engine: Engine) -> Iterator[Callable[[int], None]]:
        yield lambda judged: None

    def show(self, item: Item) -> None:
        self._document.add(item.to_dict())

    def finish(self, report: PassReport) -> None:
        self._document.close(report.to_dict())
        complain(report)


class JsonDocument:
    """A JSON document of a list and a report. Each item is written at once, so that memory use is constant.

    Nothing is written before the first item, so a command that fails early prints no partial document.

    Args:
        name: The key of the list.
    """

    def __init__(self, name: str) -> None:
        self._before = f'{{"{name}": [\n'

    def add(self, item: dict[str, Any]) -> None:
        """Write the next item of the list."""
        click.echo(self._before + json.dumps(item, default=str), nl=False)
        self._before = ",\n"

    def close(self, report: dict[str, Any]) -> None:
        """Write the report and the end of the document."""
        opening = "" if self._before == ",\n" else self._before
        click.echo(f'{opening}\n], "report": {json.dumps(report)}}}')


def complain(report: PassReport) -> None:
    """Print the problems of a pass on stderr, one line each."""
    for line in report.unlookable:
        remark(f"could not be read: {line}")
    for line in report.failures:
        remark(f"error: {line}")
    unsaid = report.unlookable_count + report.failure_count - len(report.unlookable) - len(report.failures)
    if unsaid:
        remark(f"and {unsaid:,} more")


def _lines_of(item: Item) -> list[str]:
    """Return the lines of a verdict and its evidence."""
    evidence: dict[str, Any] = item.evidence
    letter = f"J, {item.case}" if item.adopted else item.case
    episode = "-" if item.episode_id is None else str(item.episode_id)
    numbers = (str(evidence.get(name, "-")) for name in ("steps", "trades"))
    last = evidence.get("last_step_time")
    why = [item.why, *evidence.get("findings", ())]
    if evidence.get("tail_lost"):
        why.append(TAIL_LOST)
    if last:
        why.append(f"last step {str(last)[:19]}")
    word = item.status or item.action
    verdict = _LINE.format(letter, episode, item.journal_id, status_text(f"{word:<10}"), *numbers)
    return [verdict, *folded("; ".join(why), " " * 6)]
