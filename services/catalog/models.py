"""Tables of the catalog: items, users, and what users did with items."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.storage.base import Base, Id, Json, LongText, UtcMoment

Seq = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only an INTEGER key
_ANSWERS_A_LIST = text("recommendation_id IS NOT NULL")


class Item(Base):
    __tablename__ = "items"

    item_id: Mapped[str] = mapped_column(Id, primary_key=True)
    title: Mapped[str | None] = mapped_column(LongText)
    categories: Mapped[list[str]] = mapped_column(Json, default=list, server_default="[]")
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default="{}")
    hidden: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    updated_at: Mapped[datetime] = mapped_column(UtcMoment)


class User(Base):
    __tablename__ = "users"

    user_id: Mapped[str] = mapped_column(Id, primary_key=True)
    attributes: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default="{}")
    updated_at: Mapped[datetime] = mapped_column(UtcMoment)


class Event(Base):
    """`seq` breaks ties of `occurred_at`: of two events at one moment, the first received leads."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(Seq, primary_key=True, autoincrement=True)
    event_id: Mapped[str] = mapped_column(Id, unique=True)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.user_id", ondelete="CASCADE"))
    item_id: Mapped[str] = mapped_column(Id, ForeignKey("items.item_id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(200))
    value: Mapped[float | None] = mapped_column(Double)
    occurred_at: Mapped[datetime] = mapped_column(UtcMoment)
    received_at: Mapped[datetime] = mapped_column(UtcMoment)
    recommendation_id: Mapped[str | None] = mapped_column(Id)

    __table_args__ = (
        Index(None, "user_id", "occurred_at", "seq"),
        Index(None, "item_id", "occurred_at"),
        Index(
            None,
            "recommendation_id",
            "seq",
            sqlite_where=_ANSWERS_A_LIST,
            postgresql_where=_ANSWERS_A_LIST,
        ),
        {"sqlite_autoincrement": True},  # a deleted event's seq is never given again
    )


class Import(Base):
    """How far an import has got, committed together with the rows it brought."""

    __tablename__ = "imports"

    import_id: Mapped[str] = mapped_column(Id, primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, default=0)
    lines: Mapped[int] = mapped_column(BigInteger, default=0)
    accepted: Mapped[int] = mapped_column(BigInteger, default=0)
    duplicates: Mapped[int] = mapped_column(BigInteger, default=0)
    refused: Mapped[int] = mapped_column(BigInteger, default=0)
    finished: Mapped[bool] = mapped_column(Boolean, default=False)
    updated_at: Mapped[datetime] = mapped_column(UtcMoment)
