"""Experiments, and which arm of one a list was served by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.String(64), nullable=False),
        sa.Column("arms", JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("stopped_at", MOMENT),
        sa.Column("reports", JSON),
        sa.PrimaryKeyConstraint("experiment_id", name="pk_experiments"),
    )
    op.create_index(
        "uq_experiments_running",
        "experiments",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.add_column("recommendations", sa.Column("experiment_id", sa.String(64)))
    op.add_column("recommendations", sa.Column("arm", sa.String(40)))
    op.create_index(
        "ix_recommendations_experiment_id_arm_user_id",
        "recommendations",
        ["experiment_id", "arm", "user_id"],
        sqlite_where=sa.text("experiment_id IS NOT NULL"),
        postgresql_where=sa.text("experiment_id IS NOT NULL"),
    )
    op.create_index(
        "ix_events_recommendation_id_seq",
        "events",
        ["recommendation_id", "seq"],
        sqlite_where=sa.text("recommendation_id IS NOT NULL"),
        postgresql_where=sa.text("recommendation_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_events_recommendation_id_seq", "events")
    op.drop_index("ix_recommendations_experiment_id_arm_user_id", "recommendations")
    op.drop_column("recommendations", "arm")
    op.drop_column("recommendations", "experiment_id")
    op.drop_table("experiments")
