"""Alembic's entry: runs migrations on the connection that `rsc.db.upgrade` holds, in its transaction."""

from alembic import context

from rsc.db.models import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction holds the lock and everything that happens under it
)
context.run_migrations()
