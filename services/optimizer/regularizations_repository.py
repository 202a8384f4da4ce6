"""SQL of regularization texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.optimizer.models import RegularizationText
from services.prompts import Regularization


class RegularizationsRepository:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._dialect = session.get_bind().dialect.name

    async def all(self) -> Sequence[RegularizationText]:
        """Newest first."""
        query = select(RegularizationText).order_by(
            RegularizationText.made_at.desc(), RegularizationText.version
        )
        return (await self.session.scalars(query)).all()

    async def active(self) -> RegularizationText | None:
        query = select(RegularizationText).where(RegularizationText.state == "active")
        return await self.session.scalar(query)

    async def locked(self, version: str) -> RegularizationText | None:
        query = select(RegularizationText).where(RegularizationText.version == version)
        return await self.session.scalar(query.with_for_update())

    async def draft(self, text: Regularization, now: datetime) -> RegularizationText:
        """As it is; or a new one, or one that was retired and is to be compared again."""
        await self._add(text, "draft", now)
        row = await self.locked(text.version)
        assert row is not None, "nobody deletes texts"
        if row.state == "retired":
            row.state, row.comparison = "draft", None
        return row

    async def retire_active(self, text: Regularization, now: datetime) -> None:
        """At once, before another becomes active: there is one at a time. The text that ships has
        no row before another takes its place."""
        if await self.active() is None:
            await self._add(text, "retired", now)
        await self.session.execute(
            update(RegularizationText)
            .where(RegularizationText.state == "active")
            .values(state="retired")
        )
        await self.session.flush()

    async def to_be_compared(self) -> RegularizationText | None:
        """A draft whose comparison is not done; the one that was made first."""
        rows = await self.session.scalars(
            select(RegularizationText)
            .where(RegularizationText.state == "draft", RegularizationText.comparison.is_not(None))
            .order_by(RegularizationText.made_at)
        )
        return next(
            (row for row in rows if (row.comparison or {}).get("state") in {"waiting", "running"}),
            None,
        )

    async def keep(
        self, version: str, asked_at: str, known: int, comparison: Mapping[str, Any]
    ) -> bool:
        """Unless somebody has gone on with it meanwhile, or it was asked for anew."""
        row = await self.locked(version)
        now = {} if row is None else row.comparison or {}
        done = len(now.get("rows", {})) + len(now.get("skipped", []))
        if row is None or now.get("asked_at") != asked_at or done != known:
            return False
        row.comparison = dict(comparison)
        return True

    async def _add(self, text: Regularization, state: str, now: datetime) -> None:
        """Unless it is there."""
        into = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        row = {
            "version": text.version,
            "by_label": text.by_label,
            "by_title": text.by_title,
            "state": state,
            "made_at": now,
        }
        await self.session.execute(into(RegularizationText).values(**row).on_conflict_do_nothing())
