"""Add the Ray node of each episode to `episodes`, and create its view again."""

import sqlalchemy as sa
from alembic import op

from rsc.db.models import EPISODE_METRICS, create_view

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {EPISODE_METRICS}")  # a view does not gain the new columns of its table
    op.add_column("episodes", sa.Column("node_id", sa.String(64)))
    op.execute(create_view())
