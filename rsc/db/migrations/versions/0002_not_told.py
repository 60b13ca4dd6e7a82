"""Say which metrics are NULL because the env does not tell them, and let a trade's entry step be unknown.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("episodes")}
    if "not_told" not in columns:  # an adopted database has it already
        op.add_column("episodes", sa.Column("not_told", sa.String()))
    with op.batch_alter_table("completed_trades") as trades:
        trades.alter_column("entry_step", existing_type=sa.Integer(), nullable=True)
