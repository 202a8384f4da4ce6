"""Tables of replies (what was recommended, and from which prompt) and of experiments with them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from services.storage.base import Base, Id, Json, UtcMoment

_IN_AN_EXPERIMENT = text("experiment_id IS NOT NULL")
# Two at a time would overlap: each user would be in an arm of both, and their settings collide.
_IS_RUNNING = text("state = 'running'")


class StoredReply(Base):
    """`items` best first; `question` is what the model was asked, by segment, where it was."""

    __tablename__ = "recommendations"

    recommendation_id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    made_at: Mapped[datetime] = mapped_column(UtcMoment)
    source: Mapped[str] = mapped_column(String(40))
    scoring_mode: Mapped[str | None] = mapped_column(String(40))
    items: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    question: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list)
    experiment_id: Mapped[str | None] = mapped_column(String(64))
    arm: Mapped[str | None] = mapped_column(String(40))

    __table_args__ = (
        Index(None, "user_id", "made_at"),
        Index(None, "made_at"),
        Index(
            None,
            "experiment_id",
            "arm",
            "user_id",
            sqlite_where=_IN_AN_EXPERIMENT,
            postgresql_where=_IN_AN_EXPERIMENT,
        ),
    )


class StoredExperiment(Base):
    """`arms` as `services.recommendations.arms.Arm` writes them. `reports` are by k, and written
    when the replies they were made from are forgotten."""

    __tablename__ = "experiments"

    experiment_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    arms: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    state: Mapped[str] = mapped_column(String(20))
    made_at: Mapped[datetime] = mapped_column(UtcMoment)
    stopped_at: Mapped[datetime | None] = mapped_column(UtcMoment)
    reports: Mapped[dict[str, Any] | None] = mapped_column(Json)

    __table_args__ = (
        Index(
            "uq_experiments_running",
            "state",
            unique=True,
            sqlite_where=_IS_RUNNING,
            postgresql_where=_IS_RUNNING,
        ),
    )
