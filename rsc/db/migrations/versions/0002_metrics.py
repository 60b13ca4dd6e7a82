"""Add the figures of market, risk, costs and trades to `episodes`."""

import sqlalchemy as sa
from alembic import op

from rsc.db.models import EPISODE_METRICS

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {EPISODE_METRICS}")  # the last migration creates it with all columns
    for name in (
        "sharpe_standard_error",
        "skew",
        "kurtosis",
        "beta",
        "alpha",
        "information_ratio",
        "value_at_risk",
        "expected_shortfall",
        "liquidation_value",
        "average_trade",
        "best_trade",
        "worst_trade",
        "average_holding_steps",
        "win_rate_marked",
    ):
        op.add_column("episodes", sa.Column(name, sa.Float()))
    op.add_column("episodes", sa.Column("longest_drawdown_steps", sa.Integer()))
