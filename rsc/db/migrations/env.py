"""Run migrations on the connection that `rsc.db.upgrade` holds, in its transaction. Alembic calls this module."""

from alembic import context

from rsc.db.models import metadata
from rsc.db.upgrade import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=False,  # the caller's transaction holds the lock, and commits all migrations at once
)
context.run_migrations()
