"""Tables of the ledger: what was asked for, what has been done, and what it has cost.

`docs/learning.md` draws the states of a round.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from services.storage.base import Base, Id, Json, LongText, UtcMoment


class RunState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    OUT_OF_BUDGET = "out_of_budget"


class PartState(StrEnum):
    """Of one user's part in a run."""

    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"  # too few positives to learn from
    FAILED = "failed"
    CANCELLED = "cancelled"
    OUT_OF_BUDGET = "out_of_budget"


class RoundState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    PARKED = "parked"  # the model is down: waits, and blames nobody
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OUT_OF_BUDGET = "out_of_budget"


_IS_RUNNING = text("state = 'running'")
_IS_WAITING = text("state IN ('waiting', 'parked')")


class Run(Base):
    """`settings` as `services.optimizer.plan.Plan` writes them. `content` is a digest of all that
    was asked for. `entered`: every user has a part. Reserved is what calls in flight may cost at
    most; spent is what calls have cost, lost ones at their highest."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(Id, primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    content: Mapped[str] = mapped_column(String(64))
    entered: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    budget_tokens: Mapped[int | None] = mapped_column(BigInteger)
    budget_calls: Mapped[int | None] = mapped_column(BigInteger)
    reserved_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    reserved_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    spent_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    spent_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    made_at: Mapped[datetime] = mapped_column(UtcMoment)
    finished_at: Mapped[datetime | None] = mapped_column(UtcMoment)

    __table_args__ = (Index(None, "made_at"),)


class RunUser(Base):
    """A user's part in a run: so many rounds wanted, so many done. The user's rounds count for it
    from number `from_round` on, whichever run they were made for."""

    __tablename__ = "run_users"

    run_id: Mapped[str] = mapped_column(
        Id, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        Id, ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[str] = mapped_column(String(20))
    from_round: Mapped[int] = mapped_column(Integer)
    wanted: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    reason: Mapped[str | None] = mapped_column(LongText)

    __table_args__ = (Index(None, "user_id", "state"), Index(None, "run_id", "state"))


class Round(Base):
    """One step of all paths of a user, under the settings of `run_id`. `number` counts the rounds
    of the user. Whoever holds the lease may write; its end lets another take over. `attempts`
    counts the takings that ended neither well nor by the model being down. Lost calls were paid
    for, and whoever waited for their answers died.
    """

    __tablename__ = "rounds"

    round_id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    run_id: Mapped[str] = mapped_column(Id, ForeignKey("runs.run_id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    not_before: Mapped[datetime] = mapped_column(UtcMoment)
    lease: Mapped[str | None] = mapped_column(Id)
    lease_until: Mapped[datetime | None] = mapped_column(UtcMoment)
    reserved_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    reserved_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    lost_calls: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    lost_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    cached_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    completion_tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    seconds: Mapped[float] = mapped_column(Double, default=0.0, server_default=text("0"))
    reason: Mapped[str | None] = mapped_column(LongText)
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Json)
    made_at: Mapped[datetime] = mapped_column(UtcMoment)
    finished_at: Mapped[datetime | None] = mapped_column(UtcMoment)

    __table_args__ = (
        Index(None, "user_id", "number", unique=True),
        Index(None, "run_id", "state"),
        Index(
            "ix_rounds_ready", "not_before", "user_id",
            sqlite_where=_IS_WAITING, postgresql_where=_IS_WAITING,
        ),
        Index(
            "uq_rounds_running", "user_id", unique=True,
            sqlite_where=_IS_RUNNING, postgresql_where=_IS_RUNNING,
        ),
        Index(
            "uq_rounds_waiting", "user_id", unique=True,
            sqlite_where=_IS_WAITING, postgresql_where=_IS_WAITING,
        ),
    )  # fmt: skip


class RunRound(Base):
    """A round that counted for a run, as the user's first, second, ... of it."""

    __tablename__ = "run_rounds"

    run_id: Mapped[str] = mapped_column(
        Id, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True
    )
    round_id: Mapped[str] = mapped_column(
        Id, ForeignKey("rounds.round_id", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(Integer)

    __table_args__ = (Index(None, "round_id"),)


class Path(Base):
    """One line of demonstrations of a user. `steps` are the newest, oldest first, as
    `services.optimizer.rules.Step` says."""

    __tablename__ = "paths"

    user_id: Mapped[str] = mapped_column(
        Id, ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    )
    path: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rounds: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    collapsed: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    steps: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    last_id: Mapped[str | None] = mapped_column(
        Id, ForeignKey("demonstrations.demonstration_id", ondelete="SET NULL")
    )

    __table_args__ = (Index(None, "last_id"),)


class CandidateSet(Base):
    """What a held-out event is told from: drawn once, and the same for every variant."""

    __tablename__ = "candidate_sets"

    event_id: Mapped[str] = mapped_column(
        Id, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True
    )
    draw: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    item_ids: Mapped[list[str]] = mapped_column(Json)
    priors: Mapped[list[float]] = mapped_column(Json)

    __table_args__ = (Index(None, "user_id"),)


class Evaluation(Base):
    """One variant scored on one held-out event and one candidate set. `question` is a digest of the
    history shown and the candidates; `raw` are the log-probs as the model gave them, by candidate.
    """

    __tablename__ = "evaluations"

    variant_id: Mapped[str] = mapped_column(
        Id, ForeignKey("variants.variant_id", ondelete="CASCADE"), primary_key=True
    )
    event_id: Mapped[str] = mapped_column(
        Id, ForeignKey("events.event_id", ondelete="CASCADE"), primary_key=True
    )
    question: Mapped[str] = mapped_column(String(24), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(16), primary_key=True)
    permutation_seed: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    draw: Mapped[int] = mapped_column(Integer)
    rank: Mapped[int] = mapped_column(Integer)
    effect_d: Mapped[float] = mapped_column(Double)
    log_score: Mapped[float] = mapped_column(Double)
    raw: Mapped[list[list[float]]] = mapped_column(Json)
    made_at: Mapped[datetime] = mapped_column(UtcMoment)

    __table_args__ = (Index(None, "event_id"),)


class RegularizationText(Base):
    """X_T_reg in its versions: one active, drafts to compare with it, and those that were."""

    __tablename__ = "regularizations"

    version: Mapped[str] = mapped_column(String(12), primary_key=True)
    by_label: Mapped[str] = mapped_column(LongText)
    by_title: Mapped[str] = mapped_column(LongText)
    state: Mapped[str] = mapped_column(String(20))  # draft, active, retired
    comparison: Mapped[dict[str, Any] | None] = mapped_column(Json)
    made_at: Mapped[datetime] = mapped_column(UtcMoment)
    activated_at: Mapped[datetime | None] = mapped_column(UtcMoment)

    __table_args__ = (
        Index(
            "uq_regularizations_active", "state", unique=True,
            sqlite_where=text("state = 'active'"), postgresql_where=text("state = 'active'"),
        ),
    )  # fmt: skip
