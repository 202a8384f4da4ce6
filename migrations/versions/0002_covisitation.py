"""The co-visitation index of retrieval."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "covisit_indexes",
        sa.Column("index_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("rule", sa.String(32), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("built_to", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("settled_seq", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("takings", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("pairs", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("refreshed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("index_id", name="pk_covisit_indexes"),
    )
    op.create_table(
        "covisit_histories",
        sa.Column("index_id", sa.Integer(), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("items", JSON, nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("index_id", "user_id", name="pk_covisit_histories"),
        sa.ForeignKeyConstraint(
            ["index_id"],
            ["covisit_indexes.index_id"],
            name="fk_covisit_histories_index_id_covisit_indexes",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name="fk_covisit_histories_user_id_users",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_covisit_histories_user_id", "covisit_histories", ["user_id"])
    op.create_index(
        "ix_covisit_histories_stale",
        "covisit_histories",
        ["index_id", "user_id"],
        sqlite_where=sa.text("stale"),
        postgresql_where=sa.text("stale"),
    )
    op.create_table(
        "covisits",
        sa.Column("index_id", sa.Integer(), nullable=False),
        sa.Column("item_id", ID, nullable=False),
        sa.Column("other_id", ID, nullable=False),
        sa.Column("weight", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("index_id", "item_id", "other_id", name="pk_covisits"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("covisits", "covisit_histories", "covisit_indexes"):
        op.drop_table(table)
