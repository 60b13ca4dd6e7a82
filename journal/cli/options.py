"""Options and arguments that several verbs share, and completion of names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from journal.console import TextType
from journal.host.paths import list_journals, list_runs
from journal.inspect.find import LATEST, ROOT_VARIABLE, journal_root

_MOST = 500


class Root(click.Path):
    """Parameter type for the folder of all runs, or the URL of a mirror, which becomes a temporary folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and "://" in value and not (ctx is not None and ctx.resilient_parsing):
            from journal.cli.mirrored import view_of  # reads the mirror, which needs pyarrow

            return view_of(value)
        return super().convert(value, param, ctx)


class JournalName(TextType):
    """Parameter type for a journal's or run's name, completed from the names under the root."""

    def __init__(self, name: str, *, runs: bool) -> None:
        self.name = name
        self._runs = runs

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if "://" in value and not (ctx is not None and ctx.resilient_parsing):
            from journal.cli.mirrored import path_at  # reads the mirror, which needs pyarrow

            return path_at(value)
        return str(super().convert(value, param, ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith((os.sep, ".")):
            return [CompletionItem(incomplete, type="file")]
        names = self._names(journal_root(ctx.params.get("journal_root")), incomplete)
        found = [CompletionItem(name) for name in islice(names, _MOST)]
        return found or [CompletionItem(incomplete, type="file")] * (os.sep in incomplete)

    def _names(self, root: Path, start: str) -> Iterator[str]:
        runs = sorted(list_runs(root), reverse=True)
        within, slash, beginning = start.rpartition("/")
        if slash:
            for run in (run for run in runs if run.startswith(within)):
                names = list_journals(root, run)
                yield from sorted((f"{run}/{name}" for name in names if name.startswith(beginning)), reverse=True)
            return
        if self._runs:
            yield from (run for run in runs if run.startswith(start))
        for run in runs:
            yield from sorted((name for name in list_journals(root, run) if name.startswith(start)), reverse=True)
        if start and LATEST.startswith(start):
            yield LATEST


episode = click.argument("episode", type=JournalName("episode", runs=False))
targets = click.argument("targets", nargs=-1, required=True, metavar="TARGET...", type=JournalName("target", runs=True))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/json.md describes it.")


def _from_environment(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Open the mirror that the variable names."""
    named = os.environ.get(ROOT_VARIABLE, "")
    needed = value is None and "://" in named and not ctx.resilient_parsing
    return Root().convert(named, param, ctx) if needed else value


def root(command: Any) -> Any:
    """Add the --journal-root option."""
    return click.option(
        "--journal-root",
        metavar="DIR",
        type=Root(),
        callback=_from_environment,
        help=f"Folder of all runs, or a mirror's URL. Default: ${ROOT_VARIABLE}, else rsc-data/journal.",
    )(command)
