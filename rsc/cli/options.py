"""Options that several verbs share."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from journal.console import fail
from rsc import defaults

database_url = click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
policy_root = click.option(
    "--policy-root",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help=f"Default: ${defaults.POLICY_VARIABLE}, else rsc-data/policies here.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def require_training(what: str) -> None:
    """End the command if a package of the extra `train` is missing. Imports none of them."""
    missing = [name for name in ("ray", "torch", "gymnasium", "talib") if find_spec(name) is None]
    if missing:
        fail(f"{what} needs {', '.join(missing)}", "pip install 'reinforce-strategy-creator[train]'")
