"""Create the first tables: runs, episodes, trades, passes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reconciler_passes",
        sa.Column("pass_id", sa.String(64), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("report", sa.JSON()),
        sa.PrimaryKeyConstraint("pass_id", name="pk_reconciler_passes"),
    )
    op.create_index("ix_reconciler_passes_start_time", "reconciler_passes", ["start_time"])
    op.create_table(
        "training_runs",
        sa.Column("run_id", sa.String(128), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.Column("parameters", sa.JSON()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("notes", sa.Text()),
        sa.Column("journal_root", sa.Text()),
        sa.Column("algorithm", sa.String(64)),
        sa.Column("config", sa.JSON()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("package_version", sa.String(64)),
        sa.Column("git_commit", sa.String(64)),
        sa.Column("driver_host", sa.String(255)),
        sa.Column("parent_run_id", sa.String(128)),
        sa.Column("trial_id", sa.String(128)),
        sa.PrimaryKeyConstraint("run_id", name="pk_training_runs"),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'interrupted', 'error')", name="ck_training_runs_status"
        ),
    )
    op.create_table(
        "episodes",
        sa.Column("episode_id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column(
            "run_id", sa.String(128), sa.ForeignKey("training_runs.run_id", name="fk_episodes_run_id"), nullable=False
        ),
        sa.Column("rllib_episode_id", sa.String(128)),
        sa.Column("journal_id", sa.String(128)),
        sa.Column("env_class", sa.String(128)),
        sa.Column("in_evaluation", sa.Boolean()),
        sa.Column("worker_index", sa.Integer()),
        sa.Column("writer_host", sa.String(255)),
        sa.Column("writer_boot_id", sa.String(64)),
        sa.Column("root_id", sa.String(64)),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("end_reason", sa.String(16)),
        sa.Column("status_reason", sa.Text()),
        sa.Column("finalized_by", sa.String(16)),
        sa.Column("finalized_at", sa.DateTime(timezone=True)),
        sa.Column("finalized_pass", sa.String(64)),
        sa.Column("evidence_steps", sa.Integer()),
        sa.Column("evidence_closed", sa.Boolean()),
        sa.Column("evidence_final", sa.Boolean()),
        sa.Column("overruled_status", sa.String(16)),
        sa.Column("steps_lost", sa.Integer()),
        sa.Column("trades_lost", sa.Integer()),
        sa.Column("not_told", sa.String()),
        sa.Column("initial_portfolio_value", sa.Float()),
        sa.Column("final_portfolio_value", sa.Float()),
        sa.Column("pnl", sa.Float()),
        sa.Column("unrealized_pnl", sa.Float()),
        sa.Column("total_return", sa.Float()),
        sa.Column("annual_return", sa.Float()),
        sa.Column("sharpe_ratio", sa.Float()),
        sa.Column("sortino_ratio", sa.Float()),
        sa.Column("calmar_ratio", sa.Float()),
        sa.Column("volatility", sa.Float()),
        sa.Column("max_drawdown", sa.Float()),
        sa.Column("win_rate", sa.Float()),
        sa.Column("profit_factor", sa.Float()),
        sa.Column("time_in_market", sa.Float()),
        sa.Column("total_reward", sa.Float()),
        sa.Column("total_fees", sa.Float()),
        sa.Column("total_steps", sa.Integer()),
        sa.Column("total_trades", sa.Integer()),
        sa.Column("env_index", sa.Integer()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("trial_id", sa.String(128)),
        sa.Column("start_iteration", sa.Integer()),
        sa.Column("start_env_steps", sa.BigInteger()),
        sa.Column("market", sa.String(128)),
        sa.Column("market_start", sa.DateTime(timezone=True)),
        sa.Column("market_end", sa.DateTime(timezone=True)),
        sa.Column("first_price", sa.Float()),
        sa.Column("last_price", sa.Float()),
        sa.Column("buy_and_hold_return", sa.Float()),
        sa.Column("excess_return", sa.Float()),
        sa.Column("total_costs", sa.Float()),
        sa.Column("turnover", sa.Float()),
        sa.PrimaryKeyConstraint("episode_id", name="pk_episodes"),
        sa.UniqueConstraint("rllib_episode_id", name="uq_episodes_rllib_episode_id"),
        sa.CheckConstraint("status IN ('started', 'completed', 'truncated', 'error')", name="ck_episodes_status"),
        sa.UniqueConstraint("journal_id", name="uq_episodes_journal_id"),
    )
    op.create_index("ix_episodes_status_episode_id", "episodes", ["status", "episode_id"])
    improvable = sa.text("evidence_final IS false")
    if op.get_bind().dialect.name == "sqlite":
        improvable = sa.text("evidence_final IS 0")
    op.create_index(
        "ix_episodes_improvable",
        "episodes",
        ["run_id", "finalized_at"],
        sqlite_where=improvable,
        postgresql_where=improvable,
    )
    op.create_index("ix_episodes_run_id_status_episode_id", "episodes", ["run_id", "status", "episode_id"])
    op.create_index("ix_episodes_run_id_start_time", "episodes", ["run_id", "start_time"])
    op.create_table(
        "completed_trades",
        sa.Column(
            "episode_id",
            sa.Integer(),
            sa.ForeignKey("episodes.episode_id", name="fk_completed_trades_episode_id"),
            nullable=False,
        ),
        sa.Column("trade_number", sa.Integer(), nullable=False),
        sa.Column("direction", sa.SmallInteger(), nullable=False),
        sa.Column("quantity", sa.Float()),
        sa.Column("entry_step", sa.Integer()),
        sa.Column("entry_time", sa.DateTime(timezone=True)),
        sa.Column("entry_price", sa.Float()),
        sa.Column("exit_step", sa.Integer(), nullable=False),
        sa.Column("exit_time", sa.DateTime(timezone=True)),
        sa.Column("exit_price", sa.Float()),
        sa.Column("pnl", sa.Float()),
        sa.Column("costs", sa.Float()),
        sa.PrimaryKeyConstraint("episode_id", "trade_number", name="pk_completed_trades"),
    )
