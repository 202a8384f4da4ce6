"""Tables of what was written for users: demonstrations, variants, and which variant is served."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Double, ForeignKey, Index, Integer, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from services.storage.base import Base, Id, Json, LongText, UtcMoment


class StoredDemonstration(Base):
    """`text` is `content` as it stands in a prompt."""

    __tablename__ = "demonstrations"

    demonstration_id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    content: Mapped[dict[str, Any]] = mapped_column(Json)
    text: Mapped[str] = mapped_column(LongText)
    made_at: Mapped[datetime] = mapped_column(UtcMoment)

    __table_args__ = (Index(None, "user_id"),)


class StoredVariant(Base):
    """What a path made in a round. `incumbent`: the best of its path so far. `effective`: in the
    user's memory. `stale`: judged under a fingerprint that is not in force any more. The figures
    are of its newest judgment. Without a demonstration it is the user's zero-shot, of path -1.
    """

    __tablename__ = "variants"

    variant_id: Mapped[str] = mapped_column(Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    path: Mapped[int] = mapped_column(Integer)
    round_number: Mapped[int] = mapped_column(Integer)
    current_id: Mapped[str | None] = mapped_column(
        Id, ForeignKey("demonstrations.demonstration_id", ondelete="CASCADE")
    )
    perturbation_id: Mapped[str | None] = mapped_column(
        Id, ForeignKey("demonstrations.demonstration_id", ondelete="CASCADE")
    )
    perturbed: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    accepted: Mapped[bool | None] = mapped_column(Boolean)  # None: not judged yet
    incumbent: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    effective: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    stale: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    effect_d: Mapped[float | None] = mapped_column(Double)
    log_score: Mapped[float | None] = mapped_column(Double)
    tokens: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    fingerprint: Mapped[str | None] = mapped_column(String(16))
    made_at: Mapped[datetime] = mapped_column(UtcMoment)

    __table_args__ = (
        Index(None, "user_id", "round_number", "path", unique=True),
        Index(None, "current_id"),
        Index(None, "perturbation_id"),
    )


class Switch(Base):
    """A change of what is served to a user; the newest is in force. Without a variant: zero-shot.
    `reason` is `round` or `rollback`."""

    __tablename__ = "switches"

    user_id: Mapped[str] = mapped_column(
        Id, ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    variant_id: Mapped[str | None] = mapped_column(
        Id, ForeignKey("variants.variant_id", ondelete="CASCADE")
    )
    reason: Mapped[str] = mapped_column(String(20))
    made_at: Mapped[datetime] = mapped_column(UtcMoment)

    __table_args__ = (Index(None, "variant_id"),)
