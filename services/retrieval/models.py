"""Tables of the co-visitation index. Nothing in them that could not be made again from events.

While a rebuild is under way there are two indexes; the newest complete one serves.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from services.storage.base import Base, Id, Json, UtcMoment


class CovisitIndexState(Base):
    """How far an index has got: users up to `built_to` while it is built, then events up to `seq`,
    and once more up to `settled_seq`. Whoever changes anything of an index holds this row's lock.
    """

    __tablename__ = "covisit_indexes"

    index_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rule: Mapped[str] = mapped_column(String(32))
    complete: Mapped[bool] = mapped_column(Boolean, server_default=false())
    built_to: Mapped[str] = mapped_column(Id, default="")
    seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    settled_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    takings: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    pairs: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    refreshed_at: Mapped[datetime] = mapped_column(UtcMoment)


class CountedHistory(Base):
    """Which items of a user an index has counted, oldest first: what to take away when the history
    has become another. `stale`: something of it was deleted."""

    __tablename__ = "covisit_histories"

    index_id: Mapped[int] = mapped_column(
        Integer, ForeignKey("covisit_indexes.index_id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        Id, ForeignKey("users.user_id", ondelete="CASCADE"), primary_key=True
    )
    items: Mapped[list[str]] = mapped_column(Json)
    stale: Mapped[bool] = mapped_column(Boolean, server_default=false())

    __table_args__ = (
        Index(None, "user_id"),
        Index(
            "ix_covisit_histories_stale",
            "index_id",
            "user_id",
            sqlite_where=text("stale"),
            postgresql_where=text("stale"),
        ),
    )


class Covisit(Base):
    """How strongly an item leads to another; with itself as the other: how many users took it.

    No foreign keys: they would cost more than the table, and the users of a deleted item are
    counted anew.
    """

    __tablename__ = "covisits"

    index_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    item_id: Mapped[str] = mapped_column(Id, primary_key=True)
    other_id: Mapped[str] = mapped_column(Id, primary_key=True)
    weight: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = ({"sqlite_with_rowid": False},)
