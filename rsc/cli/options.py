"""What several verbs share: options, and the database that a look needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from journal.console import fail
from rsc import defaults

if TYPE_CHECKING:
    from sqlalchemy import Engine

database_url = click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def open_existing(given: str | None) -> Engine:
    """The database with this version's tables; one line if it is not there: to look must not make one."""
    from rsc.db.session import is_missing_file, open_engine
    from rsc.db.upgrade import upgrade

    url = defaults.database_url(given)
    if is_missing_file(url):
        fail(f"there is no database {url}", "give --database-url, or go to the folder that the training ran in")
    engine = open_engine(url)
    upgrade(engine)
    return engine
