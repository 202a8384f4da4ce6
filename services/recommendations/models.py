"""The table of replies: what was recommended, and from which prompt."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.catalog.models import Json
from services.storage.base import Base, Id, UtcMoment


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

    __table_args__ = (Index(None, "user_id", "made_at"), Index(None, "made_at"))
