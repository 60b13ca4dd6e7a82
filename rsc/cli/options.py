"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from journal.console import TextType, fail
from rsc import defaults
from rsc.completing import RunGroup, RunName

database_url = click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
journal_root = click.option(
    "--journal-root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help=f"Default: ${defaults.JOURNAL_VARIABLE}, else rsc-data/journal here.",
)
policy_root = click.option(
    "--policy-root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help=f"Default: ${defaults.POLICY_VARIABLE}, else rsc-data/policies here.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document; docs/json.md describes it.")


run_id = click.argument("run_id", type=RunName())
run_ids = click.argument("run_ids", metavar="RUN_ID...", nargs=-1, required=True, type=RunName())
run_groups = click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=RunGroup())


def require_training(what: str) -> None:
    """End the command if a package of the extra `train` is missing. Imports none of these packages."""
    missing = [name for name in ("ray", "torch", "gymnasium", "talib") if find_spec(name) is None]
    if missing:
        fail(f"{what} needs {', '.join(missing)}", "pip install 'reinforce-strategy-creator[train]'")


class PolicyRun(RunName):
    """Parameter type for a run that has a saved policy."""

    def names(self, params: dict[str, Any]) -> Sequence[str]:
        """See `RunName.names`."""
        from rsc.policies.store import saved_runs  # only shell completion and lookups need it

        return saved_runs(defaults.policy_root(params.get("policy_root")))


class ColumnName(TextType):
    """Parameter type for a column of the view `episode_metrics`."""

    name = "column"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the columns that start with this text."""
        from rsc.db.models import episode_metrics  # SQLAlchemy, which only shell completion needs here

        return [CompletionItem(column.name) for column in episode_metrics.c if column.name.startswith(incomplete)]


class Ticker(TextType):
    """Parameter type for a ticker; the bundled ones are completed."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the bundled tickers that start with this text."""
        from rsc.trading.price_sources import bundled  # only shell completion needs it

        return [CompletionItem(name) for name in sorted(bundled()) if name.startswith(incomplete.upper())]
