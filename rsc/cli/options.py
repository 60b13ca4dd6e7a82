"""Options that several verbs share."""

from __future__ import annotations

import click

from rsc import defaults

database_url = click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
