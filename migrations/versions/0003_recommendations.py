"""Lists as they were served."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "recommendations",
        sa.Column("recommendation_id", ID, nullable=False),
        sa.Column("user_id", ID),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("source", sa.String(40), nullable=False),
        sa.Column("scoring_mode", sa.String(40)),
        sa.Column("items", JSON, nullable=False),
        sa.Column("question", JSON, nullable=False),
        sa.PrimaryKeyConstraint("recommendation_id", name="pk_recommendations"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name="fk_recommendations_user_id_users",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_recommendations_user_id_made_at", "recommendations", ["user_id", "made_at"])
    op.create_index("ix_recommendations_made_at", "recommendations", ["made_at"])


def downgrade() -> None:
    op.drop_table("recommendations")
