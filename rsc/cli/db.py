"""`rsc db`: create or upgrade the tables of a database."""

from __future__ import annotations

import click

from journal.console import work_without_output
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.


@click.group("db")
def command() -> None:
    """Manage the tables of the database.

    \b
    Example: rsc db upgrade
    """


@command.command("upgrade")
@options.database_url
def upgrade(database_url: str | None) -> None:
    """Create the tables, or upgrade them to this version. The command never drops anything.

    \b
    Example: rsc db upgrade --database-url postgresql://user@host/name
    """
    from rsc.db.session import open_engine
    from rsc.db.upgrade import upgrade as bring_up
    from rsc.db.urls import shown

    work_without_output()
    engine = open_engine(defaults.database_url(database_url))
    changed = bring_up(engine)
    click.echo(f"{shown(engine.url)} is {'now up to date' if changed else 'up to date already'}")
