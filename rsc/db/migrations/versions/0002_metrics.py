"""Add the figures of market, risk, costs and trades to `episodes`, and make the view `episode_metrics` of all columns."""

import sqlalchemy as sa
from alembic import op

from rsc.db.models import EPISODE_METRICS, create_view

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {EPISODE_METRICS}")  # a view keeps the columns that it was made with
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
    op.execute(create_view())
