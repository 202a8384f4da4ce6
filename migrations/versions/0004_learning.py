"""Demonstrations, and the ledger of the learning loop."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "regularizations",
        sa.Column("version", sa.String(12), nullable=False),
        sa.Column("by_label", sa.Text(), nullable=False),
        sa.Column("by_title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("comparison", JSON),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("activated_at", MOMENT),
        sa.PrimaryKeyConstraint("version", name="pk_regularizations"),
    )
    op.create_index(
        "uq_regularizations_active",
        "regularizations",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("entered", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("budget_tokens", sa.BigInteger()),
        sa.Column("budget_calls", sa.BigInteger()),
        sa.Column("reserved_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reserved_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("spent_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("spent_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
    )
    op.create_index("ix_runs_made_at", "runs", ["made_at"])
    op.create_table(
        "demonstrations",
        sa.Column("demonstration_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("content", JSON, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name="fk_demonstrations_user_id_users",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("demonstration_id", name="pk_demonstrations"),
    )
    op.create_index("ix_demonstrations_user_id", "demonstrations", ["user_id"])
    op.create_table(
        "rounds",
        sa.Column("round_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_before", MOMENT, nullable=False),
        sa.Column("lease", ID),
        sa.Column("lease_until", MOMENT),
        sa.Column("reserved_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reserved_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lost_calls", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lost_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "completion_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False
        ),
        sa.Column("seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("outcome", JSON),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name="fk_rounds_run_id_runs", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name="fk_rounds_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("round_id", name="pk_rounds"),
    )
    op.create_index("ix_rounds_run_id_state", "rounds", ["run_id", "state"])
    op.create_index(
        "ix_rounds_ready",
        "rounds",
        ["not_before", "user_id"],
        sqlite_where=sa.text("state IN ('waiting', 'parked')"),
        postgresql_where=sa.text("state IN ('waiting', 'parked')"),
    )
    op.create_index("ix_rounds_user_id_number", "rounds", ["user_id", "number"], unique=True)
    op.create_index(
        "uq_rounds_running",
        "rounds",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "uq_rounds_waiting",
        "rounds",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('waiting', 'parked')"),
        postgresql_where=sa.text("state IN ('waiting', 'parked')"),
    )
    op.create_table(
        "run_users",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("from_round", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name="fk_run_users_run_id_runs", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name="fk_run_users_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "user_id", name="pk_run_users"),
    )
    op.create_index("ix_run_users_run_id_state", "run_users", ["run_id", "state"])
    op.create_index("ix_run_users_user_id_state", "run_users", ["user_id", "state"])
    op.create_table(
        "run_rounds",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("round_id", ID, nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"],
            ["rounds.round_id"],
            name="fk_run_rounds_round_id_rounds",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name="fk_run_rounds_run_id_runs", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "round_id", name="pk_run_rounds"),
    )
    op.create_index("ix_run_rounds_round_id", "run_rounds", ["round_id"])
    op.create_table(
        "candidate_sets",
        sa.Column("event_id", ID, nullable=False),
        sa.Column("draw", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("item_ids", JSON, nullable=False),
        sa.Column("priors", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.event_id"],
            name="fk_candidate_sets_event_id_events",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.user_id"],
            name="fk_candidate_sets_user_id_users",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_id", "draw", name="pk_candidate_sets"),
    )
    op.create_index("ix_candidate_sets_user_id", "candidate_sets", ["user_id"])
    op.create_table(
        "paths",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("path", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rounds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("collapsed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("steps", JSON, nullable=False),
        sa.Column("last_id", ID),
        sa.ForeignKeyConstraint(
            ["last_id"],
            ["demonstrations.demonstration_id"],
            name="fk_paths_last_id_demonstrations",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name="fk_paths_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "path", name="pk_paths"),
    )
    op.create_index("ix_paths_last_id", "paths", ["last_id"])
    op.create_table(
        "variants",
        sa.Column("variant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("path", sa.Integer(), nullable=False),
        sa.Column("round_number", sa.Integer(), nullable=False),
        sa.Column("current_id", ID),
        sa.Column("perturbation_id", ID),
        sa.Column("accepted", sa.Boolean()),
        sa.Column("incumbent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("effective", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("stale", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("effect_d", sa.Double()),
        sa.Column("log_score", sa.Double()),
        sa.Column("tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fingerprint", sa.String(16)),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["current_id"],
            ["demonstrations.demonstration_id"],
            name="fk_variants_current_id_demonstrations",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["perturbation_id"],
            ["demonstrations.demonstration_id"],
            name="fk_variants_perturbation_id_demonstrations",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name="fk_variants_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("variant_id", name="pk_variants"),
    )
    op.create_index("ix_variants_current_id", "variants", ["current_id"])
    op.create_index("ix_variants_perturbation_id", "variants", ["perturbation_id"])
    op.create_index(
        "ix_variants_user_id_round_number_path",
        "variants",
        ["user_id", "round_number", "path"],
        unique=True,
    )
    op.create_table(
        "evaluations",
        sa.Column("variant_id", ID, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("question", sa.String(24), nullable=False),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("permutation_seed", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("draw", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("effect_d", sa.Double(), nullable=False),
        sa.Column("log_score", sa.Double(), nullable=False),
        sa.Column("raw", JSON, nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.event_id"],
            name="fk_evaluations_event_id_events",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["variant_id"],
            ["variants.variant_id"],
            name="fk_evaluations_variant_id_variants",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "variant_id",
            "event_id",
            "question",
            "fingerprint",
            "permutation_seed",
            name="pk_evaluations",
        ),
    )
    op.create_index("ix_evaluations_event_id", "evaluations", ["event_id"])
    op.create_table(
        "switches",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("variant_id", ID),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.user_id"], name="fk_switches_user_id_users", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["variant_id"],
            ["variants.variant_id"],
            name="fk_switches_variant_id_variants",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", "number", name="pk_switches"),
    )
    op.create_index("ix_switches_variant_id", "switches", ["variant_id"])


def downgrade() -> None:
    op.drop_table("switches")
    op.drop_table("evaluations")
    op.drop_table("variants")
    op.drop_table("paths")
    op.drop_table("candidate_sets")
    op.drop_table("run_rounds")
    op.drop_table("run_users")
    op.drop_table("rounds")
    op.drop_table("demonstrations")
    op.drop_table("runs")
    op.drop_table("regularizations")
