"""Complete the names of runs for shells. `rsc` and `reconcile` use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from journal.console import TextType

# Imports inside functions load SQLAlchemy, which `--help` does not need.

_MOST = 500


class RunName(TextType):
    """Parameter type for a run's id, the unique beginning of one, or `latest`."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the matching runs of the database and of the journal root, newest first."""
        before, word = self.split(incomplete)
        names = dict.fromkeys((*self.names(ctx.params), *(["latest"] if word else [])))
        found = [name for name in names if name.startswith(word)]
        return [CompletionItem(before + name) for name in found[:_MOST]]

    def split(self, incomplete: str) -> tuple[str, str]:
        """Split a word into the part that stays and the part that is completed."""
        return "", incomplete

    def names(self, params: dict[str, Any]) -> Sequence[str]:
        """Return all names; an empty list without a database and without journals."""
        return [*_recorded(params.get("database_url")), *_journaled(params.get("journal_root"))]


class RunGroup(RunName):
    """Parameter type for NAME=RUN,RUN,...: each run is completed."""

    name = "runs"

    def split(self, incomplete: str) -> tuple[str, str]:
        """See `RunName.split`."""
        at = max(incomplete.rfind("="), incomplete.rfind(",")) + 1
        return incomplete[:at], incomplete[at:]


def _recorded(database_url: str | None) -> Iterator[str]:
    from sqlalchemy.exc import SQLAlchemyError

    from rsc import defaults
    from rsc.db import runs
    from rsc.db.errors import DatabaseError
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    try:
        with reading(open_existing(defaults.database_url(database_url), may_upgrade=False)) as connection:
            yield from (row.run_id for row in runs.run_places(connection))
    except (DatabaseError, SQLAlchemyError):  # a shell shows no messages during completion
        return


def _journaled(journal_root: Path | str | None) -> Iterator[str]:
    from journal.host.paths import list_runs
    from rsc import defaults

    try:
        yield from sorted(list_runs(defaults.journal_root(journal_root)), reverse=True)
    except OSError:
        return
