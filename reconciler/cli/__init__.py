"""The `reconcile` program: parse the options and call the mode that they select. Each mode imports what it needs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from journal.console import DURATION, Count, LazyGroup, log_format, remark, run_main, work_without_output
from rsc import defaults
from rsc.completing import RunName

SHORTEST_INTERVAL_S = 0.1


class Root(click.Path):
    """Parameter type for the folder of all runs, a Path, or the URL of a mirror, a str."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value:
            return value
        return super().convert(value, param, ctx)


class RunsOrVerb(LazyGroup):
    """A group whose first word is a verb, or else a run; then all words are runs, also between and behind options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, words, _ = self.make_parser(ctx).parse_args([*args])
        verbs = self.list_commands(ctx)
        if not words or words[0] in verbs or difflib.get_close_matches(words[0], verbs):
            return super().parse_args(ctx, args)
        ctx.allow_interspersed_args = True
        found = click.Command.parse_args(self, ctx, args)
        ctx.params["run_ids"] = (*ctx.params["run_ids"], *found)
        ctx.args = []
        return ctx.args

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return matching options, verbs and runs."""
        runs = next(param for param in self.params if param.name == "run_ids")
        return [*super().shell_complete(ctx, incomplete), *runs.type.shell_complete(ctx, runs, incomplete)]


_EXAMPLES = """
\b
Examples:
  reconcile latest                       end the newest run's dead episodes
  reconcile latest --explain             show each verdict and its evidence
  reconcile latest --ray auto            judge on each node of a Ray cluster
  reconcile --all --every 30s            run as a daemon
  reconcile --all --every 1m --ray auto  run as a daemon for a Ray cluster
  reconcile --all --rebuild --database-url sqlite:///new.db
  reconcile RUN --journal-root s3://bucket/journals --assume-dead
  reconcile status                       show what the last passes did
"""


@click.group(
    cls=RunsOrVerb,
    verbs={"status": "reconciler.cli.status:command"},
    subcommand_metavar="[RUN...] | status",
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="reinforce-strategy-creator")
@click.option(
    "--run-id",
    "run_ids",
    multiple=True,
    metavar="ID",
    type=RunName(),
    help="Another way to name a run; may be repeated.",
)
@click.option("--all", "all_runs", is_flag=True, help="Reconcile all runs of the database.")
@click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
@click.option(
    "--journal-root",
    metavar="DIR",
    type=Root(),
    help="Folder of all runs, or a mirror's URL. Default: the root that each run recorded.",
)
@click.option(
    "--wait",
    "wait_s",
    default=f"{defaults.WAIT_S:g}s",
    type=DURATION,
    show_default=True,
    help="Repeat the pass for up to this long, until the last processes of a killed run have exited or a lease has expired"
    " (a lease takes 30 s).",
)
@click.option(
    "--grace",
    "grace_s",
    default=f"{defaults.GRACE_PERIOD_S:g}s",
    type=DURATION,
    show_default=True,
    help="After a journal was closed, give the episode's own callback this long to write the row.",
)
@click.option(
    "--processes",
    type=Count(1),
    metavar="N",
    help="Processes that share a large run.  [default: one for each core, at most 4]",
)
@click.option(
    "--dry-run", "--explain", "dry_run", is_flag=True, help="Print each verdict with its evidence; write nothing."
)
@click.option(
    "--ray",
    metavar="auto|ADDRESS",
    help="Let each live node of this Ray cluster judge the journals on its own disk.",
)
@click.option(
    "--mirror",
    metavar="URL",
    help="With --ray: the mirror that has the journals of lost nodes. Default: the one that each run recorded.",
)
@click.option(
    "--presume-lost",
    "presume_lost_s",
    type=DURATION,
    metavar="AGE",
    help="With --ray: count a node as lost even if Ray does not list it, once nothing was written to its mirror for this"
    " long. With a mirror's URL as --journal-root: treat every writer as dead; fail if the mirror of the run was written"
    " more recently.",
)
@click.option("--rebuild", is_flag=True, help="First restore the rows of runs that the database has lost.")
@click.option("--audit", is_flag=True, help="Compare ended rows with their journals; change nothing.")
@click.option(
    "--assume-dead", is_flag=True, help="If the files cannot show whether a writer is alive, treat it as dead."
)
@click.option("--every", "every_s", type=DURATION, metavar="DURATION", help="Run as a daemon: start a pass this often.")
@click.option(
    "--cron", metavar="EXPRESSION", help='Run as a daemon: start passes at these UTC times, as in "*/5 * * * *".'
)
@click.option(
    "--deadline",
    "deadline_s",
    type=DURATION,
    default="10m",
    show_default=True,
    help="Daemon: stop a pass after this long.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Daemon: serve /metrics for Prometheus, and /healthz.",
)
@click.option(
    "--metrics-address", default="127.0.0.1", show_default=True, help="Daemon: the address for --metrics-port."
)
@log_format
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    run_ids: Sequence[str],
    all_runs: bool,
    database_url: str | None,
    journal_root: Path | str | None,
    wait_s: float,
    grace_s: float,
    processes: int | None,
    dry_run: bool,
    ray: str | None,
    mirror: str | None,
    presume_lost_s: float | None,
    rebuild: bool,
    audit: bool,
    assume_dead: bool,
    every_s: float | None,
    cron: str | None,
    deadline_s: float,
    metrics_port: int | None,
    metrics_address: str,
    as_json: bool,
) -> int:
    """End the episodes that their training left behind.

    Finds the episodes that the database still marks `started`, computes their final metrics from their journals,
    stores metrics and trades, and marks them `truncated`, `completed` or `error`, according to the evidence. A live
    episode is never ended where locks can be trusted. A second pass changes nothing while the evidence is the same.

    RUN is a run's id, the unique beginning of one, or `latest`.

    Exit: 0 done, 1 failed, 2 wrong usage, 3 data was lost or could not be read, 130 interrupted.
    """
    given = _given_options(ctx)
    if ctx.invoked_subcommand is not None:
        for name in given.keys() - {"database_url"}:
            raise click.UsageError(f"{given[name]} does nothing with {ctx.invoked_subcommand}", ctx)
        ctx.obj = database_url
        return 0
    if bool(run_ids) == all_runs:
        raise click.UsageError("name runs or give --all, not both" if all_runs else "name runs, or give --all", ctx)
    daemon = every_s is not None or cron is not None
    _refuse_contradictions(ctx, given, daemon=daemon, audit=audit)
    # A refused option and `--help` need none of these modules.
    from reconciler.lost import STANDS_STILL_S
    from reconciler.mirrored import copy_of_mirror
    from reconciler.settings import Settings

    if not dry_run:
        work_without_output()
    settings = Settings(
        journal_root=journal_root.absolute() if isinstance(journal_root, Path) else None,
        grace_period_s=grace_s,
        dry_run=dry_run,
        assume_dead=assume_dead,
        mirror=mirror or "",
        presume_lost_s=presume_lost_s,
        processes=1 if daemon else processes or min(os.cpu_count() or 1, 4),
    )
    url, chosen = defaults.database_url(database_url), run_ids or None
    if daemon:
        if isinstance(journal_root, str):
            raise click.UsageError("a daemon works on folders; reconcile from a mirror by single passes", ctx)
        if presume_lost_s is not None and presume_lost_s < STANDS_STILL_S:  # a working mirror may be silent for 30 s
            raise click.UsageError(f"--presume-lost takes {STANDS_STILL_S:g}s at least in a daemon", ctx)
        from reconciler.cli.serve import serve  # other modes need no daemon

        return serve(url, chosen, settings, every_s, cron, deadline_s, metrics_port, metrics_address, ray)

    def once(settings: Settings) -> int:
        if audit:
            from reconciler.cli.audit import show_audit  # other modes need no audit

            return show_audit(url, chosen, settings, as_json)
        from reconciler.cli.once import reconcile_once  # other modes need no single pass

        return reconcile_once(url, chosen, settings, wait_s=wait_s, rebuild=rebuild, as_json=as_json, ray=ray)

    if isinstance(journal_root, str):
        presumed = assume_dead or presume_lost_s is not None
        still_s = STANDS_STILL_S if assume_dead and presume_lost_s is None else presume_lost_s
        with copy_of_mirror(journal_root, chosen, still_s=still_s, say=remark) as root:
            return once(replace(settings, journal_root=root, copied_from=journal_root, assume_dead=presumed))
    return once(settings)


_FOR_DAEMONS = ("deadline_s", "metrics_port", "metrics_address", "log_format")
_FOR_CLUSTERS = ("ray", "mirror", "presume_lost_s")
_FOR_SINGLE_PASSES = ("wait_s", "processes", "dry_run", "rebuild", "audit", "as_json")
_FOR_PASSES = ("wait_s", "grace_s", "processes", "dry_run", *_FOR_CLUSTERS, "rebuild", "assume_dead")
_NOT_FOR_RAY = ("processes", "rebuild")


def _given_options(ctx: click.Context) -> dict[str, str]:
    """Return the options on the command line, by parameter name."""
    return {
        param.name: param.opts[0]
        for param in ctx.command.params
        if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }


def _refuse_contradictions(ctx: click.Context, given: dict[str, str], *, daemon: bool, audit: bool) -> None:
    """Refuse options that the chosen mode would ignore."""
    if "every_s" in given and "cron" in given:
        raise click.UsageError("give --every or --cron, not both", ctx)
    if "every_s" in given and ctx.params["every_s"] < SHORTEST_INTERVAL_S:
        raise click.UsageError(f"--every takes {SHORTEST_INTERVAL_S:g}s at least", ctx)
    if "metrics_address" in given and "metrics_port" not in given:
        raise click.UsageError("--metrics-address needs --metrics-port", ctx)
    if "mirror" in given and "ray" not in given:
        raise click.UsageError("--mirror needs --ray; without a cluster give the URL as --journal-root", ctx)
    of_mirror = isinstance(ctx.params["journal_root"], str)
    if "presume_lost_s" in given and "ray" not in given and not of_mirror:
        raise click.UsageError("--presume-lost needs --ray, or a mirror's URL as --journal-root", ctx)
    if "ray" in given and of_mirror:
        raise click.UsageError("--journal-root names the folder on each node; give the URL as --mirror", ctx)
    for wrong, names, mode in (
        (not daemon, _FOR_DAEMONS, "is for daemons: give --every or --cron as well"),
        (daemon, _FOR_SINGLE_PASSES, "is for single passes, not for daemons"),
        (audit, _FOR_PASSES, "does nothing with --audit, which only compares"),
        ("ray" in given, _NOT_FOR_RAY, "does nothing with --ray"),
    ):
        for name in names:
            if wrong and name in given:
                raise click.UsageError(f"{given[name]} {mode}", ctx)


def main() -> None:
    """Run the program."""
    run_main(command)
